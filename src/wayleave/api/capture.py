"""`bng capture` behind the API: one client's packets as a capture file, for as long as somebody reads it.

Frames come from two sides: the data plane's copies, and what Python sends, which no XDP program sees. One capture at a
time: the programs look for one client. A reader that is slow fills the ring; what finds no room there is counted and
said at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from wayleave.session.model import Client, Session

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
            return client.key == self.client.key
        return client.mac == self.mac and self.port in (0, client.line.port)

    def __str__(self) -> str:
        return str(self.client or self.mac)


class CaptureView(BaseModel):
    """The capture that runs, or the last one."""

    running: bool
    client: str | None = Field(description="None: there was none since the gateway started")
    packets: int = Field(description="frames in the file: a packet that leaves again is in it twice")
    lost: int = Field(description="frames that found no room")


class Capture:
    """The one capture of a gateway."""

    def __init__(self, plane: DataPlane, clock: Clock) -> None:
        self._plane, self._clock = plane, clock
        self.wanted: Wanted | None = None
        """Whose packets are captured now."""
        self._last: Wanted | None = None
        self._sent: deque[tuple[int, int, bytes]] = deque()
        self._interfaces: dict[int, int] = {}
        self._something = asyncio.Event()
        self._packets = self._lost = 0

    def start(self, wanted: Wanted) -> None:
        """Put the capture programs to work. The caller calls `stop`, whatever happens. Raises: Busy."""
        if self.wanted is not None:
            raise Busy(f"{self.wanted} is being captured: one at a time")
        self.wanted = self._last = wanted
        self._packets = self._lost = 0
        self._sent.clear()
        self._interfaces.clear()
        self._offset = self._clock.utc() - self._clock.boot()
        self._plane.capture(wanted.filter)

    def stop(self) -> None:
        """Put the ports' own programs back, if they are not there; whoever reads gets the end of the file."""
        if self.wanted is not None:
            self._lost += self._plane.copies.lost
            self.wanted = None
            self._plane.capture(None)
        self._something.set()

    def sent(self, session: Session, port: int, frame: bytes) -> None:
        """Python sends a frame to a session's client."""
        if self.wanted is None or not self.wanted.admits(session.client):
            return
        if len(self._sent) == SENT:
            self._lost += 1
            return
        self._sent.append((self._clock.boot(), port, frame))
        self._something.set()

    def view(self) -> CaptureView:
        """How it goes, or how the last one went."""
        running = self.wanted is not None
        lost = self._lost + (self._plane.copies.lost if running else 0)
        client = str(self._last) if self._last is not None else None
        return CaptureView(running=running, client=client, packets=self._packets, lost=lost)

    async def blocks(self, seconds: float | None, count: int | None) -> AsyncIterator[bytes]:
        """Yield the file, piece by piece, until so many seconds have passed or frames are in it, or it is stopped."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        yield pcapng.section(f"bng {__version__}")
        loop.add_reader(self._plane.copies.ring.fileno(), self._something.set)
        try:
            while self.wanted is not None and (count is None or self._packets < count):
                self._something.clear()
                left = None if end is None else end - loop.time()
                if left is not None and left <= 0:
                    break
                piece = b"".join(self._blocks(BATCH if count is None else min(BATCH, count - self._packets)))
                if piece:
                    yield piece
                else:
                    await self._wait(left)
        finally:
            loop.remove_reader(self._plane.copies.ring.fileno())
        self.stop()
        at = self._clock.utc()
        if self._interfaces:  # nobody knows by which of them: the first stands for all
            yield pcapng.statistics(0, at, self._lost)

    async def _wait(self, left: float | None) -> None:
        """Wait for something to tell, no longer than `left` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._something.wait()

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
        self._packets += 1
        yield pcapng.packet(number, at + self._offset, length, octets, came, comment)


def _said(copy: Copy) -> str:
    """What Wireshark shows beside a frame: its side, where and how it ended, and why."""
    end = f"{spoken(copy.outcome.name)} in {spoken(copy.stage.name)}"
    why = f": {spoken(copy.reason.name)}" if copy.reason is not None else ""
    return f"{'came' if copy.came else 'leaves'}: {end}{why}"


class CaptureFile(StreamingResponse):
    """The capture as an answer: it ends with its reader."""

    def __init__(self, capture: Capture, seconds: float | None, count: int | None) -> None:
        super().__init__(capture.blocks(seconds, count), media_type=pcapng.CONTENT_TYPE)
        self._capture = capture

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._capture.stop()
