"""The dictionary: every attribute of it is written and read; bad files are refused in words."""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import feed
from wayleave.net.errors import Malformed
from wayleave.proto.radius import dictionary
from wayleave.proto.radius.dictionary import STANDARD, decoded
from wayleave.proto.radius.types import TYPES

SAMPLES = {
    "string": ("gold \N{SNOWMAN}", b"gold \xe2\x98\x83"),
    "octets": (b"\x00\xff", b"\x00\xff"),
    "byte": (7, b"\x07"),
    "short": (0x1234, b"\x12\x34"),
    "integer": (15, b"\0\0\0\x0f"),
    "integer64": (1 << 40, b"\0\0\1\0\0\0\0\0"),
    "date": (0x65000000, b"\x65\0\0\0"),
    "ipaddr": (IPv4Address("10.0.1.50"), b"\x0a\0\1\x32"),
    "ipv6addr": (IPv6Address("2001:db8::1"), bytes.fromhex("20010db8000000000000000000000001")),
    "ipv6prefix": (IPv6Network("2001:db8:0:8000::/49"), bytes.fromhex("003120010db8000080")),
    "ifid": (b"\0\0\0\0\0\0\0\1", b"\0\0\0\0\0\0\0\1"),
    "ether": (b"\2\0\0\0\0\1", b"\2\0\0\0\0\1"),
}


@pytest.mark.parametrize("name", TYPES)
def test_every_type(name):
    type_ = TYPES[name]
    value, octets = SAMPLES[name]
    assert type_.encode(value) == octets
    assert type_.decode(octets) == value
    assert type_.show(value)
    feed(type_.decode, octets)


@pytest.mark.parametrize("attribute", STANDARD.by_name.values(), ids=lambda row: row.name)
def test_every_attribute_travels(attribute):
    value, _ = SAMPLES[attribute.type.name]
    ((found, octets),) = STANDARD.explode([attribute.encode(value)])
    assert found is attribute
    assert found.decode(octets) == value
    assert attribute.read(attribute.show(value)) == value or attribute.type.name in ("octets", "ifid", "ether")


def test_names_agree_with_those_of_freeradius():
    """What operators write in their servers' files means the same here: name, number, vendor and kind."""
    folder = Path("/usr/share/freeradius")
    theirs: dict[str, tuple[str, str, str]] = {}
    for file in folder.glob("dictionary*"):
        vendor = ""
        for line in file.read_text(errors="replace").splitlines():
            words = line.split("#")[0].split()
            if words[:1] == ["BEGIN-VENDOR"]:
                vendor = words[1]
            elif words[:1] == ["END-VENDOR"]:
                vendor = ""
            elif words[:1] == ["ATTRIBUTE"]:
                theirs.setdefault(words[1], (vendor, words[2], words[3]))
    ours = [row for row in STANDARD.by_name.values() if not row.name.startswith("Wayleave-")]
    assert len(ours) > 60
    alike = {"string", "octets"}
    for row in ours:
        vendor, number, kind = theirs[row.name]
        assert (bool(row.vendor), str(row.code)) == (bool(vendor), number), row.name
        kind = re.sub(r"\[\d+\]", "", kind)
        assert row.type.name == kind or {row.type.name, kind} == alike, row.name


def test_vendors_in_one_envelope_and_what_nobody_knows():
    up, down = STANDARD["Wayleave-Rate-Up"], STANDARD["Wayleave-Rate-Down"]
    envelope = (26, up.encode(1)[1] + down.encode(2)[1][4:])
    assert [(row.name, row.decode(octets)) for row, octets in STANDARD.explode([envelope])] == [
        ("Wayleave-Rate-Up", 1),
        ("Wayleave-Rate-Down", 2),
    ]
    strange = [(26, b"\0\0\0\x09\xff\xff"), (26, b"\1"), (26, b"\0\0\1\0\5\3x"), (254, b"y")]
    names = [row.name for row, _ in STANDARD.explode(strange)]
    assert names == ["attribute 26", "attribute 26", "attribute 5 of vendor 256", "attribute 254"]


def test_a_value_of_the_wrong_length_names_its_attribute():
    with pytest.raises(Malformed, match="Session-Timeout: 3 octets instead of 4"):
        decoded([(STANDARD["Session-Timeout"], b"abc")])


@given(st.binary(max_size=253))
def test_text_is_text_or_nothing(octets):
    name = STANDARD["User-Name"]
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        with pytest.raises(Malformed, match="is no UTF-8"):
            name.decode(octets)
        return
    assert name.encode(name.decode(octets))[1] == octets
    assert name.show(text).isprintable()


def test_an_operators_own_file():
    text = "VENDOR Acme 9999\nBEGIN-VENDOR Acme\nATTRIBUTE Acme-Plan 1 string # plan\nEND-VENDOR Acme\n"
    more = dictionary.load({"acme": text})
    assert more["Acme-Plan"].encode("x") == (26, b"\0\0\x27\x0f\1\3x")
    assert "Acme-Plan" not in STANDARD
    assert dictionary.load({"again": "ATTRIBUTE User-Name 1 string"})["User-Name"].code == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ATTRIBUTE X 1 string", "f, line 1: attribute 1 is User-Name, string, already"),
        ("\nATTRIBUTE User-Name 250 string", "line 2: there is an attribute User-Name already"),
        ("ATTRIBUTE X 250 tlv", "there is no type tlv: there are string"),
        ("ATTRIBUTE X 250 string encrypt=1", "is not understood"),
        ("ATTRIBUTE X 300 string", "300 is no attribute's number"),
        ("ATTRIBUTE X y string", "'y' is not a number"),
        ("BEGIN-VENDOR Nobody", "there is no vendor Nobody: say VENDOR"),
        ("VENDOR Cisco 10", "vendor Cisco is 9 already"),
        ("END-VENDOR Cisco", "ends what did not begin"),
        ("VALUE Nothing x 1", "there is no attribute Nothing"),
        ("$INCLUDE other", "is not understood"),
    ],
)
def test_bad_files_are_refused_in_words(text, why):
    with pytest.raises(ValueError, match=re.escape(why)):
        dictionary.load({"f": text})
