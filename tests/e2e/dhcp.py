"""DHCPv4 by hand: what no well-behaved client sends. Built on the lab's frames, not on the product's codecs."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address

from wayleave.lab.packet import BROADCAST, IPV4, UDP, Frame, Tag, dhcp_options, ethernet, ipv4, udp
from wayleave.net.mac import Mac

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
ZERO, EVERYONE = IPv4Address(0), IPv4Address("255.255.255.255")
_COOKIE = bytes((99, 130, 83, 99))
_xids = itertools.count(0x57A90000)


@dataclass(frozen=True)
class Message:
    """A DHCP message in the frame that carried it."""

    frame: Frame

    @cached_property
    def options(self) -> dict[int, bytes]:
        return dict(dhcp_options(self.frame.udp_payload))

    @property
    def kind(self) -> int:
        """Option 53; 0 without one."""
        return self.options.get(53, b"\0")[0]

    @property
    def xid(self) -> int:
        return int.from_bytes(self.frame.udp_payload[4:8], "big")

    @property
    def yiaddr(self) -> IPv4Address:
        return IPv4Address(self.frame.udp_payload[16:20])

    @property
    def chaddr(self) -> Mac:
        return Mac(self.frame.udp_payload[28:34])


def messages(frames: Iterable[Frame], *kinds: int, mac: Mac | None = None) -> list[Message]:
    """The DHCP messages among `frames`, of these kinds (all, if none is named), about the client `mac` alone."""
    found = [Message(frame) for frame in frames if frame.is_dhcp]
    return [item for item in found if (not kinds or item.kind in kinds) and (mac is None or item.chaddr == mac)]


def message(
    kind: int,
    mac: Mac,
    *options: tuple[int, bytes],
    xid: int | None = None,
    ciaddr: IPv4Address = ZERO,
    giaddr: IPv4Address = ZERO,
    broadcast: bool = False,
) -> bytes:
    """Encode a request: BOOTP header, option 53, then `options` as they are given."""
    head = struct.pack(
        "!BBBBIHH4s4s4s4s16s192x",
        1, 1, 6, int(giaddr != ZERO), next(_xids) if xid is None else xid, 0, 0x8000 if broadcast else 0,
        ciaddr.packed, bytes(4), bytes(4), giaddr.packed, mac,
    )  # fmt: skip
    field = b"".join(bytes((code, len(value))) + value for code, value in ((53, bytes((kind,))), *options))
    return (head + _COOKIE + field + b"\xff").ljust(300, b"\0")


def framed(
    payload: bytes,
    source_mac: Mac,
    *,
    source: IPv4Address = ZERO,
    to: IPv4Address = EVERYONE,
    to_mac: bytes = BROADCAST,
    ports: tuple[int, int] = (68, 67),
    tags: tuple[Tag, ...] = (),
) -> bytes:
    """Put a message into a frame, as a client's broadcast unless told otherwise."""
    return ethernet(to_mac, source_mac, IPV4, ipv4(source, to, UDP, udp(source, to, *ports, payload), df=False), tags)
