"""How RADIUS is told: latencies out of buckets, what is wrong with a server, and no secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.proto.radius.world import World
from wayleave.aaa.outbox import Account, Outbox
from wayleave.api.radius import HINTS, NEVER_HEARD, RadiusView, p95_ms, view_radius
from wayleave.net.units import SECOND, BootNs, UtcNs
from wayleave.proto.radius.exchange import BUCKETS_MS, Exchange
from wayleave.proto.radius.packet import Code, Doubt


class Authority:
    """Implements api.radius.Deciding, of exchanges in virtual time."""

    changes: Mapping[str, int] = {"coa": 3}
    provisional = 2

    def __init__(self, access: World, accounting: World | None = None) -> None:
        self.access: dict[str, Exchange] = {"isp": access.exchange}
        self.accounted = {} if accounting is None else {"isp": accounting.exchange}
        self.outboxes = {name: Outbox(exchange, UtcNs) for name, exchange in self.accounted.items()}
        self.backlog = {"isp": 0, "gone": 5} if accounting is not None else {}

    def held(self, _now: BootNs) -> int:
        return 4


def told(world: World, **how: Any) -> RadiusView:
    return view_radius(Authority(world, **how), world.now)


def test_a_server_that_answers() -> None:
    world = World()
    for key in range(20):
        world.ask(key)
    world.run(lambda: len(world.outcomes) == 20)
    world.run(seconds=7)
    (server,) = told(world).servers
    assert (server.alive, server.dead_s, server.heard_s, server.hint) == (True, None, 7, None)
    assert (server.requests, server.repeated, server.timeouts, server.in_flight) == (20, 0, 0, 0)
    assert server.answers == {"access-accept": 20}
    assert (server.mean_ms, server.p95_ms) == (10.0, 10)


@pytest.mark.parametrize(
    ("counts", "p95"),
    [({}, None), ({0: 1}, 1), ({0: 95, 5: 5}, 1), ({0: 94, 5: 6}, 50), ({0: 1, len(BUCKETS_MS): 1}, None)],
)
def test_in_which_bucket_95_percent_are_reached(counts: dict[int, int], p95: int | None) -> None:
    assert p95_ms([counts.get(place, 0) for place in range(len(BUCKETS_MS) + 1)]) == p95


def dead(world: World) -> World:
    world.ask(1)
    world.run(lambda: bool(world.outcomes))
    world.run(seconds=12)
    return world


def test_a_server_that_never_answered() -> None:
    world = World(tries=1)
    world.servers[0].up = False
    (server,) = told(dead(world)).servers
    assert (server.alive, server.dead_s, server.heard_s, server.hint) == (False, 12, None, NEVER_HEARD)


@pytest.mark.parametrize(
    ("secret", "signs", "doubt"),
    [(b"another", True, Doubt.BAD_AUTHENTICATOR), (b"secret 0", False, Doubt.NO_MESSAGE_AUTHENTICATOR)],
)
def test_a_server_that_is_not_believed(secret: bytes, signs: bool, doubt: Doubt) -> None:
    world = World(tries=1)
    world.servers[0].secret, world.servers[0].signs = secret, signs
    (server,) = told(dead(world)).servers
    assert server.doubts[doubt.value] >= 1
    assert server.hint == HINTS[doubt]


def test_a_connection_that_does_not_stand_says_why() -> None:
    world = World(tries=1, reliable=True)
    (server,) = told(world).servers
    assert (server.alive, server.dead_s, server.hint) == (False, None, None), "there has been none yet"
    world.exchange.regained(0, world.now)
    world.exchange.lost(0, world.now, "its certificate has expired")
    (server,) = told(world).servers
    assert (server.alive, server.dead_s, server.hint) == (False, 0, "its certificate has expired")


def test_what_waits_to_be_accounted() -> None:
    accounting = World(code=Code.ACCOUNTING_REQUEST, tries=1)
    accounting.servers[0].up = False
    authority = Authority(World(), accounting)
    authority.backlog["isp"] = 3
    at = accounting.now
    authority.outboxes["isp"].add(Account(1, "isp", "s", (), at, UtcNs(at)))
    found = view_radius(authority, BootNs(at + 30 * SECOND))
    ours, gone = found.backlogs
    assert (ours.waiting, ours.in_memory, ours.oldest_s, ours.shortened) == (3, 1, 30, 0)
    assert (gone.group, gone.waiting, gone.in_memory, gone.oldest_s) == ("gone", 5, 0, None), "nobody takes these"
    assert (found.controllers, found.rejected, found.provisional) == ({"coa": 3}, 4, 2)


def test_no_secret() -> None:
    world = World(count=2)
    assert "secret" not in told(world).model_dump_json()
    assert "secret 0" not in f"{world.exchange.peers[0].server!r} {world.exchange.peers[0]!s}"
