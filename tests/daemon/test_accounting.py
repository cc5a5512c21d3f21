"""Accounting when something goes wrong: what servers were told in the end, in the world of `radius_world`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.daemon.radius_world import World, client
from wayleave.io.store import Store, StoreError


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    """With one client that is served."""
    world = World(0, tmp_path / "state")
    world.process.discover(client(1))
    world.run(3)
    assert [*world.process.table]
    return world


def test_a_disk_that_cannot_be_read_is_asked_again_and_stops_no_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.servers[0].up = False
    world.process.clear()
    world.run(1)
    world.kill()
    with monkeypatch.context() as patch:

        def unreadable(*_: object) -> None:
            raise StoreError("input/output error")

        patch.setattr(Store, "accounts", unreadable)
        world.kill()
        world.servers[0].up = True
        world.run(30)
        assert world.process.accounting.backlog
    world.run(60)
    assert not world.process.accounting.backlog
