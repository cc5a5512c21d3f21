"""The DHCP message: captured messages, framing rules of RFC 2131 and RFC 3396, size, and an independent reader."""

from ipaddress import IPv4Address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from tests.vectors import feed, load
from wayleave.net.errors import Malformed
from wayleave.net.mac import Mac
from wayleave.proto.dhcp4.message import (
    BOOTREPLY,
    BOOTREQUEST,
    BROADCAST_FLAG,
    ZERO,
    Message,
    MessageType,
    decode,
    encode,
)

CLIENT = Mac.parse("02:00:00:00:00:01")
ROOMY = 65535


def message(**changes) -> Message:
    plain = Message(
        op=BOOTREQUEST,
        htype=1,
        hlen=6,
        hops=0,
        xid=0x3903F326,
        secs=0,
        flags=0,
        ciaddr=ZERO,
        yiaddr=ZERO,
        siaddr=ZERO,
        giaddr=ZERO,
        chaddr=CLIENT,
        sname=b"",
        file=b"",
        options={53: b"\1"},
    )
    return msgspec.structs.replace(plain, **changes)


def raw(options: str, sname: str = "", file: str = "", tail: bytes = b"") -> bytes:
    """A message written by hand: a DISCOVER's fixed fields, then `options` in hexadecimal."""
    fixed = bytes.fromhex("01 01 06 00 39 03 f3 26 00 00 00 00") + bytes(16) + CLIENT + bytes(10)
    fixed += bytes.fromhex(sname).ljust(64, b"\0") + bytes.fromhex(file).ljust(128, b"\0")
    return fixed + bytes.fromhex("63 82 53 63" + options) + tail


octet, word = st.integers(0, 255), st.integers(0, 65535)
addresses = st.ip_addresses(v=4)
codes = octet.filter(lambda code: code not in (0, 52, 255))
messages = st.builds(
    Message,
    op=octet,
    htype=octet,
    hlen=st.just(6),
    hops=octet,
    xid=st.integers(0, 2**32 - 1),
    secs=word,
    flags=word,
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    chaddr=st.binary(min_size=6, max_size=6).map(Mac),
    sname=st.binary(max_size=64).map(lambda text: text.rstrip(b"\0")),
    file=st.binary(max_size=128).map(lambda text: text.rstrip(b"\0")),
    options=st.dictionaries(codes, st.binary(max_size=40) | st.binary(min_size=250, max_size=520), max_size=12),
)


@pytest.mark.parametrize("row", load("dhcp4_messages"), ids=lambda row: f"{row['source'].split()[0]} {row['meaning']}")
def test_captured_messages(row):
    data = bytes.fromhex(row["hex"])
    seen = decode(data)
    assert seen.op == BOOTREQUEST
    assert seen.message_type is not None
    assert decode(encode(seen, ROOMY)) == seen
    assert encode(seen).rstrip(b"\0") == data.rstrip(b"\0"), "clients write options as we do"
    assert feed(decode, data) >= 240


def test_addresses_octet_for_octet():
    """10.0.1.50 is 0a 00 01 32 on the wire, whatever the machine's byte order."""
    data = encode(
        message(
            op=BOOTREPLY,
            flags=BROADCAST_FLAG,
            secs=258,
            ciaddr=IPv4Address("10.0.1.50"),
            yiaddr=IPv4Address("10.0.1.51"),
            siaddr=IPv4Address("10.0.1.52"),
            giaddr=IPv4Address("10.0.1.53"),
            sname=b"srv",
            file=b"boot",
            options={53: b"\2", 54: b"\x0a\0\1\1", 82: b"\1\1A", 15: b"net"},
        )
    )
    assert data[:44].hex(" ") == (
        "02 01 06 00 39 03 f3 26 01 02 80 00 0a 00 01 32 0a 00 01 33 0a 00 01 34 0a 00 01 35 "
        "02 00 00 00 00 01 00 00 00 00 00 00 00 00 00 00"
    )
    assert data[44:108] == b"srv" + bytes(61)
    assert data[108:236] == b"boot" + bytes(124)
    assert data[236:].hex(" ") == (
        "63 82 53 63 35 01 02 36 04 0a 00 01 01 0f 03 6e 65 74 52 03 01 01 41 ff " + " ".join(["00"] * 40)
    )


@given(messages)
def test_what_is_encoded_decodes(sent):
    assert decode(encode(sent, ROOMY)) == sent


@given(st.binary(max_size=400))
def test_garbage_in_the_options(data):
    try:
        seen = decode(raw("", tail=data))
    except Malformed:
        return
    assert not {0, 52, 255} & seen.options.keys()
    assert decode(encode(seen, ROOMY)) == seen


@given(st.binary(max_size=239))
def test_garbage(data):
    with pytest.raises(Malformed):
        decode(data)


@pytest.mark.parametrize(
    ("data", "offset", "why"),
    [
        (b"", 0, "before the options"),
        (raw("")[:239], 239, "before the options"),
        (raw("").replace(b"\x63\x82\x53\x63", bytes(4)), 236, "magic cookie 00000000"),
        (raw("ff").replace(b"\1\1\6", b"\1\1\x11"), 2, "hlen 17 past chaddr"),
        (raw("ff").replace(b"\1\1\6", b"\1\1\x10"), 2, "hlen 16 is not 6"),
        (raw("ff").replace(b"\1\1\6", b"\1\1\0"), 2, "hlen 0 is not 6"),
        (raw("35"), 240, "option 53 has no length"),
        (raw("3501"), 241, "option 53 passes the end of its field by 1"),
        (raw("3501013d0701"), 244, "option 61 passes the end of its field by 6"),
        (raw("340104ff"), 240, "option overload 04"),
        (raw("34020101ff"), 240, "option overload 0101"),
        (raw("3400ff"), 240, "option overload"),
        (raw("340101ff", file="00" * 127 + "0c"), 235, "option 12 has no length"),
        (raw("340101ff", file="00" * 125 + "0c0541"), 234, "option 12 passes the end of its field by 4"),
        (raw("340102ff", sname="0c3f41"), 45, "option 12 passes the end of its field by 1"),
    ],
)
def test_refusals(data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode(data)
    assert caught.value.offset == offset


def test_message_types():
    assert decode(raw("350105ff")).message_type is MessageType.ACK
    assert decode(raw("350109ff")).message_type is None, "unknown here"
    assert decode(raw("35020101ff")).message_type is None, "wrong length"
    assert decode(raw("ff")).message_type is None, "missing"
    assert MessageType(6).name == "NAK"


def test_option_53_is_found_wherever_it_stands():
    assert decode(raw("3902 0240 00 00 0c01 41 3501 01 ff")).message_type is MessageType.DISCOVER


def test_what_follows_the_end_is_not_read():
    """RFC 2132 3.2: after option 255 comes only padding; what else is there is nobody's."""
    assert decode(raw("350101ff 0c0141")).options == {53: b"\1"}


def test_a_missing_end_is_forgiven():
    assert decode(raw("350101")).options == {53: b"\1"}
    assert decode(raw("350101 0000")).options == {53: b"\1"}


def test_broadcast_is_the_top_bit():
    assert decode(raw("ff")[:10] + b"\x80\0" + raw("ff")[12:]).broadcast
    assert not decode(raw("ff")[:10] + b"\x7f\xff" + raw("ff")[12:]).broadcast


def test_relay_agent_is_kept_byte_for_byte():
    assert decode(raw("5205 01ff0052ff ff")).relay_agent == bytes.fromhex("01ff0052ff")
    assert decode(raw("5200 ff")).relay_agent == b""
    assert decode(raw("ff")).relay_agent is None


# RFC 3396: one option in several pieces


def test_repeated_options_are_joined():
    assert decode(raw("0c0161 350101 0c0162 ff")).options == {12: b"ab", 53: b"\1"}


def test_a_long_option_is_split_and_joined_again():
    long = bytes(range(256)) * 2
    data = encode(message(options={53: b"\1", 43: long}), ROOMY)
    assert data[243:245] == b"\x2b\xff"
    assert data[243 + 257 : 243 + 259] == b"\x2b\xff"
    assert data[243 + 514 : 243 + 516] == b"\x2b\x02"
    assert decode(data).options == {53: b"\1", 43: long}


def test_exactly_255_octets_are_one_piece():
    data = encode(message(options={43: b"x" * 255}), ROOMY)
    assert data[240:] == b"\x2b\xff" + b"x" * 255 + b"\xff"


def test_an_option_runs_through_options_file_and_sname_in_this_order():
    seen = decode(raw("340103 0c0161 ff", sname="0c0163ff", file="0c0162 350101 ff"))
    assert seen.options == {12: b"abc", 53: b"\1"}
    assert (seen.sname, seen.file) == (b"", b"")


@pytest.mark.parametrize(
    ("overload", "options", "sname", "file"),
    [
        ("01", {12: b"f"}, b"\x0c\1s\xff", b""),
        ("02", {12: b"s"}, b"", b"\x0c\1f\xff"),
        ("03", {12: b"fs"}, b"", b""),
    ],
)
def test_overload_names_the_fields_that_hold_options(overload, options, sname, file):
    """RFC 2132 9.3: 1 is file, 2 is sname, 3 is both."""
    seen = decode(raw(f"3401{overload}ff", sname="0c0173ff", file="0c0166ff"))
    assert seen.options == options
    assert (seen.sname, seen.file) == (sname, file)


def test_overload_inside_an_overloaded_field_means_nothing():
    seen = decode(raw("340101ff", sname="0c0173ff", file="340103 0c0166 ff"))
    assert seen.options == {12: b"f"}


# How much goes out


def test_short_messages_are_padded_to_300_octets():
    """RFC 1542 2.1: BOOTP relay agents may drop what is shorter."""
    data = encode(message())
    assert len(data) == 300
    assert data[240:].hex(" ") == "35 01 01 ff" + " 00" * 56


def test_option_82_goes_last():
    """RFC 3046 2.1."""
    data = encode(message(options={82: b"\1\1A", 53: b"\1", 12: b"a"}))
    assert data[240:].hex().startswith("3501010c01615203010141ff00")


def test_576_octets_unless_more_is_asked_for():
    """RFC 2131 2: 576 octets of IP packet, of which 28 are headers, and 240 the message's fixed part and cookie."""
    full = message(options={53: b"\1", 43: b"x" * 255, 12: b"y" * (307 - 3 - 257 - 2)})
    assert len(encode(full)) == 548
    assert decode(encode(full)) == full
    over = message(options={**full.options, 12: full.options[12] + b"y"})
    assert decode(encode(over)).options == {53: b"\1", 43: b"x" * 255}
    assert decode(encode(over, 577)) == over


def test_what_does_not_fit_is_left_out_from_the_end():
    """Essential options stay wherever they stand; of the others the earlier ones, and any later one that still fits."""
    options = {43: b"v" * 200, 125: b"w" * 120, 15: b"net", 53: b"\2", 54: b"\x0a\0\1\1", 61: b"c" * 9, 82: b"r" * 50}
    kept = decode(encode(message(options=options))).options
    assert kept == {code: value for code, value in options.items() if code != 125}


def test_a_relay_agent_option_without_room_is_not_cut():
    """RFC 3046 2.2: a server that cannot echo all of it echoes nothing of it."""
    options = {53: b"\2", 82: b"r" * 255, 61: b"c" * 255, 15: b"net"}
    kept = decode(encode(message(options=options))).options
    assert kept == {53: b"\2", 61: b"c" * 255, 15: b"net"}


def test_a_split_relay_agent_option_still_goes_last():
    sent = message(options={82: b"r" * 300, 53: b"\1", 12: b"a"})
    data = encode(sent, ROOMY)
    assert data.index(b"\x0c\1a") < data.index(b"\x52\xff")
    assert decode(data) == sent


@given(messages, st.integers(576, 1500))
def test_never_larger_than_asked(sent, maximum):
    data = encode(sent, maximum)
    assert 300 <= len(data) <= maximum - 28
    kept = decode(data).options
    assert kept.items() <= sent.options.items()
    room = maximum - 28 - len(data.rstrip(b"\0"))
    for code in sent.options.keys() - kept.keys():
        size = len(sent.options[code])
        assert size + 2 * max(1, -(-size // 255)) > room, "there was room for it"


@pytest.mark.parametrize("changes", [{"sname": b"x" * 65}, {"file": b"x" * 129}])
def test_names_that_do_not_fit_are_our_own_fault(changes):
    with pytest.raises(ValueError, match="sname takes 64"):
        encode(message(**changes))


# An independent implementation


@given(messages)
def test_scapy_reads_our_fields(sent):
    seen = BOOTP(encode(msgspec.structs.replace(sent, options={53: b"\1", 54: b"\x0a\0\1\1"})))
    assert (seen.op, seen.htype, seen.hlen, seen.hops) == (sent.op, sent.htype, sent.hlen, sent.hops)
    assert (seen.xid, seen.secs, int(seen.flags)) == (sent.xid, sent.secs, sent.flags)
    assert (seen.ciaddr, seen.yiaddr) == (str(sent.ciaddr), str(sent.yiaddr))
    assert (seen.siaddr, seen.giaddr) == (str(sent.siaddr), str(sent.giaddr))
    assert seen.chaddr == bytes(sent.chaddr) + bytes(10)
    assert seen.sname == sent.sname.ljust(64, b"\0")
    assert seen.file == sent.file.ljust(128, b"\0")
    assert seen[DHCP].options[:3] == [("message-type", 1), ("server_id", "10.0.1.1"), "end"]


def test_scapy_reads_our_options():
    options = {53: b"\5", 1: b"\xff\xff\xff\0", 3: b"\x0a\0\1\1", 51: (3600).to_bytes(4, "big"), 12: b"cpe"}
    seen = BOOTP(encode(message(op=BOOTREPLY, options=options)))[DHCP].options
    assert [item for item in seen if isinstance(item, tuple)] == [
        ("message-type", 5),
        ("subnet_mask", "255.255.255.0"),
        ("router", "10.0.1.1"),
        ("lease_time", 3600),
        ("hostname", b"cpe"),
    ]


def test_we_read_scapys_message():
    packet = BOOTP(op=1, xid=7, secs=3, flags="B", ciaddr="10.0.1.50", giaddr="192.0.2.1", chaddr=bytes(CLIENT)) / DHCP(
        options=[
            ("message-type", "request"),
            ("requested_addr", "10.0.1.50"),
            ("param_req_list", [1, 3, 6]),
            ("max_dhcp_size", 1500),
            ("relay_agent_information", b"\1\1A"),
            "end",
        ]
    )
    seen = decode(bytes(packet))
    assert seen == message(
        xid=7,
        secs=3,
        flags=BROADCAST_FLAG,
        ciaddr=IPv4Address("10.0.1.50"),
        giaddr=IPv4Address("192.0.2.1"),
        options={53: b"\3", 50: b"\x0a\0\1\x32", 55: b"\1\3\6", 57: b"\x05\xdc", 82: b"\1\1A"},
    )
