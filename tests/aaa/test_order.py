"""What CoA and Disconnect requests are about: every way to name a session, and every way to be refused."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from msgspec.structs import replace

from tests.aaa.clients import CALLER, deciders, session, terms
from wayleave.aaa import request
from wayleave.aaa.order import IDENTIFYING, SELECTING, ErrorCause, Order, Refused, understand
from wayleave.aaa.radius import Deciders
from wayleave.net.units import BootNs, Ns
from wayleave.proto.dhcp4 import relay
from wayleave.proto.dhcp4.relay import RelayAgent
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.session.model import NOTHING_USED, Line, Phase, Session
from wayleave.session.table import Table

AGENT = relay.encode(RelayAgent(b"slot 1", b"door 7"))
BOB = session(1, agent=AGENT)
ALICE = session(2, line=Line(1, 100, 8), subscriber="alice")
TWIN = session(3, line=Line(1, 100, 8), subscriber="alice")
OFFERED = session(4, line=Line(1, 100, 9), subscriber="carol", phase=Phase.OFFERED)
LOCAL = session(5, line=Line(2, 1), subscriber="dave", authority="")


@pytest.fixture
def table() -> Table:
    table = Table(16)
    for one in (BOB, ALICE, TWIN, OFFERED, LOCAL):
        table.put(one, BootNs(1))
    return table


def ask(
    table: Table,
    *said: tuple[str, Any],
    disconnects: bool = True,
    groups: Any = None,
    of: Deciders | None = None,
) -> Order | Refused:
    def holder(address: IPv4Address) -> Session | None:
        return next((one for one in table if one.lease and one.lease.address == address), None)

    avps = [STANDARD[name].encode(value) for name, value in said]
    return understand(STANDARD.explode(avps), disconnects, table, holder, of or deciders(), groups)


NAMES = {
    "Acct-Session-Id": "0000000100000001",
    "User-Name": "bob",
    "Framed-IP-Address": IPv4Address("10.0.0.11"),
    "Calling-Station-Id": "02-00-00-00-00-01",
    "Called-Station-Id": "bng1",
    "NAS-Port-Id": "1:100.7",
    "NAS-Port": 1 << 24 | 100 << 12 | 7,
    "Acct-Multi-Session-Id": "nas-1/1:100.7",
    "ADSL-Agent-Circuit-Id": b"slot 1",
    "ADSL-Agent-Remote-Id": b"door 7",
}


@pytest.mark.parametrize("name", IDENTIFYING)
def test_each_name_finds_it_or_tells_it_apart(table: Table, name: str) -> None:
    beside = () if name in SELECTING else (("User-Name", "bob"),)
    assert ask(table, (name, NAMES[name]), *beside) == Order(BOB, None)
    wrong = {int: 7, bytes: b"other", str: "other", IPv4Address: IPv4Address("10.0.0.99")}[type(NAMES[name])]
    refused = ask(table, (name, wrong), *beside)
    assert isinstance(refused, Refused)
    assert refused.cause is ErrorCause.SESSION_CONTEXT_NOT_FOUND
    if name not in SELECTING:
        refused = ask(table, (name, NAMES[name]))
        assert isinstance(refused, Refused)
        assert refused.cause is ErrorCause.MISSING_ATTRIBUTE


def test_all_of_them_at_once_and_one_that_is_wrong(table: Table) -> None:
    assert ask(table, *NAMES.items()) == Order(BOB, None)
    for name in NAMES:
        wrong = {**NAMES, name: b"x" if isinstance(NAMES[name], bytes) else NAMES[name]}
        if wrong != NAMES:
            assert isinstance(ask(table, *wrong.items()), Refused)


@pytest.mark.parametrize(
    "said", ["02:00:00:00:00:01", "02-00-00-00-00-01", "0200.0000.0001", "020000000001", "02:00:00:00:00:01".upper()]
)
def test_a_mac_is_a_mac_however_it_is_written(table: Table, said: str) -> None:
    assert ask(table, ("Calling-Station-Id", said)) == Order(BOB, None)
    assert ask(table, ("Calling-Station-Id", said), ("User-Name", "bob")) == Order(BOB, None)


def test_a_station_that_is_called_by_no_mac_is_compared_letter_by_letter(table: Table) -> None:
    group = terms(caller=replace(CALLER, calling="{mac}@home"))
    for said, is_bob in (("02:00:00:00:00:01@home", True), ("02-00-00-00-00-01@home", False)):
        order = ask(table, ("User-Name", "bob"), ("Calling-Station-Id", said), of=deciders(group))
        assert isinstance(order, Order) is is_bob


def test_what_servers_are_told_of_a_session_is_true_of_it_however_long_its_line_is_called() -> None:
    caller = replace(CALLER, calling="{circuit}", called="{remote}")
    agent = relay.encode(RelayAgent(remote_id=b"door" * 60))
    far = session(6, line=Line(256, circuit=b"slot" * 63), agent=agent)
    of = replace(deciders(terms(caller=caller)), trusted=frozenset((256,)))
    subject = of.subject(far, terms(caller=caller))
    record = request.accounting(far, subject, caller, request.Status.START, NOTHING_USED, Ns(0))
    said = [(attribute.name, attribute.decode(octets)) for attribute, octets in STANDARD.explode(record)]
    told = [(name, value) for name, value in said if name in IDENTIFYING]
    assert {name for name, _ in told} == set(IDENTIFYING)
    assert dict(told)["NAS-Port"] == 0
    table = Table(16)
    table.put(far, BootNs(1))
    assert ask(table, *told, of=of) == Order(far, None)


WHY: list[tuple[tuple[tuple[str, Any], ...], str]] = [
    ((("User-Name", "nobody"),), "no session has User-Name nobody"),
    ((("Framed-IP-Address", IPv4Address("10.0.0.99")),), "no session has Framed-IP-Address 10.0.0.99"),
    ((("User-Name", "carol"),), "the session with User-Name carol has no address yet, or is not this controller's"),
    (
        (("User-Name", "bob"), ("Calling-Station-Id", "02:00:00:00:00:99")),
        "session 1 has User-Name bob, but its Calling-Station-Id is 02-00-00-00-00-01, not 02:00:00:00:00:99",
    ),
    (
        (("Framed-IP-Address", IPv4Address("10.0.0.11")), ("User-Name", "alice"), ("NAS-Port-Id", "1:100.8")),
        "session 1 has Framed-IP-Address 10.0.0.11, but its User-Name is bob, not alice, "
        "its NAS-Port-Id is 1:100.7, not 1:100.8",
    ),
    (
        (("User-Name", "alice"), ("Acct-Session-Id", "0000000100000002"), ("ADSL-Agent-Circuit-Id", b"x")),
        "session 2 has Acct-Session-Id 0000000100000002, but it has no ADSL-Agent-Circuit-Id",
    ),
    (
        (("User-Name", "alice"), ("Framed-IP-Address", IPv4Address("10.0.0.13")), ("NAS-Port-Id", "1:7")),
        "session 3 has Framed-IP-Address 10.0.0.13, but its NAS-Port-Id is 1:100.8, not 1:7",
    ),
]


@pytest.mark.parametrize(("said", "why"), WHY)
def test_what_is_not_true_of_the_session_is_said(table: Table, said: tuple[tuple[str, Any], ...], why: str) -> None:
    assert ask(table, *said) == Refused(ErrorCause.SESSION_CONTEXT_NOT_FOUND, why)


def test_what_the_dictionary_has_not_is_called_by_its_number(table: Table) -> None:
    refused = understand(
        STANDARD.explode([STANDARD["User-Name"].encode("bob"), (64, b"\0\0\0\3")]),
        False, table, lambda _: None, deciders(), None,
    )  # fmt: skip
    assert refused == Refused(ErrorCause.UNSUPPORTED_ATTRIBUTE, "attribute 64 means nothing here")


REFUSED: list[tuple[str, tuple[tuple[str, Any], ...], ErrorCause]] = [
    ("two are that", (("User-Name", "alice"),), ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED),
    ("not served yet", (("User-Name", "carol"),), ErrorCause.SESSION_CONTEXT_NOT_FOUND),
    ("nobody", (), ErrorCause.MISSING_ATTRIBUTE),
    ("another gateway", (("NAS-Identifier", "nas-2"), ("User-Name", "bob")), ErrorCause.NAS_IDENTIFICATION_MISMATCH),
    (
        "another gateway's address",
        (("NAS-IP-Address", IPv4Address("192.0.2.9")), ("User-Name", "bob")),
        ErrorCause.NAS_IDENTIFICATION_MISMATCH,
    ),
    ("no line", (("NAS-Port-Id", "eth0"),), ErrorCause.SESSION_CONTEXT_NOT_FOUND),
    ("a change in a Disconnect", (("User-Name", "bob"), ("Filter-Id", "gold")), ErrorCause.UNSUPPORTED_ATTRIBUTE),
]


@pytest.mark.parametrize(("said", "cause"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_each_way_to_be_refused(table: Table, said: tuple[tuple[str, Any], ...], cause: ErrorCause) -> None:
    refused = ask(table, *said)
    assert isinstance(refused, Refused)
    assert refused.cause is cause
    assert refused.why


CHANGES: list[tuple[str, Any, ErrorCause]] = [
    ("Filter-Id", "silver", ErrorCause.INVALID_ATTRIBUTE_VALUE),
    ("Framed-Pool", "residential", ErrorCause.UNSUPPORTED_ATTRIBUTE),
    ("Delegated-IPv6-Prefix-Pool", "p", ErrorCause.UNSUPPORTED_ATTRIBUTE),
    ("Acct-Authentic", 1, ErrorCause.UNSUPPORTED_ATTRIBUTE),
    ("Service-Type", 17, ErrorCause.UNSUPPORTED_SERVICE),
]


@pytest.mark.parametrize(("name", "value", "cause"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_change_that_cannot_be_made_changes_nothing(table: Table, name: str, value: Any, cause: ErrorCause) -> None:
    refused = ask(table, ("User-Name", "bob"), ("Session-Timeout", 60), (name, value), disconnects=False)
    assert isinstance(refused, Refused)
    assert refused.cause is cause


def test_a_change(table: Table) -> None:
    order = ask(table, ("User-Name", "bob"), ("Filter-Id", "gold"), ("Event-Timestamp", 1), disconnects=False)
    assert isinstance(order, Order)
    assert order.session is BOB
    assert order.service is not None
    assert (order.service.name, order.service.subscriber, order.service.pool) == ("gold", "bob", "residential")
    nothing = ask(table, ("User-Name", "bob"), disconnects=False)
    assert isinstance(nothing, Refused)
    assert nothing.cause is ErrorCause.MISSING_ATTRIBUTE


def test_who_is_on_its_way_to_the_disk_can_be_ended_and_changed_a_moment_later(table: Table) -> None:
    for phase in (Phase.RECORDING, Phase.INSTALLING):
        table.put(replace(BOB, phase=phase), BootNs(1))
        order = ask(table, ("User-Name", "bob"))
        assert isinstance(order, Order)
        refused = ask(table, ("User-Name", "bob"), ("Filter-Id", "gold"), disconnects=False)
        assert isinstance(refused, Refused)
        assert refused.cause is ErrorCause.RESOURCES_UNAVAILABLE


def test_a_time_that_is_said_counts_anew(table: Table) -> None:
    for said, anew in ((("Session-Timeout", 60), True), (("Filter-Id", "gold"), False)):
        order = ask(table, ("User-Name", "bob"), said, disconnects=False)
        assert isinstance(order, Order)
        assert order.anew is anew


def test_whom_the_configuration_decides_about_can_be_ended_and_not_changed(table: Table) -> None:
    assert ask(table, ("User-Name", "dave")) == Order(LOCAL, None)
    refused = ask(table, ("User-Name", "dave"), ("Filter-Id", "gold"), disconnects=False)
    assert isinstance(refused, Refused)
    assert refused.cause is ErrorCause.ADMINISTRATIVELY_PROHIBITED


def test_a_controller_has_its_own_groups(table: Table) -> None:
    assert ask(table, ("User-Name", "bob"), groups=frozenset(("group",))) == Order(BOB, None)
    assert isinstance(ask(table, ("User-Name", "bob"), groups=frozenset(("another",))), Refused)
    assert isinstance(ask(table, ("User-Name", "dave"), groups=frozenset(("group",))), Refused)
    assert ask(table, ("User-Name", "dave")) == Order(LOCAL, None)


def test_a_value_of_the_wrong_length(table: Table) -> None:
    refused = understand(STANDARD.explode([(8, b"abc")]), True, table, lambda _: None, deciders(), None)
    assert isinstance(refused, Refused)
    assert refused.cause is ErrorCause.INVALID_ATTRIBUTE_VALUE
