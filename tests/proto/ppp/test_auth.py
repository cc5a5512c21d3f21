"""PAP and CHAP: what is handed over to be verified, and what the peer is told."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.ppp import PPP, PPP_CHAP_ChallengeResponse, PPP_PAP_Request

from tests.vectors import feed
from wayleave.lab.mschap import MsChap2 as Computer
from wayleave.net.errors import Malformed
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.ppp.account import Account, ChapPeer, PapPeer
from wayleave.proto.ppp.auth import (
    NEVER,
    Authentication,
    ChapAuthenticator,
    ChapCode,
    ChapMd5,
    MsChap2,
    Pap,
    PapAuthenticator,
    PapCode,
    Patience,
    Stage,
    counted,
    decode_chap,
    decode_pap,
)
from wayleave.proto.ppp.packet import Control, decode, encode

NOW = BootNs(50 * SECOND)
PATIENCE = Patience()
CHALLENGE = bytes.fromhex("5b5d7c7d7b3f2f3e3c2c602132262628")
PEER_CHALLENGE = bytes.fromhex("21402324255e262a28295f2b3a337c7e")
NT_RESPONSE = bytes.fromhex("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df")
PROOF = b"S=407A5589115FD0D6209F510FE9C04566932CDA56"
USER = Account(name=b"User", password=b"clientPass", accepts=tuple(Authentication), ms_chap=Computer())


def chap(microsoft=False):
    machine = ChapAuthenticator(PATIENCE, name=b"bng", challenge=CHALLENGE, identifier=7, microsoft=microsoft)
    return machine, machine.begin(NOW)


def pap():
    machine = PapAuthenticator(PATIENCE)
    machine.begin(NOW)
    return machine


def peer(microsoft):
    return ChapPeer(USER, PATIENCE, microsoft, lambda count: PEER_CHALLENGE[:count])


REQUEST = counted(b"alice") + counted(b"open sesame")
MD5 = counted(bytes(16)) + b"alice"


# ---- PAP --------------------------------------------------------------------------------


def test_pap():
    machine = pap()
    assert machine.receive(Control(PapCode.REQUEST, 9, REQUEST)) == [Pap(b"alice", b"open sesame")]
    assert (machine.stage, machine.deadline) == (Stage.ASKED, NEVER)
    assert machine.receive(Control(PapCode.REQUEST, 10, REQUEST)) == [], "it is being verified"
    assert machine.decide(True, b"welcome", NOW) == [encode(PapCode.ACK, 10, b"\7welcome")], "the last one is answered"
    assert machine.receive(Control(PapCode.REQUEST, 11, REQUEST)) == [encode(PapCode.ACK, 11, b"\7welcome")]
    assert machine.stage is Stage.ACCEPTED


def test_pap_refused():
    machine = pap()
    machine.receive(Control(PapCode.REQUEST, 9, REQUEST))
    assert machine.decide(False, b"x" * 300, NOW) == [encode(PapCode.NAK, 9, b"\xff" + b"x" * 255)]
    assert machine.stage is Stage.REFUSED


def test_pap_is_waited_for():
    machine = pap()
    assert machine.deadline == NOW + 30 * SECOND
    assert machine.expire(BootNs(machine.deadline - 1)) == []
    assert machine.stage is Stage.WAITING
    machine.expire(machine.deadline)
    assert (machine.stage, machine.deadline) == (Stage.SILENT, NEVER)


def test_a_password_shows_nowhere():
    assert "sesame" not in repr(Pap(b"alice", b"open sesame"))
    assert "clientPass" not in repr(USER)


@pytest.mark.parametrize("data", ["", "05616c696365", "05616c", "05616c6963650b6f70656e", "ff"])
def test_no_pap(data):
    machine = pap()
    with pytest.raises(Malformed, match="length"):
        machine.receive(Control(PapCode.REQUEST, 1, bytes.fromhex(data)))
    assert machine.stage is Stage.WAITING


# ---- CHAP -------------------------------------------------------------------------------


def test_chap():
    machine, challenge = chap()
    assert challenge == [encode(ChapCode.CHALLENGE, 7, b"\x10" + CHALLENGE + b"bng")]
    said = machine.receive(Control(ChapCode.RESPONSE, 7, MD5))
    assert said == [ChapMd5(b"alice", 7, CHALLENGE, bytes(16))]
    assert machine.receive(Control(ChapCode.RESPONSE, 7, MD5)) == [], "it is being verified"
    assert machine.decide(True, b"hi", NOW) == [encode(ChapCode.SUCCESS, 7, b"hi")]
    assert machine.receive(Control(ChapCode.RESPONSE, 7, MD5)) == [encode(ChapCode.SUCCESS, 7, b"hi")]


def test_a_success_is_repeated_until_the_peer_goes_on():
    machine, _ = chap()
    machine.receive(Control(ChapCode.RESPONSE, 7, MD5))
    success = machine.decide(True, b"hi", NOW)
    assert machine.expire(machine.deadline) == success
    machine.rest()
    assert machine.deadline == NEVER
    machine.decide(True, b"hi", NOW)
    said = 0
    while machine.deadline != NEVER:
        said += len(machine.expire(machine.deadline))
    assert (said, machine.stage) == (9, Stage.ACCEPTED)


def test_chap_refused_stays_refused():
    machine, _ = chap()
    machine.receive(Control(ChapCode.RESPONSE, 7, MD5))
    assert machine.decide(False, b"no", NOW) == [encode(ChapCode.FAILURE, 7, b"no")]
    assert machine.deadline == NEVER, "nothing follows a refusal but the end of the link"
    another = counted(bytes(15) + b"\1") + b"alice"
    assert machine.receive(Control(ChapCode.RESPONSE, 7, another)) == [encode(ChapCode.FAILURE, 7, b"no")]


def test_a_challenge_is_repeated_as_it_was():
    machine, challenge = chap()
    sent = [challenge]
    while machine.deadline != NEVER:
        sent.append(machine.expire(machine.deadline))
    assert sent == [challenge] * 10 + [[]]
    assert machine.stage is Stage.SILENT


@pytest.mark.parametrize(
    "packet",
    [Control(ChapCode.RESPONSE, 8, MD5), Control(ChapCode.SUCCESS, 7, b""), Control(99, 7, MD5)],
    ids=["another identifier", "not a response", "an unknown code"],
)
def test_no_response(packet):
    machine, _ = chap()
    assert machine.receive(packet) == []
    assert machine.stage is Stage.WAITING


@pytest.mark.parametrize("microsoft", [False, True])
@pytest.mark.parametrize("octets", [0, 1, 15, 17, 24, 48, 50, 255])
def test_a_response_of_another_length(microsoft, octets):
    machine, _ = chap(microsoft)
    with pytest.raises(Malformed, match="no response of"):
        machine.receive(Control(ChapCode.RESPONSE, 7, counted(bytes(octets)) + b"alice"))
    assert machine.stage is Stage.WAITING


def test_ms_chap_2():
    """RFC 2759 9.2, from challenge to success, by both sides."""
    machine, (challenge,) = chap(microsoft=True)
    client = peer(microsoft=True)
    client.begin(NOW)
    (response,) = client.receive(decode(challenge))
    (credentials,) = machine.receive(decode(response))
    assert credentials == MsChap2(b"User", 7, CHALLENGE, PEER_CHALLENGE, NT_RESPONSE, 0)
    (success,) = machine.decide(True, PROOF + b" M=welcome", NOW)
    assert success == encode(ChapCode.SUCCESS, 7, PROOF + b" M=welcome")
    client.receive(decode(success))
    assert client.stage is Stage.ACCEPTED


@pytest.mark.parametrize("message", [b"", b"S=" + b"0" * 40, PROOF.lower()])
def test_a_client_of_ms_chap_2_believes_only_proof(message):
    client = peer(microsoft=True)
    client.receive(Control(ChapCode.CHALLENGE, 7, counted(CHALLENGE) + b"bng"))
    client.receive(Control(ChapCode.SUCCESS, 7, message))
    assert client.stage is Stage.REFUSED


@pytest.mark.parametrize("given", [b"", b"E=647 R=0 C=00 V=3 M=disabled"])
def test_ms_chap_2_refused(given):
    machine, _ = chap(microsoft=True)
    machine.receive(Control(ChapCode.RESPONSE, 7, counted(bytes(49)) + b"User"))
    (failure,) = machine.decide(False, given, NOW)
    words = b"E=691 R=0 C=5B5D7C7D7B3F2F3E3C2C602132262628 V=3 M=Access denied"
    assert decode(failure).data == (given or words)


# ---- the other side ---------------------------------------------------------------------


def test_a_peer_of_pap():
    client = PapPeer(USER, PATIENCE)
    (asked,) = client.begin(NOW)
    assert decode_pap(decode(asked).data) == Pap(b"User", b"clientPass")
    (again,) = client.expire(client.deadline)
    assert decode(again).data == decode(asked).data
    client.receive(Control(PapCode.ACK, 2, b"\2hi"))
    assert (client.stage, client.message, client.deadline) == (Stage.ACCEPTED, b"hi", NEVER)
    client.receive(Control(PapCode.NAK, 2, b"\0"))
    assert client.stage is Stage.ACCEPTED


def test_a_peer_of_pap_that_nobody_answers():
    client = PapPeer(USER, PATIENCE)
    client.begin(NOW)
    tries = 1
    while client.deadline != NEVER:
        tries += len(client.expire(client.deadline))
    assert (client.stage, tries) == (Stage.SILENT, 10)


def test_a_peer_of_chap():
    """RFC 1994 4.1: MD5 over identifier, secret and challenge; a repeated challenge gets the same answer."""
    client = peer(microsoft=False)
    client.begin(NOW)
    asked = Control(ChapCode.CHALLENGE, 3, counted(b"challenge") + b"bng")
    (said,) = client.receive(asked)
    value, name = decode_chap(decode(said).data)
    assert (value, name) == (hashlib.md5(b"\3clientPasschallenge").digest(), b"User")
    assert client.receive(asked) == [said]
    client.receive(Control(ChapCode.FAILURE, 4, b"no"))
    assert client.stage is Stage.WAITING, "not the answer to this response"
    client.receive(Control(ChapCode.FAILURE, 3, b"no"))
    assert (client.stage, client.message) == (Stage.REFUSED, b"no")


def test_a_peer_of_chap_that_nobody_asks():
    client = peer(microsoft=False)
    client.begin(NOW)
    client.expire(client.deadline)
    assert client.stage is Stage.SILENT


# ---- octets -----------------------------------------------------------------------------


def test_scapy_reads_the_same():
    """An independent codec, on what both sides say."""
    (asked,) = PapPeer(USER, PATIENCE).begin(NOW)
    seen = PPP(b"\xc0\x23" + asked)[PPP_PAP_Request]
    assert (seen.username, seen.password) == (b"User", b"clientPass")
    _, (challenge,) = chap()
    seen = PPP(b"\xc2\x23" + challenge)[PPP_CHAP_ChallengeResponse]
    assert (seen.id, seen.value, seen.optional_name) == (7, CHALLENGE, b"bng")


def test_spoilt_octets():
    assert feed(decode_pap, REQUEST)
    assert feed(decode_chap, MD5)


@given(st.binary(max_size=255), st.binary(max_size=255))
def test_what_is_encoded_decodes(one, other):
    assert decode_pap(counted(one) + counted(other)) == Pap(one, other)
    assert decode_chap(counted(one) + other) == (one, other)
