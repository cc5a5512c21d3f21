"""Providers: their realms, and that gateways follow when they change."""

from __future__ import annotations

from itertools import count

import pytest
from msgspec import structs

from wayleave.nexus import model
from wayleave.nexus.model import Provider, Subscriber
from wayleave.nexus.refusal import Absent, Changed, Exists, InUse, Invalid, Refused
from wayleave.nexus.store.port import Store
from wayleave.nexus.views import project

from .driven import run
from .network import ACME, ALICE, BETA, BOB, LINES, Network

MANY = 130
"""Of a provider: they follow in several commits."""


@pytest.fixture
def network(store: Store) -> Network:
    return Network(store)


def change(network: Network, after: Provider) -> int:
    return run(network.providers.put(after, run(network.providers.get(after.name)).revision))


def test_gateways_follow_a_provider_that_changes(network: Network) -> None:
    for subscriber in (ALICE, BOB):
        run(network.subscribers.put(subscriber, 0))
    after = structs.replace(ACME, pool="other", tenant="t", service="")
    change(network, after)
    run(network.providers.settle())
    assert network.views() == {
        "edge-2/alice": project(ALICE, LINES[0], after),
        "edge-1/bob": project(BOB, LINES[1], BETA),
    }
    assert model.pending_key("acme") not in network.stored()


def test_many_follow_in_groups_and_whoever_was_killed_begins_anew(network: Network) -> None:
    for number in range(MANY):
        line = structs.replace(LINES[0], name=f"l-{number:03}", cvid=1000 + number)
        run(network.lines.put(line, 0))
        run(network.subscribers.put(Subscriber(f"s-{number:03}", "acme", line.name), 0))
    change(network, structs.replace(ACME, pool="other"))
    steps = count()

    class Killed(Exception):
        pass

    def between() -> None:
        if next(steps) == 150:
            raise Killed

    with pytest.raises(Killed):
        run(network.providers.settle(), between)
    assert {view.pool for view in network.views().values()} == {"acme-home", "other"}
    run(network.providers.settle())
    assert {view.pool for view in network.views().values()} == {"other"}
    assert len(network.views()) == MANY
    assert model.pending_key("acme") not in network.stored()


def test_one_that_changes_again_while_they_follow_is_followed_to_the_end(network: Network) -> None:
    run(network.subscribers.put(ALICE, 0))
    last = structs.replace(ACME, pool="last")
    for step in range(8):
        change(network, structs.replace(ACME, pool="other"))
        steps = count()

        def between(steps: count[int] = steps, step: int = step) -> None:
            if next(steps) == step:
                change(network, last)

        run(network.providers.settle(), between)
        if model.pending_key("acme") in network.stored():
            run(network.providers.settle())
        assert network.views() == {"edge-2/alice": project(ALICE, LINES[0], run(network.providers.get("acme")).record)}


def test_nothing_is_to_follow_where_gateways_need_not_know(network: Network) -> None:
    change(network, structs.replace(ACME, realms=("acme.example", "more.example"), closed=True))
    assert model.pending_key("acme") not in network.stored()


def test_a_provider_with_subscribers_is_not_deleted_and_goes_on(network: Network) -> None:
    for number in range(5):
        run(network.subscribers.put(Subscriber(f"s-{number}", "acme", user="u"), 0))
    with pytest.raises(InUse, match="provider acme: it has subscribers: s-0, s-1, s-2, …; change or delete"):
        run(network.providers.delete("acme"))
    assert run(network.providers.get("acme")).record == ACME
    for number in range(5):
        run(network.subscribers.delete(f"s-{number}"))
    run(network.providers.delete("acme"))
    assert not [key for key in network.stored() if "acme" in key]
    with pytest.raises(Absent):
        run(network.providers.delete("acme"))


def test_a_realm_is_one_providers(network: Network) -> None:
    with pytest.raises(Exists, match=r"acme\.example is provider acme's"):
        change(network, structs.replace(BETA, realms=("acme.example",)))
    change(network, structs.replace(ACME, realms=()))
    change(network, structs.replace(BETA, realms=("acme.example",)))


def test_a_change_that_is_refused_leaves_a_provider_open(network: Network) -> None:
    """It was closed meanwhile, as a realm was to go."""
    with pytest.raises(Exists):
        change(network, structs.replace(BETA, realms=("acme.example",)))
    assert run(network.providers.get("beta")).record == BETA


def test_a_realm_that_a_subscriber_has_stays(network: Network) -> None:
    run(network.subscribers.put(BOB, 0))
    with pytest.raises(InUse, match="subscribers of a realm that is to go: bob"):
        change(network, structs.replace(BETA, realms=("b.example",)))
    assert run(network.providers.get("beta")).record == BETA
    change(network, structs.replace(BETA, realms=("beta.example",)))


def test_one_that_is_closed_gets_no_new_subscribers_and_keeps_those_it_has(network: Network) -> None:
    at = run(network.subscribers.put(BOB, 0))
    change(network, structs.replace(BETA, closed=True))
    with pytest.raises(Refused, match="beta is closed"):
        run(network.subscribers.put(structs.replace(ALICE, provider="beta"), 0))
    run(network.subscribers.put(structs.replace(BOB, blocked=True), at))


def test_one_is_changed_by_who_has_seen_it(network: Network) -> None:
    at = run(network.providers.get("acme")).revision
    with pytest.raises(Exists):
        run(network.providers.put(ACME, 0))
    run(network.providers.put(structs.replace(ACME, closed=True), at))
    for work in (network.providers.put(ACME, at), network.providers.delete("acme", at)):
        with pytest.raises(Changed):
            run(work)
    assert [item.record.name for item in run(network.providers.list()).items] == ["acme", "beta"]


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        (Provider("a b", "t", "p"), "name: "),
        (Provider("a", "", "p"), "tenant: "),
        (Provider("a", "t", "p", "a service"), "service: "),
        (Provider("a", "t", "p", realms=("Upper",)), "lower case"),
        (Provider("a", "t", "p", realms=("a@b",)), "without an @"),
        (Provider("a", "t", "p", realms=("r", "r")), "each once"),
        (Provider("a", "t", "p", realms=tuple(f"r{number}" for number in range(33))), "32 at most"),
    ],
)
def test_what_makes_no_sense_is_refused(network: Network, provider: Provider, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        run(network.providers.put(provider, 0))
