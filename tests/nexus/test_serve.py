"""The process: what it does beside answering; when it cannot go on it ends, and says why."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.nexus.service import WITHIN_S, Events, Nexus, running
from wayleave.net.units import SECOND
from wayleave.nexus import model
from wayleave.nexus.serve import SETTLED
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


def test_gateways_hear_of_a_provider_as_soon_as_it_is_changed(tmp_path: Path) -> None:
    """Five times over in less time than three looks take at what other processes have changed."""
    with running(tmp_path) as nexus:
        operator, provider = nexus.client("operator", "ops"), {"name": "isp", "tenant": "isp", "pool": "home"}
        made = {"If-None-Match": "*"}
        tag = operator.ask("PUT", "/v1/providers/isp", provider, made).headers["etag"]
        for path, record in (
            ("lines/l1", {"name": "l1", "node": "bng1", "port": 1}),
            ("subscribers/alice", {"name": "alice", "provider": "isp", "line": "l1"}),
        ):
            assert operator.ask("PUT", f"/v1/{path}", record, made).status < 300
        with Events(nexus.client("node", "bng1"), "/v1/view/changes") as events:
            events.next()
            began = time.monotonic()
            for turn in range(5):
                changed = {**provider, "service": f"s{turn}"}
                tag = operator.ask("PUT", "/v1/providers/isp", changed, {"If-Match": tag}).headers["etag"]
                assert events.change()[1][0]["value"]["service"] == f"s{turn}"
            assert time.monotonic() - began < 3 * SETTLED / SECOND
