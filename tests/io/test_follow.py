"""A replica that is kept as Nexus has it, through everything that breaks on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.fakes.nexus import FakeNexus, problem
from tests.io.nexus_world import World, play
from wayleave.aaa.local import Subscriber
from wayleave.io.follow import Follower
from wayleave.io.replica import Replica


class Gateway:
    """A gateway's side. `said` is what was told, in order, with what the disk had at that moment."""

    def __init__(self, world: World) -> None:
        self.connection = world.connect(silence_s=1)
        self.replica = Replica(world.folder / "state")
        self.said: list[Mapping[str, Subscriber | None]] = []
        self._changed = asyncio.Event()
        self.follower = Follower(self.connection, self.replica, self._told, lambda: 0.5, 0.01, 0.1)
        self._task = asyncio.create_task(self.follower.run())

    def _told(self, entries: Mapping[str, Subscriber | None]) -> None:
        with_disk = Replica(self.replica._path.parent)
        assert with_disk.known == self.replica.known, "told before it was durable"
        with_disk.close()
        self.said.append(entries)
        self._changed.set()

    async def until(self, names: set[str]) -> None:
        async with asyncio.timeout(10):
            while set(self.replica.known) != names:
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self.replica.close()


def put(nexus: FakeNexus, name: str, **other: object) -> None:
    nexus.put(name, {"name": name, "line": "1:2", **other})


def follows(folder: Path, story: Callable[[World, Gateway], Awaitable[None]]) -> None:
    async def whole(world: World) -> None:
        put(world.nexus, "alice")
        gateway = Gateway(world)
        try:
            await story(world, gateway)
        finally:
            await gateway.close()

    play(folder, whole)


def test_it_lists_then_is_told(tmp_path: Path) -> None:
    async def story(world: World, gateway: Gateway) -> None:
        await gateway.until({"alice"})
        put(world.nexus, "bob")
        await gateway.until({"alice", "bob"})
        world.nexus.put("alice", None)
        await gateway.until({"bob"})
        assert [set(said) for said in gateway.said] == [{"alice"}, {"bob"}, {"alice"}]
        assert sum(path.startswith("/v1/view?") for path in world.nexus.asked) == 1

    follows(tmp_path, story)


def test_after_a_restart_it_goes_on_from_where_it_was(tmp_path: Path) -> None:
    async def story(world: World, gateway: Gateway) -> None:
        await gateway.until({"alice"})
        await gateway.close()
        put(world.nexus, "bob")
        again = Gateway(world)
        assert set(again.replica.known) == {"alice"}
        await again.until({"alice", "bob"})
        await again.close()
        assert [set(said) for said in again.said] == [{"bob"}]
        assert sum(path.startswith("/v1/view?") for path in world.nexus.asked) == 1

    follows(tmp_path, story)


def test_a_nexus_that_went_and_came_back_is_followed_again(tmp_path: Path) -> None:
    async def story(world: World, gateway: Gateway) -> None:
        await gateway.until({"alice"})
        await world.nexus.close()
        put(world.nexus, "bob")
        world.nexus.put("alice", None)
        await world.nexus.open(world.server.port)
        await gateway.until({"bob"})

    follows(tmp_path, story)


def test_what_is_not_known_any_more_is_listed_anew(tmp_path: Path) -> None:
    async def story(world: World, gateway: Gateway) -> None:
        await gateway.until({"alice"})
        await gateway.close()
        world.nexus.put("alice", None)
        put(world.nexus, "bob")
        world.nexus.changes.clear()
        world.nexus.compacted = world.nexus.revision
        again = Gateway(world)
        await again.until({"bob"})
        await again.close()
        assert [set(said) for said in again.said] == [{"alice", "bob"}]

    follows(tmp_path, story)


def test_a_nexus_restored_from_a_backup_is_listed_anew(tmp_path: Path) -> None:
    async def story(world: World, gateway: Gateway) -> None:
        await gateway.until({"alice"})
        put(world.nexus, "bob")
        await gateway.until({"alice", "bob"})
        await world.nexus.close()
        world.nexus.revision, world.nexus.view = 1, {}
        world.nexus.changes.clear()
        await world.nexus.open(world.server.port)
        await gateway.until(set())

    follows(tmp_path, story)


def test_what_makes_no_sense_stops_nobody(tmp_path: Path) -> None:
    async def story(world: World, gateway: Gateway) -> None:
        put(world.nexus, "carol", colour="red")
        put(world.nexus, "bob")
        await gateway.until({"alice", "bob"})
        assert list(gateway.replica.refused) == ["carol"]

    follows(tmp_path, story)


def test_a_disk_that_refuses_is_told_and_tried_again(tmp_path: Path) -> None:
    async def story(world: World, gateway: Gateway) -> None:
        await gateway.until({"alice"})
        (pages,) = gateway.replica._db.execute("PRAGMA page_count").fetchone()
        gateway.replica._db.execute(f"PRAGMA max_page_count = {pages}")
        put(world.nexus, "bob", user="b" * 50_000)
        async with asyncio.timeout(10):
            while not gateway.follower.why:
                await asyncio.sleep(0.01)  # noqa: TID251 -- nothing tells of what is not written
        assert "is there room on the disk?" in gateway.follower.why
        assert set(gateway.replica.known) == {"alice"}
        gateway.replica._db.execute("PRAGMA max_page_count = 100000")
        await gateway.until({"alice", "bob"})
        assert gateway.follower.why == ""

    follows(tmp_path, story)


def test_a_view_that_cannot_be_had_is_asked_for_again(tmp_path: Path) -> None:
    async def story(world: World, gateway: Gateway) -> None:
        world.nexus.says["/v1/view"] = problem(503, "unavailable", "the store does not answer")
        async with asyncio.timeout(10):
            while len(world.nexus.asked) < 3:
                await asyncio.sleep(0.01)  # noqa: TID251 -- nothing tells of a question
        del world.nexus.says["/v1/view"]
        await gateway.until({"alice"})

    follows(tmp_path, story)
