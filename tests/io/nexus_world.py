"""A connection and the Nexus that it asks, on the gateway's loop, with certificates of this machine's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from tests.fakes.nexus import HERE, FakeNexus
from wayleave.io.clock import Clock
from wayleave.io.nexus import Connection
from wayleave.io.settings import Server
from wayleave.io.tls import client_context
from wayleave.lab.radsec import Authority


class World:
    """`nexus` listens; `connect` returns a connection to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.ours = self.authority.issue("gateway")
        self.theirs = self.authority.issue("nexus", f"IP:{HERE}")

    async def start(self) -> None:
        self.nexus = FakeNexus(self.authority, self.theirs)
        self.server = await self.nexus.open()
        self._opened = [self.nexus]
        self._connections: list[Connection] = []

    async def another(self, certificate: tuple[Path, Path] | None = None) -> tuple[FakeNexus, Server]:
        """Have one more server."""
        nexus = FakeNexus(self.authority, certificate or self.theirs)
        self._opened.append(nexus)
        return nexus, await nexus.open()

    def connect(
        self,
        *servers: Server,
        patience_s: float = 5.0,
        silence_s: float = 5.0,
        ca: Authority | None = None,
        ours: tuple[Path, Path] | None = None,
    ) -> Connection:
        context = client_context(*(ours or self.ours), (ca or self.authority).certificate, "nexus")
        made = Connection(servers or (self.server,), context, Clock().boot, patience_s, silence_s)
        self._connections.append(made)
        return made

    async def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for nexus in self._opened:
            await nexus.close()


@asynccontextmanager
async def started(world: World) -> AsyncIterator[World]:
    await world.start()
    try:
        yield world
    finally:
        await world.close()


def play(folder: Path, story: Callable[[World], Awaitable[None]]) -> None:
    """Play a story on the loop that the gateway has."""

    async def whole() -> None:
        async with started(World(folder)) as world:
            await story(world)

    uvloop.run(whole())
