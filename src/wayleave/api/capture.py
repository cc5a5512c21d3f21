"""`bng capture` behind the API: one client's packets as a capture file, for as long as somebody reads it.

Frames come from two sides: the data plane's copies, and what Python sends, which no XDP program sees. One capture at a
time: the programs look for one client. Each is an object of its own, which nothing but itself, its deadline and the
gateway's stop end: a reader may still stand at the end of its file when the next one begins. A reader that is slow
fills the ring; what finds no room there, and what lies there when the file is given up, is counted and said at the end.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from fastapi.responses import StreamingResponse
from msgspec import Struct
from pydantic import BaseModel, Field

from wayleave import __version__
from wayleave.dataplane.abi import CAPTURE_FRAME_MAX, CaptureFilter
from wayleave.dataplane.capture import Copy
from wayleave.dataplane.counters import spoken
from wayleave.net import pcapng
from wayleave.net.mac import Mac
from wayleave.session.model import Client

if TYPE_CHECKING:
    from wayleave.dataplane.plane import DataPlane
    from wayleave.io.clock import Clock

BATCH = 64
"""Copies that are put into blocks before the loop looks at anything else."""

SENT = 1024
"""Frames of Python's that wait for the reader."""


class Busy(Exception):
    """Somebody captures already; the text says whom."""


class Wanted(Struct, frozen=True):
    """Whose packets: a session's client, or a MAC on one port or any, behind whatever tags."""

    mac: Mac
    client: Client | None = None
    port: int = 0

    @property
    def filter(self) -> CaptureFilter:
        """As the data plane looks for it."""
        if self.client is None:
            return CaptureFilter(self.mac, self.port, 0, 0, 0)
        line = self.client.line
        return CaptureFilter(self.mac, line.port, line.svid, line.cvid, 1)

    def admits(self, client: Client) -> bool:
        """Whether a session's client is meant."""
        if self.client is not None:
            return client.station.key == self.client.station.key
        return client.mac == self.mac and self.port in (0, client.line.port)

    def __str__(self) -> str:
        return str(self.client or self.mac)


class CaptureView(BaseModel):
    """The capture that runs, or the last one."""

    running: bool
    client: str | None = Field(description="None: there was none since the gateway started")
    packets: int = Field(description="frames in the file: a packet that leaves again is in it twice")
    lost: int = Field(description="frames that found no room, or that nobody fetched")


class Captures:
    """The captures of a gateway: one at a time, the last one's figures."""

    def __init__(self, plane: DataPlane, clock: Clock) -> None:
        self._plane, self._clock = plane, clock
        self._last: Capture | None = None

    def start(self, wanted: Wanted, seconds: float | None = None, count: int | None = None) -> Capture:
        """Put the capture programs to work, for so many seconds or frames. The caller closes it. Raises: Busy."""
        if self._last is not None:
            if not self._last.ended:
                raise Busy(f"{self._last.wanted} is being captured: one at a time")
            self._last.close()
        self._last = Capture(self._plane, self._clock, wanted, seconds, count)
        return self._last

    def stop(self) -> None:
        """End what runs: the gateway stops."""
        if self._last is not None:
            self._last.end()

    def sent(self, client: Client, port: int, frame: bytes) -> None:
        """Python sends a frame to a client."""
        if self._last is not None and not self._last.ended and self._last.wanted.admits(client):
            self._last.sent(port, frame)

    def view(self) -> CaptureView:
        """How it goes, or how the last one went."""
        last = self._last
        if last is None:
            return CaptureView(running=False, client=None, packets=0, lost=0)
        return CaptureView(running=not last.ended, client=str(last.wanted), packets=last.packets, lost=last.lost)


class Capture:
    """One capture. It begins when it is made; after `end` what lies there can still be read, after `close` nothing."""

    def __init__(
        self, plane: DataPlane, clock: Clock, wanted: Wanted, seconds: float | None, count: int | None
    ) -> None:
        self._plane, self._clock, self._loop = plane, clock, asyncio.get_running_loop()
        self.wanted = wanted
        self.ended = self._closed = False
        self.packets = self._lost = 0
        self._count = sys.maxsize if count is None else count
        self._sent: deque[tuple[int, int, bytes]] = deque()
        self._interfaces: dict[int, int] = {}
        self._something = asyncio.Event()
        self._offset = clock.utc() - clock.boot()
        plane.capture(wanted.filter)
        self._deadline = None if seconds is None else self._loop.call_later(seconds, self.end)

    def end(self) -> None:
        """Put the ports' own programs back. What lies there can be read until another capture begins."""
        if self.ended:
            return
        self.ended = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._loop.remove_reader(self._plane.copies.ring.fileno())
        self._something.set()
        self._plane.capture(None)

    def close(self) -> None:
        """End, and count as lost what nobody has read of what was asked for."""
        if self._closed:
            return
        self.end()
        unread = self._plane.copies.drop() + len(self._sent)
        self._lost = self.lost + min(unread, self._room)
        self._sent.clear()
        self._closed = True

    @property
    def lost(self) -> int:
        """Frames that are not in the file for want of room or of a reader."""
        return self._lost if self._closed else self._lost + self._plane.copies.lost

    @property
    def _room(self) -> int:
        return self._count - self.packets

    def sent(self, port: int, frame: bytes) -> None:
        """Python sends a frame to the client."""
        if len(self._sent) == SENT:
            self._lost += 1
            return
        self._sent.append((self._clock.boot(), port, frame))
        self._something.set()

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the file, piece by piece."""
        yield pcapng.section(f"bng {__version__}")
        while piece := await self._piece():
            yield piece
        self.close()
        if self._interfaces:  # nobody knows by which of them: the first stands for all
            yield pcapng.statistics(0, self._clock.utc(), self._lost)

    async def _piece(self) -> bytes:
        """Return some frames' blocks as soon as there are any; none if there will be no more."""
        while self._room and not self._closed:
            self._something.clear()
            piece = b"".join(self._blocks(min(BATCH, self._room)))
            if piece or self.ended:
                return piece
            await self._wait()
        return b""

    async def _wait(self) -> None:
        """Wait for a frame or the end. Only meanwhile may the ring wake the loop: a slow reader's is never empty."""
        ring = self._plane.copies.ring.fileno()
        self._loop.add_reader(ring, self._something.set)
        try:
            await self._something.wait()
        finally:
            if not self.ended:  # then it may be the next capture that listens
                self._loop.remove_reader(ring)

    def _blocks(self, limit: int) -> Iterator[bytes]:
        """Take what lies there, at most `limit` frames."""
        taken = 0
        for copy in self._plane.copies.take(limit):
            taken += 1
            yield from self._frame(copy.at, copy.port, copy.length, copy.octets, copy.came, _said(copy))
        while self._sent and taken < limit:
            taken += 1
            at, port, frame = self._sent.popleft()
            yield from self._frame(at, port, len(frame), frame, False, "leaves: Python's")

    def _frame(self, at: int, port: int, length: int, octets: bytes, came: bool, comment: str) -> Iterator[bytes]:
        number = self._interfaces.get(port)
        if number is None:
            number = self._interfaces[port] = len(self._interfaces)
            attached = self._plane.attached.get(port)
            name = attached.device if attached is not None else f"port-{port}"
            yield pcapng.interface(name, f"port {port}", CAPTURE_FRAME_MAX)
        self.packets += 1
        yield pcapng.packet(number, at + self._offset, length, octets, came, comment)


def _said(copy: Copy) -> str:
    """What Wireshark shows beside a frame: its side, where and how it ended, and why."""
    end = f"{spoken(copy.outcome.name)} in {spoken(copy.stage.name)}"
    why = f": {spoken(copy.reason.name)}" if copy.reason is not None else ""
    return f"{'came' if copy.came else 'leaves'}: {end}{why}"


class CaptureFile(StreamingResponse):
    """The capture as an answer: it ends with its reader."""

    def __init__(self, capture: Capture) -> None:
        super().__init__(capture.blocks(), media_type=pcapng.CONTENT_TYPE)
        self._capture = capture

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._capture.close()
