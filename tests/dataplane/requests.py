"""DHCP requests by the thousand: as real clients write them, and with every kind of damage.

Built on the lab's frames, not on the product's codecs.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from wayleave.lab.packet import BROADCAST, IPV4, UDP, Tag, checksum, ethernet, ipv4, udp
from wayleave.net.mac import Mac

from .rig import GATEWAY_MAC

DISCOVER, REQUEST, DECLINE, RELEASE, INFORM = 1, 3, 4, 7, 8
ZERO, EVERYONE = IPv4Address(0), IPv4Address("255.255.255.255")
RELAY = IPv4Address("10.0.0.1")
TARGETS = ("255.255.255.255", "100.64.0.1", "100.65.0.1", "100.64.3.255", "100.64.0.77", "224.0.0.1", "0.0.0.0")
"""Where a request may be sent to: everyone, gateways, a pool's broadcast address, a neighbour."""

COOKIE = bytes((99, 130, 83, 99))
QINQ = (Tag(0x88A8, 100), Tag(0x8100, 7))

Options = tuple[tuple[int, bytes], ...]

STYLES: dict[str, Options] = {
    "udhcpc": ((57, b"\2\x40"), (55, bytes((1, 3, 6, 12, 15, 28, 42))), (60, b"udhcp 1.35.0")),
    "dhclient": ((12, b"laptop"), (55, bytes((1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42)))),
    "dhcpcd": (
        (57, b"\5\xc0"),
        (60, b"dhcpcd-9.4.1:Linux-6.1.0:x86_64:GenuineIntel"),
        (12, b"pi"),
        (145, b"\1"),
        (55, bytes((1, 2, 6, 12, 15, 26, 28, 121, 3, 33, 40, 41, 42, 119, 51, 54, 58, 59))),
    ),
    "windows": (
        (12, b"DESKTOP-1"),
        (81, b"\0\0\0DESKTOP-1"),
        (60, b"MSFT 5.0"),
        (55, bytes((1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252))),
    ),
    "router": ((57, b"\5\xdc"), (60, b"HG8245"), (55, bytes((1, 3, 6, 15, 33, 42, 43, 120, 121, 125, 212, 249)))),
    "perfdhcp": ((55, bytes((1, 28, 2, 3, 15, 6, 12))),),
    "bare": (),
}
"""What clients put into every message, beside 53, 50, 54, 61. The names say whose lists they are like."""


@dataclass(frozen=True)
class Asked:
    """One request, part by part."""

    kind: int
    mac: Mac
    options: Options = ()
    """In order, 53 apart, which stands where `type_at` says; None: nowhere."""
    type_at: int | None = 0
    xid: int = 0x12345678
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = ZERO
    yiaddr: IPv4Address = ZERO
    siaddr: IPv4Address = ZERO
    giaddr: IPv4Address = ZERO
    op: int = 1
    htype: int = 1
    hlen: int = 6
    hops: int = 0
    chaddr: bytes | None = None
    """Up to 16 octets; None: the sender's MAC."""
    cookie: bytes = COOKIE
    sname: bytes = b""
    file: bytes = b""
    pads: int = 0
    """Octets of zeros between the options."""
    end: bytes = b"\xff"
    least: int = 300
    tags: tuple[Tag, ...] = QINQ
    to_mac: bytes = BROADCAST
    source: IPv4Address = ZERO
    to: IPv4Address = EVERYONE
    sport: int = 68
    udp_sum: bool = True
    udp_length: int | None = None
    """What the UDP header says; None: the truth. A wrong one has no checksum."""
    fragment: int = 0
    """Flags and offset of the IPv4 header."""
    ip_options: bytes = b""
    trailing: int = 0

    def payload(self) -> bytes:
        head = struct.pack(
            "!BBBBIHH4s4s4s4s16s64s128s4s",
            self.op, self.htype, self.hlen, self.hops, self.xid, self.secs, self.flags, self.ciaddr.packed,
            self.yiaddr.packed, self.siaddr.packed, self.giaddr.packed, self.chaddr or self.mac, self.sname, self.file,
            self.cookie,
        )  # fmt: skip
        options = list(self.options)
        if self.type_at is not None:
            options.insert(min(self.type_at, len(options)), (53, bytes((self.kind,))))
        gap = bytes(self.pads)
        field_ = gap.join(bytes((code, len(value) & 255)) + value for code, value in options)
        return (head + field_ + self.end).ljust(self.least, b"\0")

    def frame(self) -> bytes:
        datagram = udp(self.source, self.to, self.sport, 67, self.payload())
        if self.udp_length is not None:
            datagram = datagram[:4] + self.udp_length.to_bytes(2, "big") + b"\0\0" + datagram[8:]
        if not self.udp_sum:
            datagram = datagram[:6] + b"\0\0" + datagram[8:]
        packet = _refitted(ipv4(self.source, self.to, UDP, datagram, df=False), self.fragment, self.ip_options)
        return ethernet(self.to_mac, self.mac, IPV4, packet, self.tags) + bytes(self.trailing)


def _refitted(packet: bytes, fragment: int, options: bytes) -> bytes:
    """The packet with this word for flags and offset, and with options."""
    length = 20 + len(options)
    total = len(packet) + len(options)
    head = bytes((0x40 | length // 4, packet[1])) + struct.pack("!H", total) + packet[4:6] + struct.pack("!H", fragment)
    head += packet[8:10] + b"\0\0" + packet[12:20] + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + packet[20:]


@dataclass(frozen=True)
class Guest:
    """Who asks: MAC, line, address, server, style."""

    id: int
    mac: Mac
    address: IPv4Address
    server: IPv4Address
    style: str
    tags: tuple[Tag, ...] = QINQ
    port: int = 1
    client_id: bytes | None = None
    agent: bytes = b""
    common: Options = field(init=False)

    def __post_init__(self) -> None:
        found = list(STYLES[self.style])
        if self.client_id is not None:
            found.insert(0, (61, self.client_id))
        object.__setattr__(self, "common", tuple(found))

    def _ask(self, kind: int, *options: tuple[int, bytes], agent: bool = True, **more: object) -> Asked:
        last = ((82, self.agent),) if self.agent and agent else ()
        return replace(Asked(kind, self.mac, (*options, *self.common, *last), tags=self.tags), **more)  # type: ignore[arg-type]

    def discover(self) -> Asked:
        return self._ask(DISCOVER)

    def selecting(self) -> Asked:
        return self._ask(REQUEST, (50, self.address.packed), (54, self.server.packed))

    def reboot(self) -> Asked:
        return self._ask(REQUEST, (50, self.address.packed))

    def renewing(self) -> Asked:
        return self._ask(
            REQUEST, ciaddr=self.address, source=self.address, to=self.server, to_mac=GATEWAY_MAC, agent=False
        )

    def rebinding(self) -> Asked:
        return self._ask(REQUEST, ciaddr=self.address, source=self.address)

    def asks(self) -> list[Asked]:
        """The five requests that a live lease answers."""
        return [self.discover(), self.selecting(), self.reboot(), self.renewing(), self.rebinding()]


# ---- Damage: each takes a request and a source of chance, and gives another one ------------------


Damage = Callable[[Asked, random.Random], Asked]


def _some_address(chance: random.Random) -> bytes:
    return chance.choice([bytes(4), b"\xff" * 4, bytes((100, 64, 0, chance.randrange(256))), chance.randbytes(4)])


def _with(asked: Asked, code: int, value: bytes, chance: random.Random) -> Asked:
    options = list(asked.options)
    options.insert(chance.randint(0, len(options)), (code, value))
    return replace(asked, options=tuple(options))


def _shuffled(asked: Asked, chance: random.Random) -> Asked:
    options = list(asked.options)
    chance.shuffle(options)
    return replace(asked, options=tuple(options), type_at=chance.randint(0, len(options)))


def _less(asked: Asked, chance: random.Random) -> Asked:
    if not asked.options:
        return asked
    gone = chance.randrange(len(asked.options))
    return replace(asked, options=asked.options[:gone] + asked.options[gone + 1 :])


def _changed(asked: Asked, chance: random.Random) -> Asked:
    if not asked.options:
        return asked
    which = chance.randrange(len(asked.options))
    code, value = asked.options[which]
    octets = bytearray(value or b"\0")
    match chance.randrange(4):
        case 0:
            octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
        case 1:
            octets = octets[:-1]
        case 2:
            octets += chance.randbytes(chance.randint(1, 9))
        case 3:
            chance.shuffle(octets)
    return replace(asked, options=(*asked.options[:which], (code, bytes(octets)), *asked.options[which + 1 :]))


DAMAGES: tuple[Damage, ...] = (
    _shuffled,
    _less,
    _changed,
    lambda asked, chance: _with(asked, 50, _some_address(chance), chance),
    lambda asked, chance: _with(asked, 54, _some_address(chance), chance),
    lambda asked, chance: _with(asked, 61, chance.randbytes(chance.choice([0, 1, 7, 19, 254, 255])), chance),
    lambda asked, chance: _with(asked, 82, b"\1" + bytes((chance.randint(0, 20),)) + chance.randbytes(20), chance),
    lambda asked, chance: _with(asked, 52, bytes((chance.randint(0, 4),)), chance),
    lambda asked, chance: _with(asked, 53, bytes((chance.randint(0, 9),)), chance),
    lambda asked, chance: _with(asked, chance.choice([12, 51, 80, 81, 116, 125, 124]), chance.randbytes(5), chance),
    lambda asked, chance: _with(asked, chance.randrange(256), chance.randbytes(chance.randrange(40)), chance),
    lambda asked, chance: replace(asked, kind=chance.randrange(10)),
    lambda asked, _: replace(asked, type_at=None),
    lambda asked, chance: replace(asked, ciaddr=IPv4Address(_some_address(chance))),
    lambda asked, chance: replace(asked, giaddr=chance.choice([RELAY, IPv4Address(_some_address(chance))])),
    lambda asked, chance: replace(asked, yiaddr=IPv4Address(_some_address(chance)), siaddr=RELAY),
    lambda asked, chance: replace(asked, source=IPv4Address(_some_address(chance))),
    lambda asked, chance: replace(asked, to=IPv4Address(chance.choice(TARGETS))),
    lambda asked, chance: replace(asked, to_mac=chance.choice([BROADCAST, GATEWAY_MAC, asked.mac, b"\1\0\x5e\0\0\1"])),
    lambda asked, chance: replace(asked, flags=chance.choice([0x8000, 0x8001, 0xFFFF, 1])),
    lambda asked, chance: replace(asked, xid=chance.randrange(1 << 32), secs=chance.randrange(1 << 16)),
    lambda asked, chance: replace(asked, op=chance.randrange(4)),
    lambda asked, chance: replace(asked, htype=chance.randrange(9), hops=chance.randrange(256)),
    lambda asked, chance: replace(asked, hlen=chance.choice([0, 5, 7, 16, 255])),
    lambda asked, chance: replace(asked, chaddr=chance.choice([b"", asked.mac]) + chance.randbytes(6)),
    lambda asked, chance: replace(asked, cookie=chance.randbytes(4)),
    lambda asked, _: replace(asked, sname=b"x" * 64, file=b"\x35\1\7"),
    lambda asked, chance: replace(asked, pads=chance.choice([1, 2, 3, 30])),
    lambda asked, chance: replace(
        asked, end=chance.choice([b"", b"\x0c", b"\x0c\x14x"]), least=chance.choice([0, 300])
    ),
    lambda asked, chance: replace(asked, least=chance.choice([0, 244, 301, 500, 548, 900, 1016, 1017, 1400])),
    lambda asked, _: replace(asked, udp_sum=False),
    lambda asked, chance: replace(asked, udp_length=chance.choice([0, 8, 247, 248, 300, 308, 309, 1400])),
    lambda asked, chance: replace(asked, fragment=chance.choice([0x2000, 0x2001, 1, 0x4000, 0x8000])),
    lambda asked, chance: replace(asked, ip_options=chance.choice([bytes(4), b"\x94\4\0\0", bytes(40)])),
    lambda asked, chance: replace(asked, trailing=chance.choice([1, 4, 46])),
    lambda asked, chance: replace(asked, sport=chance.choice([67, 68, 0, 1024, 256, 1023])),
    lambda asked, chance: replace(asked, tags=tuple(replace(tag, priority=chance.randrange(8)) for tag in asked.tags)),
    lambda asked, chance: replace(asked, tags=(Tag(chance.choice([0x8100, 0x88A8]), 0), *asked.tags)[:2]),
    lambda asked, chance: replace(asked, tags=(*asked.tags[:1], Tag(chance.choice([0x8100, 0x88A8]), 0))),
    lambda asked, chance: replace(asked, tags=(Tag(0x8100, 0), Tag(0x8100, 0, chance.randrange(8)))),
    lambda asked, chance: replace(
        asked, tags=tuple(replace(tag, tpid=chance.choice([0x8100, 0x88A8])) for tag in asked.tags)
    ),
    lambda asked, chance: replace(asked, tags=chance.choice([(), QINQ[:1], QINQ[::-1], QINQ])),
    lambda asked, chance: replace(asked, mac=Mac(b"\2" + chance.randbytes(5))),
)


def damaged(asked: Asked, chance: random.Random) -> bytes:
    """Return the frame of a request with some damage done to it; sometimes none."""
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        asked = chance.choice(DAMAGES)(asked, chance)
    frame = bytearray(asked.frame())
    if chance.random() < 0.1:
        for _ in range(chance.randint(1, 3)):
            frame[chance.randrange(len(frame))] = chance.randrange(256)
    if chance.random() < 0.1:
        frame = frame[: chance.randint(14, len(frame))]
    if chance.random() < 0.15:
        frame = _resummed(frame, chance)
    return bytes(frame)


def _resummed(frame: bytearray, chance: random.Random) -> bytearray:
    """Change an octet of a packet and make its checksums right again: damage that no checksum tells."""
    at = frame.find(b"\x08\x00\x45") + 2
    if at < 14 or len(frame) < at + 300:
        return frame
    changed = chance.choice([chance.randrange(at, at + 28), chance.randrange(at + 28, len(frame))])
    frame[changed] = chance.choice([0, 1, 128, 255, chance.randrange(256)])
    frame[at + 10 : at + 12] = b"\0\0"
    frame[at + 10 : at + 12] = checksum(bytes(frame[at : at + 20])).to_bytes(2, "big")
    total = int.from_bytes(frame[at + 2 : at + 4], "big")
    datagram = bytes(frame[at + 20 : at + total])
    pseudo = bytes(frame[at + 12 : at + 20]) + struct.pack("!HH", UDP, len(datagram))
    sum_ = checksum(pseudo + datagram[:6] + b"\0\0" + datagram[8:]) or 0xFFFF
    frame[at + 26 : at + 28] = sum_.to_bytes(2, "big")
    return frame
