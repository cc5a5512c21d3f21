"""Packets made up to ask what would become of them, and frames in a line of words.

Source: RFC 791 3.1, RFC 768, RFC 792 (echo), RFC 9293 3.1 (SYN), RFC 2516 4.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from wayleave.net import frame
from wayleave.net.checksum import internet_checksum
from wayleave.net.errors import Malformed
from wayleave.net.frame import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_PPPOE_DISCOVERY,
    ETHERTYPE_PPPOE_SESSION,
    encode_udp4,
)

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17}
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_TTL = 64
_ECHO = struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0)  # request, its checksum, identifier and sequence 0
_SYN = struct.Struct("!HHIIBBHHH")
_IP4 = struct.Struct("!BBHHHBBH4s4s")
_PORTS = struct.Struct("!HH")
_ADDRESSES = struct.Struct("!4s4s")
_PPPOE = struct.Struct("!HHH")  # session-id, length, what PPP carries (RFC 2516 4)
_PPP_IPV4 = 0x0021


def probe(
    protocol: str,
    source: IPv4Address,
    destination: IPv4Address,
    sport: int = 0,
    dport: int = 0,
    size: int = 0,
) -> bytes:
    """Return the smallest packet of a protocol: an empty datagram, a SYN, an echo request.

    An echo request may be larger: `size` octets of IP. Raises: KeyError for a protocol that is not in `PROTOCOLS`.
    """
    if protocol == "udp":
        return encode_udp4(b"", source, sport, destination, dport, b"", _TTL)[:28]
    payload = _ECHO.ljust(size - 20, b"\0") if protocol == "icmp" else _syn(source, destination, sport, dport)
    head = _IP4.pack(
        0x45, 0, 20 + len(payload), 0, 0x4000, _TTL, PROTOCOLS[protocol], 0, source.packed, destination.packed
    )
    return head[:10] + internet_checksum(head).to_bytes(2, "big") + head[12:] + payload


def _syn(source: IPv4Address, destination: IPv4Address, sport: int, dport: int) -> bytes:
    segment = _SYN.pack(sport, dport, 0, 0, 5 << 4, 2, 65535, 0, 0)
    pseudo = source.packed + destination.packed + struct.pack("!HH", PROTOCOLS["tcp"], len(segment))
    return segment[:16] + internet_checksum(pseudo + segment).to_bytes(2, "big") + segment[18:]


def describe(data: bytes, length: int | None = None) -> str:
    """Return a frame in a line: MACs, tags, PPPoE's session, and of IPv4 the addresses, protocol, ports and TTL.

    `length`: its octets, where `data` is only their beginning.
    """
    try:
        outer = frame.decode(data)
    except Malformed as error:
        return f"{len(data)} octets that are no frame: {error}"
    tags = " ".join(f"{tag.tpid:#06x}/{tag.vid}" for tag in outer.tags) or "untagged"
    return f"{outer.source} > {outer.destination} {tags} {_payload(outer)}, {length or len(data)} octets"


def _payload(outer: frame.Frame) -> str:
    packet = outer.payload
    if outer.ethertype == ETHERTYPE_ARP:
        return "ARP"
    if outer.ethertype == ETHERTYPE_PPPOE_DISCOVERY:
        return "PPPoE discovery"
    if outer.ethertype == ETHERTYPE_PPPOE_SESSION and len(packet) >= 8:
        session, _length, carried = _PPPOE.unpack_from(packet, 2)
        inside = _ip4(packet[8:]) if carried == _PPP_IPV4 else None
        return f"PPPoE {session} {inside or f'protocol {carried:#06x}'}"
    inside = _ip4(packet) if outer.ethertype == ETHERTYPE_IPV4 else None
    return inside or f"type {outer.ethertype:#06x}"


def _ip4(packet: bytes) -> str | None:
    if len(packet) < 20:
        return None
    source, destination = (IPv4Address(octets) for octets in _ADDRESSES.unpack_from(packet, 12))
    start, protocol = (packet[0] & 15) * 4, packet[9]
    name = _NAMES.get(protocol, f"protocol {protocol}")
    ends = str(source), str(destination)
    if name in ("udp", "tcp") and len(packet) >= start + 4:
        ports = _PORTS.unpack_from(packet, start)
        ends = f"{source}:{ports[0]}", f"{destination}:{ports[1]}"
    return f"{name} {ends[0]} > {ends[1]} ttl {packet[8]}"
