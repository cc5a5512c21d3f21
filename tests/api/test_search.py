"""Finding sessions: everything that matches and nothing else, a bounded piece of the table an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

import pytest
from msgspec.structs import replace

from wayleave.api.search import LOOK, PAGE, Filter, NotOne, first, search
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session.model import Client, Lease, Line, Link, Phase, Service, Session, Subnet
from wayleave.session.table import Table

NOW = BootNs(SECOND)
NETWORK = IPv4Network("100.64.0.0/14")
SUBNET = Subnet(NETWORK, NETWORK[1])


def session(id_: int, line: Line, phase: Phase = Phase.ACTIVE) -> Session:
    return Session(
        id=id_,
        client=Client(line, Mac(b"\2" + id_.to_bytes(5, "big"))),
        phase=phase,
        since=NOW,
        service=Service(tenant="isp", pool="home", subscriber=f"house-{id_}"),
        lease=Lease(address(id_), "home", SUBNET, Ns(SECOND), Ns(SECOND)),
    )


def address(id_: int) -> IPv4Address:
    return NETWORK[id_ + 2]


def table(ids: Iterable[int]) -> Table:
    made = Table(1 << 20)
    for id_ in ids:
        made.put(session(id_, Line(1, 100 + id_ // 4000, 1 + id_ % 4000)), NOW)
    return made


def pages(sessions: Table, wanted: Filter, limit: int = PAGE) -> list[list[int]]:
    """Ask until it is said that this was all; returns the ids of each answer."""
    answers: list[list[int]] = []
    after: int | None = -1
    while after is not None:
        found, after = search(sessions, wanted, after, limit)
        answers.append([item.id for item in found])
    return answers


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, LOOK, LOOK + 1, 3 * LOOK])
def test_page_after_page_tells_every_session_once_in_order(count: int) -> None:
    answers = pages(table(range(count)), Filter())
    assert [id_ for ids in answers for id_ in ids] == list(range(count))
    assert max(map(len, answers)) <= PAGE


def test_an_answer_is_never_larger_than_asked_for() -> None:
    assert pages(table(range(5)), Filter(), limit=2) == [[0, 1], [2, 3], [4]]


def test_what_is_nowhere_is_looked_for_in_pieces() -> None:
    assert pages(table(range(3 * LOOK)), Filter(pool="none")) == [[], [], []]


def test_a_table_of_gaps_is_looked_at_in_pieces_too() -> None:
    assert pages(table([0, 10 * LOOK - 1]), Filter()) == [[0], *[[] for _ in range(8)], [10 * LOOK - 1]]


def test_the_first_of_them_is_found_wherever_it_is() -> None:
    sessions = table([0, *range(2 * LOOK, 2 * LOOK + 3)])
    found = asyncio.run(first(sessions, Filter(address=str(address(2 * LOOK + 1)))))
    assert found is not None
    assert found.id == 2 * LOOK + 1
    assert asyncio.run(first(sessions, Filter(pool="none"))) is None


def test_nothing_is_looked_at_beyond_the_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(Filter, "admits", lambda _self, item: looked.append(item.id))
    search(table(range(2 * LOOK)), Filter(), 99, PAGE)
    assert looked == list(range(100, 100 + LOOK))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(mac="02-00-00-00-00-0A"), [10]),
        (Filter(mac="02:00:00:00:ff:ff"), []),
        (Filter(address=str(address(7))), [7]),
        (Filter(line="1:100.3"), [2]),
        (Filter(line="1:100"), list(range(12))),
        (Filter(line="1:10"), []),
        (Filter(line="1"), list(range(12))),
        (Filter(line="2"), [20, 21]),
        (Filter(line="2:7/door"), [20]),
        (Filter(line="2:7"), [20, 21]),
        (Filter(phase=Phase.OFFERED), [21]),
        (Filter(subscriber="house-3"), [3]),
        (Filter(subscriber="alice@isp"), [21]),
        (Filter(tenant="isp", pool="home", line="2"), [20, 21]),
        (Filter(tenant="other"), []),
    ],
)
def test_a_filter_finds_what_it_is_about(wanted: Filter, ids: list[int]) -> None:
    sessions = table(range(12))
    sessions.put(session(20, Line(2, 7, 0, b"door")), NOW)
    sessions.put(replace(session(21, Line(2, 7, 0, b"doorway"), Phase.OFFERED), link=Link("alice@isp")), NOW)
    assert pages(sessions, wanted) == [ids]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"mac": "02:00"}, "mac: '02:00' is not a MAC address"),
        ({"address": "home"}, "address: 'home' is not an IPv4 address"),
        ({"line": "1.2"}, "line: '1.2' is not a line"),
        ({"mac": ""}, "mac: '' is not a MAC address"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_words(wanted: dict[str, str], said: str) -> None:
    with pytest.raises(NotOne, match=said):
        Filter(**wanted)
