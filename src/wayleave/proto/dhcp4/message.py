"""The DHCP message on the wire.

Options stay raw octets in a dict, so that decoding costs little and everything a client said can be given back byte for
byte; `options` gives them types. Repeated options are joined, as RFC 3396 asks, across the options field, `file` and
`sname` when option 52 says that these hold options too. On the way out nothing is put into `file` and `sname`.

Not supported: hardware addresses that are not six octets long; BOOTP without DHCP's magic cookie.

Source: RFC 2131 2 to 4.1, RFC 2132, RFC 3396, RFC 3046 2.2.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from ipaddress import IPv4Address

from msgspec import Struct

from wayleave.net.errors import Malformed
from wayleave.net.mac import Mac

ZERO = IPv4Address(0)
SERVER_PORT = 67
CLIENT_PORT = 68
BROADCAST_FLAG = 0x8000
BOOTREQUEST = 1
BOOTREPLY = 2
SMALLEST_MAXIMUM = 576
"""Octets of an IP packet that every client takes (RFC 2131 2): the least that option 57 may say."""
LARGEST_MAXIMUM = 1500
"""Octets of an IP packet that an access line carries; option 57 above it counts as this much."""

_HEADERS = 28  # IPv4 and UDP, which the maximum size includes
_COOKIE = 0x63825363
_FIXED = struct.Struct("!BBBBIHHIIII16s64s128sI")
_REPLY = struct.Struct("!BBBxI2xHII4xI6s202xI")  # the same; hops, secs, siaddr, sname and file are zero
_OPTIONS = 240
_PADDED = 300
_SNAME, _FILE = 44, 108
_PAD, _OVERLOAD, _RELAY_AGENT, _END = 0, 52, 82, 255
# What a client cannot do without: options 53, 54, 51, 58, 59, 1, 61, 82, then the reason of a DHCPNAK.
_ESSENTIAL = (53, 54, 51, 58, 59, 1, 61, _RELAY_AGENT, 56)
_OCTET = tuple(bytes((number,)) for number in range(256))


class MessageType(IntEnum):
    """Option 53. Source: RFC 2132 9.6."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


_TYPES = {bytes([kind]): kind for kind in MessageType}


class Message(Struct, gc=False):
    """A DHCP message; fields carry the RFC's names.

    `secs` are seconds since the client began, `flags` has the broadcast bit on top. `sname` and `file` stand without
    their trailing zeros, and empty where they held options. `options` maps a code to its octets, in the order seen;
    never 0, 52 or 255.
    """

    op: int
    htype: int
    hlen: int
    hops: int
    xid: int
    secs: int
    flags: int
    ciaddr: IPv4Address
    yiaddr: IPv4Address
    siaddr: IPv4Address
    giaddr: IPv4Address
    chaddr: Mac
    sname: bytes
    file: bytes
    options: dict[int, bytes]

    @property
    def message_type(self) -> MessageType | None:
        """Option 53, or None where it is missing or unknown."""
        return _TYPES.get(self.options.get(53, b""))

    @property
    def relay_agent(self) -> bytes | None:
        """Option 82 byte for byte, or None. Source: RFC 3046 2.0."""
        return self.options.get(_RELAY_AGENT)

    @property
    def broadcast(self) -> bool:
        """Whether the client asks for replies by broadcast. Source: RFC 2131 4.1."""
        return bool(self.flags & BROADCAST_FLAG)


def decode(data: bytes) -> Message:
    """Read a DHCP message, the payload of a UDP datagram. A missing end option is forgiven.

    Raises: Malformed if a field or an option passes the end, the cookie is missing or `hlen` is not 6.
    Source: RFC 2131 2 and 4.1, RFC 3396 5 to 7.
    """
    if len(data) < _OPTIONS:
        raise Malformed(len(data), "message ends before the options", "RFC 2131 2")
    (op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, cookie) = (
        _FIXED.unpack_from(data)
    )
    if cookie != _COOKIE:
        raise Malformed(_OPTIONS - 4, f"magic cookie {cookie:08x}", "RFC 2131 3")
    if hlen != 6:
        raise Malformed(2, f"hlen {hlen} past chaddr" if hlen > 16 else f"hlen {hlen} is not 6", "RFC 2131 2")
    options: dict[int, bytes] = {}
    _read_options(data, _OPTIONS, len(data), options)
    if _OVERLOAD in options:
        overload = options.pop(_OVERLOAD)
        if overload not in (b"\1", b"\2", b"\3"):
            raise Malformed(_OPTIONS, f"option overload {overload.hex()}", "RFC 2132 9.3")
        if overload[0] & 1:
            _read_options(data, _FILE, _FILE + 128, options)
            file = b""
        if overload[0] & 2:
            _read_options(data, _SNAME, _SNAME + 64, options)
            sname = b""
        options.pop(_OVERLOAD, None)
    return Message(
        op,
        htype,
        hlen,
        hops,
        xid,
        secs,
        flags,
        IPv4Address(ciaddr) if ciaddr else ZERO,
        IPv4Address(yiaddr) if yiaddr else ZERO,
        IPv4Address(siaddr) if siaddr else ZERO,
        IPv4Address(giaddr) if giaddr else ZERO,
        Mac(chaddr[:6]),
        sname.rstrip(b"\0"),
        file.rstrip(b"\0"),
        options,
    )


def _read_options(data: bytes, at: int, end: int, options: dict[int, bytes]) -> None:
    """Add the options of one field to `options`, joining an option that is there already. Source: RFC 3396 7."""
    while at < end:
        code = data[at]
        if code == _END:
            return
        if code == _PAD:
            at += 1
            continue
        if at + 1 == end:
            raise Malformed(at, f"option {code} has no length", "RFC 2132 2")
        start = at + 2
        at = start + data[at + 1]
        if at > end:
            raise Malformed(start - 1, f"option {code} passes the end of its field by {at - end}", "RFC 2132 2")
        if code in options:
            options[code] += data[start:at]
        else:
            options[code] = data[start:at]


def encode(message: Message, maximum: int = SMALLEST_MAXIMUM) -> bytes:
    """Return the octets of `message`, zeros up to 300 (RFC 1542 2.1), option 82 last.

    `maximum` is the largest IP packet the receiver takes, its option 57 (`server.limit`). Options that do not fit are
    left out: 53, 54, 51, 58, 59, 1, 61, 82 and 56 are kept before all others; among the others the earlier one in
    `options` is kept, which in a reply is the one that the client's option 55 names first. An option beyond 255 octets
    is split.

    Raises: ValueError if `sname` or `file` is too long; a bug of the caller's, or of its configuration.
    Source: RFC 2131 2, RFC 2132 9.10, RFC 3396 5, RFC 3046 2.1.
    """
    if len(message.sname) > 64 or len(message.file) > 128:
        raise ValueError("sname takes 64 octets and file 128")
    options = message.options
    parts: list[bytes] = []
    agent = None
    for code, value in options.items():
        if len(value) > 255:
            parts.append(_split(code, value))
        elif code == _RELAY_AGENT:
            agent = value
        else:
            parts += (_OCTET[code], _OCTET[len(value)], value)
    if agent is not None:
        parts += (_OCTET[_RELAY_AGENT], _OCTET[len(agent)], agent)
    field = b"".join(parts)
    if len(field) > room(maximum) or (agent is None and _RELAY_AGENT in options):
        field = b"".join(_choose(options, room(maximum)))
    data = (
        _FIXED.pack(
            message.op,
            message.htype,
            message.hlen,
            message.hops,
            message.xid,
            message.secs,
            message.flags,
            int(message.ciaddr),
            int(message.yiaddr),
            int(message.siaddr),
            int(message.giaddr),
            message.chaddr,
            message.sname,
            message.file,
            _COOKIE,
        )
        + field
        + b"\xff"
    )
    return data.ljust(_PADDED, b"\0")


def encode_reply(request: Message, ciaddr: IPv4Address, yiaddr: IPv4Address, options: bytes) -> bytes:
    """Return the octets of a reply to `request` whose options are encoded already, without the end.

    It is what `encode` makes of the replies of `server`; the caller sees to it that the options fit.

    Source: RFC 2131 table 3.
    """
    head = _REPLY.pack(
        BOOTREPLY,
        request.htype,
        request.hlen,
        request.xid,
        request.flags,
        int(ciaddr),
        int(yiaddr),
        int(request.giaddr),
        request.chaddr,
        _COOKIE,
    )
    return (head + options + b"\xff").ljust(_PADDED, b"\0")


def encode_options(options: Mapping[int, bytes]) -> bytes:
    """Return options as they stand, without an end. Source: RFC 2132 2, RFC 3396 5."""
    return b"".join(_split(code, value) for code, value in options.items())


def room(maximum: int) -> int:
    """Return how many octets of options, the end apart, fit into an IP packet of `maximum`."""
    return maximum - _HEADERS - _OPTIONS - 1


def _split(code: int, value: bytes) -> bytes:
    """Return an option as often as it takes. Source: RFC 3396 5."""
    if not value:
        return bytes((code, 0))
    pieces = (value[at : at + 255] for at in range(0, len(value), 255))
    return b"".join(bytes((code, len(piece))) + piece for piece in pieces)


def _choose(options: dict[int, bytes], room: int) -> list[bytes]:
    """Return the encoded options that fit into `room` octets, option 82 last."""
    encoded = {code: _split(code, value) for code, value in options.items()}
    kept: set[int] = set()
    for code in (*filter(encoded.__contains__, _ESSENTIAL), *encoded):
        if code not in kept and len(encoded[code]) <= room:
            kept.add(code)
            room -= len(encoded[code])
    return [encoded[code] for code in sorted(encoded, key=_RELAY_AGENT.__eq__) if code in kept]
