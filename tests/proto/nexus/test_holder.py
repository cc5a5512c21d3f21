"""A gateway's side of its hold: when it asks, what it believes, and until when."""

from __future__ import annotations

import pytest

from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.nexus.holder import PATIENCE, RATE_ERROR, UNIT_PAUSE, Holder, News, Standing
from wayleave.proto.nexus.messages import SINGLE, Block, Claim, Claimed, GiveBack, Held, Renew

NOON = BootNs(1_000 * SECOND)
HOLD = Ns(4_000 * SECOND)
LATER = Ns(SECOND)


def block(index: int, fence: int = 1) -> Block:
    return Block("residential", index, f"100.64.0.{4 * index}", f"100.64.0.{4 * index + 3}", fence)


def held(*blocks: Block, epoch: int = 1, beat: int = 0) -> Held:
    return Held(epoch, beat, HOLD, blocks)


def holding(*blocks: Block) -> Holder:
    """A gateway that was told at noon what it has."""
    holder = Holder()
    assert holder.request(NOON) == Renew(0)
    holder.receive(held(*blocks), NOON)
    return holder


def test_it_begins_with_nothing_and_asks_at_once() -> None:
    holder = Holder()
    assert not holder.stands(NOON)
    assert holder.deadline <= NOON
    assert holder.request(NOON) == Renew(0)
    assert holder.request(NOON) is None, "one question at a time"


def test_it_believes_from_when_it_asked_and_no_longer_than_its_clock_allows() -> None:
    holder = Holder()
    holder.request(NOON)
    assert holder.receive(held(block(1)), after(NOON, LATER)) == News(gained=(block(1),))
    end = after(NOON, Ns(HOLD - HOLD // RATE_ERROR))
    assert holder.stands(BootNs(end - 1))
    assert not holder.stands(end)


def test_it_renews_several_times_before_its_hold_would_end() -> None:
    holder = holding()
    assert holder.deadline == after(NOON, Ns(HOLD // 4))
    assert holder.request(BootNs(holder.deadline - 1)) is None
    assert holder.request(holder.deadline) == Renew(1)


def test_what_it_owns_is_what_the_last_answer_said() -> None:
    holder = holding(block(1), block(2), block(3, fence=4))
    holder.request(holder.deadline)
    news = holder.receive(held(block(2), block(3, fence=5), block(4), beat=1), NOON)
    assert news == News(gained=(block(3, fence=5), block(4)), lost=(block(1), block(3, fence=4)))
    assert holder.standing.beat == 1
    assert set(holder.standing.blocks) == {block(2), block(3, fence=5), block(4)}


def test_a_claim_gains_blocks_and_prolongs_nothing() -> None:
    holder = holding(block(1))
    until = holder.until
    holder.want("residential", 2)
    now = after(NOON, LATER)
    assert holder.request(now) == Claim(1, "residential", 2)
    assert holder.receive(Claimed((block(7),)), now) == News(gained=(block(7),))
    assert holder.until == until
    assert holder.request(now) is None, "the wish is fulfilled as far as it can be"


def test_what_is_given_back_is_not_its_own_from_that_moment_on() -> None:
    holder = holding(block(1), block(2))
    holder.give_back([block(1)])
    assert list(holder.blocks.values()) == [block(2)]
    assert holder.request(NOON) == GiveBack(1, 0, "residential", 1, 1)
    assert holder.receive(None, NOON) == News()
    assert holder.request(NOON) is None


def test_where_nobody_says_what_became_of_a_block_given_back_it_renews_first() -> None:
    holder = holding(block(1))
    holder.give_back([block(1)])
    holder.request(NOON)
    silent = after(NOON, PATIENCE)
    assert holder.request(silent) is None
    assert holder.request(holder.deadline) == Renew(1)
    assert holder.receive(held(block(1), beat=1), NOON) == News(gained=(block(1),)), "it was never taken"


def test_without_an_answer_it_asks_less_and_less_often() -> None:
    holder, now, waits = Holder(), NOON, []
    for _ in range(9):
        assert holder.request(now) == Renew(0)
        holder.fail(now)
        waits.append((holder.deadline - now) // SECOND)
        now = holder.deadline
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_whose_epoch_is_over_has_nothing_and_begins_another() -> None:
    holder = holding(block(1), block(2))
    holder.request(holder.deadline)
    assert holder.fence(NOON) == News(lost=(block(1), block(2)))
    assert not holder.stands(NOON)
    assert holder.request(NOON) == Renew(0)


def test_it_goes_on_where_it_was_after_a_restart() -> None:
    before = holding(block(1))
    again = Holder(before.standing)
    assert again.stands(NOON)
    assert again.request(NOON) == Renew(1), "and asks at once"


def test_after_a_boot_it_owns_nothing_until_it_is_told() -> None:
    known = holding(block(1)).standing
    holder = Holder(Standing(known.epoch, known.beat, BootNs(0), known.blocks))
    assert not holder.stands(BootNs(1))
    holder.want("residential", 1)
    assert holder.request(BootNs(1)) == Renew(1), "before anything else"


@pytest.mark.parametrize("answer", [Claimed(()), None])
def test_an_answer_to_another_question_is_none(answer: Claimed | None) -> None:
    holder = holding(block(1))
    holder.request(holder.deadline)
    assert holder.receive(answer, NOON) == News()
    assert list(holder.blocks.values()) == [block(1)]
    assert holder.deadline > NOON


def single(number: int, fence: int = 1) -> Block:
    address = f"100.64.1.{number}"
    return Block("residential", SINGLE + 256 + number, address, address, fence)


def test_single_units_are_claimed_together_after_everything_else() -> None:
    holder = holding(block(1))
    holder.want("residential", 1)
    holder.want_units([("residential", "100.64.1.7"), ("residential", "100.64.1.8"), ("other", "10.0.0.1")])
    now = after(NOON, LATER)
    assert holder.request(now) == Claim(1, "residential", 1)
    holder.receive(Claimed(()), now)
    assert holder.request(now) == Claim(1, "other", 1, ("10.0.0.1",))
    holder.receive(Claimed(()), now)
    assert holder.request(now) == Claim(1, "residential", 2, ("100.64.1.7", "100.64.1.8"))
    assert holder.receive(Claimed((single(7),)), now) == News(gained=(single(7),))
    assert holder.request(now) is None, "what another gateway has is not asked for at once again"
    later = after(now, UNIT_PAUSE)
    assert holder.deadline == later
    assert holder.request(later) == Claim(1, "other", 1, ("10.0.0.1",))
    holder.receive(Claimed(()), later)
    assert holder.request(later) == Claim(1, "residential", 1, ("100.64.1.8",))


def test_a_unit_that_is_wanted_no_more_is_not_asked_for() -> None:
    holder = holding(single(7))
    holder.want_units([("residential", "100.64.1.7"), ("residential", "100.64.1.8")])
    holder.want_units([("residential", "100.64.1.7")])
    assert holder.request(after(NOON, LATER)) is None, "the one that is wanted is its own"


def test_a_unit_that_is_lost_is_asked_for_again() -> None:
    holder = holding(single(7))
    holder.want_units([("residential", "100.64.1.7")])
    now = holder.deadline
    assert holder.request(now) == Renew(1)
    assert holder.receive(held(beat=1), now) == News(lost=(single(7),))
    assert holder.request(now) == Claim(1, "residential", 1, ("100.64.1.7",))


def test_units_that_nexus_refuses_are_put_off_and_keep_nothing_else_waiting() -> None:
    holder = holding()
    holder.want_units([("residential", "100.64.1.7")])
    now = after(NOON, LATER)
    assert holder.request(now) == Claim(1, "residential", 1, ("100.64.1.7",))
    holder.fail(now)
    holder.want("residential", 1)
    assert holder.request(holder.deadline) == Claim(1, "residential", 1)


def test_a_longest_pause_is_a_part_of_the_hold() -> None:
    holder = Holder()
    short = Ns(32 * SECOND)
    holder.request(NOON)
    holder.receive(Held(1, 0, short, ()), NOON)
    now = holder.deadline
    while holder.stands(now):
        assert holder.request(now) is not None
        holder.fail(now)
        pause = holder.deadline - now
        assert pause <= short // 16
        now = holder.deadline
