"""Holds and blocks, step by step, and what others do in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wayleave.net.units import SECOND, Ns
from wayleave.nexus import model
from wayleave.nexus.holding import ATTEMPTS, MOST_A_CLAIM, Absent, Busy, Fenced, Holding, Refused, Terms
from wayleave.nexus.model import Kind, Pool
from wayleave.nexus.placement import order
from wayleave.proto.nexus.messages import Block, Claim, Claimed, GiveBack, Held, Renew

from .memory import MemoryStore, finished

POOL, BLOCKS = "residential", 16
HOLD = Ns(100 * SECOND)


class Nexus:
    """A store with a pool of sixteen blocks, and its operations called by name."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.add_pool(Pool(POOL, Kind.IPV4, "100.64.0.0/26", 4))
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
        with pytest.raises(Fenced, match="begin with epoch 0"):
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
