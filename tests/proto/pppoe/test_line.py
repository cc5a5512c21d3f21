"""What an access node says of a line: vectors, refusals, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import feed, load
from wayleave.net.errors import Malformed
from wayleave.proto.pppoe import line
from wayleave.proto.pppoe.line import Figure, LineInfo
from wayleave.proto.pppoe.packet import VENDOR_SPECIFIC, Code, Packet

octets = st.binary(max_size=255)
others = st.integers(0, 255).filter(lambda number: number not in (1, 2) and number not in list(Figure))
infos = st.builds(
    LineInfo,
    st.none() | octets,
    st.none() | octets,
    st.dictionaries(st.sampled_from(Figure), st.integers(0, 0xFFFFFFFF)),
    st.dictionaries(others, octets, max_size=4),
)


def padi(*values):
    return Packet(Code.PADI, 0, tuple((VENDOR_SPECIFIC.number, bytes.fromhex(value)) for value in values))


@pytest.mark.parametrize("row", load("pppoe_lines"), ids=lambda row: row["meaning"])
def test_vectors(row):
    data = bytes.fromhex(row["hex"])
    expected = LineInfo(
        None if row["circuit_id"] is None else bytes.fromhex(row["circuit_id"]),
        None if row["remote_id"] is None else bytes.fromhex(row["remote_id"]),
        {Figure[name]: value for name, value in row["figures"].items()},
        {int(number): bytes.fromhex(value) for number, value in row["subs"].items()},
    )
    assert line.decode(data) == expected
    assert line.encode(expected) == (VENDOR_SPECIFIC.number, data)
    feed(line.decode, data)


@pytest.mark.parametrize(
    ("data", "offset", "why"),
    [
        ("", 0, "is not the Broadband Forum"),
        ("00000de8010141", 0, "vendor 00000de8"),
        ("00000de901", 4, "sub-option 0x01 has no length"),
        ("00000de9010541424344", 5, "passes the end by 1"),
        ("00000de9010141010142", 7, "0x01 twice"),
        ("00000de98103000001", 5, "sub-option 0x81 of 3 octets"),
    ],
)
def test_refusals(data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        line.decode(bytes.fromhex(data))
    assert caught.value.offset == offset


def test_of_a_packet():
    assert line.of(padi()) is None
    assert line.of(padi("0000000901024142")) is None, "another vendor's"
    assert line.of(padi("0000000901024142", "00000de9010141")) == LineInfo(b"A")


def test_a_client_does_not_choose_its_line():
    with pytest.raises(Malformed, match="2 tags tell the line"):
        line.of(padi("00000de9010141", "00000de9010142"))


@given(infos)
def test_what_is_encoded_decodes(info):
    assert line.decode(line.encode(info)[1]) == info
