"""The concentrator's answers: services, cookies, what is echoed, what is not answered."""

import pytest

from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.pppoe.discovery import (
    COOKIE_LIFE,
    Concentrator,
    Confirmed,
    Ignored,
    Reason,
    confirm,
    cookie,
    cookie_holds,
    ended,
    established,
    offer,
    refused,
)
from wayleave.proto.pppoe.packet import (
    AC_COOKIE,
    AC_NAME,
    AC_SYSTEM_ERROR,
    GENERIC_ERROR,
    HOST_UNIQ,
    PPP_MAX_PAYLOAD,
    RELAY_SESSION_ID,
    SERVICE_NAME,
    SERVICE_NAME_ERROR,
    Code,
    Packet,
    decode,
)

MAC, OTHER = Mac.parse("02:00:00:00:00:01"), Mac.parse("02:00:00:00:00:02")
LINE = b"1/100/7"
NOW = BootNs(5000 * SECOND)
KEY, OLD_KEY = bytes(range(32)), bytes(32)
ANY = Concentrator(name="bng-1")
TWO = Concentrator(name="bng-1", services=("gold", "silver"), most_payload=1500)


def packet(code, *tags, session_id=0):
    return Packet(code, session_id, tuple((row.number, value) for row, value in tags))


def padi(*tags, service=b"", **how):
    return packet(Code.PADI, (SERVICE_NAME, service), *tags, **how)


def padr(*tags, service=b"", said=None, **how):
    said = cookie(KEY, MAC, LINE, NOW) if said is None else said
    return packet(Code.PADR, (SERVICE_NAME, service), (AC_COOKIE, said), *tags, **how)


def asked(packet, concentrator=ANY, keys=(KEY,), mac=MAC, line=LINE, now=NOW):
    return confirm(packet, concentrator, keys, mac, line, now)


def answer(data):
    assert isinstance(data, bytes), data
    return decode(data)


# ---- PADI → PADO ------------------------------------------------------------------------


def test_an_offer():
    pado = answer(offer(padi((HOST_UNIQ, b"\0\xff"), (RELAY_SESSION_ID, b"r1")), ANY, b"cookie"))
    assert (pado.code, pado.session_id) == (Code.PADO, 0)
    assert pado.tags == (
        (AC_NAME.number, b"bng-1"),
        (SERVICE_NAME.number, b""),
        (AC_COOKIE.number, b"cookie"),
        (HOST_UNIQ.number, b"\0\xff"),
        (RELAY_SESSION_ID.number, b"r1"),
    )


@pytest.mark.parametrize(
    ("services", "asked_for", "offered"),
    [
        (("",), b"", [b""]),
        (("",), b"whatever", [b"whatever", b""]),
        (("gold", "silver"), b"", [b"", b"gold", b"silver"]),
        (("gold", "silver"), b"silver", [b"silver", b"gold"]),
        (("gold", "silver"), b"bronze", None),
        (("gold", ""), b"bronze", [b"bronze", b"gold", b""]),
        (("grün",), "grün".encode(), ["grün".encode()]),
    ],
)
def test_services(services, asked_for, offered):
    """The name asked for comes back first, then the others on offer (RFC 2516 5.2)."""
    said = offer(padi(service=asked_for), Concentrator(name="bng-1", services=services), b"c")
    if offered is None:
        assert said == Ignored(Reason.OTHER_SERVICE)
    else:
        assert answer(said).all(SERVICE_NAME) == offered


@pytest.mark.parametrize(
    ("asks", "reason"),
    [
        (packet(Code.PADO, (SERVICE_NAME, b"")), Reason.NOT_FOR_CONCENTRATORS),
        (packet(0x42, (SERVICE_NAME, b"")), Reason.NOT_FOR_CONCENTRATORS),
        (packet(Code.PADI), Reason.NO_SERVICE_NAME),
        (padi((SERVICE_NAME, b"gold")), Reason.SERVICE_NAMES),
        (padi(session_id=1), Reason.SESSION_ID_SET),
        (padi((AC_NAME, b"bng-2")), Reason.OTHER_CONCENTRATOR),
        (padi((HOST_UNIQ, bytes(1460))), Reason.TOO_LONG),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
def test_no_offer(asks, reason):
    assert offer(asks, ANY, bytes(20)) == Ignored(reason)


def test_a_client_may_choose_by_name():
    assert answer(offer(padi((AC_NAME, b"bng-1")), ANY, b"c")).first(AC_NAME) == b"bng-1"


def test_no_offer_is_longer_than_a_frame():
    """What is echoed is the client's: at any length, the answer fits 1,500 octets or is not sent."""
    for octets in range(1400, 1490):
        said = offer(padi((HOST_UNIQ, bytes(octets))), ANY, bytes(20))
        assert isinstance(said, Ignored) or len(said) <= 1500


@pytest.mark.parametrize(
    ("limit", "said", "offered"),
    [(1492, 1500, None), (1500, 1500, 1500), (1500, 9000, 1500), (1508, 1500, 1500), (1500, 1400, None)],
)
def test_payloads_over_1492(limit, said, offered):
    """RFC 4638 3: the tag comes back only where both sides carry more than 1,492 octets."""
    concentrator = Concentrator(name="bng-1", most_payload=limit)
    tag = (PPP_MAX_PAYLOAD, said.to_bytes(2, "big"))
    octets = None if offered is None else offered.to_bytes(2, "big")
    assert answer(offer(padi(tag), concentrator, b"c")).first(PPP_MAX_PAYLOAD) == octets
    confirmed = asked(padr(tag), concentrator)
    assert confirmed.max_payload == (offered or 1492)
    assert answer(established(confirmed, 7)).first(PPP_MAX_PAYLOAD) == octets


def test_a_payload_tag_that_makes_no_sense_is_none():
    assert asked(padr((PPP_MAX_PAYLOAD, b"\5")), TWO).max_payload == 1492


# ---- PADR → PADS ------------------------------------------------------------------------


def test_a_session():
    said = cookie(KEY, MAC, LINE, NOW)
    confirmed = asked(padr((HOST_UNIQ, b"u"), (RELAY_SESSION_ID, b"r"), service=b"gold"), TWO)
    echo = ((HOST_UNIQ.number, b"u"), (RELAY_SESSION_ID.number, b"r"))
    assert confirmed == Confirmed(b"gold", 1492, said, echo)
    pads = answer(established(confirmed, 0x1234))
    assert (pads.code, pads.session_id) == (Code.PADS, 0x1234)
    assert pads.tags == ((SERVICE_NAME.number, b"gold"), *echo)


def test_a_repeated_padr_is_known_by_its_cookie():
    assert asked(padr((HOST_UNIQ, b"u"))) == asked(padr((HOST_UNIQ, b"u")), now=BootNs(NOW + 9 * SECOND))


def test_a_service_that_is_not_there_is_refused_in_words():
    pads = answer(asked(padr((HOST_UNIQ, b"u"), service=b"bronze"), TWO))
    assert (pads.code, pads.session_id) == (Code.PADS, 0)
    assert pads.first(SERVICE_NAME_ERROR) == b"no such service"
    assert pads.first(HOST_UNIQ) == b"u"
    assert pads.first(SERVICE_NAME) == b"bronze"


def test_no_resources():
    pads = answer(refused(asked(padr()), AC_SYSTEM_ERROR, "full"))
    assert (pads.session_id, pads.first(AC_SYSTEM_ERROR)) == (0, b"full")


def test_a_refusal_is_never_too_long_for_the_line() -> None:
    """Or the client would hear nothing, and the frame be refused by the device."""
    long = asked(padr((HOST_UNIQ, bytes(1445))))
    pads = refused(long, AC_SYSTEM_ERROR, "port 511 has no room: 65535 sessions are there")
    assert len(pads) <= 1500
    assert answer(pads).first(AC_SYSTEM_ERROR) == b""
    assert answer(pads).first(HOST_UNIQ) == bytes(1445)


@pytest.mark.parametrize(
    ("asks", "reason"),
    [
        (packet(Code.PADR, (SERVICE_NAME, b"")), Reason.NO_COOKIE),
        (padr(said=b""), Reason.BAD_COOKIE),
        (padr(said=bytes(20)), Reason.BAD_COOKIE),
        (packet(Code.PADS, (SERVICE_NAME, b"")), Reason.NOT_FOR_CONCENTRATORS),
        (packet(Code.PADR), Reason.NO_SERVICE_NAME),
        (padr(session_id=3), Reason.SESSION_ID_SET),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
def test_no_session(asks, reason):
    assert asked(asks) == Ignored(reason)


def test_a_service_is_not_told_to_who_has_no_cookie():
    """A PADS is sent only to whom a PADO reached: nobody else is answered, not even to be refused."""
    assert asked(padr(service=b"bronze", said=bytes(20)), TWO) == Ignored(Reason.BAD_COOKIE)


# ---- cookies ----------------------------------------------------------------------------


def test_a_cookie_is_one_client_s_on_one_line():
    said = cookie(KEY, MAC, LINE, NOW)
    assert cookie_holds(said, [KEY], MAC, LINE, NOW)
    assert not cookie_holds(said, [KEY], OTHER, LINE, NOW)
    assert not cookie_holds(said, [KEY], MAC, b"1/100/8", NOW)
    assert not cookie_holds(said, [OLD_KEY], MAC, LINE, NOW)
    for at in range(len(said)):
        assert not cookie_holds(said[:at] + bytes((said[at] ^ 1,)) + said[at + 1 :], [KEY], MAC, LINE, NOW)
        assert not cookie_holds(said[:at], [KEY], MAC, LINE, NOW)
    assert not cookie_holds(said + b"\0", [KEY], MAC, LINE, NOW)


def test_a_cookie_ends():
    said = cookie(KEY, MAC, LINE, NOW)
    assert cookie_holds(said, [KEY], MAC, LINE, BootNs(NOW + COOKIE_LIFE))
    assert not cookie_holds(said, [KEY], MAC, LINE, BootNs(NOW + COOKIE_LIFE + SECOND))
    assert not cookie_holds(said, [KEY], MAC, LINE, BootNs(NOW - Ns(SECOND))), "made in the future"


def test_keys_are_changed_while_cookies_are_out():
    said = cookie(OLD_KEY, MAC, LINE, NOW)
    assert cookie_holds(said, [KEY, OLD_KEY], MAC, LINE, NOW)
    assert not cookie_holds(said, [KEY], MAC, LINE, NOW)


def test_a_cookie_outlives_the_wrap_of_its_clock():
    late = BootNs((1 << 32) * SECOND - SECOND)
    assert cookie_holds(cookie(KEY, MAC, LINE, late), [KEY], MAC, LINE, BootNs(late + 3 * SECOND))


# ---- PADT -------------------------------------------------------------------------------


def test_the_end():
    assert answer(ended(7)) == Packet(Code.PADT, 7, ())
    assert answer(ended(7, "session limit")).first(GENERIC_ERROR) == b"session limit"
