"""Lines: one at a place, and what gateways are told moves with them."""

from __future__ import annotations

import pytest
from msgspec import structs

from wayleave.nexus.model import NEXUS, Line, Subscriber
from wayleave.nexus.refusal import Absent, Changed, Exists, InUse, Invalid
from wayleave.nexus.store.port import MAX_OPERATIONS, Store
from wayleave.nexus.subscribers import MOST_ON_A_LINE
from wayleave.nexus.views import project

from .driven import run
from .network import ACME, ALICE, LINES, Network


@pytest.fixture
def network(store: Store) -> Network:
    return Network(store)


def test_a_line_that_moves_to_another_gateway_takes_its_subscribers_along(network: Network) -> None:
    eve = Subscriber("eve", "beta", "line-1", user="eve")
    for subscriber in (ALICE, eve):
        run(network.subscribers.put(subscriber, 0))
    moved = structs.replace(LINES[0], node="edge-9", port=7)
    run(network.lines.put(moved, run(network.lines.get("line-1")).revision))
    assert network.views().keys() == {"edge-9/alice", "edge-9/eve"}
    assert network.views()["edge-9/alice"] == project(ALICE, moved, ACME)


def test_another_place_of_the_same_gateway_is_told_too(network: Network) -> None:
    run(network.subscribers.put(ALICE, 0))
    moved = structs.replace(LINES[0], svid=777)
    run(network.lines.put(moved, run(network.lines.get("line-1")).revision))
    assert network.views() == {"edge-2/alice": project(ALICE, moved, ACME)}


def test_what_gateways_need_not_know_is_not_told_anew(network: Network) -> None:
    run(network.subscribers.put(ALICE, 0))
    before = run(network.store.get("view/edge-2/alice"))
    run(network.lines.put(structs.replace(LINES[0], ont="X"), run(network.lines.get("line-1")).revision))
    assert run(network.store.get("view/edge-2/alice")) == before


def test_the_fullest_line_moves_in_one_commit(network: Network) -> None:
    for number in range(MOST_ON_A_LINE):
        run(network.subscribers.put(Subscriber(f"s-{number}", "acme", "line-1", user=f"u-{number}"), 0))
    before = run(network.lines.get("line-1")).revision
    at = run(network.lines.put(structs.replace(LINES[0], node="edge-9"), before))
    entries = run(network.store.page("view/")).entries
    assert {entry.revision for entry in entries} == {at}
    assert len(entries) == MOST_ON_A_LINE
    assert 2 * MOST_ON_A_LINE + 10 < MAX_OPERATIONS, "with a provider each, and what is on record of it"


def test_no_two_lines_are_one_place(network: Network) -> None:
    there = structs.replace(LINES[0], name="other")
    with pytest.raises(Exists, match=r"1:100\.1 of edge-2 is line line-1"):
        run(network.lines.put(there, 0))
    at = run(network.lines.get("line-1")).revision
    run(network.lines.put(structs.replace(LINES[0], cvid=99), at))
    run(network.lines.put(there, 0))


def test_a_line_with_subscribers_is_not_deleted(network: Network) -> None:
    at = run(network.subscribers.put(ALICE, 0))
    with pytest.raises(InUse, match="line-1 has subscribers: alice; move or delete"):
        run(network.lines.delete("line-1"))
    run(network.subscribers.put(structs.replace(ALICE, line="line-2"), at))
    run(network.lines.delete("line-1"))
    with pytest.raises(Absent):
        run(network.lines.get("line-1"))
    run(network.lines.put(structs.replace(LINES[0], name="again"), 0))


def test_one_is_changed_by_who_has_seen_it(network: Network) -> None:
    at = run(network.lines.get("line-1")).revision
    later = run(network.lines.put(structs.replace(LINES[0], ont="X"), at))
    for work in (network.lines.put(LINES[0], at), network.lines.delete("line-1", at)):
        with pytest.raises(Changed):
            run(work)
    run(network.lines.delete("line-1", later))
    assert [item.record.name for item in run(network.lines.list()).items] == ["line-2", "line-3", "line-4"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (Line("a/b", "edge-1", 1), "name: "),
        (Line("l", NEXUS, 1), "is no gateway"),
        (Line("l", "edge 1", 1), "node: "),
        (Line("l", "edge-1", 256), "port: "),
        (Line("l", "edge-1", 1, 4095), "svid, cvid: "),
        (Line("l", "edge-1", 1, 0, 7), "cvid: is inside"),
        (Line("l", "edge-1", 1, circuit="x\n"), "circuit: "),
        (Line("l", "edge-1", 1, circuit="x" * 253), "circuit: "),
    ],
)
def test_what_makes_no_sense_is_refused(network: Network, line: Line, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        run(network.lines.put(line, 0))


def test_the_longest_names_and_circuits_fit_into_a_key(network: Network) -> None:
    run(network.lines.put(Line("l" * 64, "n" * 64, 255, 4094, 4094, "é" * 126), 0))
