"""Single units: each mode's life, what is repeated and late, and whose blocks they are in."""

from __future__ import annotations

import contextlib
from itertools import count

import pytest
from msgspec import structs

from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.nexus import model
from wayleave.nexus.allocations import LONGEST_S, Allocation, Allocations, Asked, Expiry
from wayleave.nexus.holding import Holding
from wayleave.nexus.model import NEXUS, Kind, Mode, Pool
from wayleave.nexus.pools import Pools
from wayleave.nexus.reclaim import watched
from wayleave.nexus.refusal import Absent, Busy, Exhausted, Exists, InUse, Invalid, Refused
from wayleave.nexus.store.port import Store
from wayleave.proto.nexus.holder import RATE_ERROR
from wayleave.proto.nexus.messages import Claim, Renew

from .driven import run

WIFI = Pool("wifi", Kind.IPV4, "100.64.0.0/28", 4, tenant="acme")
TTL_S = 600
GRACE = Ns(60 * SECOND)
ENOUGH = watched(Ns(TTL_S * SECOND), RATE_ERROR, GRACE)
NOON = 5_000 * SECOND


class Nexus:
    """A pool of four blocks of four units."""

    def __init__(self, store: Store, pool: Pool = WIFI) -> None:
        self.store, self.pool = store, pool
        self.holding, self.pools = Holding(store), Pools(store)
        self.allocations = Allocations(store, self.holding)
        self.expiry = Expiry(store, GRACE)
        self.pool_at = run(self.pools.put(pool, 0))

    def ask(self, holder: str, mode: Mode = Mode.SESSION, unit: str = "", request: str = "") -> Allocation:
        ttl = TTL_S if mode is Mode.TTL else 0
        return run(self.allocations.allocate(Asked(self.pool.name, holder, mode, unit, ttl, request)))

    def release(self, allocation: Allocation) -> None:
        run(self.allocations.release(allocation.id))

    def look(self, now: int) -> list[str]:
        return run(self.expiry.look(lambda: BootNs(now)))

    def holders(self) -> dict[str, str]:
        listed = run(self.allocations.list(self.pool.name))
        return {found.record.unit: found.record.holder for found in listed.items}


@pytest.fixture
def nexus(store: Store) -> Nexus:
    return Nexus(store)


def test_everybody_gets_one_until_there_is_none(nexus: Nexus) -> None:
    got = {nexus.ask(f"guest-{number}").unit: f"guest-{number}" for number in range(16)}
    assert sorted(got, key=lambda unit: int(unit.rpartition(".")[2])) == [f"100.64.0.{number}" for number in range(16)]
    assert nexus.holders() == got
    with pytest.raises(Exhausted, match="wifi has no unit more"):
        nexus.ask("late")


def test_blocks_are_filled_one_after_the_other(nexus: Nexus) -> None:
    for number in range(5):
        nexus.ask(f"guest-{number}")
    assert len(run(nexus.store.page(model.own_blocks_prefix("wifi"))).entries) == 2


def test_a_unit_is_in_a_gateways_block_or_in_one_of_nexus(nexus: Nexus) -> None:
    run(nexus.holding.renew("edge-1", Renew(0)))
    nexus.ask("guest")
    theirs = run(nexus.holding.claim("edge-1", Claim(1, "wifi", 4))).blocks
    assert len(theirs) == 3
    for number in range(3):
        nexus.ask(f"guest-{number}")
    with pytest.raises(Exhausted):
        nexus.ask("late")
    with pytest.raises(Exists, match="in a block of edge-1"):
        nexus.ask("late", Mode.RESERVATION, theirs[0].first)


def test_one_that_is_asked_for_by_name_is_given_or_refused(nexus: Nexus) -> None:
    got = nexus.ask("server", Mode.RESERVATION, "100.64.0.7")
    assert (got.unit, got.mode, nexus.holders()) == ("100.64.0.7", Mode.RESERVATION, {"100.64.0.7": "server"})
    with pytest.raises(Exists, match=r"100\.64\.0\.7 of wifi is somebody else's"):
        nexus.ask("other", Mode.RESERVATION, "100.64.0.7")
    with pytest.raises(Exists, match="server has another unit of wifi: release it first"):
        nexus.ask("server", Mode.RESERVATION, "100.64.0.8")
    with pytest.raises(Invalid, match="no unit of the pool"):
        nexus.ask("other", Mode.RESERVATION, "100.64.0.16")


@pytest.mark.parametrize(
    ("pool", "unit"),
    [
        (Pool("vlans", Kind.VLAN, "100-109.1-4000", 1000, tenant="acme"), "104.2001"),
        (Pool("public", Kind.PORTS, "192.0.2.0/28", 4, 1024, tenant="acme"), "192.0.2.9:2048-3071"),
        (Pool("prefixes", Kind.IPV6, "2001:db8::/40", 256, 56, tenant="acme"), "2001:db8:1:ff00::/56"),
    ],
)
def test_units_of_every_kind_are_given(store: Store, pool: Pool, unit: str) -> None:
    nexus = Nexus(store, pool)
    assert nexus.ask("line-7", Mode.RESERVATION, unit).unit == unit
    assert nexus.ask("line-8").unit != unit


def test_sticky_is_the_same_again_while_it_is_free(nexus: Nexus) -> None:
    first = nexus.ask("alice", Mode.STICKY)
    nexus.release(first)
    again = nexus.ask("alice", Mode.STICKY)
    assert again.unit == first.unit
    nexus.release(again)
    others = [nexus.ask(f"guest-{number}") for number in range(3)]
    again = nexus.ask("alice", Mode.STICKY)
    assert again.unit == first.unit
    nexus.release(again)
    others += [nexus.ask(f"more-{number}") for number in range(13)]
    assert first.unit in {other.unit for other in others}
    nexus.release(others[0])
    assert nexus.ask("alice", Mode.STICKY).unit == others[0].unit


def test_where_one_was_before_is_no_longer_nexuss_it_gets_none(nexus: Nexus) -> None:
    nexus.release(nexus.ask("alice", Mode.STICKY))
    run(nexus.pools.delete("wifi"))
    run(nexus.pools.put(WIFI, 0))
    run(nexus.holding.renew("edge-1", Renew(0)))
    assert len(run(nexus.holding.claim("edge-1", Claim(1, "wifi", 4))).blocks) == 4
    with pytest.raises(Exhausted):
        nexus.ask("alice", Mode.STICKY)


def test_what_another_process_took_back_is_found_before_another_block_is_taken(nexus: Nexus) -> None:
    got = [nexus.ask(f"guest-{number}") for number in range(8)]
    full = nexus.ask("ninth")  # as it looked for room, it saw those to be full
    nexus.release(full)
    elsewhere = Allocations(nexus.store, nexus.holding)
    run(elsewhere.release(got[2].id))
    others = {nexus.ask(f"more-{number}").unit for number in range(5)}
    assert got[2].unit in others
    assert len(run(nexus.store.page(model.own_blocks_prefix("wifi"))).entries) == 3


def test_others_get_what_nobody_ever_had_before_what_is_remembered(nexus: Nexus) -> None:
    first = nexus.ask("alice", Mode.STICKY)
    nexus.release(first)
    assert first.unit not in {nexus.ask(f"guest-{number}").unit for number in range(3)}


def test_of_a_session_nothing_is_remembered(nexus: Nexus) -> None:
    nexus.release(nexus.ask("alice"))
    assert run(nexus.store.get(model.last_key("wifi", "alice"))) is None


def test_who_asks_again_is_told_what_it_has(nexus: Nexus) -> None:
    first = nexus.ask("alice", request="1")
    assert nexus.ask("alice", request="1") == first
    anew = nexus.ask("alice", request="2")
    assert (anew.unit, anew.id != first.id, len(nexus.holders())) == (first.unit, True, 1)
    with pytest.raises(Exists, match=r"alice has 100\.64\.0\.\d+ as session: release it first"):
        nexus.ask("alice", Mode.STICKY)


def test_what_is_released_late_is_not_what_was_given_meanwhile(nexus: Nexus) -> None:
    first = nexus.ask("alice")
    anew = nexus.ask("alice")
    with pytest.raises(Absent, match="or none any more"):
        nexus.release(first)
    assert nexus.holders() == {anew.unit: "alice"}
    nexus.release(anew)
    for late in (nexus.release, lambda allocation: run(nexus.allocations.get(allocation.id))):
        with pytest.raises(Absent):
            late(anew)
    assert nexus.holders() == {}


def test_what_is_limited_ends_when_it_was_watched_for_longer_than_its_holder_believes(nexus: Nexus) -> None:
    got = nexus.ask("alice", Mode.TTL)
    assert got.ttl == TTL_S
    assert nexus.look(NOON) == []
    assert nexus.look(NOON + ENOUGH) == []
    assert len(nexus.look(NOON + ENOUGH + 1)) == 1
    assert nexus.holders() == {}
    with pytest.raises(Absent):
        run(nexus.allocations.renew(got.id))
    keys = [entry.key for entry in run(nexus.store.page("")).entries]
    assert not [key for key in keys if key.startswith((model.LEASES, model.LASTS))]


@pytest.mark.parametrize("how", ["renew", "ask", "repeat"])
def test_whoever_renews_it_or_asks_again_has_all_its_time(nexus: Nexus, how: str) -> None:
    got = nexus.ask("alice", Mode.TTL, request="1")
    nexus.look(NOON)
    if how == "renew":
        assert run(nexus.allocations.renew(got.id)) == got
    else:
        nexus.ask("alice", Mode.TTL, request="1" if how == "repeat" else "2")
    assert nexus.look(NOON + ENOUGH + 1) == []
    assert nexus.look(NOON + 2 * ENOUGH + 1) == []
    assert len(nexus.look(NOON + 2 * ENOUGH + 2)) == 1


@pytest.mark.parametrize("step", range(1, 4))
def test_one_that_is_renewed_in_the_last_moment_stays(nexus: Nexus, step: int) -> None:
    """`step` 0 is the look itself; behind it, it is about to be ended."""
    got = nexus.ask("alice", Mode.TTL)
    nexus.look(NOON)
    steps = count()

    def between() -> None:
        if next(steps) == step:
            run(nexus.allocations.renew(got.id))

    assert run(nexus.expiry.look(lambda: BootNs(NOON + ENOUGH + 1)), between) == []
    assert nexus.holders() == {got.unit: "alice"}


def test_its_time_becomes_no_shorter_than_was_told(nexus: Nexus) -> None:
    nexus.ask("alice", Mode.TTL)
    asked = Asked("wifi", "alice", Mode.TTL, ttl=TTL_S // 2)
    assert run(nexus.allocations.allocate(asked)).ttl == TTL_S
    assert run(nexus.allocations.allocate(structs.replace(asked, ttl=TTL_S * 2))).ttl == 2 * TTL_S


def test_nothing_is_to_renew_where_time_is_not_limited(nexus: Nexus) -> None:
    with pytest.raises(Refused, match="nothing to renew"):
        run(nexus.allocations.renew(nexus.ask("alice").id))


def test_of_two_that_ask_for_the_last_at_once_one_gets_it(nexus: Nexus) -> None:
    last = [nexus.ask(f"guest-{number}") for number in range(16)][-1]
    nexus.release(last)
    for step in range(10):
        steps, outcomes = count(), []

        def between(steps: count[int] = steps, step: int = step, outcomes: list[str] = outcomes) -> None:
            if next(steps) == step:
                outcomes.append(nexus.ask("first").unit)

        with contextlib.suppress(Exhausted):
            outcomes.append(run(nexus.allocations.allocate(Asked("wifi", "second", Mode.SESSION)), between).unit)
        assert outcomes == [last.unit]
        holder = nexus.holders()[last.unit]
        nexus.release(nexus.ask(holder))


def test_of_one_that_asks_twice_at_once_there_is_one(nexus: Nexus) -> None:
    for step in range(12):
        steps = count()

        def between(steps: count[int] = steps, step: int = step) -> None:
            if next(steps) == step:
                nexus.ask("alice")

        with contextlib.suppress(Busy):
            run(nexus.allocations.allocate(Asked("wifi", "alice", Mode.SESSION)), between)
        assert len(nexus.holders()) == 1
        nexus.release(nexus.ask("alice"))


def test_a_pool_of_which_something_is_allocated_is_not_deleted(nexus: Nexus) -> None:
    got = nexus.ask("alice")
    with pytest.raises(InUse, match=f"{got.unit} is allocated to alice"):
        run(nexus.pools.delete("wifi"))
    nexus.release(got)
    run(nexus.pools.delete("wifi"))
    assert run(nexus.store.page(model.held_prefix(NEXUS, model.OWN_EPOCH))).entries == []
    with pytest.raises(Absent, match="no pool wifi"):
        nexus.ask("alice")
    run(nexus.pools.put(WIFI, 0))
    assert int(nexus.ask("alice", unit=got.unit).id.rpartition(".")[2]) > int(got.id.rpartition(".")[2])


@pytest.mark.parametrize("step", range(12))
def test_of_a_pool_that_is_deleted_meanwhile_nothing_is_given(nexus: Nexus, step: int) -> None:
    nexus.release(nexus.ask("guest"))
    steps = count()

    def between() -> None:
        if next(steps) == step:
            with contextlib.suppress(InUse):
                run(nexus.pools.delete("wifi"))

    with contextlib.suppress(Refused):
        run(nexus.allocations.allocate(Asked("wifi", "alice", Mode.SESSION)), between)
    pool = run(nexus.store.get(model.pool_key("wifi")))
    units = run(nexus.store.page(model.UNITS)).entries
    assert pool is not None or not [entry for entry in units if b"alice" in entry.value]


def test_a_closed_pool_gives_nothing_and_what_was_given_goes_on(nexus: Nexus) -> None:
    got = nexus.ask("alice", Mode.TTL)
    run(nexus.pools.put(structs.replace(WIFI, closed=True), nexus.pool_at))
    with pytest.raises(Refused, match="closed"):
        nexus.ask("bob")
    assert run(nexus.allocations.renew(got.id)) == got


def test_they_are_listed_in_pages_and_found_by_what_they_are_called(nexus: Nexus) -> None:
    got = [nexus.ask(f"guest-{number}") for number in range(7)]
    nexus.release(got[2])
    stand = sorted((each for each in got if each is not got[2]), key=lambda each: int(each.id.split(".")[1], 16))
    first = run(nexus.allocations.list("wifi", limit=4))
    rest = run(nexus.allocations.list("wifi", first.after or "", 4))
    assert [found.record for found in (*first.items, *rest.items)] == stand
    assert len(first.items) in (3, 4), "some that was released may be in it"
    assert rest.after is None
    found = run(nexus.allocations.get(stand[0].id))
    assert (found.record, found.revision) == (stand[0], first.items[0].revision)
    for identity in (
        "",
        "x",
        "wifi.0",
        "wifi.x.1",
        "a/b.0.1",
        f"{stand[0].id}9",
        "nowhere.0.1",
        "wifi.-1.1",
        f"wifi.{'f' * 600}.1",
    ):
        with pytest.raises(Absent):
            run(nexus.allocations.get(identity))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked("wifi", "a/b", Mode.SESSION), "holder: "),
        (Asked("a/b", "alice", Mode.SESSION), "pool: "),
        (Asked("wifi", "alice", Mode.TTL), "ttl: from 10"),
        (Asked("wifi", "alice", Mode.TTL, ttl=LONGEST_S + 1), "ttl: from 10"),
        (Asked("wifi", "alice", Mode.SESSION, ttl=10), "ttl: is of mode ttl"),
        (Asked("wifi", "alice", Mode.SESSION, request="x" * 129), "request: "),
    ],
)
def test_what_makes_no_sense_is_refused(nexus: Nexus, asked: Asked, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        run(nexus.allocations.allocate(asked))
