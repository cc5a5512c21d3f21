"""Authorization from the subscribers file."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from msgspec.structs import replace

from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization, Subscriber
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, Ns
from wayleave.session.model import Client, Line, Rate, Service
from wayleave.session.refusal import Reason, Refusal

MAC = Mac.parse("02:00:00:00:00:0a")
LINE = Line(1, 100, 7)


GOLD = Service(
    tenant="", pool="", name="gold", up=Rate.of(20_000_000), down=Rate.of(100_000_000), idle_timeout=Ns(60 * SECOND)
)
FREE = Service(tenant="", pool="", name="free")


def decide(
    client: Client, *entries: Subscriber, default: str | None = "residential", service: str | None = None
) -> Service | Refusal:
    settings = AuthorizationSettings(default=default, service=service)
    sold = {"gold": GOLD, "free": FREE}
    return LocalAuthorization(settings, entries, {1: "isp"}, {"theirs": "other"}, sold).grant(client)


def test_any_line_gets_the_default_pool_and_its_ports_tenant() -> None:
    assert decide(Client(LINE, MAC)) == Service(tenant="isp", pool="residential")


def test_a_port_that_is_not_configured_lets_nobody_on() -> None:
    """Its clients of before a restart are asked about too."""
    by_mac = Subscriber.model_validate({"name": "a", "mac": str(MAC), "tenant": "other"})
    for entries in ((), (by_mac,)):
        assert decide(Client(Line(2, 100, 7), MAC), *entries) == Refusal(
            Reason.PORT_NOT_CONFIGURED, "port 2 is not configured"
        )


def test_without_a_default_only_known_subscribers_get_on() -> None:
    known = Subscriber.model_validate({"name": "alice", "line": "1:100.7", "pool": "business"})
    refused = decide(Client(Line(1, 100, 8), MAC), known, default=None)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.UNKNOWN_CLIENT
    assert "not in the subscribers file" in refused.why
    assert decide(Client(LINE, MAC), known, default=None) == Service(tenant="isp", pool="business", subscriber="alice")


def test_the_default_is_for_those_of_its_tenant() -> None:
    """The other provider is closed: nobody gets into this one's by not being known."""
    refused = decide(Client(LINE, MAC), default="theirs")
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.UNKNOWN_CLIENT
    assert refused.why == "not in the subscribers file, and authorization.default is not tenant isp's"
    refused = decide(Client(LINE, MAC), Subscriber.model_validate({"name": "a", "mac": str(MAC)}), default="theirs")
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.NO_POOL
    assert refused.why == "subscriber a has no pool, and authorization.default is not tenant isp's"
    of_theirs = Subscriber.model_validate({"name": "a", "mac": str(MAC), "tenant": "other"})
    assert decide(Client(LINE, MAC), of_theirs, default="theirs") == Service(
        tenant="other", pool="theirs", subscriber="a"
    )


def test_an_entry_without_a_pool_gets_nothing_where_no_default_names_one() -> None:
    entry = Subscriber.model_validate({"name": "a", "mac": str(MAC)})
    refused = decide(Client(LINE, MAC), entry, default=None)
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.NO_POOL


def test_an_entry_says_address_tenant_limit_and_antispoof() -> None:
    entry = Subscriber.model_validate(
        {"name": "a", "line": "1:100.7", "address": "10.0.0.9", "tenant": "other", "limit": 2, "antispoof": False}
    )
    assert decide(Client(LINE, MAC), entry) == Service(
        tenant="other",
        pool="residential",
        subscriber="a",
        address=IPv4Address("10.0.0.9"),
        limit=2,
        antispoof=False,
    )


def test_the_tenant_is_the_pools_where_the_entry_names_none() -> None:
    entry = Subscriber.model_validate({"name": "a", "line": "1:100.7", "pool": "theirs"})
    assert decide(Client(LINE, MAC), entry) == Service(tenant="other", pool="theirs", subscriber="a")


def test_an_entry_names_the_service_that_was_sold_and_others_get_the_default_s() -> None:
    entry = Subscriber.model_validate({"name": "a", "line": "1:100.7", "service": "gold"})
    assert decide(Client(LINE, MAC), entry) == replace(GOLD, tenant="isp", pool="residential", subscriber="a")
    other = Client(Line(1, 100, 8), MAC)
    assert decide(other, entry) == Service(tenant="isp", pool="residential")
    assert decide(other, entry, service="gold") == replace(GOLD, tenant="isp", pool="residential")
    plain = Subscriber.model_validate({"name": "b", "line": "1:100.7"})
    of_default = decide(Client(LINE, MAC), plain, service="gold")
    assert isinstance(of_default, Service)
    assert (of_default.name, of_default.up) == ("gold", GOLD.up)
    unlimited = Subscriber.model_validate({"name": "b", "line": "1:100.7", "service": "free"})
    free = decide(Client(LINE, MAC), unlimited, service="gold")
    assert isinstance(free, Service)
    assert (free.name, free.up, free.down) == ("free", None, None)


def test_a_blocked_subscriber_is_refused_though_the_default_would_let_it_on() -> None:
    entry = Subscriber.model_validate({"name": "a", "mac": str(MAC), "blocked": True})
    assert decide(Client(LINE, MAC), entry) == Refusal(Reason.BLOCKED, "subscriber a is blocked")


@pytest.mark.parametrize(
    ("known_by", "wins"),
    [
        ([{"mac": str(MAC), "line": "1:100.7/door"}, {"mac": str(MAC)}], 0),
        ([{"circuit": "door"}, {"mac": str(MAC), "circuit": "door"}], 1),
        ([{"circuit": "door"}, {"line": "1:100.7/door"}], 1),
        ([{"line": "1:100.7/door"}, {"mac": str(MAC)}], 1),
        ([{"circuit": "elsewhere"}, {"circuit": "door"}], 1),
    ],
)
def test_the_most_particular_entry_wins(known_by: list[dict[str, str]], wins: int) -> None:
    entries = [Subscriber.model_validate({"name": str(index), **keys}) for index, keys in enumerate(known_by)]
    service = decide(Client(Line(1, 100, 7, b"door"), MAC), *entries)
    assert isinstance(service, Service)
    assert service.subscriber == str(wins)
