"""Frames as the lab builds and reads them: plain struct, on purpose not the product's own codecs.

What the gateway sends is judged by code that shares nothing with it, but for the headers of PPPoE and PPP, which its
codecs read. Only what demos and tests need: Ethernet with tags, ARP, PPPoE, IPv4, UDP, ICMP echo.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address

from wayleave.net.errors import Malformed
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe import packet as pppoe

BROADCAST = b"\xff" * 6
IPV4, ARP, VLAN, QINQ, QINQ_OLD = 0x0800, 0x0806, 0x8100, 0x88A8, 0x9100
PPPOE_DISCOVERY, PPPOE_SESSION = 0x8863, 0x8864
TPIDS = frozenset((VLAN, QINQ, QINQ_OLD))
ICMP, TCP, UDP = 1, 6, 17
ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED = 0, 3, 8, 11
_CODES = {int(code): code.name for code in pppoe.Code}
_FIRST_CONTROL = 0x8000  # PPP's numbers below are of data (RFC 1661 2)


@dataclass(frozen=True, slots=True)
class Tag:
    """One VLAN tag as it stands in a frame."""

    tpid: int
    vid: int
    priority: int = 0

    def __bytes__(self) -> bytes:
        return struct.pack("!HH", self.tpid, self.priority << 13 | self.vid)

    def __str__(self) -> str:
        return f"{self.tpid:#06x}/{self.vid}" + (f"p{self.priority}" if self.priority else "")


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP packet for IPv4 over Ethernet."""

    operation: int
    sender_mac: bytes
    sender: IPv4Address
    target_mac: bytes
    target: IPv4Address


@dataclass(frozen=True, slots=True)
class Ip:
    """An IPv4 packet: what the header says, and what is behind it."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    ttl: int
    length: int
    dont_fragment: bool
    offset: int
    payload: bytes


@dataclass(frozen=True, repr=False)
class Frame:
    """One Ethernet frame, when and which way it was seen. `at` is UTC in ns, for pcap and for people."""

    data: bytes
    at: int = 0
    outgoing: bool = False

    @property
    def destination(self) -> bytes:
        """MAC."""
        return self.data[:6]

    @property
    def source(self) -> bytes:
        """MAC."""
        return self.data[6:12]

    @cached_property
    def _tags(self) -> tuple[tuple[Tag, ...], int]:
        tags, offset = [], 12
        while len(self.data) >= offset + 4:
            tpid, tci = struct.unpack_from("!HH", self.data, offset)
            if tpid not in TPIDS:
                break
            tags.append(Tag(tpid, tci & 0xFFF, tci >> 13))
            offset += 4
        return tuple(tags), offset

    @property
    def tags(self) -> tuple[Tag, ...]:
        """Outermost first."""
        return self._tags[0]

    @property
    def ethertype(self) -> int:
        """What stands behind the tags."""
        offset = self._tags[1]
        return int.from_bytes(self.data[offset : offset + 2], "big")

    @property
    def payload(self) -> bytes:
        """What stands behind the EtherType, padding included."""
        return self.data[self._tags[1] + 2 :]

    @cached_property
    def discovery(self) -> pppoe.Packet | None:
        """The packet of PPPoE's discovery, if it is one that makes sense."""
        with contextlib.suppress(Malformed):
            return pppoe.decode(self.payload) if self.ethertype == PPPOE_DISCOVERY else None
        return None

    @cached_property
    def ppp(self) -> pppoe.SessionPacket | None:
        """What a PPPoE session carries, if it is one's and makes sense."""
        with contextlib.suppress(Malformed):
            return pppoe.decode_session(self.payload) if self.ethertype == PPPOE_SESSION else None
        return None

    @property
    def control(self) -> tuple[int, int] | None:
        """PPP's protocol and the code, as in (0xC021, 9) for LCP's echo request, if it is a control packet."""
        ppp = self.ppp
        if ppp is None or ppp.protocol < _FIRST_CONTROL or not ppp.information:
            return None
        return ppp.protocol, ppp.information[0]

    @property
    def _ipv4(self) -> bytes:
        """Where IPv4 has to be, inside PPPoE or not."""
        if self.ppp is not None and self.ppp.protocol == Protocol.IPV4:
            return self.ppp.information
        return self.payload if self.ethertype == IPV4 else b""

    @cached_property
    def ip(self) -> Ip | None:
        """The IPv4 packet, if it is one, also inside PPPoE."""
        data = self._ipv4
        if len(data) < 20 or data[0] >> 4 != 4:
            return None
        first, _, length, _, fragment, ttl, protocol, _, source, destination = struct.unpack_from("!BBHHHBBH4s4s", data)
        return Ip(
            IPv4Address(source),
            IPv4Address(destination),
            protocol,
            ttl,
            length,
            bool(fragment & 0x4000),
            (fragment & 0x1FFF) * 8,
            data[(first & 15) * 4 : length],
        )

    @property
    def udp_ports(self) -> tuple[int, int] | None:
        """Source and destination port, if it is UDP."""
        ip = self.ip
        if ip is None or ip.protocol != UDP or ip.offset or len(ip.payload) < 8:
            return None
        source, destination = struct.unpack_from("!HH", ip.payload)
        return source, destination

    @property
    def udp_payload(self) -> bytes:
        """What stands behind the UDP header, or nothing."""
        return self.ip.payload[8:] if self.udp_ports and self.ip else b""

    @property
    def icmp(self) -> tuple[int, int] | None:
        """ICMP type and code."""
        ip = self.ip
        if ip is None or ip.protocol != ICMP or ip.offset or len(ip.payload) < 8:
            return None
        return ip.payload[0], ip.payload[1]

    @property
    def is_dhcp(self) -> bool:
        """UDP between the ports of DHCPv4."""
        ports = self.udp_ports
        return ports is not None and set(ports) <= {67, 68}

    @property
    def arp(self) -> Arp | None:
        """The ARP packet, if it is one."""
        if self.ethertype != ARP or len(self.payload) < 28:
            return None
        operation, mac, sender, target_mac, target = struct.unpack_from("!6xH6s4s6s4s", self.payload)
        return Arp(operation, mac, IPv4Address(sender), target_mac, IPv4Address(target))

    def __str__(self) -> str:
        tags = " ".join(map(str, self.tags))
        ends = f"{self.source.hex(':')} > {self.destination.hex(':')} [{tags or 'untagged'}]"
        return " ".join((ends, *self._words(), f"({len(self.data)} octets)"))

    def _words(self) -> Iterator[str]:
        """What it is, from outside in."""
        if self.discovery:
            yield f"pppoe {_CODES.get(self.discovery.code, '?')} session {self.discovery.session_id}"
        elif self.ppp:
            yield f"pppoe session {self.ppp.session_id} ppp {self.ppp.protocol:#06x}"
            if self.control:
                yield f"code {self.control[1]}"
        elif self.arp:
            yield f"arp {self.arp.operation} {self.arp.sender} asks for {self.arp.target}"
        elif not self.ip:
            yield f"{self.ethertype:#06x}"
        if self.ip:
            yield f"{self.ip.source} > {self.ip.destination} protocol {self.ip.protocol}"
        if self.udp_ports:
            yield f"ports {self.udp_ports[0]} > {self.udp_ports[1]}"
        if self.icmp:
            yield f"icmp {self.icmp[0]}/{self.icmp[1]}"

    def __repr__(self) -> str:
        return f"<{self}>"


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071).

    To add words of 16 bits with the carry brought around is to reckon modulo 65,535, and one long number does that at
    once: 0.5 µs for a DHCP message, where adding word by word takes 5.
    """
    number = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


def ethernet(destination: bytes, source: bytes, ethertype: int, payload: bytes, tags: tuple[Tag, ...] = ()) -> bytes:
    """Build a frame, padded to 60 octets as a NIC would."""
    frame = destination + source + b"".join(map(bytes, tags)) + struct.pack("!H", ethertype) + payload
    return frame.ljust(60, b"\0")


def ipv4(
    source: IPv4Address, destination: IPv4Address, protocol: int, payload: bytes, ttl: int = 64, df: bool = True
) -> bytes:
    """Build an IPv4 packet without options."""
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45, 0, 20 + len(payload), 0, 0x4000 if df else 0, ttl, protocol, 0, source.packed, destination.packed,
    )  # fmt: skip
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(
    source: IPv4Address, destination: IPv4Address, source_port: int, destination_port: int, payload: bytes
) -> bytes:
    """Build a UDP datagram; the addresses are for its checksum."""
    length = 8 + len(payload)
    head = struct.pack("!HHH", source_port, destination_port, length)
    pseudo = source.packed + destination.packed + struct.pack("!HH", UDP, length)
    return head + struct.pack("!H", checksum(pseudo + head + b"\0\0" + payload) or 0xFFFF) + payload


def icmp_echo(identifier: int, sequence: int, payload: bytes = b"wayleave", kind: int = ECHO) -> bytes:
    """Build an ICMP echo request or reply."""
    rest = struct.pack("!HH", identifier, sequence) + payload
    return struct.pack("!BBH", kind, 0, checksum(struct.pack("!BB", kind, 0) + b"\0\0" + rest)) + rest


def arp(operation: int, sender_mac: bytes, sender: IPv4Address, target_mac: bytes, target: IPv4Address) -> bytes:
    """Build an ARP packet: 1 asks, 2 answers."""
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    return head + sender_mac + sender.packed + target_mac + target.packed


def dhcp_options(payload: bytes) -> list[tuple[int, bytes]]:
    """Read the options field of a DHCPv4 message in order; stops at END or at the first that is cut short."""
    options, offset, end = [], 240, len(payload)
    while offset < end and (code := payload[offset]) != 255:
        if code == 0:
            offset += 1
            continue
        start = offset + 2
        if start > end or start + payload[offset + 1] > end:
            break
        offset = start + payload[offset + 1]
        options.append((code, payload[start:offset]))
    return options


def with_dhcp_options(payload: bytes, options: list[tuple[int, bytes]]) -> bytes:
    """The same DHCPv4 message with these options, at least 300 octets (RFC 1542 2.1)."""
    field = b"".join(bytes((code, len(value))) + value for code, value in options) + b"\xff"
    return (payload[:240] + field).ljust(300, b"\0")
