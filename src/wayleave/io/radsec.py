"""RADIUS over TLS (RFC 6614): connections toward servers, made again whenever they end.

A server counts as there while all of its connections stand: that one of them is lost moves everything that waits for
it to another server. What is written to one is bounded by its 255 questions; what stops reading is found out as silent.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import cast

import structlog
from msgspec import Struct

from wayleave.io.alarm import Alarm
from wayleave.io.tls import RADSEC, in_words
from wayleave.net.secret import Secret
from wayleave.net.units import BootNs, Ns
from wayleave.proto.radius.exchange import Channel, Datagram, Exchange
from wayleave.proto.radius.stream import Stream

log = structlog.get_logger()

CONNECT_S = 10.0
"""For TCP and TLS to be agreed upon."""
SOONEST_S, LATEST_S = 0.2, 30.0
"""Before a connection is tried again, at first and at last; half more or less of it."""


class End(Struct, frozen=True, kw_only=True):
    """A server: where it is, what it has to show, and how it is asked. `silence`, `probes`: as of a Stream."""

    name: str
    address: IPv4Address
    port: int
    channels: int
    context: ssl.SSLContext
    server_name: str
    secret: Secret
    silence: Ns
    probes: bool

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Connections:
    """Those of one exchange: it is told what comes in, and which servers are lost and regained."""

    def __init__(
        self,
        ends: Mapping[int, End],
        source: IPv4Address | None,
        exchange: Exchange,
        purpose: str,
        clock: Callable[[], BootNs],
        done: Callable[[], None],
    ) -> None:
        """`ends`: by the server's number in the exchange. `source`: what to connect from. `purpose`: the exchange's,
        for the log. `done` is called after each batch.
        """
        self.source, self.exchange, self.clock, self.done = source, exchange, clock, done
        self._all = {
            Channel(number, place): _Connection(self, Channel(number, place), end)
            for number, end in ends.items()
            for place in range(end.channels)
        }
        self._ends, self._purpose = ends, purpose
        self._standing: set[int] = set()
        self._said: dict[int, str] = {}
        """Why servers are not there, as it was logged last."""
        self._tasks: list[asyncio.Task[None]] = []
        self.unsent = 0
        """Questions to a connection that was just lost: they went elsewhere."""

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have connections from now on."""
        self._tasks = [loop.create_task(connection.keep()) for connection in self._all.values()]

    def unlisten(self, _loop: asyncio.AbstractEventLoop) -> None:
        for task in self._tasks:
            task.cancel()

    def send(self, datagram: Datagram) -> None:
        self.unsent += not self._all[datagram.channel].send(datagram.data)

    def close(self) -> None:
        for connection in self._all.values():
            connection.drop()

    # ---- what connections say -----------------------------------------------------------

    def vouched(self, server: int) -> None:
        """A connection to a server has shown that it lives."""
        if not all(connection.stands for channel, connection in self._all.items() if channel.server == server):
            return
        if server not in self._standing:
            self._standing.add(server)
            self._said.pop(server, None)
            log.info("radsec-connected", **self._whose(server))
        self.exchange.regained(server, self.clock())

    def lost(self, server: int, why: str) -> None:
        """A connection to a server is lost, or cannot be made. Each cause is logged once in a row."""
        self._standing.discard(server)
        if self._said.get(server) != why:
            self._said[server] = why
            log.warning("radsec-lost", **self._whose(server), why=why)
        self.exchange.lost(server, self.clock(), why)
        self.done()

    def _whose(self, server: int) -> dict[str, str]:
        return {"server": self._ends[server].name, "at": str(self._ends[server]), "for": self._purpose}


class _Connection(asyncio.Protocol):
    """One of them, which is made again and again."""

    def __init__(self, all_: Connections, channel: Channel, end: End) -> None:
        self._all, self._channel, self._end = all_, channel, end
        self._stream: Stream | None = None
        self._transport: asyncio.Transport | None = None
        self._over: asyncio.Future[BaseException | None] | None = None
        self._alarm = Alarm(all_.clock, self._on_time)

    @property
    def stands(self) -> bool:
        return self._stream is not None and self._stream.vouched > 0

    async def keep(self) -> None:
        """Keep it until cancelled."""
        wait_s = SOONEST_S
        try:
            while True:
                why, stood = await self._once()
                self._all.lost(self._channel.server, why)
                wait_s = SOONEST_S if stood else min(LATEST_S, 2 * wait_s)
                await asyncio.sleep(wait_s * (0.5 + os.urandom(1)[0] / 255))  # noqa: TID251 -- it needs time to come back
        finally:
            self.drop()

    async def _once(self) -> tuple[str, bool]:
        """Have it until it ends. Returns why it did, or could not be made, and whether it ever stood."""
        loop, end, source = asyncio.get_running_loop(), self._end, self._all.source
        self._over = loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(
                    lambda: self,
                    str(end.address),
                    end.port,
                    ssl=end.context,
                    server_hostname=end.server_name,
                    local_addr=(str(source), 0) if source is not None else None,
                )
            error = await self._over
        except OSError as failed:
            return self._in_words(failed, stood=False), False
        assert self._stream is not None
        stream, self._stream = self._stream, None
        return stream.broken or self._in_words(error, stream.vouched > 0), stream.vouched > 0

    def _in_words(self, error: BaseException | None, stood: bool) -> str:
        why = in_words(error, str(self._end), self._end.server_name, RADSEC)
        if stood or not (error is None or isinstance(error, ConnectionResetError)):
            return why
        return f"{why} at once: does it know this gateway's certificate, and its address as a client's?"

    def send(self, data: bytes) -> bool:
        """Send a question. False: there is no connection."""
        if self._stream is None or self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        self._stream.sent(self._all.clock())
        self._look()
        return True

    def drop(self) -> None:
        self._alarm.cancel()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # ---- what the loop says -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        end = self._end
        self._stream = Stream(end.secret, os.urandom, self._all.clock(), end.silence, end.probes)
        if self._stream.vouched:
            self._all.vouched(self._channel.server)
            self._all.done()
        self._look()

    def data_received(self, data: bytes) -> None:
        stream = self._stream
        if stream is None:
            return
        now, before = self._all.clock(), stream.vouched
        for packet in stream.receive(data, now):
            self._all.exchange.receive(self._channel, packet, now)
        if stream.vouched > before:
            self._all.vouched(self._channel.server)
        self._look()
        self._all.done()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._over is not None and not self._over.done():
            self._over.set_result(error)

    # ---- time ---------------------------------------------------------------------------

    def _look(self) -> None:
        """Send what the stream wants sent, end it if it is broken, and see when to look again."""
        stream, transport = self._stream, self._transport
        if stream is None or transport is None:
            return
        for probe in stream.take():
            transport.write(probe)
        if stream.broken:
            transport.abort()
        self._alarm.set(asyncio.get_running_loop(), stream.deadline)

    def _on_time(self) -> None:
        if self._stream is not None:
            self._stream.expire(self._all.clock())
            self._look()
