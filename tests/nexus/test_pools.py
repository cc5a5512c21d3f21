"""Pools: which may be together, what may change, and that a delete and a claim never both get their way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from msgspec import structs

from wayleave.nexus import model
from wayleave.nexus.holding import Holding
from wayleave.nexus.model import Kind, Pool
from wayleave.nexus.pools import Pools
from wayleave.nexus.refusal import Absent, Changed, Exists, InUse, Invalid, Refused
from wayleave.nexus.store.port import Store
from wayleave.proto.nexus.messages import Claim, GiveBack, Renew

from .driven import in_memory, run

HOME = Pool("home", Kind.IPV4, "100.64.0.0/26", 4, tenant="acme")
VLANS = Pool("vlans", Kind.VLAN, "100-199", 10, tenant="acme")


@pytest.fixture
def pools(store: Store) -> Pools:
    return Pools(store)


def test_a_pool_is_made_once_changed_by_who_has_seen_it_and_deleted(pools: Pools) -> None:
    at = run(pools.put(HOME, 0))
    found = run(pools.get("home"))
    assert (found.record, found.revision) == (HOME, at)
    with pytest.raises(Exists, match="pool home already"):
        run(pools.put(HOME, 0))
    closed = structs.replace(HOME, closed=True)
    later = run(pools.put(closed, at))
    assert run(pools.get("home")).record == closed
    for work in (pools.put(HOME, at), pools.delete("home", at)):
        with pytest.raises(Changed, match="read it again"):
            run(work)
    run(pools.delete("home", later))
    for gone in (pools.get("home"), pools.delete("home"), pools.put(HOME, later)):
        with pytest.raises(Absent, match="no pool home"):
            run(gone)


def test_pools_are_listed_in_pages(pools: Pools) -> None:
    for number in range(5):
        run(pools.put(structs.replace(VLANS, name=f"vlans-{number}"), 0))
    first = run(pools.list(limit=2))
    assert ([found.record.name for found in first.items], first.after) == (["vlans-0", "vlans-1"], "vlans-1")
    rest = run(pools.list(first.after or "", 3, first.revision))
    assert ([found.record.name for found in rest.items], rest.after) == (["vlans-2", "vlans-3", "vlans-4"], None)


@pytest.mark.parametrize(
    ("other", "overlaps"),
    [
        (Pool("wide", Kind.IPV4, "100.64.0.0/16", 4, tenant="acme"), True),
        (Pool("narrow", Kind.IPV4, "100.64.0.32/30", 4, tenant="acme"), True),
        (Pool("ports", Kind.PORTS, "100.64.0.0/30", 1, 1024, tenant="acme"), True),
        (Pool("next", Kind.IPV4, "100.64.0.64/26", 4, tenant="acme"), False),
        (Pool("theirs", Kind.IPV4, "100.64.0.0/26", 4, tenant="other"), False),
        (Pool("prefixes", Kind.IPV6, "2001:db8::/32", 16, 56, tenant="acme"), False),
        (VLANS, False),
    ],
)
def test_no_two_pools_of_addresses_of_a_tenant_overlap(pools: Pools, other: Pool, overlaps: bool) -> None:
    run(pools.put(HOME, 0))
    if not overlaps:
        run(pools.put(other, 0))
        return
    with pytest.raises(Exists, match=r"overlaps 100\.64\.0\.0/26, which is pool home of tenant acme"):
        run(pools.put(other, 0))
    run(pools.delete("home"))
    run(pools.put(other, 0))


def test_of_two_that_are_made_at_once_and_overlap_one_is_refused(pools: Pools) -> None:
    for step in range(3):  # pool, plan, commit
        first, second = (structs.replace(HOME, name=name, tenant=f"tenant-{step}") for name in ("a", "b"))
        steps = count()

        def between(second: Pool = second, steps: count[int] = steps, step: int = step) -> None:
            if next(steps) == step:
                run(pools.put(second, 0))

        with pytest.raises(Exists, match="which is pool b"):
            run(pools.put(first, 0), between)
        run(pools.delete("b"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HOME, structs.replace(HOME, space="100.64.0.0/24")),
        (HOME, structs.replace(HOME, closed=True)),
        (VLANS, structs.replace(VLANS, space="100-299")),
        (
            Pool("p", Kind.PORTS, "192.0.2.0/30", 1, 1024, "acme"),
            Pool("p", Kind.PORTS, "192.0.2.0/29", 1, 1024, "acme"),
        ),
        (
            Pool("q", Kind.VLAN, "100-109.1-4000", 8, tenant="acme"),
            Pool("q", Kind.VLAN, "100-200.1-4000", 8, 0, "acme"),
        ),
    ],
)
def test_a_pool_may_grow_at_its_end(pools: Pools, before: Pool, after: Pool) -> None:
    at = run(pools.put(before, 0))
    run(pools.put(after, at))
    assert run(pools.get(before.name)).record == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HOME, structs.replace(HOME, space="100.64.0.0/27")),
        (HOME, structs.replace(HOME, space="100.65.0.0/24")),
        (HOME, structs.replace(HOME, block=8)),
        (HOME, structs.replace(HOME, tenant="other")),
        (HOME, structs.replace(HOME, kind=Kind.PORTS, unit=1024)),
        (VLANS, structs.replace(VLANS, space="90-199")),
        (structs.replace(VLANS, space="100-195"), VLANS),
        (Pool("p", Kind.PORTS, "192.0.2.0/30", 1, 1024, "acme"), Pool("p", Kind.PORTS, "192.0.2.0/30", 1, 512, "acme")),
        (
            Pool("q", Kind.VLAN, "100-109.1-4000", 8, tenant="acme"),
            Pool("q", Kind.VLAN, "100-109.1-4008", 8, 0, "acme"),
        ),
    ],
)
def test_what_its_blocks_are_never_changes(pools: Pools, before: Pool, after: Pool) -> None:
    at = run(pools.put(before, 0))
    with pytest.raises(Refused, match="what its blocks are stays"):
        run(pools.put(after, at))


def test_a_pool_does_not_grow_into_another(pools: Pools) -> None:
    at = run(pools.put(HOME, 0))
    run(pools.put(structs.replace(HOME, name="next", space="100.64.0.64/26"), 0))
    with pytest.raises(Exists, match="pool next"):
        run(pools.put(structs.replace(HOME, space="100.64.0.0/25"), at))


def test_a_tenant_has_so_many_pools_and_no_more(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayleave.nexus.pools.MOST_POOLS", 2)
    for number in range(2):
        at = run(pools.put(structs.replace(HOME, name=f"p-{number}", space=f"10.{number}.0.0/16"), 0))
    with pytest.raises(Refused, match="2 pools of addresses, and that is the most"):
        run(pools.put(HOME, 0))
    run(pools.put(structs.replace(HOME, name="p-1", space="10.1.0.0/16", closed=True), at))
    run(pools.put(structs.replace(HOME, tenant="other"), 0))


@pytest.mark.parametrize(
    ("pool", "says"),
    [
        (structs.replace(HOME, name="a/b"), "name: 'a/b' is no name"),
        (structs.replace(HOME, tenant=""), "tenant: '' is no name"),
        (structs.replace(HOME, block=3), "power of two"),
    ],
)
def test_what_makes_no_sense_is_refused(pools: Pools, pool: Pool, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        run(pools.put(pool, 0))


def test_a_pool_that_gateways_have_blocks_of_is_not_deleted_and_goes_on(pools: Pools, store: Store) -> None:
    holding = Holding(store)
    run(pools.put(HOME, 0))
    held = run(holding.renew("edge-1", Renew(0)))
    (block,) = run(holding.claim("edge-1", Claim(1, "home"))).blocks
    with pytest.raises(InUse, match="owned by edge-1: close it, and wait"):
        run(pools.delete("home"))
    assert not run(pools.get("home")).record.closed
    assert run(holding.claim("edge-1", Claim(1, "home"))).blocks != ()
    held = run(holding.renew("edge-1", Renew(1)))
    for block in held.blocks:
        run(holding.give_back("edge-1", GiveBack(1, held.beat, "home", block.index, block.fence)))
    run(pools.delete("home"))


def test_one_that_was_closed_by_hand_stays_closed(pools: Pools, store: Store) -> None:
    at = run(pools.put(HOME, 0))
    run(Holding(store).renew("edge-1", Renew(0)))
    run(Holding(store).claim("edge-1", Claim(1, "home")))
    at = run(pools.put(structs.replace(HOME, closed=True), at))
    with pytest.raises(InUse):
        run(pools.delete("home", at))
    assert run(pools.get("home")).revision == at


def test_what_nexus_owns_itself_goes_with_the_pool_and_fences_do_not_fall(pools: Pools, store: Store) -> None:
    run(pools.put(HOME, 0))
    run(Holding(store).own("home", 3))
    run(pools.delete("home"))
    run(pools.put(HOME, 0))
    block = run(Holding(store).own("home", 3))
    assert block is not None
    assert block.fence == 2


def _outcome(work: Any, between: Callable[[], None] = lambda: None) -> object:
    try:
        return run(work, between)
    except Refused as refused:
        return refused


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("first", ["claim", "delete"])
def test_a_claim_and_a_delete_at_once_never_both_get_their_way(first: str, step: int) -> None:
    """The one is interrupted ahead of each of its operations by the whole of the other."""
    store = in_memory()
    pools, holding = Pools(store), Holding(store)
    run(pools.put(structs.replace(HOME, space="100.64.0.0/30"), 0))  # one block
    run(holding.renew("edge-1", Renew(0)))
    steps = count()
    works = {
        "claim": lambda: holding.claim("edge-1", Claim(1, "home")),
        "delete": lambda: pools.delete("home"),
    }
    (other,) = works.keys() - {first}

    def between() -> None:
        if next(steps) == step:
            _outcome(works[other]())

    _outcome(works[first](), between)
    blocks = run(holding.renew("edge-1", Renew(1))).blocks if _has_pool(pools) else ()
    held = [entry.key for entry in run(store.page(model.HELD)).entries]
    assert len(blocks) == len(held)
    assert _has_pool(pools) or not held


def _has_pool(pools: Pools) -> bool:
    return not isinstance(_outcome(pools.get("home")), Absent)
