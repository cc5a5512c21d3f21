"""RADIUS packets: framing, authenticators, and what hides inside them.

    code (1)  identifier (1)  length (2)  authenticator (16)  attributes: type (1) length (1) value (0..253) ...

A response is believed if MD5 over it, the request's authenticator and the secret says so, and, unless a server is
excused from it, if its Message-Authenticator does: MD5 alone is forged in minutes (CVE-2024-3596). Ours stands first.

Source: RFC 2865 3 and 5, RFC 2866 3, RFC 2869 5.14, RFC 3579 3.2, RFC 5176 2.3, RFC 5997 4.2.
Not supported: packets over 4,096 octets (RFC 7930), EAP.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Iterator
from enum import Enum, IntEnum

from msgspec import Struct

from wayleave.net.errors import Malformed

AUTH_PORT, ACCT_PORT, DYNAUTH_PORT, RADSEC_PORT = 1812, 1813, 3799, 2083
LEAST, MOST = 20, 4096
"""Octets of a packet."""
LONGEST = 253
"""Octets of an attribute's value."""
LONGEST_PASSWORD = 128
"""Octets of a password that User-Password hides (RFC 2865 5.2)."""
USER_PASSWORD, STATE, VENDOR_SPECIFIC = 2, 24, 26
MESSAGE_AUTHENTICATOR = 80
ZEROS = bytes(16)

_HEAD = struct.Struct("!BBH16s")

Avp = tuple[int, bytes]
"""One attribute: type, and value as it is on the wire."""


class Code(IntEnum):
    """What a packet is (RFC 2865 4, RFC 2866 4, RFC 5176 3, RFC 5997 2)."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    ACCESS_CHALLENGE = 11
    STATUS_SERVER = 12
    DISCONNECT_REQUEST = 40
    DISCONNECT_ACK = 41
    DISCONNECT_NAK = 42
    COA_REQUEST = 43
    COA_ACK = 44
    COA_NAK = 45


class Packet(Struct, frozen=True):
    """A packet taken apart. `code` is a number: who receives it knows which ones it expects."""

    code: int
    identifier: int
    authenticator: bytes
    attributes: tuple[Avp, ...]

    def all(self, type_: int) -> list[bytes]:
        return [value for kind, value in self.attributes if kind == type_]

    def first(self, type_: int) -> bytes | None:
        return next((value for kind, value in self.attributes if kind == type_), None)


# ---- Framing ----------------------------------------------------------------------------


def decode(data: bytes) -> Packet:
    """Take a packet apart. Octets behind its Length are padding and ignored (RFC 2865 3). Raises: Malformed."""
    if len(data) < LEAST:
        raise Malformed(len(data), f"{len(data)} octets, a packet has at least {LEAST}", "RFC 2865 3")
    code, identifier, length, authenticator = _HEAD.unpack_from(data)
    if not LEAST <= length <= min(MOST, len(data)):
        raise Malformed(2, f"Length says {length}, and {len(data)} octets are there", "RFC 2865 3")
    return Packet(code, identifier, authenticator, tuple(_attributes(data, length)))


def _attributes(data: bytes, length: int) -> Iterator[Avp]:
    at = LEAST
    while at < length:
        size = data[at + 1] if at + 1 < length else 0
        if size < 2 or at + size > length:
            raise Malformed(at, f"attribute {data[at]} says {size} octets of {length - at} left", "RFC 2865 5")
        yield data[at], data[at + 2 : at + size]
        at += size


def encode(code: int, identifier: int, authenticator: bytes, attributes: Iterable[Avp]) -> bytes:
    """Put a packet together. Raises: ValueError if an attribute, or all of them, are too long."""
    parts: list[bytes] = []
    for kind, value in attributes:
        if len(value) > LONGEST:
            raise ValueError(f"attribute {kind} has {len(value)} octets: {LONGEST} fit")
        parts.append(bytes((kind, len(value) + 2)))
        parts.append(value)
    body = b"".join(parts)
    if LEAST + len(body) > MOST:
        raise ValueError(f"{LEAST + len(body)} octets of RADIUS: {MOST} fit")
    return _HEAD.pack(code, identifier, LEAST + len(body), authenticator) + body


# ---- Requests ---------------------------------------------------------------------------


def access_request(
    identifier: int, authenticator: bytes, attributes: Iterable[Avp], secret: bytes, code: int = Code.ACCESS_REQUEST
) -> bytes:
    """Return an Access-Request, or a Status-Server, with its Message-Authenticator first.

    `authenticator`: 16 octets that nobody can foresee. Source: RFC 2869 5.14, RFC 5997 3.
    """
    return _signed(encode(code, identifier, authenticator, [(MESSAGE_AUTHENTICATOR, ZEROS), *attributes]), secret)


def accounting_request(identifier: int, attributes: Iterable[Avp], secret: bytes) -> bytes:
    """Return an Accounting-Request: its authenticator is made of itself, and it has no other. Source: RFC 2866 3."""
    return _sealed(encode(Code.ACCOUNTING_REQUEST, identifier, ZEROS, attributes), secret)


def dynauth_request(code: int, identifier: int, attributes: Iterable[Avp], secret: bytes) -> bytes:
    """Return a CoA-Request or Disconnect-Request, with a Message-Authenticator first, made over zeros where the
    authenticator goes. Source: RFC 5176 2.3 and 3.4.
    """
    return _sealed(
        _signed(encode(code, identifier, ZEROS, [(MESSAGE_AUTHENTICATOR, ZEROS), *attributes]), secret), secret
    )


def _signed(blank: bytes, secret: bytes) -> bytes:
    """Fill in a Message-Authenticator that stands first."""
    return blank[: LEAST + 2] + hmac.digest(secret, blank, "md5") + blank[LEAST + 18 :]


def _sealed(blank: bytes, secret: bytes) -> bytes:
    """Put in the authenticator that is made of all, and of what stood in its place."""
    return blank[:4] + _md5(blank, secret) + blank[LEAST:]


class Doubt(Enum):
    """Why a packet is not believed; the value is its counter's name."""

    MALFORMED = "malformed"
    UNEXPECTED_CODE = "unexpected-code"
    UNMATCHED = "unmatched"
    """An answer to nothing that was asked."""
    BAD_AUTHENTICATOR = "bad-authenticator"
    BAD_MESSAGE_AUTHENTICATOR = "bad-message-authenticator"
    NO_MESSAGE_AUTHENTICATOR = "no-message-authenticator"

    __hash__ = object.__hash__


def doubt_request(data: bytes, packet: Packet, secret: bytes, required: bool) -> Doubt | None:
    """Say why a CoA or Disconnect request is not to be believed; None: it is.

    `required`: it must have a Message-Authenticator (RFC 5176 6.1 says it should). One that is there is always checked.
    """
    length = int.from_bytes(data[2:4], "big")
    blank = data[:4] + ZEROS + data[LEAST:length]
    if not hmac.compare_digest(_md5(blank, secret), packet.authenticator):
        return Doubt.BAD_AUTHENTICATOR
    return _doubt_message(blank, secret, required)


# ---- Responses --------------------------------------------------------------------------


def response(request: Packet, code: int, attributes: Iterable[Avp], secret: bytes) -> bytes:
    """Answer a request, with a Message-Authenticator first. Source: RFC 2865 3, RFC 5176 3.4."""
    blank = encode(code, request.identifier, request.authenticator, [(MESSAGE_AUTHENTICATOR, ZEROS), *attributes])
    return _sealed(_signed(blank, secret), secret)


def doubt_response(data: bytes, packet: Packet, authenticator: bytes, secret: bytes, required: bool) -> Doubt | None:
    """Say why a response is not to be believed; None: it is.

    `authenticator` is the request's. `required`: it must have a Message-Authenticator; one that is there is always
    checked. Source: RFC 2865 3, RFC 2869 5.14.
    """
    length = int.from_bytes(data[2:4], "big")
    blank = data[:4] + authenticator + data[LEAST:length]
    if not hmac.compare_digest(_md5(blank, secret), packet.authenticator):
        return Doubt.BAD_AUTHENTICATOR
    return _doubt_message(blank, secret, required)


def _doubt_message(blank: bytes, secret: bytes, required: bool) -> Doubt | None:
    """Check the Message-Authenticator of a packet in whose head stands what it was computed over."""
    at = _find_message_authenticator(blank)
    if at is None:
        return Doubt.NO_MESSAGE_AUTHENTICATOR if required else None
    if at < 0:
        return Doubt.BAD_MESSAGE_AUTHENTICATOR
    said = blank[at : at + 16]
    computed = hmac.digest(secret, blank[:at] + ZEROS + blank[at + 16 :], "md5")
    return None if hmac.compare_digest(said, computed) else Doubt.BAD_MESSAGE_AUTHENTICATOR


def _find_message_authenticator(data: bytes) -> int | None:
    """Return where its value starts; -1: there are two, or it has another length than 16. None: there is none."""
    found = None
    at = LEAST
    while at < len(data):
        if data[at] == MESSAGE_AUTHENTICATOR:
            if found is not None or data[at + 1] != 18:
                return -1
            found = at + 2
        at += data[at + 1]
    return found


def _md5(first: bytes, then: bytes) -> bytes:
    return hashlib.md5(first + then, usedforsecurity=False).digest()


# ---- Passwords --------------------------------------------------------------------------


def hide(password: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """Return the value of User-Password: 16 to 128 octets. Raises: ValueError over 128. Source: RFC 2865 5.2."""
    if len(password) > LONGEST_PASSWORD:
        raise ValueError(f"a password of {len(password)} octets: User-Password has room for {LONGEST_PASSWORD}")
    padded = password.ljust(max(16, -(-len(password) // 16) * 16), b"\0")
    hidden, before = b"", authenticator
    for at in range(0, len(padded), 16):
        before = _xor(padded[at : at + 16], _md5(secret, before))
        hidden += before
    return hidden


def reveal(hidden: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """Undo `hide`; trailing zeros are padding. Raises: Malformed. Source: RFC 2865 5.2."""
    if not hidden or len(hidden) % 16 or len(hidden) > LONGEST_PASSWORD:
        raise Malformed(0, f"{len(hidden)} octets of User-Password", "RFC 2865 5.2")
    clear, before = b"", authenticator
    for at in range(0, len(hidden), 16):
        clear += _xor(hidden[at : at + 16], _md5(secret, before))
        before = hidden[at : at + 16]
    return clear.rstrip(b"\0")


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
