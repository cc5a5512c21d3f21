"""What DHCPv4 clients say, by make, and what must be true of the answers. Pure, and shares nothing with the product.

A client's frames are encoded once; what changes (addresses, seconds) is patched in, and the checksum done again.

Source: RFC 2131 2, 4.1, 4.3.6 (table 4), 4.4.1 (table 5); RFC 2132; RFC 3046 2.2; RFC 6842 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple

from wayleave.lab.access_node import Line
from wayleave.lab.packet import (
    BROADCAST,
    IPV4,
    TPIDS,
    UDP,
    checksum,
    dhcp_options,
    ethernet,
    ipv4,
    udp,
)
from wayleave.net.mac import Mac

ZERO, EVERYONE = IPv4Address(0), IPv4Address("255.255.255.255")

_NOTHING = bytes(4)
_COOKIE = bytes((99, 130, 83, 99))
_BROADCAST_FLAG = 0x8000
_IP, _UDP, _BOOTP = 20, 8, 240
_SECS = _IP + _UDP + 8
_UDP_SUM = _IP + 6
_HEAD = struct.Struct("!BBBBIHH4s4s4s4s16s192x4s")


class Kind(IntEnum):
    """Option 53 (RFC 2132 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


@dataclass(frozen=True, slots=True)
class Profile:
    """One make of client. Options go out in `order`, those that apply; Windows puts option 81 into REQUESTs only.

    `reboots`: it remembers its lease through a reboot and asks for that first. `recalls`: its DISCOVER names the
    address it had. Without `identified` there is no option 61.
    """

    name: str
    order: tuple[int, ...]
    wants: tuple[int, ...]
    vendor: bytes = b""
    hostname: bytes = b""
    largest: int = 0
    identified: bool = False
    broadcast: bool = False
    reboots: bool = False
    recalls: bool = False
    ttl: int = 64


UDHCPC = Profile(
    "udhcpc",
    order=(53, 50, 54, 57, 55, 60, 61),
    wants=(1, 3, 6, 12, 15, 28, 42),
    vendor=b"udhcp 1.35.0",
    largest=576,
    identified=True,
)
"""As busybox 1.35 sends it."""

DHCLIENT = Profile(
    "dhclient",
    order=(53, 54, 50, 12, 55),
    wants=(1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42),
    hostname=b"debian",
    reboots=True,
    recalls=True,
    ttl=128,
)
"""As ISC dhclient 4.4 sends it with Debian's dhclient.conf."""

WINDOWS = Profile(
    "windows",
    order=(53, 61, 50, 54, 12, 81, 60, 55),
    wants=(1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252),
    vendor=b"MSFT 5.0",
    hostname=b"DESKTOP-7QK2M1P",
    identified=True,
    reboots=True,
    recalls=True,
    ttl=128,
)
"""As Windows 10 sends it."""

OPENWRT = Profile(
    "openwrt",
    order=(53, 50, 54, 57, 55, 12, 60),
    wants=(1, 3, 6, 12, 15, 28, 42, 121),
    vendor=b"udhcp 1.36.1",
    hostname=b"OpenWrt",
    largest=576,
)
"""A home router as OpenWrt starts its client: no client-id, nothing kept over a reboot."""

OLD_ROUTER = Profile(
    "old-router",
    order=(53, 61, 60, 50, 54, 57, 55),
    wants=(1, 3, 6, 12, 15, 17, 28, 42),
    vendor=b"udhcp 1.15.3",
    largest=576,
    identified=True,
    broadcast=True,
)
"""A home router of 2010: an early udhcpc, told to have its answers broadcast."""

PROFILES = (OPENWRT, UDHCPC, WINDOWS, DHCLIENT, OLD_ROUTER)


@dataclass(frozen=True, slots=True)
class Server:
    """Who is to answer: the gateway as clients see it."""

    mac: Mac
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Member:
    """One client: what it is, where it is plugged in, what it had before, how many seconds after the others it begins.

    `renews`: it never lost power, and asks only for more time.
    """

    mac: Mac
    line: Line
    profile: Profile = OPENWRT
    address: IPv4Address | None = None
    renews: bool = False
    after_s: float = 0.0


class Letter:
    """A message ready to go, with blanks for what is not known before."""

    def __init__(
        self, member: Member, kind: Kind, xid: int, wanted: bytes = b"", server: bytes = b"", to: Server | None = None
    ) -> None:
        """Encode it. `wanted` and `server` are options 50 and 54: zeros, if they are to be filled in later.

        `to`: sent to that server alone, from the address that the client has.
        """
        source = member.address if to and member.address else ZERO
        target = to.address if to else EVERYONE
        options, self._wanted, self._server = _options(member, kind, wanted, server)
        message = _message(member, xid, source) + options
        datagram = udp(source, target, 68, 67, message.ljust(300, b"\0"))
        packet = ipv4(source, target, UDP, datagram, ttl=member.profile.ttl, df=to is not None)
        self.frame = ethernet(to.mac if to else BROADCAST, member.mac, IPV4, packet, member.line.tags)
        self._l3 = len(self.frame) - len(packet)

    def filled(self, seconds: int = 0, wanted: bytes = b"", server: bytes = b"") -> bytes:
        """Return the frame with these blanks filled in. Only options that it was made with can be."""
        frame = bytearray(self.frame)
        struct.pack_into("!H", frame, self._l3 + _SECS, min(seconds, 0xFFFF))
        for offset, value in ((self._wanted, wanted), (self._server, server)):
            if value:
                start = self._l3 + _IP + _UDP + _BOOTP + offset
                frame[start : start + 4] = value
        _seal(frame, self._l3)
        return bytes(frame)


def _message(member: Member, xid: int, ciaddr: IPv4Address) -> bytes:
    flags = _BROADCAST_FLAG if member.profile.broadcast else 0
    none = _NOTHING
    return _HEAD.pack(1, 1, 6, 0, xid, 0, flags, ciaddr.packed, none, none, none, member.mac, _COOKIE)


def _options(member: Member, kind: Kind, wanted: bytes, server: bytes) -> tuple[bytes, int, int]:
    """Return the options field and where in it the values of options 50 and 54 are."""
    values = _constant(member.profile) | {53: bytes((kind,)), 50: wanted, 54: server}
    if member.profile.identified:
        values[61] = client_id(member)
    if kind is Kind.DISCOVER:
        values.pop(81, None)
    field, offsets = b"", {}
    for code in member.profile.order:
        value = values.get(code)
        if value:
            offsets[code] = len(field) + 2
            field += bytes((code, len(value))) + value
    if member.line.circuit:  # the access node's doing: always the last (RFC 3046 2.1)
        value = relay_information(member)
        field += bytes((82, len(value))) + value
    return field + b"\xff", offsets.get(50, 0), offsets.get(54, 0)


@lru_cache(maxsize=64)
def _constant(profile: Profile) -> dict[int, bytes]:
    """What is the same in all messages of all its clients."""
    largest = struct.pack("!H", profile.largest) if profile.largest else b""
    return {
        12: profile.hostname,
        55: bytes(profile.wants),
        57: largest,
        60: profile.vendor,
        81: bytes(3) + profile.hostname,
    }


def client_id(member: Member) -> bytes:
    """Option 61 as most send it: the hardware type and the MAC."""
    return b"\x01" + member.mac


def relay_information(member: Member) -> bytes:
    """Option 82 as the access node puts it in: the circuit-id alone."""
    return bytes((1, len(member.line.circuit))) + member.line.circuit


def _seal(frame: bytearray, l3: int) -> None:
    """Do the UDP checksum again."""
    at = l3 + _UDP_SUM
    frame[at : at + 2] = b"\0\0"
    struct.pack_into("!H", frame, at, _udp_checksum(bytes(frame), l3) or 0xFFFF)


def _udp_checksum(frame: bytes, l3: int) -> int:
    """Over all that stands there, the checksum itself included: 0 if that is right."""
    datagram = frame[l3 + _IP :]
    pseudo = frame[l3 + 12 : l3 + 20] + struct.pack("!HH", UDP, len(datagram))
    return checksum(pseudo + datagram)


# ---- answers ------------------------------------------------------------------------------------------------------

_TPIDS = frozenset(tpid.to_bytes(2, "big") for tpid in TPIDS)
_ANSWER = struct.Struct("!BxHxxHxBxx4s4sHHHHBBBxIHH4s4s4s4s16s192x4s")


class Fixed(NamedTuple):
    """Of an answer, what is the same in every right one to the same client. The checksums of right ones come to 0."""

    tags: bytes
    source: bytes
    version: int
    lengths: int
    fragment: int
    protocol: int
    from_address: bytes
    ports: tuple[int, int]
    op: int
    hardware: tuple[int, int]
    flags: int
    giaddr: bytes
    chaddr: bytes
    cookie: bytes
    ip_checksum: int
    udp_checksum: int


class Answer(NamedTuple):
    """A DHCP answer taken apart. `kind` is option 53, 0 without one."""

    kind: int
    xid: int
    fixed: Fixed
    destination: bytes
    to_address: bytes
    ciaddr: bytes
    yiaddr: bytes
    options: dict[int, bytes]


def read_answer(data: bytes) -> Answer | None:
    """Take a frame apart; None if it is nothing a DHCP client would hear. A UDP checksum of 0 is none (RFC 768)."""
    l3 = 14
    while data[l3 - 2 : l3] in _TPIDS:
        l3 += 4
    if data[l3 - 2 : l3] != b"\x08\x00" or len(data) < l3 + _IP + _UDP + _BOOTP or data[l3 + 22 : l3 + 24] != b"\0\x44":
        return None
    (version, length, fragment, protocol, from_, to, port, to_port, udp_length, udp_sum, op, htype, hlen, xid, _,
     flags, ciaddr, yiaddr, _, giaddr, chaddr, cookie) = _ANSWER.unpack_from(data, l3)  # fmt: skip
    packet = data[: l3 + length]  # behind it is padding
    options = dict(dhcp_options(packet[l3 + _IP + _UDP :]))
    fixed = Fixed(
        data[12 : l3 - 2], data[6:12], version, length - udp_length, fragment & 0x3FFF, protocol, from_,
        (port, to_port), op, (htype, hlen), flags, giaddr, chaddr, cookie,
        checksum(packet[l3 : l3 + _IP]), _udp_checksum(packet, l3) if udp_sum else 0,
    )  # fmt: skip
    kind = options.get(53) or b"\0"
    return Answer(kind[0], xid, fixed, data[:6], to, ciaddr, yiaddr, options)


class Judge:
    """What answers to one member have to be like."""

    def __init__(self, member: Member, server: Server) -> None:
        self._mac = bytes(member.mac)
        self._server = server.address.packed
        self._broadcast = member.profile.broadcast
        self._client_id = client_id(member) if member.profile.identified else None
        self._relayed = relay_information(member) if member.line.circuit else None
        self._fixed = Fixed(
            tags=b"".join(map(bytes, member.line.tags)),
            source=bytes(server.mac),
            version=0x45,
            lengths=_IP,
            fragment=0,
            protocol=UDP,
            from_address=self._server,
            ports=(67, 68),
            op=2,
            hardware=(1, 6),
            flags=_BROADCAST_FLAG if member.profile.broadcast else 0,
            giaddr=_NOTHING,
            chaddr=member.mac.ljust(16, b"\0"),
            cookie=_COOKIE,
            ip_checksum=0,
            udp_checksum=0,
        )

    def faults(self, answer: Answer, wanted: bytes, ciaddr: bytes) -> list[str]:
        """Name all that is wrong with an answer. The client asked for `wanted` (nothing: for any address), and
        `ciaddr` is the address that it has while it renews."""
        wrong = []
        if answer.fixed != self._fixed:
            pairs = zip(Fixed._fields, answer.fixed, self._fixed, strict=True)
            wrong += [name.replace("_", "-") for name, found, due in pairs if found != due]
        if answer.kind == Kind.NAK:
            wrong += self._refusal_faults(answer)
        elif answer.kind in (Kind.OFFER, Kind.ACK):
            wrong += self._grant_faults(answer, wanted or answer.yiaddr, ciaddr)
        else:
            wrong.append("message-type")
        options = answer.options
        if options.get(54) != self._server:
            wrong.append("server-id")
        if options.get(61) != self._client_id:
            wrong.append("client-id")
        if options.get(82) != self._relayed or (self._relayed and next(reversed(options)) != 82):
            wrong.append("relay-information")
        return wrong

    def _grant_faults(self, answer: Answer, due: bytes, ciaddr: bytes) -> Iterator[str]:
        options = answer.options
        everyone = self._broadcast and ciaddr == _NOTHING
        if answer.destination != (BROADCAST if everyone else self._mac):
            yield "destination"
        if answer.to_address != (EVERYONE.packed if everyone else due):
            yield "to-address"
        if answer.yiaddr != due or due == _NOTHING:
            yield "yiaddr"
        if answer.ciaddr != (ciaddr if answer.kind == Kind.ACK else _NOTHING):
            yield "ciaddr"
        if len(options.get(51, b"")) != 4 or options[51] == _NOTHING:
            yield "lease-time"
        if len(options.get(1, b"")) != 4:
            yield "netmask"
        if options.get(3) != self._server:
            yield "router"

    def _refusal_faults(self, answer: Answer) -> Iterator[str]:
        if answer.destination != BROADCAST:
            yield "destination"
        if answer.to_address != EVERYONE.packed:
            yield "to-address"
        if answer.yiaddr != _NOTHING:
            yield "yiaddr"
        if answer.ciaddr != _NOTHING:
            yield "ciaddr"
        if 51 in answer.options:
            yield "lease-time"
