"""The policy table: every row does something, bad values refuse the whole, and a CoA changes what may change."""

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from wayleave.aaa import policy
from wayleave.aaa.policy import REFUSED, ROWS, Known, Reading, Unusable, apply, change
from wayleave.net.units import SECOND, Ns
from wayleave.proto.radius.dictionary import STANDARD, Attribute
from wayleave.session.model import Rate, Service

GOLD = Service(tenant="", pool="", name="gold", up=Rate.of(20_000_000), down=Rate.of(100_000_000))
KNOWN = Known(
    {"gold": GOLD},
    {"residential": (IPv4Network("10.0.0.0/24"), "isp"), "business": (IPv4Network("10.1.0.0/24"), "isp")},
    frozenset(("isp", "other")),
)
BASE = Service(tenant="isp", pool="residential", subscriber="bob", authority="g")


def attributes(*said: tuple[str, Any]) -> list[tuple[Attribute, bytes]]:
    return list(STANDARD.explode([STANDARD[name].encode(value) for name, value in said]))


def granted(*said: tuple[str, Any], **how: Any) -> Service:
    return apply(BASE, attributes(*said), KNOWN, **how)


MEANS: list[tuple[str, Any, dict[str, Any]]] = [
    ("User-Name", "alice", {"subscriber": "alice"}),
    ("Wayleave-Tenant", "isp", {"tenant": "isp"}),
    ("ERX-Virtual-Router-Name", "isp", {"tenant": "isp"}),
    ("Framed-Pool", "business", {"pool": "business"}),
    ("ERX-Address-Pool-Name", "business", {"pool": "business"}),
    ("Framed-IP-Address", IPv4Address("10.1.0.9"), {"address": IPv4Address("10.1.0.9"), "pool": "business"}),
    ("Framed-IP-Netmask", IPv4Address("255.255.255.0"), {}),
    ("Framed-MTU", 1400, {"mtu": 1400}),
    ("Wayleave-Service", "gold", {"name": "gold", "up": GOLD.up, "down": GOLD.down}),
    ("Filter-Id", "gold", {"name": "gold", "up": GOLD.up, "down": GOLD.down}),
    ("Alc-SLA-Prof-Str", "gold", {"name": "gold", "up": GOLD.up, "down": GOLD.down}),
    ("ERX-Ingress-Policy-Name", "gold", {"up": GOLD.up}),
    ("ERX-Egress-Policy-Name", "gold", {"down": GOLD.down}),
    ("Cisco-AVPair", "ip:sub-qos-policy-in=gold", {"up": GOLD.up}),
    ("Mikrotik-Rate-Limit", "10M/50M", {"up": Rate.of(10_000_000), "down": Rate.of(50_000_000)}),
    ("WISPr-Bandwidth-Max-Up", 1_000_000, {"up": Rate.of(1_000_000)}),
    ("WISPr-Bandwidth-Max-Down", 2_000_000, {"down": Rate.of(2_000_000)}),
    ("Wayleave-Rate-Up", 1000, {"up": Rate.of(1_000_000)}),
    ("Wayleave-Rate-Down", 2000, {"down": Rate.of(2_000_000)}),
    ("MS-Primary-DNS-Server", IPv4Address("192.0.2.1"), {"dns": (IPv4Address("192.0.2.1"),)}),
    ("MS-Secondary-DNS-Server", IPv4Address("192.0.2.1"), {"dns": (IPv4Address("192.0.2.1"),)}),
    ("ERX-Primary-Dns", IPv4Address("192.0.2.1"), {"dns": (IPv4Address("192.0.2.1"),)}),
    ("ERX-Secondary-Dns", IPv4Address("192.0.2.1"), {"dns": (IPv4Address("192.0.2.1"),)}),
    ("Alc-Primary-Dns", IPv4Address("192.0.2.1"), {"dns": (IPv4Address("192.0.2.1"),)}),
    ("Alc-Secondary-Dns", IPv4Address("192.0.2.1"), {"dns": (IPv4Address("192.0.2.1"),)}),
    ("Session-Timeout", 3600, {"session_timeout": Ns(3600 * SECOND)}),
    ("Idle-Timeout", 600, {"idle_timeout": Ns(600 * SECOND)}),
    ("Acct-Interim-Interval", 600, {"interim": Ns(600 * SECOND)}),
    ("Class", b"\xff\0", {"classes": (b"\xff\0",)}),
    ("Wayleave-Session-Limit", 2, {"sessions": 2}),
    ("Wayleave-Antispoof", 0, {"antispoof": False}),
    ("Wayleave-NAT", 0, {}),
    ("Wayleave-Garden", 0, {}),
    ("Service-Type", 2, {}),
    ("Framed-Protocol", 1, {}),
    ("Termination-Action", 1, {"reauthorize": True}),
    ("State", b"\xff\0", {"state": b"\xff\0"}),
]


@pytest.mark.parametrize(("name", "value", "changes"), MEANS, ids=[row[0] for row in MEANS])
def test_each_row(name: str, value: Any, changes: dict[str, Any]) -> None:
    service = granted((name, value))
    assert {key: getattr(service, key) for key in changes} == changes
    same = [field for field in Service.__struct_fields__ if field not in changes]
    assert all(getattr(service, field) == getattr(BASE, field) for field in same)


def test_every_row_has_an_example_and_an_attribute() -> None:
    by_hand = {"Wayleave-Burst-Up", "Wayleave-Burst-Down"}
    assert {row.attribute for row in ROWS} == {row[0] for row in MEANS} | by_hand
    assert all(row.attribute in STANDARD for row in ROWS)
    assert all(name in STANDARD for name in REFUSED)


BAD: list[tuple[str, Any, str]] = [
    ("Wayleave-Tenant", "nobody", "there is no tenant nobody"),
    ("Wayleave-Tenant", "other", "pool residential is not tenant other's"),
    ("Framed-Pool", "nothing", "Framed-Pool: there is no pool nothing"),
    ("Framed-IP-Address", IPv4Address("192.0.2.1"), "192.0.2.1 is in no pool"),
    ("Framed-IP-Netmask", IPv4Address("255.255.0.0"), "is not the netmask of pool residential"),
    ("Framed-MTU", 9000, "9000 is not between"),
    ("Filter-Id", "silver", "there is no service silver: add it"),
    ("Filter-Id", "silver.in", "there is no service silver: add it"),
    ("Mikrotik-Rate-Limit", "10M/50M 20M/100M", "only rx-rate/tx-rate is supported"),
    ("Mikrotik-Rate-Limit", "fast", "'fast' is not a rate"),
    ("WISPr-Bandwidth-Max-Up", 5, "5 bit/s is not between"),
    ("Wayleave-Burst-Up", 20_000, "a burst needs a rate beside it"),
    ("Acct-Interim-Interval", 5, "5s are less than 60"),
    ("Wayleave-Session-Limit", 0, "no session at all"),
    ("Wayleave-NAT", 1, "there is no NAT"),
    ("Wayleave-Garden", 1, "there is no walled garden"),
    ("Service-Type", 1, "only Framed-User is served"),
    ("Termination-Action", 2, "2 is neither Default nor RADIUS-Request"),
    ("Cisco-AVPair", "ip:inacl#1=permit", "ip:inacl#1 is not supported; these are"),
    ("Cisco-AVPair", "nothing", "'nothing' is not key=value"),
    ("Framed-Route", "10.5.0.0/24 10.0.0.2 1", "routes behind a client are not supported"),
    ("Delegated-IPv6-Prefix", __import__("ipaddress").IPv6Network("2001:db8::/56"), "IPv6 is not supported"),
]


@pytest.mark.parametrize(("name", "value", "why"), BAD, ids=[f"{row[0]} {row[1]}" for row in BAD])
def test_what_cannot_be_honoured_refuses_the_whole(name: str, value: Any, why: str) -> None:
    with pytest.raises(Unusable, match=re.escape(why)):
        granted(("Session-Timeout", 60), (name, value))
    assert (
        granted(("Session-Timeout", 60), (name, value), reading=Reading(frozenset((name,)))).session_timeout
        == 60 * SECOND
    )


def test_a_value_of_the_wrong_length_refuses_the_whole() -> None:
    with pytest.raises(Unusable, match="Session-Timeout: 2 octets instead of 4"):
        apply(BASE, [(STANDARD["Session-Timeout"], b"ab")], KNOWN)


def test_names_first_whatever_order_a_packet_has() -> None:
    service = granted(("Wayleave-Burst-Up", 30_000), ("Wayleave-Rate-Up", 1000), ("Filter-Id", "gold"))
    assert (service.name, service.up, service.down) == ("gold", Rate(1_000_000, 30_000), GOLD.down)


def test_classes_fit_into_a_record_of_accounting() -> None:
    eight = [("Class", bytes((number,)) * 250) for number in range(8)]
    assert len(granted(*eight).classes) == 8
    with pytest.raises(Unusable, match="Class: more than 2048 octets in all"):
        granted(*eight, ("Class", b"x" * 49))


def test_text_that_is_no_text_refuses_the_whole() -> None:
    with pytest.raises(Unusable, match="User-Name: 0xfc is no UTF-8"):
        apply(BASE, [(STANDARD["User-Name"], b"M\xfcller")], KNOWN)


def test_a_netmask_is_that_of_the_addresss_pool() -> None:
    """Whatever pool the group has."""
    wide = Known({}, {"residential": KNOWN.pools["residential"], "wide": (IPv4Network("10.2.0.0/16"), "isp")})
    said = attributes(("Framed-IP-Netmask", IPv4Address("255.255.0.0")), ("Framed-IP-Address", IPv4Address("10.2.3.4")))
    assert apply(BASE, said, wide).pool == "wide"


def test_values_that_are_gathered() -> None:
    service = granted(("Class", b"a"), ("Class", b"b"), ("MS-Primary-DNS-Server", IPv4Address("192.0.2.1")))
    assert service.classes == (b"a", b"b")
    again = change(service, attributes(("Class", b"c")), KNOWN)
    assert again.classes == (b"c",), "another packet's count instead"
    assert again.dns == service.dns


def test_one_way_of_a_filter_and_any_address() -> None:
    assert granted(("Filter-Id", "gold.in")).up == GOLD.up
    assert granted(("Filter-Id", "gold.out")).up is None
    assert granted(("Framed-IP-Address", IPv4Address("255.255.255.254"))).address is None
    assert granted(("Framed-IP-Netmask", IPv4Address("255.255.255.255"))) == BASE
    assert granted(("Wayleave-Rate-Up", 0)).up is None
    assert granted(("Cisco-AVPair", "ip:inacl#1*permit")) == BASE, "a star says that it may be left out"
    assert granted(("Cisco-AVPair", "ip:dns-servers=192.0.2.1 192.0.2.2")).dns == (
        IPv4Address("192.0.2.1"),
        IPv4Address("192.0.2.2"),
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.attribute)
def test_a_coa_changes_what_may_change(row: policy.Row) -> None:
    value = next((value for name, value, _ in MEANS if name == row.attribute), 20_000)
    live = Service(tenant="isp", pool="residential", up=Rate.of(1_000_000), down=Rate.of(1_000_000))
    if row.live:
        change(live, attributes((row.attribute, value)), KNOWN)
        return
    with pytest.raises(Unusable, match="cannot change while the session lives") as refused:
        change(live, attributes((row.attribute, value)), KNOWN)
    assert not refused.value.known


def test_an_attribute_of_the_operators_own_means_what_another_one_means() -> None:
    reading = Reading(aliases={"Reply-Message": "Filter-Id"})
    assert granted(("Reply-Message", "gold"), reading=reading).up == GOLD.up
    assert change(BASE, attributes(("Reply-Message", "gold")), KNOWN, reading).up == GOLD.up
    pool = Reading(aliases={"Reply-Message": "Framed-Pool"})
    with pytest.raises(Unusable, match="cannot change while"):
        change(BASE, attributes(("Reply-Message", "business")), KNOWN, pool)


def test_what_means_nothing_is_passed_over() -> None:
    assert granted(("Reply-Message", "hello")) == BASE
    assert apply(BASE, STANDARD.explode([(26, b"\0\0\0\1\1\3x"), (250, b"y")]), KNOWN) == BASE


@pytest.mark.parametrize(
    "pairs", [("ip:addr-pool=business",), ("ip:vrf-id=other", "ip:addr-pool=there"), ("ip:dns-servers=192.0.2.1",)]
)
def test_a_pair_of_ciscos_changes_no_more_of_a_live_session_than_other_attributes(pairs: tuple[str, ...]) -> None:
    there = Known(KNOWN.services, {**KNOWN.pools, "there": (IPv4Network("10.2.0.0/24"), "other")}, KNOWN.tenants)
    said = attributes(*(("Cisco-AVPair", pair) for pair in pairs))
    assert apply(BASE, said, there) != BASE, "before it lives, it may"
    with pytest.raises(Unusable, match=r"^Cisco-AVPair: its (pool|tenant|dns) cannot change while the session lives"):
        change(BASE, said, there)
