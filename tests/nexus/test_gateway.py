"""A gateway's own connection (`io.nexus`), asking the service as it is run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.nexus.service import HERE, Nexus, running
from wayleave.io.nexus import Compacted, Connection, Fenced, View
from wayleave.io.settings import Server
from wayleave.nexus.serve import boot
from wayleave.proto.nexus.messages import Claim, Claimed, GiveBack, Held, Renew

WITHIN_S = 20.0
NEW = {"If-None-Match": "*"}


@pytest.fixture(scope="module")
def nexus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nexus]:
    with running(tmp_path_factory.mktemp("nexus")) as nexus:
        operator = nexus.client("operator", "ops")
        for path, record in (
            ("pools/home", {"name": "home", "kind": "ipv4", "space": "100.64.0.0/22", "block": 64, "tenant": "isp"}),
            ("providers/isp", {"name": "isp", "tenant": "isp", "pool": "home"}),
            ("lines/l1", {"name": "l1", "node": "bng1", "port": 1}),
        ):
            assert operator.ask("PUT", f"/v1/{path}", record, NEW).status == 200
        yield nexus


def connection(nexus: Nexus) -> Connection:
    return Connection([Server(HERE, nexus.port)], nexus.client("node", "bng1").context, boot)


def test_it_holds_claims_and_gives_back(nexus: Nexus) -> None:
    async def story() -> None:
        gateway = connection(nexus)
        held = await gateway.ask(Renew(0))
        assert isinstance(held, Held)
        claimed = await gateway.ask(Claim(held.epoch, "home", 2))
        assert isinstance(claimed, Claimed)
        again = await gateway.ask(Renew(held.epoch))
        assert isinstance(again, Held)
        assert set(again.blocks) == set(claimed.blocks)
        block = claimed.blocks[0]
        assert await gateway.ask(GiveBack(held.epoch, again.beat, *block.key, block.fence)) is None
        left = await gateway.ask(Renew(held.epoch))
        assert isinstance(left, Held)
        assert left.blocks == claimed.blocks[1:]
        with pytest.raises(Fenced):
            await gateway.ask(Renew(held.epoch + 1))
        gateway.close()

    asyncio.run(asyncio.wait_for(story(), WITHIN_S))


def test_it_lists_its_view_and_follows_it(nexus: Nexus) -> None:
    operator = nexus.client("operator", "ops")

    async def story() -> None:
        gateway = connection(nexus)
        view = await gateway.view()
        assert view.entries == {}
        async with aclosing(gateway.changes(view.revision)) as changes:
            record = {"name": "smith", "provider": "isp", "line": "l1"}
            await asyncio.to_thread(operator.ask, "PUT", "/v1/subscribers/smith", record, NEW)
            revision, changed = await anext(changes)
            while not changed:
                revision, changed = await anext(changes)
            ((name, value),) = changed
            assert (name, json.loads(value or b"")["line"]) == ("smith", "1")
        assert await gateway.view() == View(revision, {"smith": value})
        with pytest.raises(Compacted):
            async with aclosing(gateway.changes(1 << 40)) as changes:
                await anext(changes)
        gateway.close()

    asyncio.run(asyncio.wait_for(story(), WITHIN_S))


def test_it_goes_on_when_nexus_was_killed(tmp_path: Path) -> None:
    with running(tmp_path) as another:

        async def story() -> None:
            gateway = connection(another)
            held = await gateway.ask(Renew(0))
            assert isinstance(held, Held)
            another.process.kill()
            await asyncio.to_thread(another.start)
            again = await gateway.ask(Renew(held.epoch))
            assert isinstance(again, Held)
            assert (again.epoch, again.beat) == (held.epoch, held.beat + 1)
            gateway.close()

        asyncio.run(story())
