"""PPP's control packets and their options on the wire.

    code (1)  identifier (1)  length (2)  data, which in four codes is options: type (1)  length (1)  value ...

Source: RFC 1661 5 and 6; the IANA registry of PPP numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct

from wayleave.net.errors import Malformed

_HEAD = struct.Struct("!BBH")

Option = tuple[int, bytes]
"""An option: its type and its value."""


class Protocol(IntEnum):
    """What a PPP packet carries (RFC 1661 2)."""

    IPV4 = 0x0021
    IPV6 = 0x0057
    IPCP = 0x8021
    IPV6CP = 0x8057
    LCP = 0xC021
    PAP = 0xC023
    CHAP = 0xC223


class Code(IntEnum):
    """What a control packet is: 1 to 7 in every control protocol, the others only in LCP (RFC 1661 5, RFC 1570 2)."""

    CONFIGURE_REQUEST = 1
    CONFIGURE_ACK = 2
    CONFIGURE_NAK = 3
    CONFIGURE_REJECT = 4
    TERMINATE_REQUEST = 5
    TERMINATE_ACK = 6
    CODE_REJECT = 7
    PROTOCOL_REJECT = 8
    ECHO_REQUEST = 9
    ECHO_REPLY = 10
    DISCARD_REQUEST = 11
    IDENTIFICATION = 12
    TIME_REMAINING = 13


class Control(Struct, frozen=True, gc=False):
    """A control packet. `code` is a number: a peer may say one that means nothing."""

    code: int
    identifier: int
    data: bytes


def decode(packet: bytes) -> Control:
    """Read a control packet; what stands behind its length is padding (RFC 1661 5).

    Raises: Malformed if it ends inside its head, or its length has no room for that or passes the end.
    """
    if len(packet) < 4:
        raise Malformed(len(packet), "control packet ends inside its head", "RFC 1661 5")
    code, identifier, length = _HEAD.unpack_from(packet)
    if not 4 <= length <= len(packet):
        raise Malformed(2, f"length {length}, and {len(packet)} octets are there", "RFC 1661 5")
    return Control(code, identifier, packet[4:length])


def encode(code: int, identifier: int, data: bytes = b"") -> bytes:
    """Return a control packet."""
    return _HEAD.pack(code, identifier, 4 + len(data)) + data


def decode_options(data: bytes) -> tuple[Option, ...]:
    """Read options in their order, each as often as it is there.

    Raises: Malformed if one has no length, one below 2, or passes the end. Source: RFC 1661 6.
    """
    options: list[Option] = []
    at, end = 0, len(data)
    while at < end:
        size = data[at + 1] if at + 1 < end else 0
        if size < 2 or at + size > end:
            raise Malformed(at, f"option {data[at]} says {size} octets of {end - at} left", "RFC 1661 6")
        options.append((data[at], data[at + 2 : at + size]))
        at += size
    return tuple(options)


def encode_options(options: Iterable[Option]) -> bytes:
    """Return options as they stand. Raises: ValueError if a value has more than 253 octets."""
    return b"".join([bytes((kind, len(value) + 2)) + value for kind, value in options])
