"""From a frame to a line: what is believed on which port, and what is not."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from tests.access.messages import (
    ADDRESS,
    CLIENT_MAC,
    GATEWAY,
    OTHER,
    QINQ,
    RELAY_MAC,
    circuit,
    renewal,
    sent,
)
from wayleave.access.demux import Heard, Ignored, hear, sender
from wayleave.access.settings import PortSettings
from wayleave.net.frame import TPID_C, TPID_S, Tag
from wayleave.net.mac import Mac
from wayleave.proto.dhcp4.message import MessageType
from wayleave.session.model import Client, Line

DISCOVER = MessageType.DISCOVER
RELAY = IPv4Address("10.9.0.1")
PLAIN = PortSettings(number=1, device="olt0", role="subscriber")
TRUSTED = PortSettings(number=2, device="olt1", role="subscriber", trusted=True)
RELAYED = PortSettings(number=3, device="core0", role="subscriber", trusted=True, relays=(RELAY,))


def heard(port: PortSettings, data: bytes) -> Heard:
    found = hear(port, data)
    assert isinstance(found, Heard)
    return found


def test_a_frame_tells_its_port_its_tags_and_whether_it_was_for_everybody() -> None:
    found = heard(PLAIN, sent(DISCOVER))
    assert (found.port, found.source, found.vids, found.unicast, found.circuit) == (
        1,
        CLIENT_MAC,
        (100, 7),
        False,
        None,
    )
    assert found.message.chaddr == CLIENT_MAC
    assert heard(PLAIN, renewal()).unicast


@pytest.mark.parametrize(
    ("tags", "vids", "kept"),
    [
        ((), (0, 0), ()),
        ((Tag(TPID_C, 5),), (5, 0), (Tag(TPID_C, 5),)),
        ((Tag(TPID_S, 5),), (5, 0), (Tag(TPID_S, 5),)),
        ((Tag(TPID_C, 0, 6),), (0, 0), ()),
        ((Tag(TPID_C, 0, 6), Tag(TPID_C, 9)), (9, 0), (Tag(TPID_C, 9),)),
        ((Tag(TPID_S, 9, 3), Tag(TPID_C, 0, 5)), (9, 0), (Tag(TPID_S, 9),)),
        ((Tag(TPID_S, 7, 3), Tag(TPID_C, 7, 5)), (7, 7), (Tag(TPID_S, 7), Tag(TPID_C, 7))),
        ((Tag(TPID_C, 7), Tag(TPID_S, 8)), (7, 8), (Tag(TPID_C, 7), Tag(TPID_S, 8))),
    ],
)
def test_priority_tags_count_as_none_and_priorities_are_not_echoed(
    tags: tuple[Tag, ...], vids: tuple[int, int], kept: tuple[Tag, ...]
) -> None:
    found = heard(PLAIN, sent(DISCOVER, tags=tags))
    assert (found.vids, found.tags) == (vids, kept)


def test_option_82_is_believed_only_where_an_access_node_writes_it() -> None:
    data = sent(DISCOVER, {82: circuit(b"door-1")})
    assert hear(PLAIN, data) is Ignored.UNTRUSTED_OPTION_82
    assert heard(TRUSTED, data).circuit == b"door-1"


def test_an_option_82_without_a_circuit_id_or_with_an_empty_one_names_no_circuit() -> None:
    assert heard(TRUSTED, sent(DISCOVER, {82: b"\2\4node"})).circuit is None
    assert heard(TRUSTED, sent(DISCOVER, {82: b"\1\0"})).circuit is None
    assert heard(TRUSTED, sent(DISCOVER, {82: b""})).circuit is None
    assert hear(PLAIN, sent(DISCOVER, {82: b""})) is Ignored.UNTRUSTED_OPTION_82


@pytest.mark.parametrize("value", [b"\1", b"\1\5door", b"\1\4door\1\4gate", b"\5\3abc"])
def test_an_option_82_that_does_not_add_up_is_malformed(value: bytes) -> None:
    assert hear(TRUSTED, sent(DISCOVER, {82: value})) is Ignored.MALFORMED_DHCP


def test_a_client_may_ask_only_for_the_mac_it_sends_from() -> None:
    assert hear(PLAIN, sent(DISCOVER, chaddr=Mac(b"\2\0\0\0\0\x99"))) is Ignored.CHADDR_MISMATCH
    assert hear(TRUSTED, renewal(chaddr=Mac(b"\2\0\0\0\0\x99"))) is Ignored.CHADDR_MISMATCH


def test_a_relay_is_believed_if_its_giaddr_is_configured() -> None:
    data = sent(DISCOVER, {82: circuit(b"door-1")}, giaddr=RELAY, source=RELAY_MAC, to=GATEWAY)
    found = heard(RELAYED, data)
    assert (found.source, found.message.chaddr, found.circuit) == (RELAY_MAC, CLIENT_MAC, b"door-1")
    assert hear(TRUSTED, data) is Ignored.UNKNOWN_RELAY
    assert hear(RELAYED, sent(DISCOVER, giaddr=OTHER, source=RELAY_MAC)) is Ignored.UNKNOWN_RELAY
    assert hear(PLAIN, sent(DISCOVER, giaddr=RELAY)) is Ignored.UNKNOWN_RELAY


def test_every_cut_of_a_frame_is_malformed_and_never_an_exception() -> None:
    data = sent(DISCOVER, {82: circuit(b"door-1"), 50: ADDRESS.packed})
    assert isinstance(hear(TRUSTED, data), Heard)
    for length in range(len(data)):
        assert hear(TRUSTED, data[:length]) is Ignored.MALFORMED_FRAME


def test_what_is_no_dhcp_inside_is_told_apart_from_what_is_no_frame() -> None:
    good = sent(DISCOVER, tags=QINQ)
    start = 22 + 20 + 8
    no_checksum = good[: start - 2] + b"\0\0"
    assert hear(PLAIN, no_checksum + b"\xee" * len(good[start:])) is Ignored.MALFORMED_DHCP
    assert hear(PLAIN, good[:-1] + b"\xee") is Ignored.MALFORMED_FRAME, "its UDP checksum is wrong"
    assert hear(PLAIN, good[:12] + b"\x81\x00\x00\x07" + good[12:]) is Ignored.MALFORMED_FRAME, "three tags"


def test_whoever_sends_a_frame_has_a_name_whatever_is_in_it() -> None:
    assert sender(3, sent(DISCOVER, tags=QINQ)[:22]) == Client(Line(3, 100, 7), CLIENT_MAC)
    assert sender(3, sent(DISCOVER, tags=())[:14] + b"nonsense") == Client(Line(3), CLIENT_MAC)
    for length in range(14):
        assert sender(3, sent(DISCOVER)[:length]) is None
