"""Frames, built and taken apart by scapy: another hand than the one that wrote the program.

Source: IEEE 802.1Q, RFC 791, RFC 826, RFC 2516 4; scapy computes lengths and checksums.
"""

from __future__ import annotations

from typing import Any

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.ppp import PPPoE
from scapy.packet import Packet, Raw

from wayleave.net.mac import BROADCAST, Mac

from .rig import ALICE, GATEWAY_MAC, KERNEL_MAC, LINK_MAC, NET_MAC, ROUTER_MAC, Subscriber

INTERNET = "8.8.8.8"
SESSION_TYPE = 0x8864

Tags = tuple[tuple[int, int], ...]


def ethernet(payload: Packet, source: bytes, destination: bytes, tags: Tags = (), type_: int | None = None) -> bytes:
    """Return the frame's octets; `tags` are (TPID, TCI), outermost first. Not padded."""
    inner = type_ if type_ is not None else 0x0806 if isinstance(payload, ARP) else 0x0800
    types = [tpid for tpid, _ in tags] + [inner]
    frame = Ether(src=str(Mac(source)), dst=str(Mac(destination)), type=types[0])
    for (_, tci), following in zip(tags, types[1:], strict=True):
        frame /= Dot1Q(prio=tci >> 13, dei=tci >> 12 & 1, vlan=tci & 0xFFF, type=following)
    return bytes(frame / payload)


def packet(
    source: str = ALICE.address, destination: str = INTERNET, ttl: int = 64, size: int = 0, **fields: Any
) -> Packet:
    """Return a UDP packet; `size` octets of IP in all, if given."""
    head = IP(src=source, dst=destination, ttl=ttl, **{"id": 7} | fields) / UDP(sport=4000, dport=5000, chksum=0)
    return head / Raw(b"x" * max(size - len(head), 4))


def up(payload: Packet, who: Subscriber = ALICE, destination: bytes = GATEWAY_MAC, tags: Tags | None = None) -> bytes:
    """Return `payload` as the subscriber sends it."""
    return _link(payload, who, who.mac, destination, who.tags if tags is None else tags)


def down(payload: Packet, who: Subscriber) -> bytes:
    """Return `payload` as the subscriber gets it."""
    return _link(payload, who, GATEWAY_MAC, who.mac, who.tags)


def ppp(payload: Packet, session: int, protocol: int = 0x0021, **fields: Any) -> Packet:
    """Return what `protocol` carries in PPP in PPPoE; `fields` are the header's."""
    header = PPPoE(version=1, type=1, code=0, sessionid=session)
    for name, value in fields.items():
        setattr(header, name, value)
    return header / Raw(protocol.to_bytes(2, "big") + bytes(payload))


def _link(payload: Packet, who: Subscriber, source: bytes, destination: bytes, tags: Tags) -> bytes:
    """Return `payload` in what the subscriber has: PPPoE if it is a session of that."""
    if not who.pppoe:
        return ethernet(payload, source, destination, tags)
    return ethernet(ppp(payload, who.pppoe), source, destination, tags, type_=SESSION_TYPE)


def out(payload: Packet, source: bytes = NET_MAC, destination: bytes = ROUTER_MAC) -> bytes:
    """Return `payload` as it leaves for the network."""
    return ethernet(payload, source, destination)


def into(payload: Packet, source: bytes = ROUTER_MAC, destination: bytes = NET_MAC, tags: Tags = ()) -> bytes:
    """Return `payload` as it comes in from the network."""
    return ethernet(payload, source, destination, tags)


def to_kernel(payload: Packet) -> bytes:
    """Return `payload` as it goes up the host link."""
    return ethernet(payload, LINK_MAC, KERNEL_MAC)


def from_kernel(payload: Packet) -> bytes:
    """Return `payload` as it comes down the host link."""
    return ethernet(payload, KERNEL_MAC, LINK_MAC)


def request(
    target: str, sender: str = ALICE.address, mac: bytes = ALICE.mac, operation: int = 1, **fields: Any
) -> Packet:
    """Return an ARP request, or what `operation` and `fields` make of it."""
    return ARP(op=operation, hwsrc=str(Mac(mac)), psrc=sender, hwdst="00:00:00:00:00:00", pdst=target, **fields)


def discover(
    destination: str = "255.255.255.255",
    source: str = "0.0.0.0",
    mac: bytes = ALICE.mac,
    pad: int = 0,
    **fields: Any,
) -> Packet:
    """Return a DHCPDISCOVER with `pad` octets behind its options."""
    bootp = BOOTP(chaddr=mac + bytes(10), xid=0x1234) / DHCP(options=[("message-type", "discover"), "end"])
    return IP(src=source, dst=destination, id=7, **fields) / UDP(sport=68, dport=67) / bootp / Raw(bytes(pad))


__all__ = [
    "ARP",
    "BROADCAST",
    "ICMP",
    "INTERNET",
    "IP",
    "TCP",
    "UDP",
    "Packet",
    "SESSION_TYPE",
    "Raw",
    "discover",
    "down",
    "ethernet",
    "from_kernel",
    "into",
    "out",
    "packet",
    "ppp",
    "request",
    "to_kernel",
    "up",
]
