"""A standing reply says what the server would say, octet for octet, to every request of its form."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.net.mac import Mac
from wayleave.proto.dhcp4 import server, standing
from wayleave.proto.dhcp4.message import BROADCAST_FLAG, ZERO, Message, MessageType, encode
from wayleave.proto.dhcp4.server import Binding

BINDING = Binding(
    address=IPv4Address("10.0.0.9"),
    netmask=IPv4Address("255.255.255.0"),
    server_id=IPv4Address("10.0.0.1"),
    lease_s=3600,
    routers=(IPv4Address("10.0.0.1"),),
    dns=(IPv4Address("192.0.2.53"), IPv4Address("192.0.2.54")),
    domain="example.net",
    extra={43: bytes(200), 108: bytes(4)},
)
SAYS = {MessageType.OFFER: server.offer, MessageType.ACK: server.ack}

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
octets = st.binary(max_size=300)
options = st.fixed_dictionaries(
    {53: st.just(b"\3")},
    optional={
        55: st.binary(max_size=40) | st.permutations((1, 3, 6, 15, 43, 108)).map(bytes),
        57: st.sampled_from((b"\x02\x40", b"\x05\xdc", b"\xff\xff", b"\0")),
        60: octets,
        61: octets,
        77: octets,
        82: octets,
        12: octets,
    },
)


def request(told: dict[int, bytes], ciaddr: IPv4Address = ZERO, giaddr: IPv4Address = ZERO) -> Message:
    return Message(
        op=1, htype=1, hlen=6, hops=3, xid=0x01020304, secs=7, flags=BROADCAST_FLAG, ciaddr=ciaddr, yiaddr=ZERO,
        siaddr=ZERO, giaddr=giaddr, chaddr=Mac(b"\2\0\0\0\0\7"), sname=b"", file=b"", options=told,
    )  # fmt: skip


@pytest.mark.parametrize("kind", SAYS)
@given(options, addresses, addresses, addresses)
def test_it_says_what_the_server_says(
    kind: MessageType, told: dict[int, bytes], ciaddr: IPv4Address, giaddr: IPv4Address, other: IPv4Address
) -> None:
    """The form was first heard with another address, and everything else of a request may differ."""
    asked = request(told, ciaddr, giaddr)
    form = standing.form(asked)
    if form is None:
        return
    reply = standing.standing(form, BINDING)
    said = standing.say(reply, kind, asked, other) if reply is not None else None
    if said is not None:
        binding = Binding(**{name: getattr(BINDING, name) for name in Binding.__struct_fields__} | {"address": other})
        assert said == encode(SAYS[kind](asked, binding), server.limit(asked))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({82: bytes(256)}, "option 82 is to be split"),
        ({61: bytes(256)}, "option 61 is to be split"),
        ({55: bytes((3, 43)), 61: bytes(80)}, "not all fits into 576 octets"),
    ],
)
def test_it_leaves_to_the_server_what_takes_a_choice(told: dict[int, bytes], why: str) -> None:
    asked = request(told)
    form = standing.form(asked)
    assert form is not None
    reply = standing.standing(form, BINDING)
    assert reply is not None
    assert standing.say(reply, MessageType.ACK, asked, BINDING.address) is None, why


def test_an_ordinary_request_is_answered_by_it() -> None:
    asked = request({55: bytes((1, 3, 6, 15)), 61: b"\1" + bytes(6), 82: b"\1\4door"})
    form = standing.form(asked)
    assert form is not None
    reply = standing.standing(form, BINDING)
    assert reply is not None
    assert standing.say(reply, MessageType.OFFER, asked, BINDING.address) == encode(server.offer(asked, BINDING), 576)


def test_a_form_too_long_for_the_data_plane_is_none() -> None:
    assert standing.form(request({60: bytes(256)})) is None


def test_equal_forms_are_the_same_octets() -> None:
    first, second = (standing.form(request({55: bytes((1, 3)), 60: b"vendor"})) for _ in range(2))
    assert first == bytes((55, 2, 1, 3, 60, 6)) + b"vendor"
    assert first is second
