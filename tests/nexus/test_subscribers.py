"""Subscribers: what gateways are told of them, at one moment with what it is made of; and what a provider may do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest
from msgspec import structs

from wayleave.nexus import model
from wayleave.nexus.model import Subscriber
from wayleave.nexus.refusal import Absent, Changed, Exists, Forbidden, Invalid, Refused
from wayleave.nexus.store.port import Store
from wayleave.nexus.subscribers import MOST_ON_A_LINE
from wayleave.nexus.views import project

from .driven import in_memory, run
from .network import ACME, ALICE, BETA, BOB, LINES, Network


@pytest.fixture
def network(store: Store) -> Network:
    return Network(store)


def test_a_gateway_is_told_of_those_on_its_lines(network: Network) -> None:
    for subscriber in (ALICE, BOB, Subscriber("carol", "acme", user="carol")):
        run(network.subscribers.put(subscriber, 0))
    assert network.views() == {
        "edge-2/alice": project(ALICE, LINES[0], ACME),
        "edge-1/bob": project(BOB, LINES[1], BETA),
    }


def test_another_provider_changes_the_service_and_leaves_the_line(network: Network) -> None:
    at = run(network.subscribers.put(ALICE, 0))
    before = run(network.lines.get("line-1"))
    moved = structs.replace(ALICE, provider="beta")
    run(network.subscribers.put(moved, at))
    assert run(network.lines.get("line-1")) == before
    assert network.views() == {"edge-2/alice": project(moved, LINES[0], BETA)}
    assert [item.record for item in run(network.subscribers.list("beta")).items] == [moved]
    assert run(network.subscribers.list("acme")).items == ()


def test_who_moves_to_another_line_is_told_to_the_gateway_there(network: Network) -> None:
    at = run(network.subscribers.put(ALICE, 0))
    moved = structs.replace(ALICE, line="line-2")
    at = run(network.subscribers.put(moved, at))
    assert network.views() == {"edge-1/alice": project(moved, LINES[1], ACME)}
    run(network.subscribers.put(structs.replace(ALICE, line="", user="alice"), at))
    assert network.views() == {}


def test_of_who_is_deleted_nothing_is_left(network: Network) -> None:
    before = network.stored()
    at = run(network.subscribers.put(ALICE, 0))
    with pytest.raises(Changed):
        run(network.subscribers.delete("alice", at - 1))
    run(network.subscribers.delete("alice", at))
    assert network.stored() == before
    with pytest.raises(Absent, match="no subscriber alice"):
        run(network.subscribers.delete("alice"))


def test_one_is_made_once_and_changed_by_who_has_seen_it(network: Network) -> None:
    at = run(network.subscribers.put(ALICE, 0))
    with pytest.raises(Exists, match="subscriber alice already"):
        run(network.subscribers.put(ALICE, 0))
    blocked = structs.replace(ALICE, blocked=True)
    later = run(network.subscribers.put(blocked, at))
    with pytest.raises(Changed):
        run(network.subscribers.put(ALICE, at))
    found = run(network.subscribers.get("alice"))
    assert (found.record, found.revision) == (blocked, later)


def test_those_on_a_line_can_be_told_apart(network: Network) -> None:
    run(network.subscribers.put(ALICE, 0))
    with pytest.raises(Exists, match="known by nothing but the line"):
        run(network.subscribers.put(Subscriber("eve", "beta", "line-1"), 0))
    run(network.subscribers.put(Subscriber("eve", "beta", "line-1", mac="02:00:00:00:00:01"), 0))
    with pytest.raises(Exists, match="same user and MAC"):
        run(network.subscribers.put(Subscriber("mallory", "beta", "line-1", mac="02:00:00:00:00:01"), 0))


def test_a_line_has_so_many_and_no_more(network: Network) -> None:
    for number in range(MOST_ON_A_LINE):
        run(network.subscribers.put(Subscriber(f"s-{number}", "acme", "line-1", user=f"u-{number}"), 0))
    with pytest.raises(Refused, match="that is the most"):
        run(network.subscribers.put(Subscriber("more", "acme", "line-1", user="more"), 0))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "a/b"}, "name: "),
        ({"provider": "nobody"}, "provider: there is no provider nobody"),
        ({"line": "nowhere"}, "line: there is no line nowhere"),
        (
            {"user": "alice", "realm": "beta.example"},
            "realm: beta.example is not one of provider acme; it has acme.example",
        ),
        ({"realm": "acme.example"}, "realm: is of a user"),
        ({"user": "alice@acme.example"}, "user: 'alice@acme.example': write it without its realm"),
        ({"line": ""}, "at least one"),
        ({"mac": "02-00-00-00-00-0A"}, "mac: write it as 02:00:00:00:00:0a"),
        ({"mac": "x"}, "not a MAC address"),
        ({"address": "2001:db8::1"}, "not an IPv4 address"),
        ({"limit": -1}, "limit: "),
        ({"pool": "a b"}, "pool: "),
    ],
)
def test_what_makes_no_sense_is_refused(network: Network, changed: dict[str, str], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        run(network.subscribers.put(structs.replace(ALICE, **changed), 0))
    assert network.views() == {}


def test_they_are_listed_in_pages_a_providers_too(network: Network) -> None:
    for number in range(6):
        run(network.subscribers.put(Subscriber(f"s-{number}", ("acme", "beta")[number % 2], user="u"), 0))
    assert [item.record.name for item in run(network.subscribers.list()).items] == [
        f"s-{number}" for number in range(6)
    ]
    first = run(network.subscribers.list("acme", limit=2))
    assert ([item.record.name for item in first.items], first.after) == (["s-0", "s-2"], "s-2")
    rest = run(network.subscribers.list("acme", "s-2", 2, first.revision))
    assert ([item.record.name for item in rest.items], rest.after) == (["s-4"], None)


# ---- on behalf of a provider -----------------------------------------------------------------------


def test_a_provider_makes_and_changes_its_own(network: Network) -> None:
    own = Subscriber("acme.dora", "acme", user="dora", realm="acme.example")
    at = run(network.subscribers.put(own, 0, by="acme"))
    at = run(network.subscribers.put(structs.replace(own, blocked=True), at, by="acme"))
    assert run(network.subscribers.get("acme.dora", by="acme")).record.blocked
    run(network.subscribers.delete("acme.dora", at, by="acme"))


def test_of_anothers_it_does_not_learn_that_there_is_one(network: Network) -> None:
    """It hears the same as of one that there is not."""
    at = run(network.subscribers.put(ALICE, 0))
    for name in ("alice", "nobody"):
        theirs = structs.replace(ALICE, name=name, provider="beta", line="", user="x")
        for work in (
            network.subscribers.get(name, by="beta"),
            network.subscribers.delete(name, at, by="beta"),
            network.subscribers.delete(name, at + 7, by="beta"),
            network.subscribers.put(theirs, at, by="beta"),
            network.subscribers.put(theirs, at + 7, by="beta"),
        ):
            with pytest.raises(Absent, match=f"^there is no subscriber {name}$"):
                run(work)
        with pytest.raises(Forbidden, match=r"^name: those that beta makes are called beta\.SOMETHING$"):
            run(network.subscribers.put(theirs, 0, by="beta"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"provider": "beta"}, "provider: is acme"),
        ({"line": "line-2"}, "line: only the network's operator"),
        ({"line": ""}, "line: only"),
        ({"address": "192.0.2.1"}, "address: only"),
        ({"pool": "other"}, "pool: only"),
    ],
)
def test_what_is_the_network_owners_a_provider_does_not_change(
    network: Network, changed: dict[str, str], says: str
) -> None:
    own = structs.replace(ALICE, user="alice")
    at = run(network.subscribers.put(own, 0))
    with pytest.raises(Forbidden, match=says):
        run(network.subscribers.put(structs.replace(own, **changed), at, by="acme"))
    run(network.subscribers.put(structs.replace(own, blocked=True), at, by="acme"))


# ---- what comes in between -------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(7))
@pytest.mark.parametrize("subscriber_is", ["interrupted", "in between"])
@pytest.mark.parametrize("other", ["line moves", "provider changes", "line goes", "provider goes", "realm goes"])
def test_an_entry_is_always_of_what_there_is(other: str, subscriber_is: str, step: int) -> None:
    """Ahead of each operation that makes a subscriber, something else happens, whole; and the other way round."""
    network = Network(in_memory())
    user = Subscriber("bob", "beta", "line-2", user="bob", realm="beta.example")
    line, beta = run(network.lines.get("line-2")), run(network.providers.get("beta"))
    works = {
        "line moves": lambda: network.lines.put(structs.replace(LINES[1], node="edge-9"), line.revision),
        "provider changes": lambda: network.providers.put(structs.replace(BETA, pool="p"), beta.revision),
        "line goes": lambda: network.lines.delete("line-2"),
        "provider goes": lambda: network.providers.delete("beta"),
        "realm goes": lambda: network.providers.put(structs.replace(BETA, realms=()), beta.revision),
    }
    first, second = (lambda: network.subscribers.put(user, 0)), works[other]
    if subscriber_is == "in between":
        first, second = second, first
    steps = count()

    def between() -> None:
        if next(steps) == step:
            _tried(second())
            _tried(network.providers.settle())

    _tried(first(), between)
    _tried(network.providers.settle())
    if f"{model.SUBSCRIBERS}bob" not in network.stored():
        assert network.views() == {}
        return
    there, sold = run(network.lines.get("line-2")).record, run(network.providers.get("beta")).record
    assert network.views() == {f"{there.node}/bob": project(user, there, sold)}
    assert user.realm in sold.realms


def _tried(work: Coroutine[Any, Any, object], between: Callable[[], None] = lambda: None) -> None:
    with contextlib.suppress(Refused):
        run(work, between)
