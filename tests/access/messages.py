"""What clients, access nodes and relays send, as whole frames."""

from __future__ import annotations

from ipaddress import IPv4Address

from tests.fakes.router import ask
from wayleave.net import frame
from wayleave.net.frame import ETHERTYPE_IPV4, TPID_C, TPID_S, Frame, Tag, encode_l2, encode_udp4
from wayleave.net.mac import BROADCAST, Mac
from wayleave.proto.dhcp4 import message, relay
from wayleave.proto.dhcp4.message import ZERO, Message, MessageType

CLIENT_MAC, RELAY_MAC, GATEWAY_MAC = (
    Mac(bytes.fromhex(text)) for text in ("020000000001", "0200000000aa", "02ff00000001")
)
EVERYONE = IPv4Address("255.255.255.255")
GATEWAY = IPv4Address("10.0.0.1")
ADDRESS, OTHER = IPv4Address("10.0.0.50"), IPv4Address("10.0.0.51")
QINQ = (Tag(TPID_S, 100), Tag(TPID_C, 7))


def circuit(name: bytes) -> bytes:
    """Option 82 with a circuit-id."""
    return relay.encode(relay.RelayAgent(name, b"node-1"))


def sent(
    kind: MessageType,
    options: dict[int, bytes] | None = None,
    *,
    ciaddr: IPv4Address = ZERO,
    giaddr: IPv4Address = ZERO,
    tags: tuple[Tag, ...] = QINQ,
    source: Mac = CLIENT_MAC,
    chaddr: Mac = CLIENT_MAC,
    to: IPv4Address = EVERYONE,
    flags: int = 0,
) -> bytes:
    """Return the frame of a client's message; unicast ones go to the gateway."""
    asked = ask(kind, chaddr, 0x12345678, options or {}, ciaddr)
    asked.giaddr, asked.flags = giaddr, flags
    l2 = encode_l2(BROADCAST if to == EVERYONE else GATEWAY_MAC, source, tags, ETHERTYPE_IPV4)
    return encode_udp4(l2, ciaddr, 68, to, 67, message.encode(asked, 1500))


def renewal(address: IPv4Address = ADDRESS, **more: object) -> bytes:
    return sent(MessageType.REQUEST, ciaddr=address, to=GATEWAY, **more)  # type: ignore[arg-type]


def taken_apart(data: bytes) -> tuple[Frame, frame.Datagram, Message]:
    """Read a reply as its receiver does."""
    outer = frame.decode(data)
    datagram = frame.decode_udp4(outer.payload)
    return outer, datagram, message.decode(datagram.payload)
