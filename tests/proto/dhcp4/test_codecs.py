"""How option values are written: both ways, refusals, and what the configuration may say."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.net.errors import Malformed
from wayleave.proto.dhcp4 import codecs
from wayleave.proto.dhcp4.codecs import Codec

CODECS = [value for value in vars(codecs).values() if isinstance(value, Codec)]

label = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
domain = st.lists(label, min_size=1, max_size=5).map(".".join)
address = st.ip_addresses(v=4)
network = st.builds(
    lambda at, width: IPv4Network((int(at) >> 32 - width << 32 - width, width)), address, st.integers(0, 32)
)
several = {"min_size": 1, "max_size": 8}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "u8": st.integers(0, 2**8 - 1),
    "u16": st.integers(0, 2**16 - 1),
    "u32": st.integers(0, 2**32 - 1),
    "i32": st.integers(-(2**31), 2**31 - 1),
    "address": address,
    "addresses": st.lists(address, **several).map(tuple),
    "text": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
    "octets": st.binary(max_size=300),
    "flag": st.just(True),
    "codes": st.lists(st.integers(0, 255), max_size=40).map(tuple),
    "routes": st.lists(st.tuples(network, address), **several).map(tuple),
    "domain names": st.lists(domain, **several).map(tuple),
    "SIP servers": st.lists(domain, **several).map(tuple) | st.lists(address, **several).map(tuple),
}


def test_every_codec_is_tried():
    assert {codec.name for codec in CODECS} == VALUES.keys()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
@given(data=st.data())
def test_what_is_encoded_decodes(codec: Codec[Any], data):
    value = data.draw(VALUES[codec.name])
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
@given(data=st.binary(max_size=80))
def test_garbage(codec: Codec[Any], data):
    try:
        codec.decode(data)
    except Malformed:
        return


@pytest.mark.parametrize(
    ("codec", "data", "offset", "why"),
    [
        (codecs.ADDRESS, "ffffff", 0, "3 octets instead of 4"),
        (codecs.U32, "0000000001", 0, "5 octets instead of 4"),
        (codecs.ADDRESSES, "", 0, "no list of addresses"),
        (codecs.ADDRESSES, "0a0001010a", 0, "5 octets are no list"),
        (codecs.FLAG, "01", 0, "1 octets instead of 0"),
        (codecs.ROUTES, "", 0, "no route"),
        (codecs.ROUTES, "21c0000200000a000101", 0, "prefix of 33 bits"),
        (codecs.ROUTES, "18c000020a0001", 0, "passes the end"),
        (codecs.ROUTES, "000a00010118", 5, "passes the end"),
        (codecs.DOMAINS, "", 0, "no domain name"),
        (codecs.DOMAINS, "00", 0, "empty"),
        (codecs.DOMAINS, "0361", 0, "not a label"),
        (codecs.DOMAINS, "0161", 2, "passes the end"),
        (codecs.DOMAINS, "0161c0", 2, "pointer passes the end"),
        (codecs.DOMAINS, "0161c002", 2, "does not point backward"),
        (codecs.DOMAINS, "0161c000", 2, "does not point backward"),
        (codecs.DOMAINS, "c000", 0, "does not point backward"),
        (codecs.DOMAINS, "01ff00", 0, "not a label"),
        (codecs.DOMAINS, "012e00", 0, "not a label"),
        (codecs.DOMAINS, "40" + "61" * 64 + "00", 0, "not a label"),
        (codecs.DOMAINS, ("3f" + "61" * 63) * 4 + "00", 256, "beyond 253"),
        (codecs.SIP, "02c0000201", 0, "neither 0"),
        (codecs.SIP, "", 0, "neither 0"),
    ],
)
def test_refusals(codec, data, offset, why):
    with pytest.raises(Malformed, match=why) as caught:
        codec.decode(bytes.fromhex(data))
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("codec", "value", "why"),
    [
        (codecs.U32, "1h", "not a whole number"),
        (codecs.U32, True, "not a whole number"),
        (codecs.U32, -1, "not between 0 and 4294967295"),
        (codecs.U16, 65536, "not between 0 and 65535"),
        (codecs.ADDRESS, 24, "write it as 100.64.0.2"),
        (codecs.ADDRESS, "10.0.0.256", "256"),
        (codecs.ADDRESSES, "10.0.0.1", "not a list of IPv4 addresses"),
        (codecs.ADDRESSES, [], "not a list of IPv4 addresses"),
        (codecs.ADDRESSES, [1], "not a list of IPv4 addresses"),
        (codecs.TEXT, 5, "not text"),
        (codecs.BYTES, "acs", "write it as 01:0a:ff"),
        (codecs.BYTES, 5, "write it as 01:0a:ff"),
        (codecs.FLAG, False, "leave it out"),
        (codecs.CODES, "1,3", "not a list of option codes"),
        (codecs.CODES, [256], "256"),
        (codecs.ROUTES, ["192.0.2.0/24"], "via 10.0.0.1"),
        (codecs.ROUTES, ["192.0.2.1/24 via 10.0.0.1"], "the network is 192.0.2.0/24"),
        (codecs.ROUTES, "192.0.2.0/24 via 10.0.0.1", "not a list of routes"),
        (codecs.DOMAINS, ["a..b"], "not a domain name"),
        (codecs.DOMAINS, ["a" * 64], "not a domain name"),
        (codecs.DOMAINS, [".".join(["a" * 60] * 5)], "not a domain name"),
        (codecs.SIP, ["192.0.2.1", "a.example"], "a.example"),
    ],
)
def test_bad_configuration_is_refused_in_words(codec, value, why):
    with pytest.raises(ValueError, match=why):
        codec.encode(codec.read(value))


def test_a_flag_is_there_or_not():
    with pytest.raises(ValueError, match="left out"):
        codecs.FLAG.encode(False)


def test_sip_servers_are_of_one_kind():
    with pytest.raises(ValueError, match="all names or all addresses"):
        codecs.SIP.encode((IPv4Address("192.0.2.1"), "a.example"))


def test_text_of_devices_that_know_no_utf8():
    """RFC 2132 2: trailing zeros are forgiven. What is not text is shown, never lost in an exception."""
    assert codecs.TEXT.decode(b"cpe\0\0") == "cpe"
    assert codecs.TEXT.decode(b"caf\xe9") == "caf\\xe9"


def test_routes_with_bits_past_the_prefix():
    """RFC 3442: the receiver clears them."""
    (route,) = codecs.ROUTES.decode(bytes.fromhex("17c00003 0a000101"))
    assert route == (IPv4Network("192.0.2.0/23"), IPv4Address("10.0.1.1"))


def test_names_share_their_tails():
    """RFC 3397 2: a name may point into any earlier one, at any label, and so on through several pointers."""
    names = ("a.b.c", "x.b.c", "y.x.b.c", "c", "a.b.c")
    data = codecs.DOMAINS.encode(names)
    assert data.hex(" ") == "01 61 01 62 01 63 00 01 78 c0 02 01 79 c0 07 c0 04 c0 00"
    assert codecs.DOMAINS.decode(data) == names
