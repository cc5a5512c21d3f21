"""Captures: tags in band whatever the kernel did to them, waiting, pcap."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.utils import PcapNgReader, PcapReader

from wayleave.lab.access_node import Line
from wayleave.lab.capture import Collected
from wayleave.lab.packet import BROADCAST, Frame, Tag, ethernet
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

TEST_TYPE = 0x88B5


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1)]) as lab:
        yield lab


@pytest.mark.parametrize(
    "tags",
    [(), (Tag(0x8100, 5),), (Tag(0x88A8, 5, 3),), (Tag(0x88A8, 5), Tag(0x8100, 5)), (Tag(0x8100, 0, 7),)],
)
def test_tags_are_in_band_at_both_ends_of_a_cable(lab: Lab, tags: tuple[Tag, ...]) -> None:
    data = ethernet(BROADCAST, b"\x02\0\0\0\0\x01", TEST_TYPE, os.urandom(50), tags)
    with lab.router.capture("srv0") as near, lab.server.capture() as far:
        lab.router.send_raw(data, "srv0")
        (sent,) = near.wait_for(lambda frame: frame.data == data)
        (arrived,) = far.wait_for(lambda frame: frame.data == data)
    assert (sent.outgoing, arrived.outgoing) == (True, False)
    assert arrived.tags == tags
    assert abs(arrived.at - sent.at) < 10**9


def test_a_frame_that_does_not_come_is_told_with_what_came_instead() -> None:
    collected = Collected("nowhere")
    collected.add(Frame(ethernet(BROADCAST, b"\x02\0\0\0\0\x01", TEST_TYPE, b"", (Tag(0x8100, 5),))))
    with pytest.raises(TimeoutError, match=r"0 of 1 echo at nowhere; 1 frames(.|\n)*0x8100/5") as caught:
        collected.wait_for(lambda frame: frame.icmp, timeout=0.01, what="echo")
    assert "02:00:00:00:00:01" in str(caught.value)


def test_waiting_sees_frames_of_another_thread() -> None:
    collected = Collected("here")
    thread = threading.Thread(target=lambda: [collected.add(Frame(bytes(60))) for _ in range(3)])
    thread.start()
    assert len(collected.wait_for(lambda frame: frame.data, count=3)) == 3
    thread.join()


def test_pcap_files_are_read_by_scapy_and_tshark(lab: Lab, tmp_path: Path) -> None:
    data = ethernet(BROADCAST, b"\x02\0\0\0\0\x01", TEST_TYPE, os.urandom(50), (Tag(0x88A8, 5), Tag(0x8100, 6)))
    with lab.server.capture() as capture:
        lab.router.send_raw(data, "srv0")
        (frame,) = capture.wait_for(lambda frame: frame.data == data)
    path = tmp_path / "lab.pcap"
    assert capture.write_pcap(path) == len(capture.frames)
    with PcapReader(str(path)) as reader:
        assert not isinstance(reader, PcapNgReader)
        packets = {bytes(packet): packet.time for packet in reader}
    assert int(packets[data] * 10**9) == frame.at
    words = ["tshark", "-r", str(path), "-Y", "vlan", "-T", "fields", "-e", "vlan.id", "-e", "ieee8021ad.id"]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert {"5", "6"} <= set(text.split())


def test_wait_until_says_what_it_waited_for() -> None:
    state = iter([0, 0, 7])
    assert wait_until(lambda: next(state), "seven") == 7
    with pytest.raises(TimeoutError, match=r"after 0\.01 s still no pigs that fly"):
        wait_until(lambda: False, "pigs that fly", timeout=0.01)
    with pytest.raises(TimeoutError, match="computed"):
        wait_until(lambda: False, lambda: "computed words", timeout=0.01)
