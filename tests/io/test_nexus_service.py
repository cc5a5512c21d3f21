"""The connection and what follows it, against the service as it is run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import uvloop

from tests.nexus.service import HERE, Nexus, running
from wayleave.aaa.local import Subscriber
from wayleave.io.clock import Clock
from wayleave.io.follow import Follower
from wayleave.io.nexus import Connection, Fenced, NexusError
from wayleave.io.replica import Replica
from wayleave.io.settings import Server
from wayleave.nexus.model import Kind, Pool, encode, pool_key, view_prefix
from wayleave.nexus.store.port import Delete, Put
from wayleave.nexus.store.sqlite import SqliteStore
from wayleave.proto.nexus.messages import Claim, Claimed, GiveBack, Held, Renew

NODE = "bng1"


@pytest.fixture
def nexus(tmp_path: Path) -> Iterator[Nexus]:
    with running(tmp_path) as nexus:
        yield nexus


def change(nexus: Nexus, *changes: Put | Delete) -> None:
    """Write to its store while it does not run."""

    async def commit() -> None:
        store = SqliteStore(nexus.folder / "state.sqlite")
        await store.commit([], changes)
        await store.close()

    nexus.process.stop()
    asyncio.run(commit())
    nexus.start()


def entry(name: str, line: str) -> Put:
    """What the gateway has to know of a subscriber."""
    return Put(f"{view_prefix(NODE)}{name}", msgspec.json.encode({"name": name, "line": line, "pool": "home"}))


def play(nexus: Nexus, story: Callable[[Connection], Awaitable[None]], role: str = "node", name: str = NODE) -> None:
    nexus.client(role, name)
    context = nexus.context(nexus.authority / f"{name}.pem")

    async def whole() -> None:
        connection = Connection([Server(HERE, nexus.port)], context, Clock().boot)
        try:
            await story(connection)
        finally:
            connection.close()

    uvloop.run(whole())


def test_blocks_are_claimed_kept_over_a_restart_and_given_back(nexus: Nexus) -> None:
    change(nexus, Put(pool_key("home"), encode(Pool("home", Kind.IPV4, "100.64.0.0/22", 256))))

    async def story(connection: Connection) -> None:
        held = await connection.ask(Renew(0))
        assert isinstance(held, Held)
        claimed = await connection.ask(Claim(held.epoch, "home", 2))
        assert isinstance(claimed, Claimed)
        first, second = claimed.blocks
        await asyncio.to_thread(restart, nexus)
        with suppress(NexusError):  # the connection may not know yet
            await connection.ask(Renew(held.epoch))
        again = await connection.ask(Renew(held.epoch))
        assert isinstance(again, Held)
        assert set(again.blocks) == {first, second}
        assert await connection.ask(GiveBack(again.epoch, again.beat, *first.key, first.fence)) is None
        with pytest.raises(NexusError, match="nowhere"):
            await connection.ask(Claim(held.epoch, "nowhere"))
        with pytest.raises(Fenced):
            await connection.ask(Renew(held.epoch + 7))
        assert connection.state.why == ""

    play(nexus, story)


def restart(nexus: Nexus) -> None:
    nexus.process.kill()
    nexus.start()


def test_the_view_is_listed_and_followed_over_a_restart(nexus: Nexus, tmp_path: Path) -> None:
    change(nexus, *(entry(f"s{number:04}", f"1:{number + 1}") for number in range(100)))

    async def story(connection: Connection) -> None:
        replica, changed = Replica(tmp_path / "gateway"), asyncio.Event()

        def told(_: Mapping[str, Subscriber | None]) -> None:
            changed.set()

        following = asyncio.create_task(Follower(connection, replica, told, lambda: 0.5, 0.05, 0.2).run())
        async with asyncio.timeout(20):
            await changed.wait()
            assert len(replica.known) == 100
            changed.clear()
            await asyncio.to_thread(change, nexus, entry("new", "1:7"), Delete(f"{view_prefix(NODE)}s0000"))
            await changed.wait()
        assert replica.known.keys() & {"new", "s0000"} == {"new"}
        following.cancel()
        replica.close()

    play(nexus, story)


def test_who_is_no_gateway_is_told_so(nexus: Nexus) -> None:
    async def story(connection: Connection) -> None:
        with pytest.raises(NexusError, match="operator root may not ask this"):
            await connection.ask(Renew(0))

    play(nexus, story, "operator", "root")
