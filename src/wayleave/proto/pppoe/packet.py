"""PPPoE on the wire: the header of both stages, and the tags of discovery.

    version 1, type 1 (1)  code (1)  session-id (2)  length (2)  payload: tags, or a PPP protocol (2) and what it says

What follows the length is Ethernet's padding. Tags stay raw octets in the order they came, so that a peer's own can be
given back byte for byte; `TAGS` has their names.

Source: RFC 2516 4 and appendix A, RFC 4638 3 (PPP-Max-Payload). Not supported: RFC 5578 (credits for radio links).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct

from wayleave.net.errors import Malformed

MOST_TAGS = 64
"""Tags that a packet may have: who writes more has nothing to say."""
PLAIN_MRU = 1492
"""The largest PPP payload without PPP-Max-Payload (RFC 2516 7)."""

_HEAD = struct.Struct("!BBHH")
_SESSION = struct.Struct("!BBHHH")
_TAG = struct.Struct("!HH")
_VERSION_TYPE = 0x11

Tag = tuple[int, bytes]
"""A tag: its type and its value."""


class Code(IntEnum):
    """What a discovery packet is; a session packet has code 0. Source: RFC 2516 5."""

    PADO = 0x07
    PADI = 0x09
    PADR = 0x19
    PADS = 0x65
    PADT = 0xA7


class TagType(Struct, frozen=True, gc=False):
    """A row of the registry."""

    number: int
    name: str
    source: str


END_OF_LIST = TagType(0x0000, "end-of-list", "RFC 2516 A")
SERVICE_NAME = TagType(0x0101, "service-name", "RFC 2516 A")
AC_NAME = TagType(0x0102, "ac-name", "RFC 2516 A")
HOST_UNIQ = TagType(0x0103, "host-uniq", "RFC 2516 A")
AC_COOKIE = TagType(0x0104, "ac-cookie", "RFC 2516 A")
VENDOR_SPECIFIC = TagType(0x0105, "vendor-specific", "RFC 2516 A")
RELAY_SESSION_ID = TagType(0x0110, "relay-session-id", "RFC 2516 A")
PPP_MAX_PAYLOAD = TagType(0x0120, "ppp-max-payload", "RFC 4638 3")
SERVICE_NAME_ERROR = TagType(0x0201, "service-name-error", "RFC 2516 A")
AC_SYSTEM_ERROR = TagType(0x0202, "ac-system-error", "RFC 2516 A")
GENERIC_ERROR = TagType(0x0203, "generic-error", "RFC 2516 A")

TAGS = {row.number: row for row in list(globals().values()) if isinstance(row, TagType)}


class Packet(Struct, frozen=True, gc=False):
    """A discovery packet. `code` is a number: a peer may say one that means nothing."""

    code: int
    session_id: int
    tags: tuple[Tag, ...]

    def all(self, row: TagType) -> list[bytes]:
        """Return the values of every tag of a type, in their order."""
        return [value for number, value in self.tags if number == row.number]

    def first(self, row: TagType) -> bytes | None:
        """Return the value of the first tag of a type, or None."""
        return next((value for number, value in self.tags if number == row.number), None)


class SessionPacket(Struct, frozen=True, gc=False):
    """A packet of an established session. `protocol` is PPP's number, `information` what stands behind it."""

    session_id: int
    protocol: int
    information: bytes


def decode(data: bytes) -> Packet:
    """Read a discovery packet, the payload of a frame of ethertype 0x8863. End-Of-List ends it.

    Raises: Malformed if the version is another, a length passes the end or there are more than `MOST_TAGS` tags.
    Source: RFC 2516 4 and 5.
    """
    code, session_id, end = _header(data)
    tags: list[Tag] = []
    at = 6
    while at < end:
        if at + 4 > end:
            raise Malformed(at, f"{end - at} octets left, a tag has at least 4", "RFC 2516 4")
        number, length = _TAG.unpack_from(data, at)
        if number == END_OF_LIST.number:
            break
        if at + 4 + length > end:
            raise Malformed(at + 2, f"tag {number:#06x} passes the end by {at + 4 + length - end}", "RFC 2516 4")
        if len(tags) == MOST_TAGS:
            raise Malformed(at, f"more than {MOST_TAGS} tags", "a bound of ours")
        tags.append((number, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return Packet(code, session_id, tuple(tags))


def encode(code: int, session_id: int, tags: Iterable[Tag]) -> bytes:
    """Return a discovery packet. Raises: ValueError if it has more than 65,535 octets of tags."""
    body = b"".join([_TAG.pack(number, len(value)) + value for number, value in tags])
    if len(body) > 0xFFFF:
        raise ValueError(f"{len(body)} octets of tags: 65535 fit")
    return _HEAD.pack(_VERSION_TYPE, code, session_id, len(body)) + body


def decode_session(data: bytes) -> SessionPacket:
    """Read a packet of an established session, the payload of a frame of ethertype 0x8864.

    Raises: Malformed if the version or the code is another, or the length passes the end or has no room for a protocol.
    Source: RFC 2516 6; RFC 1661 2 for the protocol's two octets: compressing it is never agreed.
    """
    code, session_id, end = _header(data)
    if code:
        raise Malformed(1, f"code {code:#04x} in the session stage", "RFC 2516 6")
    if end < 8:
        raise Malformed(4, f"{end - 6} octets have no room for a PPP protocol", "RFC 1661 2")
    return SessionPacket(session_id, data[6] << 8 | data[7], data[8:end])


def encode_session(session_id: int, protocol: int, information: bytes) -> bytes:
    """Return a packet of an established session. Source: RFC 2516 6."""
    return _SESSION.pack(_VERSION_TYPE, 0, session_id, 2 + len(information), protocol) + information


def _header(data: bytes) -> tuple[int, int, int]:
    """Return code, session-id, and where the payload ends."""
    if len(data) < 6:
        raise Malformed(len(data), "packet ends inside the header", "RFC 2516 4")
    version_type, code, session_id, length = _HEAD.unpack_from(data)
    if version_type != _VERSION_TYPE:
        raise Malformed(0, f"version and type {version_type:#04x} instead of 0x11", "RFC 2516 4")
    if 6 + length > len(data):
        raise Malformed(4, f"length {length}, and {len(data) - 6} octets are there", "RFC 2516 4")
    return code, session_id, 6 + length
