"""The server's rules, one story a rule, told with messages of real clients where there are any."""

from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from tests.vectors import load
from wayleave.net.mac import BROADCAST, Mac
from wayleave.proto.dhcp4.message import BOOTREPLY, BROADCAST_FLAG, ZERO, Message, MessageType, decode, encode
from wayleave.proto.dhcp4.options import CLASSLESS_ROUTES
from wayleave.proto.dhcp4.server import (
    Binding,
    Destination,
    Ignored,
    Kind,
    Reason,
    Request,
    ack,
    classify,
    destination,
    inform_ack,
    limit,
    nak,
    offer,
)

CAPTURED = load("dhcp4_messages")
CLIENT, RELAY = Mac.parse("02:00:00:00:00:01"), Mac.parse("02:00:00:00:00:aa")
ADDRESS, GATEWAY, ELSEWHERE = IPv4Address("10.0.1.50"), IPv4Address("10.0.1.1"), IPv4Address("10.9.9.9")
GIADDR = IPv4Address("192.0.2.1")
EVERYONE = IPv4Address("255.255.255.255")
BINDING = Binding(
    address=ADDRESS,
    netmask=IPv4Address("255.255.255.0"),
    server_id=GATEWAY,
    lease_s=3600,
    routers=(GATEWAY,),
    dns=(IPv4Address("9.9.9.9"), IPv4Address("1.1.1.1")),
    domain="example.net",
    mtu=1492,
    ntp=(IPv4Address("192.0.2.123"),),
)
ROUTED = msgspec.structs.replace(BINDING, routes=((IPv4Network("192.0.2.0/24"), GATEWAY),))
ALWAYS = [53, 54, 51, 58, 59, 1]
REPLIES = [offer, ack, inform_ack]

# What clients ask for, in their order; udhcpc, dhclient and perfdhcp are in the captured messages too.
OPTION_LISTS = {
    "udhcpc": [1, 3, 6, 12, 15, 28, 42],
    "dhclient": [1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42],
    "dhcpcd": [1, 121, 33, 3, 6, 15, 26, 28, 42, 51, 54, 58, 59, 119],
    "Windows 10": [1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252],
    "Android": [1, 3, 6, 15, 26, 28, 51, 58, 59, 43, 114, 108],
    "perfdhcp": [1, 28, 2, 3, 15, 6, 12],
}


def message(kind: int | None = 1, *, ciaddr=ZERO, giaddr=ZERO, flags=0, op=1, chaddr=CLIENT, **options) -> Message:
    """A client's message; options are named `o50` and so on."""
    raw = {int(name.removeprefix("o")): value for name, value in options.items()}
    if kind is not None:
        raw = {53: bytes((kind,)), **raw}
    return Message(op, 1, 6, 3, 0x3903F326, 9, flags, ciaddr, ZERO, ZERO, giaddr, chaddr, b"", b"", raw)


def asking(*codes: int, **more) -> Message:
    return message(o55=bytes(codes), **more)


def parameters(reply: Message) -> list[int]:
    """The codes of a reply behind those that every OFFER and ACK has."""
    assert list(reply.options)[:6] == ALWAYS
    return list(reply.options)[6:]


# Who wants what


@pytest.mark.parametrize("row", CAPTURED, ids=lambda row: f"{row['source'].split()[0]} {row['meaning']}")
def test_captured_clients_are_understood(row):
    seen = decode(bytes.fromhex(row["hex"]))
    request = classify(seen, row["unicast"])
    assert isinstance(request, Request)
    assert request.kind is Kind[row["kind"]]
    assert str(request.address) == str(row["address"])
    assert request.client_id == seen.options.get(61)
    assert request.message is seen


@pytest.mark.parametrize(
    ("asked", "unicast", "kind", "address", "server"),
    [
        (message(1), False, Kind.DISCOVER, None, None),
        (message(1, o50=ADDRESS.packed), False, Kind.DISCOVER, ADDRESS, None),
        (message(1, o50=bytes(4)), False, Kind.DISCOVER, None, None),
        (message(3, o50=ADDRESS.packed, o54=GATEWAY.packed), False, Kind.SELECTING, ADDRESS, GATEWAY),
        (message(3, o50=ADDRESS.packed, o54=ELSEWHERE.packed), False, Kind.SELECTING, ADDRESS, ELSEWHERE),
        (message(3, o50=ADDRESS.packed), False, Kind.INIT_REBOOT, ADDRESS, None),
        (message(3, o50=ADDRESS.packed), True, Kind.INIT_REBOOT, ADDRESS, None),
        (message(3, ciaddr=ADDRESS), True, Kind.RENEWING, ADDRESS, None),
        (message(3, ciaddr=ADDRESS), False, Kind.REBINDING, ADDRESS, None),
        (message(3, ciaddr=ADDRESS, giaddr=GIADDR), True, Kind.REBINDING, ADDRESS, None),
        (message(3, ciaddr=ADDRESS, o50=ADDRESS.packed), True, Kind.RENEWING, ADDRESS, None),
        (message(4, o50=ADDRESS.packed, o54=GATEWAY.packed), False, Kind.DECLINE, ADDRESS, GATEWAY),
        (message(7, ciaddr=ADDRESS, o54=GATEWAY.packed), True, Kind.RELEASE, ADDRESS, GATEWAY),
        (message(8, ciaddr=ADDRESS), False, Kind.INFORM, ADDRESS, None),
        (message(8, ciaddr=ADDRESS), True, Kind.INFORM, ADDRESS, None),
    ],
)
def test_table_4(asked, unicast, kind, address, server):
    """RFC 2131 4.3.2, table 4: what option 54, option 50 and ciaddr say about the client's state."""
    assert classify(asked, unicast) == Request(kind, address, server, None, asked)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (message(1, op=2), Reason.NOT_A_REQUEST),
        (message(1, op=0), Reason.NOT_A_REQUEST),
        (message(1, chaddr=Mac(bytes(6))), Reason.BAD_HARDWARE_ADDRESS),
        (message(1, chaddr=BROADCAST), Reason.BAD_HARDWARE_ADDRESS),
        (message(1, chaddr=Mac.parse("01:00:5e:00:00:01")), Reason.BAD_HARDWARE_ADDRESS),
        (message(None), Reason.NO_MESSAGE_TYPE),
        (message(None, o53=b""), Reason.NOT_FOR_SERVERS),
        (message(None, o53=b"\1\1"), Reason.NOT_FOR_SERVERS),
        (message(0), Reason.NOT_FOR_SERVERS),
        (message(2), Reason.NOT_FOR_SERVERS),
        (message(5), Reason.NOT_FOR_SERVERS),
        (message(6), Reason.NOT_FOR_SERVERS),
        (message(9), Reason.NOT_FOR_SERVERS),
        (message(3, o50=b"\x0a\0\1"), Reason.BAD_LENGTH),
        (message(3, o50=b""), Reason.BAD_LENGTH),
        (message(3, o50=ADDRESS.packed, o54=b"\x0a\0\1\1\1"), Reason.BAD_LENGTH),
        (message(1, ciaddr=ADDRESS), Reason.CIADDR_SET),
        (message(3), Reason.NO_ADDRESS),
        (message(3, o50=bytes(4)), Reason.NO_ADDRESS),
        (message(3, o54=GATEWAY.packed), Reason.NO_ADDRESS),
        (message(3, o54=GATEWAY.packed, ciaddr=ADDRESS), Reason.CIADDR_SET),
        (message(3, o54=GATEWAY.packed, o50=ADDRESS.packed, ciaddr=ADDRESS), Reason.CIADDR_SET),
        (message(3, o50=ELSEWHERE.packed, ciaddr=ADDRESS), Reason.TWO_ADDRESSES),
        (message(4, o50=ADDRESS.packed), Reason.NO_SERVER),
        (message(4, o54=GATEWAY.packed), Reason.NO_ADDRESS),
        (message(4, o50=ADDRESS.packed, o54=GATEWAY.packed, ciaddr=ADDRESS), Reason.CIADDR_SET),
        (message(7, ciaddr=ADDRESS), Reason.NO_SERVER),
        (message(7, o54=GATEWAY.packed), Reason.NO_ADDRESS),
        (message(7, o54=GATEWAY.packed, o50=ADDRESS.packed), Reason.NO_ADDRESS),
        (message(8), Reason.NO_ADDRESS),
    ],
)
@pytest.mark.parametrize("unicast", [True, False])
def test_table_5(asked, reason, unicast):
    """RFC 2131 4.4.1, table 5: combinations that no client may send are dropped with a reason."""
    assert classify(asked, unicast) == Ignored(reason)


def test_every_reason_is_reachable():
    rows = next(mark for mark in test_table_5.pytestmark if mark.args[0] == ("asked", "reason")).args[1]
    assert {reason for _, reason in rows} == set(Reason)


def test_the_client_identifier_is_taken_out():
    request = classify(message(1, o61=b"\xff\1\2\3\4"), False)
    assert isinstance(request, Request)
    assert request.client_id == b"\xff\1\2\3\4"


@given(
    st.integers(0, 9),
    st.sampled_from([ZERO, ADDRESS]),
    st.sampled_from([ZERO, GIADDR]),
    st.dictionaries(st.sampled_from([50, 54, 55, 57, 61, 82]), st.binary(max_size=5)),
    st.booleans(),
)
def test_nothing_that_decodes_raises(kind, ciaddr, giaddr, options, unicast):
    asked = message(kind, ciaddr=ciaddr, giaddr=giaddr, **{f"o{code}": value for code, value in options.items()})
    asked = decode(encode(asked))
    verdict = classify(asked, unicast)
    assert isinstance(verdict, Request | Ignored)
    for reply in (offer(asked, ROUTED), ack(asked, ROUTED), inform_ack(asked, ROUTED), nak(asked, GATEWAY, "no")):
        wire = encode(reply, limit(asked))
        assert decode(wire) == reply
        assert reply.relay_agent == asked.relay_agent
        destination(asked, reply, CLIENT)


# What a reply says


def test_an_offer_octet_for_octet():
    """10.0.1.50 is 0a 00 01 32 on the wire. The request is udhcpc's."""
    asked = decode(bytes.fromhex(CAPTURED[3]["hex"]))
    wire = encode(offer(asked, BINDING), limit(asked))
    assert wire[:28].hex(" ") == ("02 01 06 00 37 06 40 7c 00 00 00 00 00 00 00 00 0a 00 01 32 00 00 00 00 00 00 00 00")
    assert wire[28:44] == CLIENT + bytes(10)
    assert wire[44:236] == bytes(192)
    assert wire[236:].hex(" ") == (
        "63 82 53 63 35 01 02 36 04 0a 00 01 01 33 04 00 00 0e 10 3a 04 00 00 07 08 3b 04 00 00 0c 4e "
        "01 04 ff ff ff 00 03 04 0a 00 01 01 06 08 09 09 09 09 01 01 01 01 "
        "0f 0b 65 78 61 6d 70 6c 65 2e 6e 65 74 2a 04 c0 00 02 7b 3d 07 01 02 00 00 00 00 01 ff"
    )


@pytest.mark.parametrize("row", CAPTURED, ids=lambda row: f"{row['source'].split()[0]} {row['meaning']}")
def test_scapy_reads_an_answer_to_every_captured_client(row):
    asked = decode(bytes.fromhex(row["hex"]))
    seen = BOOTP(encode(ack(asked, BINDING), limit(asked)))
    assert (seen.op, seen.xid, seen.yiaddr, seen.giaddr) == (2, asked.xid, "10.0.1.50", str(asked.giaddr))
    told = {item[0]: item[1] for item in seen[DHCP].options if isinstance(item, tuple)}
    assert told["message-type"] == 5
    assert told["server_id"] == "10.0.1.1"
    assert (told["lease_time"], told["renewal_time"], told["rebinding_time"]) == (3600, 1800, 3150)
    assert told["subnet_mask"] == "255.255.255.0"


@pytest.mark.parametrize("reply", REPLIES)
def test_table_3(reply):
    """RFC 2131 4.3.1, table 3: xid, flags, giaddr, chaddr come back; hops and secs do not."""
    asked = asking(1, giaddr=GIADDR, flags=BROADCAST_FLAG, ciaddr=ADDRESS)
    answer = reply(asked, BINDING)
    assert (answer.op, answer.htype, answer.hlen, answer.hops) == (BOOTREPLY, 1, 6, 0)
    assert (answer.xid, answer.secs, answer.flags) == (0x3903F326, 0, BROADCAST_FLAG)
    assert (answer.siaddr, answer.giaddr, answer.chaddr) == (ZERO, GIADDR, CLIENT)
    assert (answer.sname, answer.file) == (b"", b"")
    assert answer.ciaddr == (ZERO if reply is offer else ADDRESS)
    assert answer.yiaddr == (ZERO if reply is inform_ack else ADDRESS)
    assert answer.message_type is (MessageType.OFFER if reply is offer else MessageType.ACK)


@pytest.mark.parametrize(
    ("lease", "renew", "rebind", "expected"),
    [
        (3600, None, None, (3600, 1800, 3150)),
        (3599, None, None, (3599, 1799, 3149)),
        (1, None, None, (1, 0, 0)),
        (86400, 600, None, (86400, 600, 75600)),
        (86400, 600, 900, (86400, 600, 900)),
        (0xFFFFFFFF, None, None, (0xFFFFFFFF, 0x7FFFFFFF, 0xDFFFFFFF)),
    ],
)
@pytest.mark.parametrize("reply", [offer, ack])
def test_times(reply, lease, renew, rebind, expected):
    """RFC 2131 4.4.5: T1 and T2 are 0.5 and 0.875 of the lease unless given; here in whole seconds, rounded down."""
    binding = msgspec.structs.replace(BINDING, lease_s=lease, renew_s=renew, rebind_s=rebind)
    options = reply(asking(1), binding).options
    assert tuple(int.from_bytes(options[code], "big") for code in (51, 58, 59)) == expected
    assert all(len(options[code]) == 4 for code in (51, 58, 59))


@pytest.mark.parametrize("codes", OPTION_LISTS.values(), ids=OPTION_LISTS)
@pytest.mark.parametrize("reply", [offer, ack])
def test_options_come_in_the_order_asked(reply, codes):
    """RFC 2132 9.8: the client may list them in its order of preference. What was not asked for is not sent."""
    filled = {3, 6, 15, 26, 42, 121, 249}
    assert parameters(reply(asking(*codes), ROUTED)) == [code for code in codes if code in filled]


@pytest.mark.parametrize("reply", [offer, ack])
def test_what_every_lease_has(reply):
    """RFC 2131 table 3: 53, 54 and 51, asked or not; the mask ahead of the routers (RFC 2132 3.3)."""
    options = reply(asking(), BINDING).options
    assert list(options) == ALWAYS
    assert options[54] == b"\x0a\0\1\1"
    assert options[1] == b"\xff\xff\xff\0"
    assert list(reply(asking(3, 1, 51, 54, 53, 58, 59, 3), BINDING).options) == [*ALWAYS, 3]


def test_how_parameters_are_written():
    options = ack(asking(3, 6, 15, 26, 42), BINDING).options
    assert {code: options[code].hex() for code in (3, 6, 15, 26, 42)} == {
        3: "0a000101",
        6: "0909090901010101",
        15: "6578616d706c652e6e6574",
        26: "05d4",
        42: "c000027b",
    }


@pytest.mark.parametrize("reply", REPLIES)
def test_what_a_binding_does_not_have_is_left_out(reply):
    bare = Binding(address=ADDRESS, netmask=IPv4Address("255.255.255.255"), server_id=GATEWAY, lease_s=60)
    options = reply(asking(3, 6, 12, 15, 26, 42, 43, 119, 121, 249), bare).options
    assert options.keys() == ({53, 54} if reply is inform_ack else set(ALWAYS))


def test_a_client_that_lists_nothing():
    """A client without option 55 gets what any needs, and `extra`; never option 108, which must be asked for."""
    binding = msgspec.structs.replace(ROUTED, extra={43: b"\1\1A", 108: bytes(4)})
    assert parameters(offer(message(), binding)) == [3, 6, 15, 43]


def test_extra_options():
    binding = msgspec.structs.replace(BINDING, extra={43: b"\1\1A", 66: b"tftp", 6: b"\0\0\0\0", 44: b"\x0a\0\1\2"})
    answer = ack(asking(66, 44, 6), binding)
    assert parameters(answer) == [66, 44, 6]
    assert answer.options[66] == b"tftp"
    assert answer.options[6] == b"\x09\x09\x09\x09\1\1\1\1", "the field counts"
    bare = msgspec.structs.replace(binding, dns=())
    assert ack(asking(6), bare).options[6] == b"\0\0\0\0", "where there is no field, extra does"


@pytest.mark.parametrize("reply", REPLIES)
def test_extra_never_touches_the_protocol(reply):
    codes = (0, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82, 255)
    binding = msgspec.structs.replace(BINDING, extra=dict.fromkeys(codes, b"!"))
    for asked in (asking(*codes), message()):
        assert b"!" not in reply(asked, binding).options.values()


def test_ipv6_only_is_told_to_those_who_ask():
    """RFC 8925 3.3: option 108 goes to clients that list it, where it is configured."""
    wait = (1800).to_bytes(4, "big")
    mostly = msgspec.structs.replace(BINDING, extra={108: wait})
    assert offer(asking(1, 3, 108), mostly).options[108] == wait
    assert ack(asking(1, 3, 108), mostly).options[108] == wait
    assert 108 not in offer(asking(1, 3), mostly).options
    assert 108 not in offer(asking(1, 3, 108), BINDING).options


# Routes


def test_routes_carry_the_default_route():
    """RFC 3442: a client that takes option 121 must ignore option 3."""
    options = ack(asking(121, 3), ROUTED).options
    assert options[121].hex(" ") == "00 0a 00 01 01 18 c0 00 02 0a 00 01 01"
    assert options[3] == GATEWAY.packed


def test_a_default_route_of_ones_own_stays():
    via = IPv4Address("10.0.1.2")
    binding = msgspec.structs.replace(ROUTED, routes=((IPv4Network("0.0.0.0/0"), via), *ROUTED.routes))
    routes = CLASSLESS_ROUTES.decode(ack(asking(121), binding).options[121])
    assert routes == binding.routes


def test_routes_without_a_router():
    binding = msgspec.structs.replace(ROUTED, routers=())
    assert CLASSLESS_ROUTES.decode(ack(asking(121), binding).options[121]) == binding.routes


def test_no_routes_no_option():
    assert 121 not in ack(asking(121), BINDING).options


def test_windows_gets_its_own_number():
    assert ack(asking(249), ROUTED).options[249] == ack(asking(121), ROUTED).options[121]


# Echoes


@pytest.mark.parametrize("client_id", [b"\1" + CLIENT, b"\xff\0\0\0\1\0\4uuid", b"x", b"", b"i" * 255])
def test_the_client_identifier_comes_back(client_id):
    """RFC 6842 3: unaltered, in every reply, a DHCPNAK among them; and only to those who sent one."""
    asked = asking(1, o61=client_id)
    for answer in (*(reply(asked, BINDING) for reply in REPLIES), nak(asked, GATEWAY, "no")):
        assert answer.options[61] == client_id
        assert decode(encode(answer)).options[61] == client_id


@pytest.mark.parametrize("agent", ["0104706f7274", "", "01", "ff00ff", "0105", "00" * 60])
def test_the_relay_agent_option_comes_back(agent):
    """RFC 3046 2.2: byte for byte, well formed or not, and last."""
    asked = asking(1, 3, giaddr=GIADDR, o82=bytes.fromhex(agent), o61=b"\1\2")
    for answer in (*(reply(asked, BINDING) for reply in REPLIES), nak(asked, GATEWAY, "no")):
        assert answer.relay_agent == bytes.fromhex(agent)
        tail = bytes((82, len(agent) // 2)) + bytes.fromhex(agent) + b"\xff"
        assert encode(answer).rstrip(b"\0").endswith(tail)


def test_nothing_is_echoed_that_was_not_sent():
    for answer in (*(reply(asking(1), BINDING) for reply in REPLIES), nak(asking(1), GATEWAY, "no")):
        assert not {61, 82, 55, 57, 50, 12, 60} & answer.options.keys()


def test_a_reply_leaves_its_request_alone():
    asked = asking(1, 3, o61=b"\1\2", o82=b"\1\1A", giaddr=GIADDR)
    before = encode(asked)
    for answer in (*(reply(asked, BINDING) for reply in REPLIES), nak(asked, GATEWAY, "no")):
        answer.options.clear()
        answer.flags = 0xFFFF
    assert encode(asked) == before


# INFORM and NAK


def test_inform_brings_parameters_and_no_address():
    """RFC 2131 4.3.5: no lease times, no yiaddr; the mask only for those who ask."""
    asked = asking(1, 6, 15, 51, 58, 59, ciaddr=ADDRESS)
    answer = inform_ack(asked, BINDING)
    assert answer.message_type is MessageType.ACK
    assert (answer.ciaddr, answer.yiaddr) == (ADDRESS, ZERO)
    assert list(answer.options) == [53, 54, 1, 6, 15]
    assert list(inform_ack(asking(6), BINDING).options) == [53, 54, 6]


def test_nak_says_why_and_nothing_else():
    """RFC 2131 table 3: no address, no parameters."""
    answer = nak(asking(1, 3, 6, ciaddr=ADDRESS, o61=b"\1\2"), GATEWAY, "not yours")
    assert answer.message_type is MessageType.NAK
    assert (answer.ciaddr, answer.yiaddr, answer.siaddr) == (ZERO, ZERO, ZERO)
    assert answer.options == {53: b"\6", 54: b"\x0a\0\1\1", 56: b"not yours", 61: b"\1\2"}


@pytest.mark.parametrize(
    ("giaddr", "flags", "expected"),
    [(ZERO, 0, 0), (ZERO, 0x8000, 0x8000), (GIADDR, 0, 0x8000), (GIADDR, 0x8000, 0x8000)],
)
def test_nak_through_a_relay_agent_is_broadcast(giaddr, flags, expected):
    """RFC 2131 4.3.2: behind a relay agent the server must set the broadcast bit."""
    assert nak(message(3, giaddr=giaddr, flags=flags), GATEWAY, "no").flags == expected


# Where a reply goes


UNICAST = Destination(CLIENT, ADDRESS, 68)
TO_ALL = Destination(BROADCAST, EVERYONE, 68)
TO_RELAY = Destination(RELAY, GIADDR, 67)


@pytest.mark.parametrize(
    ("asked", "reply", "expected"),
    [
        (message(1), offer, UNICAST),
        (message(1, flags=BROADCAST_FLAG), offer, TO_ALL),
        (message(1, flags=0x7FFF), offer, UNICAST),
        (message(1, giaddr=GIADDR), offer, TO_RELAY),
        (message(1, giaddr=GIADDR, flags=BROADCAST_FLAG), offer, TO_RELAY),
        (message(3, o50=ADDRESS.packed), ack, UNICAST),
        (message(3, ciaddr=ADDRESS), ack, Destination(RELAY, ADDRESS, 68)),
        (message(3, ciaddr=ADDRESS, flags=BROADCAST_FLAG), ack, Destination(RELAY, ADDRESS, 68)),
        (message(3, ciaddr=ADDRESS, giaddr=GIADDR), ack, TO_RELAY),
        (message(8, ciaddr=ADDRESS), inform_ack, Destination(RELAY, ADDRESS, 68)),
        (message(8, ciaddr=ADDRESS, giaddr=GIADDR), inform_ack, TO_RELAY),
        (message(8), inform_ack, TO_ALL),
    ],
)
def test_destinations(asked, reply, expected):
    """RFC 2131 4.1. The frame came from `RELAY`, whose place a customer's own router may take."""
    assert destination(asked, reply(asked, BINDING), RELAY) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (message(3), TO_ALL),
        (message(3, ciaddr=ADDRESS), TO_ALL),
        (message(3, flags=BROADCAST_FLAG), TO_ALL),
        (message(3, giaddr=GIADDR, ciaddr=ADDRESS), TO_RELAY),
    ],
)
def test_a_nak_never_goes_to_the_address_it_refuses(asked, expected):
    """RFC 2131 4.1: in all cases, when giaddr is zero, DHCPNAK is broadcast."""
    assert destination(asked, nak(asked, GATEWAY, "no"), RELAY) == expected


# Size


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, 576),
        (b"\x02\x40", 576),
        (b"\x00\x40", 576),
        (b"\x05\xdc", 1500),
        (b"\x04\x00", 1024),
        (b"\xff\xff", 1500),
        (b"\x05", 576),
        (b"", 576),
        (b"\0\x05\xdc", 576),
    ],
)
def test_how_much_a_client_takes(told, expected):
    """RFC 2132 9.10: 576 is the least legal value; what a line cannot carry does not help."""
    assert limit(message() if told is None else message(o57=told)) == expected


def test_a_client_with_little_room_loses_what_it_asked_for_last():
    binding = msgspec.structs.replace(BINDING, extra={43: b"v" * 200, 125: b"w" * 120})
    small, large = asking(3, 6, 43, 125), asking(3, 6, 43, 125, o57=b"\x05\xdc")
    assert decode(encode(offer(small, binding), limit(small))).options.keys() == {*ALWAYS, 3, 6, 43}
    assert decode(encode(offer(large, binding), limit(large))).options.keys() == {*ALWAYS, 3, 6, 43, 125}
