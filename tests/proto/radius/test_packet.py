"""Packets: as the RFC prints them, as pyrad makes them, spoilt and forged."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad import packet as theirs
from pyrad.dictionary import Dictionary as TheirDictionary

from tests.vectors import feed, load
from wayleave.net.errors import Malformed
from wayleave.proto.radius import packet
from wayleave.proto.radius.packet import Code, Doubt

# RFC 2865 7.1: a user named nemo telnets to port 3; the shared secret is xyzzy5461, the password arctangent.
SECRET = b"xyzzy5461"
REQUEST = bytes.fromhex(
    "010000380f403f9473978057bd83d5cb98f4227a01066e656d6f02120dbe708d93d413ce3196e43f782a0aee0406c0a80110050600000003"
)
ACCEPT = bytes.fromhex("0200002686fe220e7624ba2a1005f6bf9b55e0b20606000000010f06000000000e06c0a80103")
AUTHENTICATOR = REQUEST[4:20]
DATA = bytes(range(16))


def test_the_example_of_the_rfc():
    asked = packet.decode(REQUEST)
    assert (asked.code, asked.identifier, asked.first(1)) == (Code.ACCESS_REQUEST, 0, b"nemo")
    hidden = asked.first(packet.USER_PASSWORD)
    assert hidden is not None
    assert packet.reveal(hidden, AUTHENTICATOR, SECRET) == b"arctangent"
    assert packet.hide(b"arctangent", AUTHENTICATOR, SECRET) == hidden
    told = packet.decode(ACCEPT)
    assert packet.doubt_response(ACCEPT, told, AUTHENTICATOR, SECRET, required=False) is None
    assert packet.doubt_response(ACCEPT, told, AUTHENTICATOR, SECRET, required=True) is Doubt.NO_MESSAGE_AUTHENTICATOR
    assert packet.doubt_response(ACCEPT, told, AUTHENTICATOR, b"other", required=False) is Doubt.BAD_AUTHENTICATOR
    assert packet.encode(asked.code, asked.identifier, asked.authenticator, asked.attributes) == REQUEST


@pytest.mark.parametrize("row", load("radius_packets"), ids=lambda row: row["meaning"])
def test_vectors(row):
    octets = bytes.fromhex(row["hex"])
    read = packet.decode(octets)
    assert packet.encode(read.code, read.identifier, read.authenticator, read.attributes) == octets
    feed(packet.decode, octets)


def test_spoilt_packets_are_refused_with_a_place():
    assert feed(packet.decode, REQUEST) > 50
    assert packet.decode(REQUEST + b"padding") == packet.decode(REQUEST)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "at least 20"),
        (REQUEST[:2] + b"\x00\x13" + REQUEST[4:], "Length says 19"),
        (REQUEST[:2] + b"\x00\x39" + REQUEST[4:], "Length says 57"),
        (REQUEST[:2] + b"\x10\x01" + REQUEST[4:].ljust(5000, b"\0"), "Length says 4097"),
        (REQUEST[:20] + b"\x01\x01" + REQUEST[22:], "attribute 1 says 1 octets"),
        (REQUEST[:-6] + b"\x05\x07" + REQUEST[-4:], "attribute 5 says 7 octets of 6 left"),
    ],
)
def test_each_way_to_be_malformed(octets, why):
    with pytest.raises(Malformed, match=why):
        packet.decode(octets)


avps = st.lists(st.tuples(st.integers(1, 255).filter(lambda kind: kind != 80), st.binary(max_size=253)), max_size=12)


@given(st.integers(0, 255), avps)
def test_what_is_written_reads_the_same(identifier, attributes):
    made = packet.access_request(identifier, DATA, attributes, SECRET)
    read = packet.decode(made)
    assert read.attributes[0][0] == packet.MESSAGE_AUTHENTICATOR
    assert read.attributes[1:] == tuple(attributes)


def test_too_much_is_refused():
    with pytest.raises(ValueError, match="attribute 1 has 254 octets"):
        packet.encode(1, 0, DATA, [(1, bytes(254))])
    with pytest.raises(ValueError, match="4096 fit"):
        packet.encode(1, 0, DATA, [(1, bytes(253))] * 17)
    with pytest.raises(ValueError, match="128"):
        packet.hide(bytes(129), DATA, SECRET)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 32, 127, 128])
def test_passwords_of_all_lengths(length):
    password = b"p" * length
    hidden = packet.hide(password, DATA, SECRET)
    assert len(hidden) % 16 == 0
    assert len(hidden) >= 16
    assert packet.reveal(hidden, DATA, SECRET) == password
    with pytest.raises(Malformed):
        packet.reveal(hidden[:-1], DATA, SECRET)


def test_a_response_as_pyrad_makes_it(tmp_path):
    (tmp_path / "dictionary").write_text("ATTRIBUTE Message-Authenticator 80 octets\nATTRIBUTE Class 25 octets\n")
    asked = theirs.AuthPacket(
        packet=packet.access_request(9, DATA, [(1, b"bob")], SECRET),
        secret=SECRET,
        dict=TheirDictionary(str(tmp_path / "dictionary")),
    )
    assert asked.verify_message_authenticator()
    answer = asked.CreateReply(Class=b"gold")
    answer.code = theirs.AccessAccept
    answer.add_message_authenticator()
    octets = answer.ReplyPacket()
    told = packet.decode(octets)
    assert told.first(25) == b"gold"
    assert packet.doubt_response(octets, told, DATA, SECRET, required=True) is None
    spoilt = octets.replace(b"gold", b"lead")
    assert packet.doubt_response(spoilt, packet.decode(spoilt), DATA, SECRET, required=True) is Doubt.BAD_AUTHENTICATOR


def test_a_message_authenticator_that_is_wrong_is_found_behind_a_right_md5():
    """What CVE-2024-3596 forges is the MD5; the HMAC it cannot."""
    asked = packet.decode(packet.access_request(9, DATA, [], SECRET))
    for said in ([(80, bytes(16))], [(80, bytes(15))], [(80, bytes(16)), (80, bytes(16))]):
        blank = packet.encode(Code.ACCESS_ACCEPT, 9, DATA, said)
        forged = blank[:4] + hashlib.md5(blank + SECRET).digest() + blank[20:]
        for required in (True, False):
            doubt = packet.doubt_response(forged, packet.decode(forged), asked.authenticator, SECRET, required)
            assert doubt is Doubt.BAD_MESSAGE_AUTHENTICATOR


def test_requests_that_sign_themselves():
    """RFC 2866 3, RFC 5176 3.4: the sums written out again, from the RFC's words."""
    accounting = packet.accounting_request(3, [(40, b"\0\0\0\1")], SECRET)
    assert accounting[4:20] == hashlib.md5(accounting[:4] + bytes(16) + accounting[20:] + SECRET).digest()
    assert packet.decode(accounting).attributes == ((40, b"\0\0\0\1"),)
    coa = packet.dynauth_request(Code.COA_REQUEST, 3, [(44, b"1")], SECRET)
    assert coa[22:38] == hmac.digest(SECRET, coa[:4] + bytes(16) + coa[20:22] + bytes(16) + coa[38:], "md5")
    assert coa[4:20] == hashlib.md5(coa[:4] + bytes(16) + coa[20:] + SECRET).digest()
    assert packet.doubt_request(coa, packet.decode(coa), SECRET, required=True) is None
    assert packet.doubt_request(coa, packet.decode(coa), b"x", required=True) is Doubt.BAD_AUTHENTICATOR
    bare = packet.accounting_request(3, [], SECRET)
    assert packet.doubt_request(bare, packet.decode(bare), SECRET, required=False) is None
    assert packet.doubt_request(bare, packet.decode(bare), SECRET, required=True) is Doubt.NO_MESSAGE_AUTHENTICATOR


def test_two_message_authenticators_are_one_too_many():
    """Whoever adds a second one may not choose which of them is looked at."""
    asked = packet.decode(packet.access_request(1, bytes(16), [], b"s"))
    good = packet.response(asked, Code.ACCESS_ACCEPT, [], b"s")
    assert packet.doubt_response(good, packet.decode(good), asked.authenticator, b"s", required=True) is None
    blank = packet.encode(Code.ACCESS_ACCEPT, 1, asked.authenticator, [(80, bytes(16)), (80, bytes(16))])
    both = blank[:22] + hmac.digest(b"s", blank, "md5") + blank[38:]
    sealed = both[:4] + hashlib.md5(both + b"s").digest() + both[20:]
    doubt = packet.doubt_response(sealed, packet.decode(sealed), asked.authenticator, b"s", required=True)
    assert doubt is Doubt.BAD_MESSAGE_AUTHENTICATOR
