"""Journals: what is noted under which name, what is left out for want of room, and where a journal goes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session import lifecycle as life
from wayleave.session.journal import ENDING, KINDS, ROOM, Journal
from wayleave.session.lifecycle import Answer, Reply
from wayleave.session.model import Client, CloseCause, Lease, Line, Link, Phase, Rate, Service, Session, Subnet
from wayleave.session.recent import CLIENTS, STRANGERS
from wayleave.session.refusal import Reason, Refusal

ADDRESS = IPv4Address("10.0.0.2")
LEASE = Lease(ADDRESS, "home", Subnet(IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1")), Ns(60), Ns(60))


class Ask:
    called = b"DISCOVER"


def client(number: int = 1) -> Client:
    return Client(Line(1, 100), Mac(number.to_bytes(6, "big")))


def session(id_: int = 0, number: int = 1, **fields: Any) -> Session:
    return Session(id=id_, client=client(number), phase=Phase.ACTIVE, since=BootNs(1), ask=Ask(), **fields)


HOME = session(service=Service(tenant="default", pool="home"))
SMITH = session(service=Service(tenant="default", pool="home", subscriber="smith"))
EVENTS: list[tuple[life.Event, tuple[str, str]]] = [
    (life.Discovered(client=client(), ask=Ask(), encapsulation=b""), ("asked", "DISCOVER")),
    (life.Discovered(client=client(), ask=Ask(), encapsulation=b"", wanted=ADDRESS), ("asked", "DISCOVER 10.0.0.2")),
    (life.Requested(client=client(), ask=Ask(), encapsulation=b"", address=ADDRESS), ("asked", "DISCOVER 10.0.0.2")),
    (life.Queried(Ask()), ("asked", "DISCOVER")),
    (life.Released(ADDRESS), ("released", "10.0.0.2")),
    (life.Declined(ADDRESS), ("declined", "10.0.0.2")),
    (life.Withdrawn(), ("took-another-offer", "")),
    (
        life.Dialed(client=client(), ask=Ask(), encapsulation=b"", link=Link("alice")),
        ("dialed", "DISCOVER: alice"),
    ),
    (life.HungUp(CloseCause.USER_REQUEST, "PADT"), ("hung-up", "PADT")),
    (
        life.Changed(Service(tenant="t", pool="p", name="gold", up=Rate(5_000_000, 9000))),
        ("changed", "gold, up 5 Mbit/s"),
    ),
    (life.Denied(Refusal(Reason.BLOCKED, "blocked")), ("not-authorized", "DISCOVER: blocked")),
    (life.Exhausted(Refusal(Reason.POOL_EMPTY, "pool home is empty")), ("no-address", "DISCOVER: pool home is empty")),
    (life.RecordFailed(Refusal(Reason.STORE_FAILED, "disk full")), ("not-recorded", "DISCOVER: disk full")),
    (life.InstallFailed(Refusal(Reason.TABLE_FULL, "table full")), ("not-installed", "DISCOVER: table full")),
    (
        life.Changed(Service(tenant="t", pool="home", name="gold", up=Rate.of(5_000_000))),
        ("changed", "gold, up 5 Mbit/s"),
    ),
]
NOT_YOURS = Refusal(Reason.ADDRESS_NOT_ITS_OWN, "not yours")
ANSWERS: list[tuple[Session, Reply, tuple[str, str]]] = [
    (HOME, Reply(Ask(), Answer.OFFER, LEASE), ("offered", "DISCOVER: home 10.0.0.2")),
    (SMITH, Reply(Ask(), Answer.OFFER, LEASE), ("offered", "DISCOVER: home, subscriber smith: 10.0.0.2")),
    (HOME, Reply(Ask(), Answer.CONFIRM, LEASE, Ns(3600 * SECOND)), ("confirmed", "DISCOVER for 3600s")),
    (HOME, Reply(Ask(), Answer.REFUSE, refusal=NOT_YOURS), ("refused", "DISCOVER: not yours")),
    (HOME, Reply(Ask(), Answer.TELL, LEASE), ("told", "DISCOVER")),
    (SMITH, Reply(Ask(), Answer.ADMIT, LEASE), ("admitted", "DISCOVER: home, subscriber smith: 10.0.0.2")),
]


@pytest.mark.parametrize(("event", "entry"), EVENTS, ids=lambda item: type(item).__name__)
def test_an_event_is_told_again(event: life.Event, entry: tuple[str, str]) -> None:
    journal = Journal()
    journal.event(HOME, event, BootNs(7))
    (found,) = journal.of_session(0)
    assert (found.at, found.what, found.says) == (7, *entry)
    assert found.reason is (event.refusal.reason if hasattr(event, "refusal") else Reason.NONE)


@pytest.mark.parametrize(("who", "reply", "entry"), ANSWERS, ids=[entry[0] for *_, entry in ANSWERS])
def test_an_answer_is_told_again(who: Session, reply: Reply, entry: tuple[str, str]) -> None:
    journal = Journal()
    journal.answer(who, reply, BootNs(7))
    (found,) = journal.of_session(0)
    assert (found.what, found.says) == entry
    assert found.reason is (reply.refusal.reason if reply.refusal is not None else Reason.NONE)


def test_every_kind_has_a_case_and_a_code_of_its_own() -> None:
    told = {type(event) for event, _ in EVENTS} | {reply.answer for _, reply, _ in ANSWERS}
    assert told == {kind.of for kind in KINDS if kind.of is not None}
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_a_renewal_by_the_data_plane_is_noted_when_it_is_found_out() -> None:
    journal = Journal()
    journal.event(HOME, life.Due(), BootNs(9))
    journal.event(HOME, life.Due(BootNs(5)), BootNs(9))
    (found,) = journal.of_session(0)
    assert (found.at, found.what) == (5, "renewed")


@pytest.mark.parametrize("words", ["", "x", "twenty octets of text", "x" * 300, "é" * 100])
def test_the_oldest_go_first_and_the_rest_is_whole(words: str) -> None:
    journal = Journal()
    for number in range(1000):
        journal.note(0, ENDING, BootNs(number), words)
        assert journal.octets <= ROOM
    entries = journal.of_session(0)
    assert [entry.at for entry in entries] == list(range(1000 - len(entries), 1000))
    assert len(entries) >= 2
    assert all(words.startswith(entry.says.rstrip("\ufffd")) for entry in entries)


def test_a_journal_goes_with_its_client() -> None:
    """Refused, heard of without a session, let in, and gone: one story, under whatever id."""
    journal = Journal()
    journal.begin(3, client())
    journal.event(session(3), life.Denied(Refusal(Reason.BLOCKED, "blocked")), BootNs(1))
    journal.end(session(3))
    assert journal.of_session(3) == []
    journal.stranger(client(), BootNs(2), "malformed-dhcp")
    journal.stranger(client(), BootNs(3), life.Released(ADDRESS))
    assert list(journal.strangers()) == [client().key]
    journal.begin(8, client())
    assert list(journal.strangers()) == []
    assert [entry.what for entry in journal.of_session(8)] == ["not-authorized", "ignored", "released"]
    journal.end(session(8))
    assert len(journal.of_stranger(client().key)) == 3


def test_a_client_that_said_its_name_is_found_by_it_until_it_is_back_or_forgotten() -> None:
    journal = Journal()
    for number, name in ((1, "alice"), (2, "bob"), (3, "alice"), (4, "")):
        journal.begin(number, client(number))
        journal.note(number, ENDING, BootNs(number))
        journal.end(session(number, number, link=Link(name=name)))
    assert (journal.called("alice"), journal.called("bob")) == (client(3).key, client(2).key)
    assert (journal.called("eve"), journal.called("")) == (None, None)
    journal.begin(8, client(3))
    assert journal.called("alice") is None
    for number in range(CLIENTS + 1):
        other = Client(Line(2, number % 4000 + 1), Mac(number.to_bytes(6, "big")))
        journal.begin(9, other)
        journal.end(replace(session(9, link=Link(name=str(number))), client=other))
    assert journal.called("bob") is None
    assert len(journal._called) == CLIENTS


def test_a_line_that_makes_up_macs_leaves_other_lines_their_journals() -> None:
    """Refused strangers and sessions that end alike; who is heard of again is the last to go."""
    journal = Journal()
    elsewhere = Client(Line(1, 200), Mac(bytes(6)))
    journal.stranger(elsewhere, BootNs(1), "malformed-dhcp")
    for number in range(1, 5001):
        if number % 2:
            journal.stranger(client(number), BootNs(number), "malformed-dhcp")
        else:
            journal.begin(8, client(number))
            journal.note(8, ENDING, BootNs(number))
            journal.end(session(8, number))
        journal.stranger(client(1), BootNs(number), "malformed-dhcp")
    known = [number for number in range(1, 5001) if journal.of_stranger(client(number).key)]
    assert known == [1, *range(5001 - STRANGERS + 1, 5001)]
    assert len(journal.of_stranger(elsewhere.key)) == 1
