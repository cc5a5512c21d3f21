"""The access concentrator's side of discovery, as functions of what it hears. Nothing here remembers anything.

    PADI → `offer` → PADO        PADR → `confirm` → Confirmed → `established` or `refused` → PADS        `ended` → PADT

An AC-Cookie is what a stranger gets instead of memory: the millisecond it was made in and a keyed hash over that, the
client's MAC and its line. It is checked, and a PADR without one that holds is not answered: whoever sends it cannot
have heard the PADO. A PADR may be repeated while its cookie holds; the caller knows which session it belongs to by
`Confirmed.cookie` and `Confirmed.echo`, and answers with the same session-id.

Source: RFC 2516 5, 8, 9 and appendix A; RFC 4638 3.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from wayleave.net.mac import Mac
from wayleave.net.units import MILLISECOND, SECOND, BootNs, Ns
from wayleave.proto.pppoe.packet import (
    AC_COOKIE,
    AC_NAME,
    GENERIC_ERROR,
    HOST_UNIQ,
    PLAIN_MRU,
    PPP_MAX_PAYLOAD,
    RELAY_SESSION_ID,
    SERVICE_NAME,
    SERVICE_NAME_ERROR,
    Code,
    Packet,
    Tag,
    TagType,
    encode,
)

COOKIE_LIFE = Ns(60 * SECOND)
"""How long a cookie holds: PADI, PADO and a PADR that was repeated a few times take less."""
LARGEST_SESSION_ID = 0xFFFE
"""0 is no session, and 65,535 is reserved (RFC 2516 4)."""

_ECHOED = (HOST_UNIQ.number, RELAY_SESSION_ID.number)
_ROOM = 1500  # octets of a frame's payload: what a client has us echo may be too much beside our own tags
_DIGEST = 16


class Reason(StrEnum):
    """Why a packet that decodes is not answered; the value is the name of its counter."""

    NOT_FOR_CONCENTRATORS = "not-for-concentrators"
    SESSION_ID_SET = "session-id-set"
    NO_SERVICE_NAME = "no-service-name"
    SERVICE_NAMES = "service-names"
    OTHER_SERVICE = "other-service"
    OTHER_CONCENTRATOR = "other-concentrator"
    NO_COOKIE = "no-cookie"
    BAD_COOKIE = "bad-cookie"
    TOO_LONG = "too-long"


class Ignored(Struct, frozen=True, gc=False):
    """A packet to drop and count."""

    reason: Reason


class Concentrator(Struct, frozen=True, kw_only=True):
    """Who answers. `services` are the names on offer; an empty one among them says that any other is served too.

    A client that asks for the empty name takes whatever there is. `most_payload`: octets of a PPP payload that the
    access side carries, PPP-Max-Payload's limit; up to 1,492 the tag is left out.
    """

    name: str
    services: tuple[str, ...] = ("",)
    most_payload: int = PLAIN_MRU

    def serves(self, service: bytes) -> bool:
        """Tell whether a client may have the service of this name."""
        return not service or "" in self.services or service in [name.encode() for name in self.services]


class Confirmed(Struct, frozen=True, gc=False):
    """A PADR to give a session to. `max_payload` bounds the MRUs of both sides; `echo` are the client's own tags."""

    service: bytes
    max_payload: int
    cookie: bytes
    echo: tuple[Tag, ...]


# ---- Cookies ----------------------------------------------------------------------------


def cookie(key: bytes, mac: Mac, line: bytes, now: BootNs) -> bytes:
    """Return the AC-Cookie for a client. `line`: octets that tell its line from all others, whatever they are."""
    return _sealed(key, mac, line, (now // MILLISECOND & 0xFFFFFFFF).to_bytes(4, "big"))


def cookie_holds(said: bytes, keys: Sequence[bytes], mac: Mac, line: bytes, now: BootNs) -> bool:
    """Tell whether one of `keys` made a cookie for this client within `COOKIE_LIFE`: the present key and the last."""
    age = (now // MILLISECOND - int.from_bytes(said[:4], "big")) & 0xFFFFFFFF
    return age <= COOKIE_LIFE // MILLISECOND and any(
        hmac.compare_digest(said, _sealed(key, mac, line, said[:4])) for key in keys
    )


def made_before(said: bytes, other: bytes) -> bool:
    """Tell whether a cookie was made before another; one that is empty is of unknown age."""
    return bool(other) and 0 < (int.from_bytes(other[:4]) - int.from_bytes(said[:4]) & 0xFFFFFFFF) < 1 << 31


def _sealed(key: bytes, mac: Mac, line: bytes, moment: bytes) -> bytes:
    return moment + hashlib.blake2b(moment + mac + line, key=key, digest_size=_DIGEST).digest()


# ---- What is heard ----------------------------------------------------------------------


def offer(padi: Packet, concentrator: Concentrator, cookie: bytes) -> bytes | Ignored:
    """Answer a PADI with a PADO: the name asked for, every other service, AC-Name, the cookie, the client's own tags.

    Source: RFC 2516 5.1 and 5.2.
    """
    asked = _asked(padi, Code.PADI, concentrator)
    if isinstance(asked, Ignored):
        return asked
    if not concentrator.serves(asked):
        return Ignored(Reason.OTHER_SERVICE)
    tags = [(AC_NAME.number, concentrator.name.encode()), (SERVICE_NAME.number, asked)]
    tags += [(SERVICE_NAME.number, name.encode()) for name in concentrator.services if name.encode() != asked]
    tags += [(AC_COOKIE.number, cookie), *_payload_tag(_max_payload(padi, concentrator)), *_echo(padi)]
    pado = encode(Code.PADO, 0, tags)
    return pado if len(pado) <= _ROOM else Ignored(Reason.TOO_LONG)


def confirm(
    padr: Packet, concentrator: Concentrator, keys: Sequence[bytes], mac: Mac, line: bytes, now: BootNs
) -> Confirmed | bytes | Ignored:
    """Take a PADR apart: give it a session, or send the PADS that says why not, or neither.

    Source: RFC 2516 5.3 and 5.4.
    """
    asked = _asked(padr, Code.PADR, concentrator)
    if isinstance(asked, Ignored):
        return asked
    said = padr.first(AC_COOKIE)
    if said is None:
        return Ignored(Reason.NO_COOKIE)
    if not cookie_holds(said, keys, mac, line, now):
        return Ignored(Reason.BAD_COOKIE)
    confirmed = Confirmed(asked, _max_payload(padr, concentrator), said, _echo(padr))
    if not concentrator.serves(asked):
        return refused(confirmed, SERVICE_NAME_ERROR, "no such service")
    return confirmed


def established(confirmed: Confirmed, session_id: int) -> bytes:
    """Return the PADS that gives a client its session-id, from 1 to `LARGEST_SESSION_ID`. Source: RFC 2516 5.4."""
    tags = [(SERVICE_NAME.number, confirmed.service), *_payload_tag(confirmed.max_payload), *confirmed.echo]
    return encode(Code.PADS, session_id, tags)


def refused(confirmed: Confirmed, error: TagType, why: str) -> bytes:
    """Return the PADS that gives a client no session. `error`: SERVICE_NAME_ERROR or AC_SYSTEM_ERROR.

    What the client has us echo may leave no room for `why`, which is for people.

    Source: RFC 2516 5.4 and appendix A.
    """
    service = (SERVICE_NAME.number, confirmed.service)
    pads = encode(Code.PADS, 0, [service, (error.number, why.encode()), *confirmed.echo])
    return pads if len(pads) <= _ROOM else encode(Code.PADS, 0, [service, (error.number, b""), *confirmed.echo])


def ended(session_id: int, why: str = "") -> bytes:
    """Return the PADT that ends a session, of either side; `why` is for people. Source: RFC 2516 5.5."""
    return encode(Code.PADT, session_id, [(GENERIC_ERROR.number, why.encode())] if why else [])


def _asked(packet: Packet, code: Code, concentrator: Concentrator) -> bytes | Ignored:
    """Return the service that a client asks for. AC-Name is no tag of a PADI or PADR, but some clients choose by it."""
    if packet.code != code:
        return Ignored(Reason.NOT_FOR_CONCENTRATORS)
    if packet.session_id:
        return Ignored(Reason.SESSION_ID_SET)
    names = packet.all(SERVICE_NAME)
    if len(names) != 1:
        return Ignored(Reason.SERVICE_NAMES if names else Reason.NO_SERVICE_NAME)
    chosen = packet.first(AC_NAME)
    if chosen and chosen != concentrator.name.encode():
        return Ignored(Reason.OTHER_CONCENTRATOR)
    return names[0]


def _max_payload(packet: Packet, concentrator: Concentrator) -> int:
    """Return the largest PPP payload that both sides carry. Source: RFC 4638 3."""
    said = packet.first(PPP_MAX_PAYLOAD)
    if said is None or len(said) != 2:
        return PLAIN_MRU
    return max(PLAIN_MRU, min(int.from_bytes(said, "big"), concentrator.most_payload))


def _payload_tag(octets: int) -> list[Tag]:
    return [(PPP_MAX_PAYLOAD.number, octets.to_bytes(2, "big"))] if octets > PLAIN_MRU else []


def _echo(packet: Packet) -> tuple[Tag, ...]:
    return tuple(tag for tag in packet.tags if tag[0] in _ECHOED)
