"""Frames out: whole batches, and what becomes of the others where the kernel refuses one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from wayleave.io.frames import BATCH, Transmitter
from wayleave.lab.namespace import PREFIX, Namespace, create_all, delete_all

MTU, HEADER = 1508, 14
HEAD = bytes.fromhex("020000000002 020000000001 88b5")


@pytest.fixture
def space() -> Iterator[Namespace]:
    made = Namespace(f"{PREFIX}-{os.getpid()}-0-frames")
    create_all([made])
    made.ip(f"link add one mtu {MTU} type veth peer name two mtu {MTU}", "link set one up", "link set two up")
    yield made
    delete_all([made])


def frame(number: int, length: int = 60) -> bytes:
    return (HEAD + number.to_bytes(2)).ljust(length, b"\0")


def sent(space: Namespace, frames: list[bytes]) -> tuple[list[int], int, int]:
    """Send frames as one batch; returns the numbers of those that arrive, and what was counted."""

    def inside() -> tuple[list[int], int, int]:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as ear:
            ear.bind(("two", 0x88B5))
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            ear.settimeout(5)
            out = Transmitter()
            out.open(1, "one")
            for data in frames:
                out.send(1, data)
            out.flush()
            out.close(1)
            heard = []
            while len(heard) < out.sent:
                heard.append(int.from_bytes(ear.recv(2048)[14:16]))
            return heard, out.sent, out.failed

    return space.call(inside)


def test_frames_leave_in_their_order_however_many(space: Namespace) -> None:
    numbers = [*range(BATCH + 10)]
    assert sent(space, [frame(number) for number in numbers]) == (numbers, len(numbers), 0)


def test_a_frame_that_the_kernel_refuses_costs_no_other_its_way(space: Namespace) -> None:
    """Of more than the device's MTU, in front, between and behind."""
    large = MTU + HEADER + 5
    frames = [frame(number, large if number in (0, 3, 4, 9) else 60) for number in range(10)]
    assert sent(space, frames) == ([1, 2, 5, 6, 7, 8], 6, 4)


def test_a_frame_for_a_port_that_is_not_there_is_counted() -> None:
    out = Transmitter()
    out.send(1, frame(1))
    out.flush()
    assert (out.sent, out.failed) == (0, 1)
