"""The process: when it cannot go on it ends, and says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.nexus.service import WITHIN_S, Nexus
from wayleave.nexus import model
from wayleave.nexus.store.port import Put
from wayleave.nexus.store.sqlite import SqliteStore

STORE = 'store = "sqlite:state.sqlite"\nhold = "1s"'


def test_what_makes_no_sense_in_the_store_ends_it_with_the_reason(tmp_path: Path) -> None:
    async def spoil() -> None:
        store = SqliteStore(tmp_path / "state.sqlite")
        await store.commit([], [Put(model.hold_key("bng1", 1), b'{"no":"hold"}')])
        await store.close()

    nexus = Nexus(tmp_path, STORE)
    asyncio.run(spoil())
    nexus.spawn()
    try:
        assert nexus.process.wait(WITHIN_S) == 1
        assert "missing required field `duration`" in nexus.process.output()
    finally:
        nexus.process.kill()
