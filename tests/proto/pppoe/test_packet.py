"""PPPoE's headers and tags: vectors, another's eyes, refusals, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether
from scapy.layers.ppp import PPPoED, PPPoED_Tags

from tests.vectors import feed, load
from wayleave.net.errors import Malformed
from wayleave.proto.pppoe.packet import (
    END_OF_LIST,
    HOST_UNIQ,
    MOST_TAGS,
    SERVICE_NAME,
    TAGS,
    Code,
    Packet,
    SessionPacket,
    decode,
    decode_session,
    encode,
    encode_session,
)

VECTORS = load("pppoe_packets")
NUMBERS = {row.name: row.number for row in TAGS.values()}

octets = st.binary(max_size=40)
tags = st.lists(st.tuples(st.integers(1, 0xFFFF), octets), max_size=MOST_TAGS).map(tuple)


def tags_of(row):
    return tuple((NUMBERS[name], bytes.fromhex(value)) for name, value in row["tags"])


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["meaning"])
def test_vectors(row):
    data = bytes.fromhex(row["hex"])
    packet = decode(data)
    assert packet == Packet(row["code"], row["session_id"], tags_of(row))
    assert encode(packet.code, packet.session_id, packet.tags) == data
    assert decode(data + bytes(40)) == packet, "Ethernet pads"
    feed(decode, data)


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["meaning"])
def test_scapy_reads_the_same(row):
    """An independent codec, on what we wrote."""
    data = encode(row["code"], row["session_id"], tags_of(row))
    seen = Ether(bytes(12) + b"\x88\x63" + data)[PPPoED]
    assert (seen.version, seen.type, seen.code, seen.sessionid) == (1, 1, row["code"], row["session_id"])
    found = seen[PPPoED_Tags].tag_list if PPPoED_Tags in seen else []
    assert tuple((tag.tag_type, bytes(tag.tag_value)) for tag in found) == tags_of(row)


def test_every_tag_has_a_vector():
    shown = {name for row in VECTORS for name, _ in row["tags"]}
    assert shown == set(NUMBERS) - {END_OF_LIST.name}


def test_end_of_list_ends_it():
    packet = decode(bytes.fromhex("110900000010 01010000 00000000 0103000401020304".replace(" ", "")))
    assert packet.tags == ((SERVICE_NAME.number, b""),)


def test_repeated_tags_are_all_kept():
    packet = decode(encode(Code.PADI, 0, [(HOST_UNIQ.number, b"1"), (HOST_UNIQ.number, b"2")]))
    assert packet.all(HOST_UNIQ) == [b"1", b"2"]
    assert packet.first(HOST_UNIQ) == b"1"
    assert packet.first(SERVICE_NAME) is None


@pytest.mark.parametrize(
    ("data", "offset", "why"),
    [
        ("", 0, "ends inside the header"),
        ("1109000000", 5, "ends inside the header"),
        ("210900000000", 0, "0x21 instead of 0x11"),
        ("110900000004010100", 4, "length 4, and 3 octets"),
        ("11090000000301010000", 6, "3 octets left"),
        ("1109000000040101000100", 8, "passes the end by 1"),
    ],
)
def test_refusals(data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode(bytes.fromhex(data))
    assert caught.value.offset == offset


def test_tags_are_bounded():
    assert len(decode(encode(9, 0, [(0x101, b"")] * MOST_TAGS)).tags) == MOST_TAGS
    with pytest.raises(Malformed, match="more than 64 tags"):
        decode(encode(9, 0, [(0x101, b"")] * (MOST_TAGS + 1)))


def test_what_does_not_fit_is_not_written():
    with pytest.raises(ValueError, match="65535"):
        encode(9, 0, [(0x101, bytes(60000)), (0x103, bytes(6000))])


@given(st.integers(0, 255), st.integers(0, 0xFFFF), tags)
def test_what_is_encoded_decodes(code, session_id, tags):
    assert decode(encode(code, session_id, tags)) == Packet(code, session_id, tags)


# ---- the session stage ------------------------------------------------------------------


def test_a_session_packet():
    data = bytes.fromhex("11001234000ac021090700080a0b0c0d")
    assert encode_session(0x1234, 0xC021, data[8:]) == data
    assert decode_session(data + bytes(30)) == SessionPacket(0x1234, 0xC021, data[8:])
    feed(decode_session, data)


@pytest.mark.parametrize(
    ("data", "offset", "why"),
    [
        ("110912340002c021", 1, "code 0x09 in the session stage"),
        ("1100123400", 5, "ends inside the header"),
        ("110012340001c0", 4, "no room for a PPP protocol"),
        ("110012340000", 4, "no room for a PPP protocol"),
        ("110012340003c021", 4, "length 3, and 2 octets"),
    ],
)
def test_session_refusals(data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode_session(bytes.fromhex(data))
    assert caught.value.offset == offset


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=100))
def test_what_is_encoded_for_a_session_decodes(session_id, protocol, information):
    data = encode_session(session_id, protocol, information)
    assert decode_session(data) == SessionPacket(session_id, protocol, information)
