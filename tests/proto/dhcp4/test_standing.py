"""Standing replies: what they hold is what the server says, whoever asks in that form."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.fakes.router import ask
from wayleave.net.mac import Mac
from wayleave.proto.dhcp4 import message, server
from wayleave.proto.dhcp4.message import Message, MessageType, encode, encode_options
from wayleave.proto.dhcp4.server import Binding
from wayleave.proto.dhcp4.standing import StandingReply, form, say, standing

MAC = Mac(b"\2\0\0\0\0\1")
BINDING = Binding(
    address=IPv4Address("10.0.0.9"),
    netmask=IPv4Address("255.255.255.0"),
    server_id=IPv4Address("10.0.0.1"),
    lease_s=3600,
    routers=(IPv4Address("10.0.0.1"),),
    dns=(IPv4Address("9.9.9.9"),),
    domain="example.net",
    routes=((IPv4Network("192.0.2.0/24"), IPv4Address("10.0.0.1")),),
    extra={43: b"\1\2\3", 108: b"\0\0\1\x2c"},
)


def request(options: dict[int, bytes], **fields: Any) -> Message:
    return replace(ask(MessageType.REQUEST, MAC, 7, options), **fields)


def test_the_form_is_what_a_reply_depends_on_and_nothing_else() -> None:
    asked = {60: b"udhcp", 12: b"name", 55: b"\1\3", 61: b"\1abc", 82: b"\1\1x", 57: b"\2\x40", 50: b"\12\0\0\x09"}
    assert form(request(asked)) == b"\x37\2\1\3" + b"\x39\2\2\x40" + b"\x3c\5udhcp"
    assert form(request(dict(reversed(asked.items())))) == form(request(asked))
    assert form(request({})) == b""
    assert form(request({55: b""})) == b"\x37\0"


def test_forms_are_kept_once() -> None:
    assert form(request({55: b"\1\3"})) is form(request({55: b"\1\3"}))


def test_a_form_that_takes_more_than_one_option_has_no_standing_reply() -> None:
    assert form(request({60: bytes(256)})) is None
    assert form(request({60: bytes(255)})) is not None


def test_a_reply_for_which_the_client_has_no_room_does_not_stand() -> None:
    large = replace(BINDING, extra={43: bytes(250), 125: bytes(100)})
    asked = form(request({55: bytes((43, 125))}))
    assert asked is not None
    assert standing(asked, large) is None
    asked = form(request({55: bytes((43, 125)), 57: b"\5\xdc"}))
    assert asked is not None
    assert standing(asked, large) is not None


@given(
    st.dictionaries(st.sampled_from([55, 57, 60, 77, 12, 61, 82]), st.binary(max_size=20)),
    st.integers(0, 1 << 32),
    st.integers(0, 0xFFFF),
)
def test_with_what_is_copied_it_is_the_servers_own_reply(options: dict[int, bytes], xid: int, flags: int) -> None:
    asked = request(options, xid=xid & 0xFFFFFFFF, flags=flags)
    shape = form(asked)
    assert shape is not None
    reply = standing(shape, BINDING)
    assert reply is not None
    copied = encode_options({code: options[code] for code in (61, 82) if code in options})
    said = message.encode(server.ack(asked, BINDING), server.limit(asked))
    assert (reply.options + copied + b"\xff").ljust(60, b"\0") == said[240:]
    assert (reply.server, reply.lease_s) == (BINDING.server_id, BINDING.lease_s)


# ---- said by Python ---------------------------------------------------------------------

SAYS = {MessageType.OFFER: server.offer, MessageType.ACK: server.ack}
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
OPTIONS = st.dictionaries(st.sampled_from([55, 57, 60, 77, 12, 61, 82]), st.binary(max_size=300))


def ready(asked: Message) -> StandingReply | None:
    """The standing reply for a request's form, if there can be one."""
    shape = form(asked)
    return standing(shape, BINDING) if shape is not None else None


@pytest.mark.parametrize("kind", SAYS)
@given(OPTIONS, ADDRESSES, ADDRESSES, ADDRESSES, st.integers(0, 0xFFFF))
def test_python_says_with_it_what_the_server_says(
    kind: MessageType,
    options: dict[int, bytes],
    ciaddr: IPv4Address,
    giaddr: IPv4Address,
    address: IPv4Address,
    flags: int,
) -> None:
    """The reply was made with another address, and for another request of the form."""
    asked = request(options, ciaddr=ciaddr, giaddr=giaddr, flags=flags, hops=3, secs=7)
    reply = ready(asked)
    said = say(reply, kind, asked, address) if reply is not None else None
    if said is not None:
        assert said == encode(SAYS[kind](asked, replace(BINDING, address=address)), server.limit(asked))


def test_an_ordinary_request_is_answered_with_it() -> None:
    asked = request({55: b"\1\3\6\x0f", 61: b"\1" + bytes(6), 82: b"\1\4door"})
    reply = ready(asked)
    assert reply is not None
    assert say(reply, MessageType.OFFER, asked, BINDING.address) == encode(server.offer(asked, BINDING))


@pytest.mark.parametrize(
    "options",
    [{82: bytes(256)}, {61: bytes(256)}, {55: bytes((1, 3, 6, 15)), 61: bytes(140), 82: bytes(140)}],
    ids=["82 is split", "61 is split", "not all fits"],
)
def test_what_takes_a_choice_is_left_to_the_server(options: dict[int, bytes]) -> None:
    asked = request(options)
    reply = ready(asked)
    assert reply is not None
    assert say(reply, MessageType.ACK, asked, BINDING.address) is None
