"""One capture from its start to its end, with a data plane by hand: what is in its file, and whose end is whose."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import pytest
from scapy.utils import RawPcapNgReader

from tests.fakes.clock import FakeClock
from wayleave.api.capture import SENT, Busy, Capture, Captures, Wanted
from wayleave.dataplane.abi import CaptureFilter, Outcome, Stage
from wayleave.dataplane.capture import Copy
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs
from wayleave.session.model import Client, Line

ALICE, BOB = Mac.parse("02:00:00:00:00:01"), Mac.parse("02:00:00:00:00:02")
PORT = 1


class FakePlane:
    """Copies that a test puts in, and whom they are of; its ring is a pipe, readable while something is in it."""

    def __init__(self) -> None:
        self.wanted: CaptureFilter | None = None
        self.nobody, self.listening = asyncio.Event(), asyncio.Event()
        self.failing = False
        self.attached: dict[int, Any] = {}
        self.copies = self
        self.ring = self
        self.lost = 0
        self._copies: list[Copy] = []
        self._read, self._write = os.pipe()

    def capture(self, wanted: CaptureFilter | None) -> None:
        if self.failing:
            raise OSError("no")
        if wanted is not None:
            self.drop()
            self.lost = 0
        else:
            self.nobody.set()
        self.wanted = wanted

    def put(self, *at: BootNs) -> None:
        for moment in at:
            self._copies.append(Copy(moment, PORT, True, Stage.ADMIT, Outcome.TO_HOST, None, 60, bytes(60)))
            os.write(self._write, b"!")

    def fileno(self) -> int:
        self.listening.set()
        return self._read

    def take(self, limit: int) -> Iterator[Copy]:
        for _ in range(min(limit, len(self._copies))):
            os.read(self._read, 1)
            yield self._copies.pop(0)

    def drop(self) -> int:
        return len(list(self.take(len(self._copies))))


class Scene:
    """Captures over a data plane and a clock by hand."""

    def __init__(self) -> None:
        self.plane: Any = FakePlane()
        self.clock = FakeClock()
        self.captures = Captures(self.plane, self.clock)

    def start(self, mac: Mac = ALICE, seconds: float | None = None, count: int | None = None) -> Capture:
        return self.captures.start(Wanted(mac), seconds, count)

    def send(self, mac: Mac = ALICE, frames: int = 1) -> None:
        for _ in range(frames):
            self.captures.sent(Client(Line(PORT), mac), PORT, bytes(60))


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 10))


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def times(file: bytes) -> list[int]:
    """When a reader says the frames of a file were; ns since 1970."""
    found = []
    for _, meta in RawPcapNgReader(io.BytesIO(file)):
        assert meta.ifname == b"port-1"
        found.append(meta.tshigh << 32 | meta.tslow)
    return found


def test_frames_are_dated_by_the_wall_clock_and_the_next_file_has_its_interfaces_too() -> None:
    async def story() -> None:
        scene = Scene()
        for mac in (ALICE, BOB):
            capture = scene.start(mac, count=2)
            scene.clock.wait(3 * SECOND)
            scene.plane.put(scene.clock.boot())
            scene.send(mac)
            assert times(await whole(capture.blocks())) == [scene.clock.utc()] * 2
            assert (capture.packets, capture.lost) == (2, 0)

    run(story())


def test_the_ring_wakes_the_loop_only_while_it_is_waited_for() -> None:
    async def story() -> None:
        scene, loop = Scene(), asyncio.get_running_loop()
        pieces = scene.start().blocks()
        await anext(pieces)
        waiting = asyncio.ensure_future(anext(pieces))
        await scene.plane.listening.wait()
        assert not waiting.done()
        scene.plane.put(scene.clock.boot())
        await waiting
        scene.plane.put(scene.clock.boot())
        assert not loop.remove_reader(scene.plane.fileno()), "the reader has not asked for more"

    run(story())


def test_seconds_are_kept_while_nobody_reads_and_what_lies_there_is_written() -> None:
    async def story() -> None:
        scene = Scene()
        capture = scene.start(seconds=0.01)
        scene.plane.put(*[scene.clock.boot()] * 100)
        scene.send(frames=SENT + 1)
        await scene.plane.nobody.wait()
        assert not scene.captures.view().running
        scene.send()
        assert len(times(await whole(capture.blocks()))) == 100 + SENT
        assert scene.captures.view().lost == 1

    run(story())


def test_what_a_file_never_got_is_lost_once_the_next_begins_and_its_end_is_its_own() -> None:
    async def story() -> None:
        scene = Scene()
        first = scene.start(seconds=0.01)
        pieces = first.blocks()
        await anext(pieces)
        scene.plane.put(*[scene.clock.boot()] * 100)
        await anext(pieces)
        with pytest.raises(Busy, match=str(ALICE)):
            scene.start(BOB)
        await scene.plane.nobody.wait()
        scene.send()
        second = scene.start(BOB)
        assert (first.packets, first.lost) == (64, 36)
        scene.plane.put(scene.clock.boot())
        assert len(await whole(pieces)) == 40, "statistics, nothing of the second's"
        first.close()
        assert not second.ended
        assert scene.plane.wanted == second.wanted.filter
        scene.captures.stop()
        assert len(times(await whole(second.blocks()))) == 1
        assert scene.plane.wanted is None

    run(story())


def test_a_capture_that_waits_ends_with_its_reader() -> None:
    async def story() -> None:
        scene = Scene()
        capture = scene.start()
        pieces = capture.blocks()
        await anext(pieces)
        waiting = asyncio.ensure_future(anext(pieces))
        await scene.plane.listening.wait()
        capture.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert not asyncio.get_running_loop().remove_reader(scene.plane.fileno())

    run(story())


def test_what_is_left_beyond_the_count_is_not_lost() -> None:
    async def story() -> None:
        scene = Scene()
        capture = scene.start(count=2)
        scene.plane.put(*[scene.clock.boot()] * 5)
        assert len(times(await whole(capture.blocks()))) == 2
        assert (capture.ended, capture.lost) == (True, 0)

    run(story())


def test_a_start_that_fails_is_in_nobodys_way() -> None:
    async def story() -> None:
        scene = Scene()
        scene.plane.failing = True
        with pytest.raises(OSError, match="no"):
            scene.start()
        scene.plane.failing = False
        scene.start()
        assert scene.captures.view().running

    run(story())
