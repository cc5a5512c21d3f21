"""LCP: what is asked and taken, what is answered, when the link is given up."""

from random import Random

import pytest

from tests.proto.ppp.control import answer
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.auth import Authentication
from wayleave.proto.ppp.automaton import NEVER, Layer, Refused, State, Timers
from wayleave.proto.ppp.lcp import LOOPS, Keepalive, Kind, Lcp
from wayleave.proto.ppp.packet import Code, Protocol, decode, decode_options, encode, encode_options

NOW = BootNs(100 * SECOND)
CHAP, PAP, MS = Authentication.CHAP_MD5, Authentication.PAP, Authentication.MS_CHAP_2
MAGIC = b"\xde\xad\xbe\xef"


def link(mru=1492, demands=(), accepts=(), every=30 * SECOND):
    lcp = Lcp(
        Timers(),
        entropy=Random(0).randbytes,
        mru=mru,
        keepalive=Keepalive(every=Ns(every)),
        demands=tuple(demands),
        accepts=tuple(accepts),
    )
    (asked,) = lcp.open(NOW)
    return lcp, asked


def asked_for(packet):
    return dict(decode_options(decode(packet).data))


def request(*options):
    return encode(Code.CONFIGURE_REQUEST, 5, encode_options(options))


def opened(*options, **how):
    lcp, asked = link(**how)
    lcp.receive(answer(asked, Code.CONFIGURE_ACK), NOW)
    assert lcp.receive(request(*options), NOW)[-1] is Layer.UP
    return lcp


# ---- what we ask ------------------------------------------------------------------------


@pytest.mark.parametrize(("mru", "told"), [(1492, b"\x05\xd4"), (1480, b"\x05\xc8"), (1500, None), (1508, b"\x05\xe4")])
def test_our_mru(mru, told):
    """What is the default anyway is not asked for (RFC 1661 6.1)."""
    assert asked_for(link(mru=mru)[1]).get(Kind.MRU) == told


def test_our_magic_number_is_never_zero():
    lcp = Lcp(Timers(), entropy=bytes, mru=1492, keepalive=Keepalive())
    (asked,) = lcp.open(NOW)
    assert asked_for(asked)[Kind.MAGIC_NUMBER] == b"\0\0\0\1"


def test_a_smaller_mru_is_agreed_to_and_a_larger_one_not():
    lcp, asked = link()
    (again,) = lcp.receive(answer(asked, Code.CONFIGURE_NAK, (Kind.MRU, b"\x05\0")), NOW)
    assert asked_for(again)[Kind.MRU] == b"\x05\0"
    (again,) = lcp.receive(answer(again, Code.CONFIGURE_NAK, (Kind.MRU, b"\x05\xdc")), NOW)
    assert asked_for(again)[Kind.MRU] == b"\x05\0"
    (again,) = lcp.receive(answer(again, Code.CONFIGURE_NAK, (Kind.MRU, b"\0\0")), NOW)
    assert asked_for(again)[Kind.MRU] == b"\x05\0"


def test_what_is_rejected_is_not_asked_for_again():
    lcp, asked = link()
    (again,) = lcp.receive(answer(asked, Code.CONFIGURE_REJECT), NOW)
    assert asked_for(again) == {}


def test_another_magic_number_after_a_nak():
    lcp, asked = link()
    (again,) = lcp.receive(answer(asked, Code.CONFIGURE_NAK, (Kind.MAGIC_NUMBER, MAGIC)), NOW)
    assert asked_for(again)[Kind.MAGIC_NUMBER] not in (asked_for(asked)[Kind.MAGIC_NUMBER], MAGIC)


@pytest.mark.parametrize(
    ("demands", "naks", "tried"),
    [
        ([CHAP, PAP], [PAP], [CHAP, PAP]),
        ([MS, CHAP, PAP], [PAP], [MS, PAP]),
        ([MS, CHAP, PAP], [PAP, CHAP], [MS, PAP, CHAP]),
        ([MS, CHAP, PAP], [b"\xc2\x27", b"\xc2\x27"], [MS, CHAP, PAP]),
        ([CHAP, PAP], [b""], [CHAP, PAP]),
    ],
    ids=str,
)
def test_authentication_that_the_peer_likes_better(demands, naks, tried):
    lcp, asked = link(demands=demands)
    seen = [asked]
    for liked in naks:
        value = liked if isinstance(liked, bytes) else liked.value
        seen += lcp.receive(answer(seen[-1], Code.CONFIGURE_NAK, (Kind.AUTHENTICATION, value)), NOW)
    assert [asked_for(said)[Kind.AUTHENTICATION] for said in seen] == [method.value for method in tried]
    lcp.receive(answer(seen[-1], Code.CONFIGURE_ACK), NOW)
    lcp.receive(request(), NOW)
    assert (lcp.state, lcp.method) == (State.OPENED, tried[-1])


def test_no_authentication_is_left():
    lcp, asked = link(demands=[CHAP])
    said = lcp.receive(answer(asked, Code.CONFIGURE_NAK, (Kind.AUTHENTICATION, b"\xc2\x27")), NOW)
    assert said == [Layer.FINISHED]


def test_a_peer_that_refuses_to_be_asked_is_not_served():
    lcp, asked = link(demands=[CHAP])
    assert lcp.receive(answer(asked, Code.CONFIGURE_REJECT), NOW) == [Layer.FINISHED]


# ---- what we are asked ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "code", "said"),
    [
        ((Kind.MRU, b"\x05\xd4"), Code.CONFIGURE_ACK, b"\x05\xd4"),
        ((Kind.MRU, b"\x05\xa0"), Code.CONFIGURE_ACK, b"\x05\xa0"),
        ((Kind.MRU, b"\x05\xdc"), Code.CONFIGURE_NAK, b"\x05\xd4"),
        ((Kind.MRU, b"\0\x40"), Code.CONFIGURE_NAK, b"\x05\xd4"),
        ((Kind.MRU, b"\x05"), Code.CONFIGURE_NAK, b"\x05\xd4"),
        ((Kind.MAGIC_NUMBER, MAGIC), Code.CONFIGURE_ACK, MAGIC),
        ((Kind.AUTHENTICATION, b"\xc0\x23"), Code.CONFIGURE_REJECT, b"\xc0\x23"),
        ((2, bytes(4)), Code.CONFIGURE_REJECT, bytes(4)),
        ((4, b"\xc0\x25\0\0\0\0"), Code.CONFIGURE_REJECT, b"\xc0\x25\0\0\0\0"),
        ((7, b""), Code.CONFIGURE_REJECT, b""),
        ((8, b""), Code.CONFIGURE_REJECT, b""),
        ((13, b"\6"), Code.CONFIGURE_REJECT, b"\6"),
        ((255, b"?"), Code.CONFIGURE_REJECT, b"?"),
    ],
    ids=str,
)
def test_options(option, code, said):
    """RFC 2516 7: ACCM, ACFC and MRUs over 1,492 are refused; PFC saves nothing on Ethernet."""
    lcp, _ = link()
    (reply,) = lcp.receive(request(option), NOW)
    assert (decode(reply).code, asked_for(reply)) == (code, {option[0]: said})


@pytest.mark.parametrize("magic", [bytes(4), b"", b"\1\2\3"])
def test_a_magic_number_that_is_none(magic):
    lcp, _ = link()
    (reply,) = lcp.receive(request((Kind.MAGIC_NUMBER, magic)), NOW)
    assert decode(reply).code == Code.CONFIGURE_NAK
    assert len(asked_for(reply)[Kind.MAGIC_NUMBER]) == 4


def test_what_the_peer_takes():
    assert opened((Kind.MRU, b"\x05\xa0")).peer_mru == 1440
    assert opened().peer_mru == 1492, "the default, as far as the carrier takes it"
    assert opened(mru=1508).peer_mru == 1500


@pytest.mark.parametrize(
    ("value", "code", "owed"),
    [(PAP.value, Code.CONFIGURE_ACK, PAP), (b"\xc2\x27", Code.CONFIGURE_NAK, None), (b"", Code.CONFIGURE_NAK, None)],
)
def test_who_has_an_account_says_who_it_is(value, code, owed):
    lcp, _ = link(accepts=[CHAP, PAP])
    (reply,) = lcp.receive(request((Kind.AUTHENTICATION, value)), NOW)
    assert (decode(reply).code, lcp.owed) == (code, owed)
    if code == Code.CONFIGURE_NAK:
        assert asked_for(reply) == {Kind.AUTHENTICATION: CHAP.value}


# ---- the open link ----------------------------------------------------------------------


def test_an_echo():
    lcp = opened((Kind.MAGIC_NUMBER, MAGIC))
    (reply,) = lcp.receive(encode(Code.ECHO_REQUEST, 9, MAGIC + b"ping"), NOW)
    assert reply == encode(Code.ECHO_REPLY, 9, lcp._magic + b"ping")
    (reply,) = lcp.receive(encode(Code.ECHO_REQUEST, 9, MAGIC + bytes(1496)), NOW)
    assert len(reply) == 1492, "as much as the peer takes"
    assert lcp.receive(encode(Code.ECHO_REQUEST, 9, b"\1\2"), NOW) == []


def test_no_echo_before_it_is_open():
    lcp, _ = link()
    assert lcp.receive(encode(Code.ECHO_REQUEST, 9, MAGIC), NOW) == []


@pytest.mark.parametrize("code", [Code.DISCARD_REQUEST, Code.IDENTIFICATION, Code.TIME_REMAINING, Code.ECHO_REPLY])
@pytest.mark.parametrize("body", [b"", MAGIC, MAGIC + b"MSRASV5.20"])
def test_what_is_heard_and_ignored(code, body):
    lcp = opened()
    before = lcp.deadline
    assert lcp.receive(encode(code, 1, body), NOW) == []
    assert (lcp.state, lcp.deadline) == (State.OPENED, before)


def test_what_is_not_known_is_rejected_and_changes_no_timer():
    lcp = opened()
    before = lcp.deadline
    (reply,) = lcp.receive(encode(77, 1, b"?"), NOW)
    assert decode(reply).code == Code.CODE_REJECT
    lcp.receive(encode(Code.CODE_REJECT, 1, encode(Code.ECHO_REQUEST, 1)), NOW)
    assert (lcp.state, lcp.deadline) == (State.OPENED, before)


def test_a_rejected_protocol():
    lcp = opened()
    assert lcp.receive(encode(Code.PROTOCOL_REJECT, 1, b"\x80\x57\1\1"), NOW) == [Refused(Protocol.IPV6CP)]
    assert lcp.receive(encode(Code.PROTOCOL_REJECT, 1, b"\x80"), NOW) == []
    assert lcp.receive(encode(Code.PROTOCOL_REJECT, 1, b"\xc0\x21\1"), NOW)[0] is Layer.DOWN


def test_a_rejected_protocol_before_it_is_open_is_ignored():
    lcp, _ = link()
    assert lcp.receive(encode(Code.PROTOCOL_REJECT, 1, b"\xc0\x21"), NOW) == []
    assert lcp.state is State.REQ_SENT


def test_silence():
    lcp = opened((Kind.MAGIC_NUMBER, MAGIC))
    magic = lcp._magic
    sent, at = [], []
    while lcp.state is State.OPENED:
        now = lcp.deadline
        sent += lcp.expire(now)
        at.append((now - NOW) // SECOND)
    assert at == [30, 60, 90, 120]
    assert [decode(said).code for said in sent if isinstance(said, bytes)] == [Code.ECHO_REQUEST] * 3 + [
        Code.TERMINATE_REQUEST
    ]
    assert [decode(said).data for said in sent[:3]] == [magic] * 3
    assert lcp.silent


def test_whoever_is_heard_is_not_asked():
    lcp = opened()
    lcp.heard = BootNs(NOW + 29 * SECOND)
    assert lcp.expire(lcp.deadline) == []
    assert lcp.deadline == NOW + 59 * SECOND


def test_one_answer_is_enough():
    lcp = opened()
    for _ in range(3):
        lcp.expire(lcp.deadline)
    lcp.heard = BootNs(lcp.deadline - SECOND)
    assert lcp.expire(lcp.deadline) == []
    for _ in range(3):
        assert len(lcp.expire(lcp.deadline)) == 1
    assert lcp.state is State.OPENED


def test_answers_count_however_late_the_timer_is():
    """A timer is late by more than an answer takes, as a rule."""
    lcp = opened()
    for _ in range(100):
        now = BootNs(lcp.deadline + SECOND // 100)
        (said,) = lcp.expire(now)
        assert decode(said).code == Code.ECHO_REQUEST
        lcp.heard = BootNs(now + SECOND // 1000)


def test_no_keepalive():
    assert opened(every=0).deadline == NEVER


# ---- loops ------------------------------------------------------------------------------


def test_our_own_magic_number_coming_back():
    lcp, asked = link()
    for _ in range(LOOPS - 1):
        (nak,) = lcp.receive(asked, NOW)
        assert decode(nak).code == Code.CONFIGURE_NAK
    assert [decode(said).code for said in lcp.receive(asked, NOW)] == [Code.CONFIGURE_NAK, Code.TERMINATE_REQUEST]
    assert lcp.looped


def test_an_echo_of_our_own():
    lcp = opened((Kind.MAGIC_NUMBER, MAGIC))
    echo = encode(Code.ECHO_REQUEST, 1, lcp._magic)
    for _ in range(LOOPS - 1):
        assert lcp.receive(echo, NOW) == []
    assert lcp.receive(echo, NOW)[0] is Layer.DOWN


def test_one_collision_is_no_loop():
    lcp, asked = link()
    lcp.receive(asked, NOW)
    lcp.receive(request((Kind.MAGIC_NUMBER, MAGIC)), NOW)
    assert not lcp.looped
