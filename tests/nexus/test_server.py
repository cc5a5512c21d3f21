"""Connections that do not do what they should: slow to ask, and slow to read."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.nexus.service import HERE, Nexus
from wayleave.io.tls import server_context
from wayleave.nexus import feed as feeding
from wayleave.nexus import model
from wayleave.nexus import server as serving
from wayleave.nexus.access import Gate
from wayleave.nexus.app import application
from wayleave.nexus.holding import Terms
from wayleave.nexus.serve import boot, utc
from wayleave.nexus.server import Server
from wayleave.nexus.service import Service
from wayleave.nexus.settings import LimitSettings
from wayleave.nexus.store.port import Put
from wayleave.nexus.store.sqlite import SqliteStore

WITHIN_S = 20.0


class Inside(NamedTuple):
    """A Nexus within the test, and what a gateway connects with."""

    service: Service
    port: int
    context: ssl.SSLContext

    async def connected(self, receive_buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a gateway's connection."""
        channel = socket.socket()
        if receive_buffer:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        channel.setblocking(False)
        await asyncio.get_running_loop().sock_connect(channel, (HERE, self.port))
        return await asyncio.open_connection(sock=channel, ssl=self.context, server_hostname=HERE)


@asynccontextmanager
async def inside(folder: Path) -> AsyncIterator[Inside]:
    nexus = Nexus(folder)
    ours, authority = nexus.authority / "nexus.pem", nexus.authority / "ca.pem"
    context = nexus.client("node", "bng1").context
    service = Service(SqliteStore(folder / "store"), Terms(), boot, utc)
    server = Server.over_tls(
        Gate(application(service), LimitSettings(), service),
        server_context(ours, ours.with_suffix(".key"), authority, "nexus"),
        lambda _: None,
    )
    listener = socket.create_server((HERE, nexus.port))
    tasks = [asyncio.ensure_future(server.serve(sockets=[listener])), asyncio.ensure_future(service.feed.run())]
    try:
        async with asyncio.timeout(2 * WITHIN_S):
            yield Inside(service, nexus.port, context)
    finally:
        service.feed.end()
        server.should_exit = True
        await tasks[0]
        tasks[1].cancel()
        with suppress(asyncio.CancelledError):
            await tasks[1]
        await service.store.close()


def story(tmp_path: Path, tell: Callable[[Inside], Awaitable[None]]) -> None:
    async def told() -> None:
        async with inside(tmp_path) as nexus:
            await tell(nexus)

    asyncio.run(told())


STREAM = b"GET /v1/view/changes HTTP/1.1\r\nHost: x\r\n\r\n"


def test_who_does_not_read_what_it_is_told_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "MOST_WAITING", 20)

    async def tell(nexus: Inside) -> None:
        slow, writer = await nexus.connected(4096)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(STREAM)
        quick, other = await nexus.connected()
        other.write(STREAM)
        async with asyncio.timeout(WITHIN_S):
            while nexus.service.feed.streams < 2:
                await quick.readline()
        for _ in range(200):
            await nexus.service.store.commit([], [Put(f"{model.view_prefix('bng1')}x", b'"%s"' % (b"x" * 100_000))])
            async with asyncio.timeout(WITHIN_S):
                await quick.readuntil(b"event: changes\n")
                await _past(quick)
            if nexus.service.feed.cut:
                break
        assert nexus.service.feed.cut == 1
        async with asyncio.timeout(WITHIN_S):
            while nexus.service.feed.streams > 1:
                await quick.readline()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionError, ssl.SSLError):
            await asyncio.wait_for(slow.read(), WITHIN_S)
        for each in (writer, other):
            each.transport.abort()

    story(tmp_path, tell)


async def _past(reader: asyncio.StreamReader) -> None:
    """Read an event to its end, however long its line is."""
    left = 100_000
    while left > 0:
        left -= len(await reader.read(left))


def test_a_request_that_does_not_come_in_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", 0.1)

    async def tell(nexus: Inside) -> None:
        for part in (b"", b"POST /v1/hold/renew HTTP/1.1\r\nHost: x\r\n", b"POST /v1/hold/renew HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"):  # fmt: skip
            reader, writer = await nexus.connected()
            writer.write(part)
            with suppress(ConnectionError, ssl.SSLError):
                assert await asyncio.wait_for(reader.read(), WITHIN_S) == b""
            writer.transport.abort()

    story(tmp_path, tell)


def test_who_has_asked_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", 0.05)
    monkeypatch.setattr("wayleave.nexus.routes.events.ALIVE_S", 0.5)

    async def tell(nexus: Inside) -> None:
        reader, writer = await nexus.connected()
        writer.write(STREAM)
        for _ in range(3):
            await asyncio.wait_for(reader.readuntil(b"event: alive\n"), WITHIN_S)
        writer.transport.abort()

    story(tmp_path, tell)
