"""The Internet checksum against RFC 1071's example, its own definition, and an independent implementation."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import checksum as scapy_checksum

from wayleave.net.checksum import internet_checksum, udp4_checksum, udp4_checksum_holds

SOURCE, DESTINATION = IPv4Address("10.0.1.1"), IPv4Address("10.0.1.50")


def by_definition(data: bytes) -> int:
    """RFC 1071 1, word for word."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


@pytest.mark.parametrize(
    ("data", "expected", "source"),
    [
        ("0001f203f4f5f6f7", 0x220D, "RFC 1071 3: the sum is ddf2"),
        ("", 0xFFFF, "RFC 1071 1"),
        ("0000", 0xFFFF, "RFC 1071 1"),
        ("ffff", 0x0000, "RFC 1071 1"),
        ("ffffffff", 0x0000, "RFC 1071 2: ones' complement has two zeros"),
        ("01", 0xFEFF, "RFC 1071 4.1: an odd octet is padded behind"),
    ],
)
def test_vectors(data, expected, source):
    assert internet_checksum(bytes.fromhex(data)) == expected, source


@given(st.binary(max_size=200))
def test_equals_the_definition(data):
    assert internet_checksum(data) == by_definition(data) == scapy_checksum(data)
    assert internet_checksum(memoryview(data)) == internet_checksum(data)


@given(st.binary(max_size=100).filter(lambda data: len(data) % 2 == 0))
def test_data_with_its_checksum_sums_to_nothing(data):
    whole = data + internet_checksum(data).to_bytes(2, "big")
    assert internet_checksum(whole) == 0


@given(st.binary(max_size=100), st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_udp_checksum_is_that_of_the_pseudo_header(payload, source, destination):
    header = (67).to_bytes(2, "big") + (68).to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big")
    empty = header + b"\0\0" + payload
    pseudo = source.packed + destination.packed + b"\0\x11" + len(empty).to_bytes(2, "big")
    checksum = udp4_checksum(source, destination, empty)
    assert checksum == (by_definition(pseudo + empty) or 0xFFFF)
    whole = header + checksum.to_bytes(2, "big") + payload
    assert udp4_checksum_holds(source, destination, whole)
    assert not udp4_checksum_holds(source, destination, header + (checksum ^ 1).to_bytes(2, "big") + payload)


def test_udp_checksum_of_zero_is_sent_as_ones():
    """RFC 768: an all zero checksum means that the sender made none."""
    probe = bytes.fromhex("00430044000a0000") + b"\0\0"
    payload = udp4_checksum(SOURCE, DESTINATION, probe).to_bytes(2, "big")
    assert udp4_checksum(SOURCE, DESTINATION, probe[:8] + payload) == 0xFFFF
