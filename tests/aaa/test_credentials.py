"""Names, proofs and what servers are told of them: the RFCs' vectors, and every way not to be believed."""

from __future__ import annotations

import hashlib

import pytest

from tests.aaa.clients import CHALLENGE, NT_RESPONSE, PEER_CHALLENGE, PROOF, chap
from wayleave.aaa.credentials import again, attributes, proof, proves, user_of, why_untellable
from wayleave.net.errors import Malformed
from wayleave.proto.ppp.auth import ChapMd5, Credentials, MsChap2, Pap
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.session.refusal import Reason, Refusal

MICROSOFT = MsChap2(b"User", 7, CHALLENGE, PEER_CHALLENGE, NT_RESPONSE, 0)


@pytest.mark.parametrize("name", ["alice", "alice@isp.example", "Ünal", "x" * 253])
def test_a_name_is_what_the_client_says(name: str) -> None:
    assert user_of(Pap(name.encode(), b"")) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"", "it says no name"),
        (b"x" * 254, "its name has 254 octets: a User-Name has 253"),
        (b"al\xffice", "its name is no text: 0xff is no UTF-8"),
    ],
)
def test_a_name_that_no_server_can_be_told(name: bytes, why: str) -> None:
    assert user_of(Pap(name, b"")) == Refusal(Reason.CREDENTIALS_UNUSABLE, why)


def test_pap_proves_itself_by_the_password() -> None:
    assert proves(Pap(b"alice", b"sesame"), b"sesame")
    for said in (b"", b"sesam", b"sesame ", b"Sesame"):
        assert not proves(Pap(b"alice", said), b"sesame")


def test_chap_proves_itself_by_md5_over_identifier_password_and_challenge() -> None:
    """RFC 1994 4.1."""
    said = chap(b"alice", b"sesame")
    assert said.response == hashlib.md5(bytes((said.identifier,)) + b"sesame" + said.challenge).digest()
    assert proves(said, b"sesame")
    assert not proves(said, b"another")
    for wrong in (
        ChapMd5(said.name, said.identifier + 1, said.challenge, said.response),
        ChapMd5(said.name, said.identifier, bytes(16), said.response),
        ChapMd5(said.name, said.identifier, said.challenge, b""),
    ):
        assert not proves(wrong, b"sesame")


def test_ms_chap_2_proves_nothing_here() -> None:
    assert not proves(MICROSOFT, b"clientPass")


def told(said: Credentials) -> dict[str, bytes]:
    avps = attributes(said, lambda clear: b"hidden " + clear)
    return {row.name: octets for row, octets in STANDARD.explode(avps)}


def test_what_a_server_is_told_of_each() -> None:
    """RFC 2865 5.2, 5.3 and 5.40; RFC 2548 2.3.2: identifier, flags, peer challenge, eight zeros, response."""
    assert told(Pap(b"alice", b"sesame")) == {"User-Password": b"hidden sesame"}
    said = chap(b"alice", b"sesame")
    assert told(said) == {"CHAP-Password": bytes((said.identifier,)) + said.response, "CHAP-Challenge": said.challenge}
    assert told(MICROSOFT) == {
        "MS-CHAP-Challenge": CHALLENGE,
        "MS-CHAP2-Response": b"\7\0" + PEER_CHALLENGE + bytes(8) + NT_RESPONSE,
    }


def test_a_password_that_is_too_long_for_a_server_is_told_to_none() -> None:
    assert not why_untellable(Pap(b"alice", b"x" * 128))
    assert why_untellable(Pap(b"alice", b"x" * 129)) == "its password has 129 octets: a User-Password has 128"
    assert not why_untellable(MICROSOFT)


def test_what_ms_chap_2_wants_to_hear() -> None:
    """RFC 2548 2.3.3: the identifier is the server's affair; RFC 2759 9.2 has the proof."""
    success = STANDARD["MS-CHAP2-Success"].encode(b"\7" + PROOF)
    assert proof(MICROSOFT, [success]) == PROOF
    assert proof(chap(b"alice", b"sesame"), [success]) == b"", "others believe without"
    assert proof(None, []) == b""
    for nothing in ([], [STANDARD["MS-CHAP2-Success"].encode(b"\7")], [STANDARD["MS-CHAP-Error"].encode(b"\7E=691")]):
        with pytest.raises(Malformed, match="MS-CHAP2-Success is absent"):
            proof(MICROSOFT, nothing)


def test_whether_the_same_is_said_again_shows_with_pap_alone_and_shows_no_password() -> None:
    same, other = Pap(b"alice", b"sesame"), Pap(b"alice", b"another")
    assert again(same) == again(Pap(b"bob", b"sesame")) != again(other)
    assert b"sesame" not in again(same)
    assert again(chap(b"alice", b"sesame")) == again(chap(b"alice", b"another")) == b""
