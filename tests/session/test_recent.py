"""Who is remembered: a line has a share, and what one line does puts out nobody else."""

from __future__ import annotations

from wayleave.net.mac import Mac
from wayleave.session.recent import CLIENTS, STRANGERS, Recent
from wayleave.session.table import Key


def key(number: int, vid: int = 100) -> Key:
    return (1, vid, 0, Mac(number.to_bytes(6, "big")), 0)


def numbers(recent: Recent[int], vid: int = 100) -> list[int]:
    """Who of a VLAN is remembered, the last one at the end."""
    return [int.from_bytes(found[3], "big") for found in reversed(list(reversed(recent))) if found[1] == vid]


def test_a_line_that_makes_up_macs_puts_out_its_own_and_nobody_elses() -> None:
    recent: Recent[int] = Recent()
    recent.put(key(1, 200), 1)
    recent.put(key(0), 0, stranger=False)
    for number in range(1, 3 * CLIENTS):
        recent.put(key(number), number)
    assert numbers(recent) == [0, *range(3 * CLIENTS - STRANGERS, 3 * CLIENTS)]
    assert (recent.get(key(1, 200)), recent.get(key(0))) == (1, 0)


def test_clients_that_come_and_go_have_a_share_too() -> None:
    recent: Recent[int] = Recent(most=100, strangers=2, served=5)
    recent.put(key(1, 200), 1)
    for number in range(1000):
        recent.put(key(number), number, stranger=False)
    assert numbers(recent) == list(range(995, 1000))
    assert numbers(recent, 200) == [1]


def test_who_is_heard_of_again_is_the_last_to_go() -> None:
    """Of its line's, and of all."""
    recent: Recent[int] = Recent(most=5, strangers=3)
    for number in (1, 2, 3, 1, 4):
        recent.put(key(number), number)
    assert numbers(recent) == [3, 1, 4]
    for vid in (201, 202):
        recent.put(key(9, vid), 9)
    recent.put(key(3), 3)
    recent.put(key(9, 203), 9)
    assert numbers(recent) == [4, 3]


def test_who_gets_a_session_or_is_forgotten_leaves_its_place_in_the_share() -> None:
    recent: Recent[int] = Recent(strangers=2)
    for number in (1, 2):
        recent.put(key(number), number)
    recent.put(key(1), 1, stranger=False)
    recent.put(key(3), 3)
    assert numbers(recent) == [2, 1, 3]
    assert (recent.pop(key(2)), recent.pop(key(2))) == (2, None)
    recent.put(key(4), 4)
    assert numbers(recent) == [1, 3, 4]


def test_nothing_is_left_of_lines_that_are_forgotten() -> None:
    recent: Recent[int] = Recent(most=10)
    for number in range(1000):
        recent.put(key(number, number), number)
    assert (len(recent), len(recent._lines)) == (10, 10)
