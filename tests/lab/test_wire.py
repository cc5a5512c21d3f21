"""Frames at full rate, tags in band, whoever sent them: a socket or XDP."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from functools import partial

import pytest

from wayleave.dataplane import objects, syscall
from wayleave.io.frames import BATCH, Port
from wayleave.lab.access_node import PROGRAM
from wayleave.lab.namespace import PREFIX, Namespace, create_all, delete_all
from wayleave.lab.packet import QINQ, QINQ_OLD, VLAN, Tag, ethernet
from wayleave.lab.topology import Lab
from wayleave.lab.wire import Wire

TEST_TYPE = 0x88B5  # local experimental EtherType 1 (IEEE 802)
ONE, OTHER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"

TAGS = {
    "none": (),
    "one": (Tag(VLAN, 7),),
    "an S-tag": (Tag(QINQ, 7),),
    "two": (Tag(QINQ, 100), Tag(VLAN, 1)),
    "two alike": (Tag(VLAN, 100), Tag(VLAN, 100)),
    "0x9100": (Tag(QINQ_OLD, 100), Tag(VLAN, 1)),
    "priorities": (Tag(QINQ, 100, 5), Tag(VLAN, 1, 3)),
    "VID 0": (Tag(VLAN, 0, 7),),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab without customers; `acc0` receives what is redirected to it."""
    with Lab([]) as lab:
        lab.access_node.attach("pass", lab.gateway.namespace, "acc0")
        yield lab


@pytest.fixture
def wire(lab: Lab) -> Iterator[Wire]:
    with lab.access_node.trunk.wire() as wire:
        yield wire


def take(wire: Wire, count: int) -> list[bytes]:
    """The next frames that arrive."""
    found: list[bytes] = []
    while len(found) < count:
        wire.wait(5)
        came = [data for _, data in wire.received(count - len(found))]
        assert came, f"{len(found)} of {count} came"
        found += came
    return found


def framed(name: str) -> bytes:
    return ethernet(ONE, OTHER, TEST_TYPE, os.urandom(300), TAGS[name])


@pytest.mark.parametrize("name", TAGS)
def test_what_a_socket_sends_arrives_with_its_tags(lab: Lab, wire: Wire, name: str) -> None:
    frame = framed(name)
    lab.gateway.send_raw(frame, "acc0")
    assert take(wire, 1) == [frame]


@pytest.mark.parametrize("name", TAGS)
def test_what_it_sends_leaves_with_its_tags(lab: Lab, wire: Wire, name: str) -> None:
    frame = framed(name)
    with lab.gateway.capture("acc0") as acc0:
        wire.send(frame)
        wire.flush()
        (arrived,) = acc0.wait_for(lambda found: found.ethertype == TEST_TYPE)
    assert arrived.data == frame
    assert wire.refused == 0


@pytest.mark.parametrize("name", TAGS)
def test_what_xdp_sends_arrives_with_its_tags(name: str) -> None:
    """Between two devices of an access node's program that hands all it gets from one to the other."""
    near, far = (Namespace(f"{PREFIX}-{os.getpid()}-9-{role}") for role in ("near", "far"))
    object_ = objects.load(PROGRAM)
    try:
        create_all([near, far])
        near.ip(f"link add name a0 type veth peer name b0 netns {far.name}", "link set a0 up")
        near.ip(f"link add name a1 type veth peer name b1 netns {far.name}", "link set a1 up")
        far.ip("link set b0 up", "link set b1 up")
        into, out = far.ifindex("b0"), far.ifindex("b1")
        line = struct.pack("=IHHHHHH", into, 0, 0, 0, 0, 0, 0)
        syscall.update(object_.maps["nodes"].fd, bytes(4), struct.pack("=II", out, 0))
        syscall.update(object_.maps["lines"].fd, struct.pack("=I", into), line)
        attached = [
            space.call(partial(objects.attach, object_.programs[program], space.ifindex(device), syscall.XDP_NATIVE))
            for space, device, program in ((far, "b0", "upstream"), (near, "a1", "pass"))
        ]
        with near.call(lambda: Wire("a1")) as wire:
            frame = framed(name)
            sender = near.call(lambda: Port("a0"))
            sender.add(frame)
            assert sender.flush() == 1
            sender.close()
            assert take(wire, 1) == [frame]
        for link in attached:
            os.close(link.fd)
    finally:
        object_.close()
        delete_all([near, far])


def test_its_own_frames_do_not_come_back(lab: Lab, wire: Wire) -> None:
    wire.send(framed("two"))
    wire.flush()
    lab.access_node.trunk.send(framed("two"))
    answer = framed("two")
    lab.gateway.send_raw(answer, "acc0")
    assert take(wire, 1) == [answer]


def test_a_batch_goes_by_itself_and_order_is_kept(lab: Lab, wire: Wire) -> None:
    count = 3 * BATCH + 5
    with lab.gateway.capture("acc0") as acc0:
        frames = [framed("two") for _ in range(count)]
        for frame in frames:
            wire.send(frame)
        wire.flush()
        arrived = acc0.wait_for(lambda found: found.ethertype == TEST_TYPE, count=count)
    assert [found.data for found in arrived] == frames


def test_the_ring_wraps_and_what_it_has_no_room_for_is_counted(lab: Lab, wire: Wire) -> None:
    with lab.access_node.trunk.wire(slots=32) as small:
        frames = [framed("two") for _ in range(100)]
        for frame in frames[:25]:
            lab.gateway.send_raw(frame, "acc0")
        assert take(small, 25) == frames[:25]
        for frame in frames[25:50]:
            lab.gateway.send_raw(frame, "acc0")
        assert take(small, 25) == frames[25:50]
        assert small.lost == 0
        for frame in frames[50:]:
            lab.gateway.send_raw(frame, "acc0")
        assert take(wire, 100) == frames
        assert take(small, 32) == frames[50:82]
        assert small.lost == 18


def test_it_tells_when_half_the_ring_waits(lab: Lab) -> None:
    with lab.access_node.trunk.wire(slots=32) as small:
        for number in range(17):
            assert not small.half_full, number
            lab.gateway.send_raw(framed("two"), "acc0")
        assert small.half_full
        take(small, 1)
        assert not small.half_full


def test_arrival_is_told_on_the_monotonic_clock(lab: Lab, wire: Wire) -> None:
    before = time.monotonic_ns()
    lab.gateway.send_raw(framed("two"), "acc0")
    wire.wait(5)
    ((at, _),) = wire.received(1)
    assert before <= at + 1_000_000
    assert at <= time.monotonic_ns() + 1_000_000
