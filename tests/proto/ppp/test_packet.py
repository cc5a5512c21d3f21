"""Control packets and options: vectors, another's eyes, refusals, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.ppp import PPP, PPP_IPCP, PPP_LCP_Configure

from tests.vectors import feed, load
from wayleave.net.errors import Malformed
from wayleave.proto.ppp.packet import Control, Protocol, decode, decode_options, encode, encode_options

VECTORS = load("ppp_packets")

options = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=253)), max_size=20).map(tuple)


def options_of(row):
    return tuple((kind, bytes.fromhex(value)) for kind, value in row["options"])


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["meaning"])
def test_vectors(row):
    data = bytes.fromhex(row["hex"])
    packet = decode(data)
    assert (packet.code, packet.identifier) == (row["code"], row["identifier"])
    assert decode_options(packet.data) == options_of(row)
    assert encode(packet.code, packet.identifier, encode_options(options_of(row))) == data
    assert decode(data + bytes(20)) == packet, "what stands behind the length is padding"
    feed(lambda octets: decode_options(decode(octets).data), data)


@pytest.mark.parametrize("row", [row for row in VECTORS if row["protocol"] != "IPV6CP"], ids=lambda row: row["meaning"])
def test_scapy_reads_the_same(row):
    """An independent codec, on what we wrote."""
    data = encode(row["code"], row["identifier"], encode_options(options_of(row)))
    seen = PPP(Protocol[row["protocol"]].to_bytes(2, "big") + data)
    layer = seen[PPP_LCP_Configure if row["protocol"] == "LCP" else PPP_IPCP]
    assert (layer.code, layer.id, layer.len) == (row["code"], row["identifier"], len(data))
    found = [bytes(option) for option in layer.options]
    assert [(octets[0], octets[2:]) for octets in found] == list(options_of(row))


@pytest.mark.parametrize(
    ("data", "offset", "why"),
    [
        ("", 0, "ends inside its head"),
        ("010100", 3, "ends inside its head"),
        ("01010003", 2, "length 3"),
        ("01010005", 2, "length 5, and 4 octets"),
    ],
)
def test_refusals(data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode(bytes.fromhex(data))
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("data", "offset", "why"),
    [
        ("01", 0, "option 1 says 0 octets of 1 left"),
        ("0100", 0, "option 1 says 0 octets"),
        ("0101", 0, "option 1 says 1 octets"),
        ("010405d40305c223", 4, "option 3 says 5 octets of 4 left"),
    ],
)
def test_refused_options(data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode_options(bytes.fromhex(data))
    assert caught.value.offset == offset


@given(st.integers(0, 255), st.integers(0, 255), options)
def test_what_is_encoded_decodes(code, identifier, options):
    data = encode_options(options)
    assert decode(encode(code, identifier, data)) == Control(code, identifier, data)
    assert decode_options(data) == options
