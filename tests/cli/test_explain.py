"""A packet in words or out of a file becomes a question, or a refusal that says how to put it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from wayleave.cli.client import ApiError
from wayleave.cli.explain import FILE_MAX, frame_of, question, rows
from wayleave.net import pcapng

CLIENTS = {"12": 12, "100.64.0.2": 7, "02:00:00:00:00:01": 9}


def ask(text: str) -> dict[str, object]:
    return question(text.split(), None, CLIENTS.get)


def test_a_client_is_named_by_id_address_or_mac() -> None:
    assert ask("udp from 100.64.0.2 to 1.1.1.1:53") == {
        "protocol": "udp", "session": 7, "destination": "1.1.1.1", "dport": 53, "port": None,
    }  # fmt: skip
    assert ask("icmp from client 12 to 1.1.1.1")["session"] == 12
    assert ask("icmp from 02:00:00:00:00:01 to 1.1.1.1")["session"] == 9


def test_an_address_that_no_client_has_is_the_network_s() -> None:
    assert ask("tcp from 192.0.2.9:80 to 100.64.0.2:40000") == {
        "protocol": "tcp", "source": "192.0.2.9", "sport": 80, "destination": "100.64.0.2", "dport": 40000,
        "port": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "udp", "sctp from 12 to 1.1.1.1", "udp to 1.1.1.1 from 12", "udp from 12 to home", "udp from 12 to 1.1.1.1:x",
     "udp from somewhere to 1.1.1.1:53", "udp from 12 to 1.1.1.1:65536", "udp from 12 to 1.1.1.1",
     "tcp from 12:80 to 1.1.1.1", "icmp from 12 to 1.1.1.1:53", "icmp from 192.0.2.9:7 to 100.64.0.2"],
)  # fmt: skip
def test_what_is_not_understood_is_told_how_to_say(text: str) -> None:
    with pytest.raises(ApiError, match="say it as"):
        ask(text)


def capture(order: str, magic: int, frames: list[bytes], link: int = 1, cut: int = 0) -> bytes:
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    return head + b"".join(struct.pack(order + "IIII", 0, 0, len(item), len(item) + cut) + item for item in frames)


@pytest.mark.parametrize(("order", "magic"), [("<", 0xA1B2C3D4), (">", 0xA1B2C3D4), ("<", 0xA1B23C4D)])
def test_a_frame_is_taken_out_of_a_capture(tmp_path: Path, order: str, magic: int) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(capture(order, magic, [b"first", b"second"]))
    assert frame_of(path, 1, 7) == {"frame": b"first".hex(), "port": 7}
    assert frame_of(path, 2, 7) == {"frame": b"second".hex(), "port": 7}
    with pytest.raises(ApiError, match="has no packet 3"):
        frame_of(path, 3, 7)
    with pytest.raises(ApiError, match="does not say by which port packet 2 came: say --port"):
        frame_of(path, 2, None)


def test_a_frame_that_bng_captured_came_by_the_port_that_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    file = pcapng.section("bng") + pcapng.interface("acc0", "port 3", 2048) + pcapng.interface("eth0", "uplink", 2048)
    file += pcapng.packet(0, 1, 4, b"came", True, "") + pcapng.packet(0, 1, 4, b"left", False, "")
    path.write_bytes(file + pcapng.packet(1, 1, 4, b"else", True, "") + b"and then nonsense")
    assert frame_of(path, 1, None) == {"frame": b"came".hex(), "port": 3}
    assert frame_of(path, 1, 9)["port"] == 9
    assert frame_of(path, 2, 9) == {"frame": b"left".hex(), "port": 9}
    with pytest.raises(ApiError, match="leaves the gateway: say --packet of one that came in"):
        frame_of(path, 2, None)
    with pytest.raises(ApiError, match="does not say by which port packet 3 came"):
        frame_of(path, 3, None)
    with pytest.raises(ApiError, match=r"x.pcapng: octet \d+: the file ends inside a block"):
        frame_of(path, 4, None)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with path.open("wb") as file:
        file.truncate(FILE_MAX + 1)
    with pytest.raises(ApiError, match="more than 256 MiB: cut it"):
        frame_of(path, 1, None)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "neither pcapng nor pcap"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "no section begins here"),
        (capture("<", 0xA1B2C3D4, [b"x"], link=113), "not captured on Ethernet"),
        (capture("<", 0xA1B2C3D4, [b"x"], cut=1), "cut off"),
    ],
)
def test_a_file_that_will_not_do_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    with pytest.raises(ApiError, match=says):
        frame_of(path, 1, 1)
    with pytest.raises(ApiError, match="No such file"):
        frame_of(tmp_path / "missing", 1, 1)


VERDICT: dict[str, Any] = {
    "port": 1, "device": "acc0", "came": "a frame", "stages": ["parse", "session"], "outcome": "dropped",
    "reason": "no-session", "dhcp4": None, "session": None, "receiver": None, "out": None, "out_device": None,
    "leaves": "a frame", "frame": "00", "rewritten": "00",
}  # fmt: skip


def test_a_verdict_is_told_in_lines() -> None:
    assert dict(rows(VERDICT)) == {
        "comes in": "port 1 (acc0): a frame", "stages": "parse > session", "verdict": "dropped: no-session",
    }  # fmt: skip
    through = VERDICT | {"session": 7, "receiver": 7}
    assert [row for row in rows(through) if "7" in str(row)] == [("session", "7: bng show session 7")]
    between = VERDICT | {"session": 7, "receiver": 8}
    assert {head: said for head, said in rows(between) if head in ("from", "for", "session")} == {
        "from": "7: bng show session 7", "for": "8: bng show session 8",
    }  # fmt: skip
    passed = VERDICT | {"outcome": "to-network", "out": 100, "out_device": "core0", "rewritten": "01", "leaves": "b"}
    assert dict(rows(passed))["verdict"] == "to-network by port 100 (core0)"
    assert dict(rows(passed))["leaves"] == "b"
