"""From a punted frame to the line and the client it came from.

What the port's settings say is believed is believed here, and only here: option 82 on trusted ports, giaddr from
configured relays. Everything else that does not fit is counted under a name and goes no further.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address

from msgspec import Struct

from wayleave.access.settings import PortSettings
from wayleave.net import frame
from wayleave.net.errors import Malformed
from wayleave.net.frame import Tag
from wayleave.net.mac import Mac
from wayleave.proto.dhcp4 import message, relay
from wayleave.proto.dhcp4.message import ZERO, Message
from wayleave.session.model import Client, Line


class Ignored(StrEnum):
    """Why a frame that came up leads to nothing; the value names its counter."""

    IPOE_NOT_SERVED = "ipoe-not-served"
    """DHCP, where the port's protocols do not have it."""
    MALFORMED_FRAME = "malformed-frame"
    MALFORMED_DHCP = "malformed-dhcp"
    UNTRUSTED_OPTION_82 = "untrusted-option-82"
    UNKNOWN_RELAY = "unknown-relay"
    CHADDR_MISMATCH = "chaddr-is-not-the-sender"
    NO_CIRCUIT_ID = "no-circuit-id"
    MALFORMED_PPPOE = "malformed-pppoe"
    MALFORMED_LINE = "malformed-line-tag"
    UNKNOWN_SESSION = "unknown-pppoe-session"
    OVERTAKEN = "overtaken"
    TOO_MANY_SEEK = "too-many-padis-wait"


class Heard(Struct, frozen=True, gc=False):
    """A DHCP message, and how it got here. `tags` are those with a VID, without priority: what a reply carries.

    `circuit` is None where the access node names none; an empty circuit-id names none.
    """

    port: int
    source: Mac
    tags: tuple[Tag, ...]
    vids: tuple[int, int]
    unicast: bool
    message: Message
    circuit: bytes | None


_EVERYONE = IPv4Address("255.255.255.255")


def sender(port: int, data: bytes) -> Client | None:
    """The client that a frame on a port is from, as far as the frame tells: its circuit it does not.

    None: what makes no sense as a frame is nobody's.
    """
    try:
        outer = frame.decode(data)
    except Malformed:
        return None
    return Client(Line(port, *frame.vids(outer)), outer.source)


def hear(port: PortSettings, data: bytes) -> Heard | Ignored:
    """Take a frame apart. Never raises for what a peer sent.

    Source: RFC 3046 2.1 (untrusted circuits), RFC 2131 4.3.
    """
    try:
        outer = frame.decode(data)
        datagram = frame.decode_udp4(outer.payload)
    except Malformed:
        return Ignored.MALFORMED_FRAME
    try:
        asked = message.decode(datagram.payload)
        agent = None if asked.relay_agent is None else relay.decode(asked.relay_agent)
    except Malformed:
        return Ignored.MALFORMED_DHCP
    if agent is not None and not port.trusted:
        return Ignored.UNTRUSTED_OPTION_82
    if asked.giaddr != ZERO:
        if asked.giaddr not in port.relays:
            return Ignored.UNKNOWN_RELAY
    elif asked.chaddr != outer.source:
        return Ignored.CHADDR_MISMATCH
    return Heard(
        port.number,
        outer.source,
        tuple([Tag(tag.tpid, tag.vid) for tag in outer.tags if tag.vid]),
        frame.vids(outer),
        datagram.destination != _EVERYONE,
        asked,
        agent.circuit_id or None if agent is not None else None,
    )
