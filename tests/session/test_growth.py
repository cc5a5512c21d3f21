"""How many blocks a gateway wants."""

from __future__ import annotations

from wayleave.net.units import SECOND, BootNs
from wayleave.session.growth import MOST, WINDOW, Growth

HOUR = 3600


def at(seconds: int) -> BootNs:
    return BootNs(seconds * SECOND)


def grown(*held: int, block: int = 8) -> Growth:
    """Of a pool that had so many holders, ten minutes apart."""
    growth = Growth()
    growth.block = block
    for number, count in enumerate(held):
        growth.note(count, at(1 + 600 * number))
    return growth


def test_the_first_block_is_wanted_before_anybody_comes() -> None:
    assert Growth().lacking(0, 0) == 1


def test_half_a_block_is_in_hand_at_least() -> None:
    quiet = grown(3, 3, 3)
    assert quiet.reserve(3) == 4
    assert quiet.lacking(3, 5) == 0
    assert quiet.lacking(5, 3) == 1


def test_what_the_last_hour_took_is_in_hand_for_the_next() -> None:
    busy = grown(10, 50, 110)
    assert busy.reserve(110) == 100
    assert busy.lacking(110, 30) == 9
    assert busy.lacking(110, 100) == 0
    assert grown(0, 5000).lacking(5000, 0) == MOST


def test_growth_of_long_ago_counts_no_more() -> None:
    growth = grown(10, 110)
    growth.note(110, at(601 + WINDOW // SECOND))
    growth.note(110, at(700 + WINDOW // SECOND))
    assert growth.reserve(110) == 4


def test_what_is_beyond_twice_the_reserve_could_go_and_one_block_stays() -> None:
    quiet = grown(3, 3)
    assert quiet.excess(3, 13) == 0
    assert quiet.excess(3, 21) == 1
    assert quiet.excess(0, 24) == 2, "of three"
    assert quiet.excess(0, 8) == 0
    assert Growth().excess(0, 0) == 0


def test_what_is_in_hand_lasts_as_long_as_newcomers_take() -> None:
    assert grown(10, 50, 110).lasts(110, 50) == WINDOW // 2
    assert grown(10, 10).lasts(10, 50) is None
