"""Holds and blocks, step by step, and what others do in between."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from msgspec import structs

from wayleave.net.units import SECOND, Ns
from wayleave.nexus import holding, model
from wayleave.nexus.holding import MOST_A_CLAIM, Holding, Terms
from wayleave.nexus.model import NEXUS, OWN_EPOCH, Hold, Kind, Ownership, Pool
from wayleave.nexus.placement import order
from wayleave.nexus.records import ATTEMPTS
from wayleave.nexus.refusal import Absent, Busy, Fenced, Refused
from wayleave.nexus.store.port import Store
from wayleave.proto.nexus.messages import Block, Claim, Claimed, GiveBack, Held, Renew

from .memory import MemoryStore, finished

POOL, BLOCKS = "residential", 16
RESIDENTIAL = Pool(POOL, Kind.IPV4, "100.64.0.0/26", 4)
HOLD = Ns(100 * SECOND)


class Nexus:
    """A store with a pool of sixteen blocks, and its operations called by name."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.add_pool(RESIDENTIAL)
        self.holding = Holding(self.store, Terms(HOLD))

    def renew(self, node: str, epoch: int = 0, between: Callable[[], None] = lambda: None) -> Held:
        return finished(self.holding.renew(node, Renew(epoch)), between)

    def claim(self, node: str, epoch: int, count: int = 1, pool: str = POOL) -> Claimed:
        return finished(self.holding.claim(node, Claim(epoch, pool, count)))

    def give_back(self, node: str, held: Held, block: Block) -> None:
        asked = GiveBack(held.epoch, held.beat, block.pool, block.index, block.fence)
        finished(self.holding.give_back(node, asked))

    def lapse(self, node: str, epoch: int) -> None:
        """What `reclaim` does to a hold that nobody renews."""
        del self.store.entries[model.hold_key(node, epoch)]


@pytest.fixture
def nexus() -> Nexus:
    return Nexus()


def test_a_gateway_begins_claims_and_renews(nexus: Nexus) -> None:
    assert nexus.renew("edge-1") == Held(1, 0, HOLD, ())
    (block,) = nexus.claim("edge-1", 1).blocks
    first = next(order("edge-1", POOL, BLOCKS))
    assert block == Block(POOL, first, f"100.64.0.{4 * first}", f"100.64.0.{4 * first + 3}", 1)
    assert nexus.renew("edge-1", 1) == Held(1, 1, HOLD, (block,))
    assert nexus.renew("edge-1", 1) == Held(1, 2, HOLD, (block,))


def test_every_block_is_given_once_and_then_none(nexus: Nexus) -> None:
    for node in ("edge-1", "edge-2"):
        nexus.renew(node)
    got = [block for node in ("edge-1", "edge-2") * 3 for block in nexus.claim(node, 1, 3).blocks]
    assert sorted(block.index for block in got) == list(range(BLOCKS))
    assert nexus.claim("edge-2", 1).blocks == ()


def test_a_block_given_back_is_the_next_ones_with_a_higher_fence(nexus: Nexus) -> None:
    held = nexus.renew("edge-1")
    blocks = nexus.claim("edge-1", 1, BLOCKS).blocks
    nexus.give_back("edge-1", held, blocks[5])
    nexus.renew("edge-2")
    (got,) = nexus.claim("edge-2", 1).blocks
    assert (got.index, got.fence) == (blocks[5].index, 2)
    assert len(nexus.renew("edge-1", 1).blocks) == BLOCKS - 1


def test_what_is_given_back_after_a_renewal_is_refused(nexus: Nexus) -> None:
    before = nexus.renew("edge-1")
    (block,) = nexus.claim("edge-1", 1).blocks
    nexus.renew("edge-1", 1)
    with pytest.raises(Refused, match="renewed since"):
        nexus.give_back("edge-1", before, block)
    assert nexus.renew("edge-1", 1).blocks == (block,)


def test_to_give_back_what_is_anothers_changes_nothing(nexus: Nexus) -> None:
    nexus.renew("edge-1")
    (block,) = nexus.claim("edge-1", 1).blocks
    nexus.give_back("edge-2", nexus.renew("edge-2"), block)
    assert nexus.renew("edge-1", 1).blocks == (block,)


def test_whose_hold_has_lapsed_is_fenced_and_its_blocks_are_free(nexus: Nexus) -> None:
    nexus.renew("edge-1")
    nexus.claim("edge-1", 1, BLOCKS)
    nexus.lapse("edge-1", 1)
    for ask in (lambda: nexus.renew("edge-1", 1), lambda: nexus.claim("edge-1", 1)):
        with pytest.raises(Fenced, match="begins another"):
            ask()
    nexus.renew("edge-2")
    got = nexus.claim("edge-2", 1, BLOCKS).blocks
    assert {block.fence for block in got} == {2}
    again = nexus.renew("edge-1")
    assert (again.epoch, again.blocks) == (2, ())


def test_who_lost_its_disk_does_not_have_the_blocks_of_before(nexus: Nexus) -> None:
    """There may be subscribers who live there."""
    nexus.renew("edge-1")
    nexus.claim("edge-1", 1, BLOCKS - 1)
    assert nexus.renew("edge-1") == Held(2, 0, HOLD, ())
    assert len(nexus.claim("edge-1", 2, BLOCKS).blocks) == 1
    with pytest.raises(Fenced):
        nexus.renew("edge-1", 1)


def test_of_two_that_renew_at_once_both_get_on(nexus: Nexus) -> None:
    nexus.renew("edge-1")
    others = iter([lambda: nexus.renew("edge-1", 1)])

    def between() -> None:
        next(others, lambda: None)()

    assert nexus.renew("edge-1", 1, between).beat == 2


def test_who_never_gets_on_is_told_to_ask_again(nexus: Nexus) -> None:
    nexus.renew("edge-1")
    with pytest.raises(Busy, match=f"{ATTEMPTS} times"):
        nexus.renew("edge-1", 1, lambda: nexus.renew("edge-1", 1) and None)


def test_what_makes_no_sense_is_refused_in_words(nexus: Nexus) -> None:
    nexus.renew("edge-1")
    with pytest.raises(Absent, match="no pool elsewhere"):
        nexus.claim("edge-1", 1, pool="elsewhere")
    with pytest.raises(Refused, match=f"from 1 to {MOST_A_CLAIM}"):
        nexus.claim("edge-1", 1, 0)
    with pytest.raises(Fenced):
        nexus.claim("edge-3", 1)


def test_a_hold_never_lasts_less_than_its_gateway_was_told(nexus: Nexus) -> None:
    """It promised addresses up to then; what it was told less of, it was told more of before."""
    nexus.renew("edge-1")
    nexus.holding.terms = Terms(Ns(HOLD // 2))
    assert nexus.renew("edge-1", 1).duration == HOLD
    record = model.decode(Hold, nexus.store.entries[model.hold_key("edge-1", 1)].value)
    assert record == Hold(HOLD, 1)
    nexus.holding.terms = Terms(Ns(HOLD * 2))
    assert nexus.renew("edge-1", 1).duration == 2 * HOLD
    nexus.holding.terms = Terms(Ns(HOLD // 2))
    assert nexus.renew("edge-2").duration == HOLD // 2


def test_a_pool_that_is_closed_meanwhile_gives_nothing(nexus: Nexus) -> None:
    """The claim has seen it open, and is about to commit."""
    nexus.renew("edge-1")
    steps = count()

    def between() -> None:
        if next(steps) == 2:  # the pool, all the rest, …
            nexus.store.add_pool(structs.replace(RESIDENTIAL, closed=True))

    assert finished(nexus.holding.claim("edge-1", Claim(1, POOL)), between).blocks == ()
    assert not any(key.startswith(model.BLOCKS) for key in nexus.store.entries)
    assert next(steps) < 2 * BLOCKS, "it does not go on to try them all"
    assert finished(nexus.holding.own(POOL, 3)) is None


def test_who_looked_at_a_full_pool_tries_what_was_free_before_it_looks_again(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    async def owned(store: Store, pool: str) -> dict[int, Ownership]:
        looks.append(pool)
        return await look(store, pool)

    look = holding.owned
    monkeypatch.setattr(holding, "owned", owned)
    held = nexus.renew("edge-2")
    theirs = {block.index: block for block in nexus.claim("edge-2", 1, BLOCKS).blocks}
    *_, last, fourth, third, second, first = order("edge-1", POOL, BLOCKS)
    for index in (first, second, third, fourth):
        nexus.give_back("edge-2", held, theirs[index])
    nexus.renew("edge-1")
    looks.clear()
    assert [block.index for _ in range(4) for block in nexus.claim("edge-1", 1).blocks] == [
        fourth,
        third,
        second,
        first,
    ]
    assert len(looks) == 1
    nexus.give_back("edge-2", held, theirs[last])
    assert [block.index for block in nexus.claim("edge-1", 1).blocks] == [last], "what was free before is not all"
    assert nexus.claim("edge-1", 1).blocks == ()


def test_what_nexus_owns_itself_no_gateway_gets(nexus: Nexus) -> None:
    assert finished(nexus.holding.own(POOL, 3)) == Block(POOL, 3, "100.64.0.12", "100.64.0.15", 1)
    assert finished(nexus.holding.own(POOL, 3)) is None
    nexus.renew("edge-1")
    got = nexus.claim("edge-1", 1, BLOCKS).blocks
    assert {block.index for block in got} == set(range(BLOCKS)) - {3}
    assert finished(nexus.holding.own(POOL, 4)) is None


def test_of_two_processes_that_begin_the_hold_of_nexus_at_once_both_get_on(nexus: Nexus) -> None:
    others = iter([lambda: None, lambda: finished(nexus.holding.own(POOL, 4))])

    def between() -> None:
        next(others, lambda: None)()

    assert finished(nexus.holding.own(POOL, 3), between) is not None
    assert finished(nexus.holding.own(POOL, 5)) is not None


def test_no_gateway_has_the_name_of_nexus(nexus: Nexus) -> None:
    finished(nexus.holding.own(POOL, 3))
    for ask in (
        nexus.holding.renew(NEXUS, Renew(OWN_EPOCH)),
        nexus.holding.claim(NEXUS, Claim(OWN_EPOCH, POOL)),
        nexus.holding.give_back(NEXUS, GiveBack(OWN_EPOCH, 0, POOL, 3, 1)),
    ):
        with pytest.raises(Refused, match="no gateway"):
            finished(ask)


def test_a_pool_that_has_grown_or_was_made_anew_is_known_to_who_claimed_before(nexus: Nexus) -> None:
    nexus.renew("edge-1")
    assert len(nexus.claim("edge-1", 1, BLOCKS).blocks) == BLOCKS
    nexus.store.add_pool(structs.replace(RESIDENTIAL, space="100.64.0.0/25"))
    assert len(nexus.claim("edge-1", 1, 2).blocks) == 2
    del nexus.store.entries[model.pool_key(POOL)]
    with pytest.raises(Absent):
        nexus.claim("edge-1", 1)
