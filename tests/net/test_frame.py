"""Frames: vectors, refusals, octets on the wire, and an independent implementation on the other side."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from tests.vectors import feed, load
from wayleave.net.checksum import internet_checksum
from wayleave.net.errors import Malformed
from wayleave.net.frame import (
    ETHERTYPE_IPV4,
    MINIMUM,
    TPID_C,
    TPID_S,
    Datagram,
    Frame,
    Tag,
    decode,
    decode_udp4,
    encode_l2,
    encode_udp4,
    vids,
)
from wayleave.net.mac import BROADCAST, Mac

CLIENT, GATEWAY = Mac.parse("02:00:00:00:00:01"), Mac.parse("02:00:00:00:00:fe")
FROM, TO = IPv4Address("10.0.1.1"), IPv4Address("10.0.1.50")
DOUBLE = (Tag(TPID_S, 100), Tag(TPID_C, 5))

macs = st.binary(min_size=6, max_size=6).map(Mac)
tag_rows = st.builds(Tag, st.sampled_from([TPID_C, TPID_S]), st.integers(0, 4094), st.integers(0, 7))
tag_stacks = st.lists(tag_rows, max_size=2).map(tuple)
ethertypes = st.integers(0, 65535).filter(lambda number: number not in (TPID_C, TPID_S))
addresses = st.ip_addresses(v=4)
ports = st.integers(0, 65535)


# Ethernet and tags


@pytest.mark.parametrize("row", load("frames"), ids=lambda row: row["meaning"])
def test_vectors(row):
    data = bytes.fromhex(row["hex"])
    frame = decode(data)
    assert frame.destination == CLIENT
    assert frame.source == GATEWAY
    assert frame.tags == tuple(Tag(*tag) for tag in row["tags"])
    assert frame.ethertype == row["ethertype"]
    assert frame.offset == 14 + 4 * len(frame.tags)
    assert frame.payload == data[frame.offset :]
    assert vids(frame) == tuple(row["vids"])
    assert decode(memoryview(data)) == frame
    assert feed(decode, data) >= 14


@pytest.mark.parametrize(
    ("data", "offset", "why"),
    [
        ("", 0, "inside the Ethernet header"),
        ("ff" * 13, 13, "inside the Ethernet header"),
        ("00" * 12 + "8100" + "000508", 17, "inside a VLAN tag"),
        ("00" * 12 + "88a8" + "0064" + "8100" + "0005", 20, "inside a VLAN tag"),
        ("00" * 12 + "88a8" + "0064" + "8100" + "0005" + "8100" + "0006" + "0800", 20, "more than two"),
        ("00" * 12 + "88a8" + "0064" + "8100" + "0005" + "88a8", 20, "more than two"),
        ("00" * 12 + "8100" + "0fff" + "0800", 14, "VID 4095"),
    ],
)
def test_refusals(data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode(bytes.fromhex(data))
    assert caught.value.offset == offset


def test_the_encapsulation_octet_for_octet():
    assert encode_l2(CLIENT, GATEWAY, (), ETHERTYPE_IPV4).hex(" ") == "02 00 00 00 00 01 02 00 00 00 00 fe 08 00"
    assert encode_l2(CLIENT, GATEWAY, (Tag(TPID_S, 100, 6), Tag(TPID_C, 5)), ETHERTYPE_IPV4).hex(" ") == (
        "02 00 00 00 00 01 02 00 00 00 00 fe 88 a8 c0 64 81 00 00 05 08 00"
    )


@given(macs, macs, tag_stacks, ethertypes, st.binary(max_size=60))
def test_what_is_encoded_decodes(destination, source, tags, ethertype, payload):
    header = encode_l2(destination, source, tags, ethertype)
    assert len(header) == 14 + 4 * len(tags)
    assert decode(header + payload) == Frame(destination, source, tags, ethertype, len(header), payload)


@given(st.binary(max_size=80))
def test_garbage_frames(data):
    try:
        decode(data)
    except Malformed:
        return


@pytest.mark.parametrize("tags", [(), (Tag(TPID_C, 5, 3),), DOUBLE, (Tag(TPID_C, 7), Tag(TPID_C, 7))])
def test_scapy_reads_our_header(tags):
    packet = Ether(encode_l2(CLIENT, GATEWAY, tags, ETHERTYPE_IPV4) + bytes(IP(dst="10.0.1.50")))
    assert (packet.dst, packet.src) == (str(CLIENT), str(GATEWAY))
    layer = packet
    for tag in tags:
        assert layer.type == tag.tpid
        layer = layer.payload
        assert (layer.vlan, layer.prio) == (tag.vid, tag.priority)
    assert layer.type == ETHERTYPE_IPV4
    assert packet[IP].dst == "10.0.1.50"


def test_we_read_scapys_header():
    packet = Ether(dst=str(BROADCAST), src=str(CLIENT)) / Dot1AD(vlan=100, prio=1) / Dot1Q(vlan=5) / IP() / UDP()
    frame = decode(bytes(packet))
    assert frame.destination == BROADCAST
    assert frame.destination.is_multicast
    assert frame.tags == (Tag(TPID_S, 100, 1), Tag(TPID_C, 5))
    assert frame.ethertype == ETHERTYPE_IPV4


# UDP over IPv4


def packet_of(payload: bytes = b"hello") -> bytes:
    """A right packet, without the Ethernet header and its padding."""
    return encode_udp4(b"", FROM, 67, TO, 68, payload)[: 28 + len(payload)]


def with_header(packet: bytes, **octets: int) -> bytes:
    """Overwrite octets of the IPv4 header, named `at0`, `at1`…, and make its checksum right again."""
    data = bytearray(packet)
    for name, value in octets.items():
        data[int(name.removeprefix("at"))] = value
    data[10:12] = b"\0\0"
    size = max(data[0] & 15, 5) * 4
    data[10:12] = internet_checksum(data[:size]).to_bytes(2, "big")
    return bytes(data)


def test_a_datagram_octet_for_octet():
    """10.0.1.50 is 0a 00 01 32 on the wire; checksums as worked out by hand."""
    frame = encode_udp4(encode_l2(CLIENT, GATEWAY, (), ETHERTYPE_IPV4), FROM, 67, TO, 68, b"hi!", ttl=64, ident=0x1234)
    assert frame.hex(" ") == (
        "02 00 00 00 00 01 02 00 00 00 00 fe 08 00 "
        "45 00 00 1f 12 34 40 00 40 11 12 68 0a 00 01 01 0a 00 01 32 "
        "00 43 00 44 00 0b 5f b5 68 69 21 " + " ".join(["00"] * 15)
    )


@given(addresses, ports, addresses, ports, st.binary(max_size=400), st.integers(1, 255), ports)
def test_what_is_sent_is_received(source, sport, destination, dport, payload, ttl, ident):
    l2 = encode_l2(CLIENT, GATEWAY, DOUBLE, ETHERTYPE_IPV4)
    whole = encode_udp4(l2, source, sport, destination, dport, payload, ttl, ident)
    assert len(whole) == max(MINIMUM, 22 + 28 + len(payload))
    received = decode_udp4(decode(whole).payload, verify_checksum=True)
    assert received == Datagram(source, destination, sport, dport, payload)


@given(addresses, ports, addresses, ports, st.binary(max_size=100), st.integers(1, 255), ports)
def test_scapy_computes_the_same_checksums(source, sport, destination, dport, payload, ttl, ident):
    ours = encode_udp4(b"", source, sport, destination, dport, payload, ttl, ident)[: 28 + len(payload)]
    theirs = (
        IP(src=str(source), dst=str(destination), ttl=ttl, id=ident, flags="DF")
        / UDP(sport=sport, dport=dport)
        / Raw(payload)
    )
    assert ours.hex() == bytes(theirs).hex()


def test_we_read_scapys_datagram():
    packet = Ether() / Dot1Q(vlan=5) / IP(src="192.0.2.1", dst="10.0.1.50") / UDP(sport=68, dport=67) / Raw(b"x" * 9)
    datagram = decode_udp4(decode(bytes(packet) + bytes(20)).payload, verify_checksum=True)
    assert datagram == Datagram(IPv4Address("192.0.2.1"), TO, 68, 67, b"x" * 9)


@pytest.mark.parametrize(
    ("packet", "offset", "why"),
    [
        (b"", 0, "inside the IPv4 header"),
        (packet_of()[:19], 19, "inside the IPv4 header"),
        (with_header(packet_of(), at0=0x65), 0, "version 6"),
        (with_header(packet_of(), at0=0x44), 0, "header length 16"),
        (with_header(packet_of(), at0=0x4F), 2, "total length 33, header 60"),
        (with_header(packet_of(), at3=200), 2, "total length 200"),
        (with_header(packet_of(), at3=19), 2, "total length 19"),
        (packet_of()[:-1], 2, "received 32"),
        (with_header(packet_of(), at6=0x20), 6, "fragment"),
        (with_header(packet_of(), at7=1), 6, "fragment"),
        (with_header(packet_of(), at9=6), 9, "protocol 6"),
        (packet_of()[:8] + b"\x3f" + packet_of()[9:], 10, "wrong IPv4 header checksum"),
        (with_header(packet_of(), at3=27), 27, "inside the UDP header"),
        (packet_of()[:25] + b"\x07" + packet_of()[26:], 24, "UDP length 7"),
        (packet_of()[:25] + b"\x0e" + packet_of()[26:], 24, "UDP length 14 in 13"),
        (packet_of()[:32] + b"?", 26, "wrong UDP checksum"),
    ],
)
def test_datagram_refusals(packet, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode_udp4(packet, verify_checksum=True)
    assert caught.value.offset == offset


def test_a_partial_checksum_passes_only_where_it_is_expected():
    """A sender behind a veth pair leaves the sum of the pseudo header in the field, for a network card to finish."""
    partial = packet_of()[:26] + b"\x16\x51" + packet_of()[28:]
    with pytest.raises(Malformed, match="wrong UDP checksum"):
        decode_udp4(partial, verify_checksum=True)
    assert decode_udp4(partial, verify_checksum=False).payload == b"hello"


def test_no_udp_checksum_is_fine():
    """RFC 768: zero means that the sender made none."""
    assert decode_udp4(packet_of()[:26] + b"\0\0" + packet_of()[28:], verify_checksum=True).payload == b"hello"


def test_padding_and_ip_options_are_skipped():
    packet = packet_of()
    longer = packet[:20] + b"\x94\x04\x00\x00" + packet[20:]  # router alert, RFC 2113
    longer = with_header(longer, at0=0x46, at3=len(longer))
    assert decode_udp4(longer + bytes(17), verify_checksum=True).payload == b"hello"
    assert decode_udp4(memoryview(packet + bytes(17)), verify_checksum=True).payload == b"hello"


def test_a_udp_datagram_shorter_than_its_packet():
    """What stands between UDP's length and IPv4's is not payload."""
    packet = with_header(packet_of() + b"tail", at3=37)
    assert decode_udp4(packet, verify_checksum=True).payload == b"hello"


def test_datagrams_cut_and_spoilt():
    packet = packet_of(bytes(range(40)))
    assert feed(lambda data: decode_udp4(data, verify_checksum=True), packet) > 4 * 20
    feed(lambda data: decode_udp4(data, verify_checksum=False), packet)


@given(st.binary(max_size=80), st.booleans())
def test_garbage_datagrams(data, verify):
    try:
        decode_udp4(b"\x45" + data, verify_checksum=verify)
    except Malformed:
        return
