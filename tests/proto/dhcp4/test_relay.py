"""Option 82: vectors, refusals, and both ways."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import feed, load
from wayleave.net.errors import Malformed
from wayleave.proto.dhcp4.relay import RelayAgent, decode, encode

octets = st.binary(max_size=255)
four = st.binary(min_size=4, max_size=4)
agents = st.builds(
    RelayAgent,
    st.none() | octets,
    st.none() | octets,
    st.dictionaries(st.integers(0, 255).filter(lambda code: code not in (1, 2, 5, 11)), octets, max_size=4).flatmap(
        lambda subs: st.builds(lambda more: subs | more, st.dictionaries(st.sampled_from([5, 11]), four))
    ),
)


@pytest.mark.parametrize("row", load("relay_agents"), ids=lambda row: row["meaning"])
def test_vectors(row):
    data = bytes.fromhex(row["hex"])
    expected = RelayAgent(
        None if row["circuit_id"] is None else bytes.fromhex(row["circuit_id"]),
        None if row["remote_id"] is None else bytes.fromhex(row["remote_id"]),
        {int(code): bytes.fromhex(value) for code, value in row["subs"].items()},
    )
    assert decode(data) == expected
    assert encode(expected) == data
    feed(decode, data)


def test_addresses_inside():
    agent = decode(bytes.fromhex("0504c0000200 0b04c00002fe"))
    assert agent.link == IPv4Address("192.0.2.0")
    assert agent.server == IPv4Address("192.0.2.254")
    assert RelayAgent().link is None
    assert RelayAgent().server is None


@pytest.mark.parametrize(
    ("data", "offset", "why"),
    [
        ("01", 0, "sub-option 1 has no length"),
        ("010141 02", 3, "sub-option 2 has no length"),
        ("0105 41424344", 1, "sub-option 1 passes the end by 1"),
        ("0503c00002", 1, "sub-option 5 of 3 octets is no address"),
        ("0b00", 1, "sub-option 11 of 0 octets is no address"),
        ("010141 010142", 3, "sub-option 1 twice"),
        ("090141 090142", 3, "sub-option 9 twice"),
    ],
)
def test_refusals(data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        decode(bytes.fromhex(data))
    assert caught.value.offset == offset


def test_a_sub_option_has_one_octet_of_length():
    with pytest.raises(ValueError, match="256"):
        encode(RelayAgent(b"x" * 256))


@given(agents)
def test_what_is_encoded_decodes(agent):
    assert decode(encode(agent)) == agent


@given(st.binary(max_size=60))
def test_garbage(data):
    try:
        agent = decode(data)
    except Malformed:
        return
    assert sorted(encode(agent)) == sorted(data)
