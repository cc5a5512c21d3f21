"""Whose usage is whose: an id goes from session to session, and the program counts on under it. On a real map."""

from __future__ import annotations

import struct

import pytest

from wayleave.dataplane.abi import UsageDirection
from wayleave.dataplane.counters import Asking, Counters, Usage
from wayleave.net.units import SECOND, BootNs

from .rig import ROWS, Bench

ID = 3
FIRST, SECOND_ONE = BootNs(10 * SECOND), BootNs(20 * SECOND)


@pytest.fixture
def counters(bench: Bench) -> Counters:
    return Counters(bench.maps)


def count(counters: Counters, packets: int) -> None:
    """Count as the program does: what stands under the id grows."""
    usage = counters._usage
    for start in (ID * usage.stride, ID * usage.stride + UsageDirection.SIZE):
        had = struct.unpack_from("<QQQ", usage.view, start)
        struct.pack_into("<QQQ", usage.view, start, had[0] + packets, had[1] + 100 * packets, had[2] + 1)


def test_a_session_that_gets_a_used_id_begins_at_nothing(counters: Counters) -> None:
    counters.begin(ID, FIRST)
    count(counters, 5)
    assert counters.usage(ID, FIRST) == Usage(5, 500, 1, 5, 500, 1)
    assert counters.usage(ID, SECOND_ONE) == Usage(), "it is not installed yet"
    counters.begin(ID, SECOND_ONE)
    assert counters.usage(ID, SECOND_ONE) == Usage()
    count(counters, 2)
    assert counters.usage(ID, SECOND_ONE) == Usage(2, 200, 1, 2, 200, 1)
    assert counters.under(ID) == Usage(7, 700, 2, 7, 700, 2)


def test_a_session_that_is_installed_anew_counts_on(counters: Counters) -> None:
    counters.begin(ID, FIRST)
    count(counters, 5)
    counters.begin(ID, FIRST)
    assert counters.usage(ID, FIRST).up_packets == 5


def test_an_id_past_the_table_counts_nothing(counters: Counters) -> None:
    counters.begin(ROWS, FIRST)
    assert counters.usage(ROWS, FIRST) == Usage()
    assert counters.asking(ROWS, FIRST) == Asking()


def asks(counters: Counters, asked: BootNs, heard: int, unanswered: int) -> None:
    start = ID * counters._usage.stride + UsageDirection.OFFSET["asked"]
    struct.pack_into("<QII", counters._usage.view, start, asked, heard, unanswered)


def test_what_another_session_asked_in_vain_is_not_held_against_the_next(counters: Counters) -> None:
    asks(counters, FIRST, 7, 40)
    counters.begin(ID, SECOND_ONE)
    assert counters.asking(ID, SECOND_ONE) == Asking(), "it has asked nothing yet"
    later = BootNs(SECOND_ONE + 1)
    asks(counters, later, 7, 42)
    assert counters.asking(ID, SECOND_ONE) == Asking(later, 7, 2)
    asks(counters, later, 8, 3)
    assert counters.asking(ID, SECOND_ONE) == Asking(later, 8, 3), "something has come down since"
    assert counters.asking(ID, FIRST) == Asking(), "which is over"
