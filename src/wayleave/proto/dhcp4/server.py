"""A DHCP server's rules as functions of a request: what it asks, what to answer, where to send the answer.

The caller decides about addresses and time; nothing here remembers anything.

Source: RFC 2131 3, 4.1, 4.3, tables 3 to 5; RFC 2132; RFC 3046 2.2; RFC 3442; RFC 6842; RFC 8925 3.3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from enum import Enum, StrEnum
from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from wayleave.net.mac import BROADCAST, Mac
from wayleave.proto.dhcp4.codecs import ADDRESSES, ROUTES
from wayleave.proto.dhcp4.message import (
    BOOTREPLY,
    BOOTREQUEST,
    BROADCAST_FLAG,
    CLIENT_PORT,
    LARGEST_MAXIMUM,
    SERVER_PORT,
    SMALLEST_MAXIMUM,
    ZERO,
    Message,
    MessageType,
)

_EVERYONE = IPv4Address("255.255.255.255")
_NO_MAC = bytes(6)
_DEFAULT_ROUTE = IPv4Network("0.0.0.0/0")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_V6ONLY_WAIT = 108
# What the server itself puts into a reply, or what only clients say: never taken from `Binding.extra`.
BY_THE_SERVER = frozenset((0, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82, 255))
# For a client that sends no option 55.
_UNASKED = (3, 6, 15)


class Kind(Enum):
    """What a client wants; the four faces of DHCPREQUEST told apart. Source: RFC 2131 4.3.2, table 4."""

    DISCOVER = "discover"
    SELECTING = "selecting"
    INIT_REBOOT = "init-reboot"
    RENEWING = "renewing"
    REBINDING = "rebinding"
    DECLINE = "decline"
    RELEASE = "release"
    INFORM = "inform"

    __hash__ = object.__hash__  # members are one of a kind; Enum's own hash is ten times slower


class Reason(StrEnum):
    """Why a message that decodes is not answered; the value is the name of its counter."""

    NOT_A_REQUEST = "not-a-request"
    NO_MESSAGE_TYPE = "no-message-type"
    NOT_FOR_SERVERS = "not-for-servers"
    BAD_HARDWARE_ADDRESS = "bad-hardware-address"
    BAD_LENGTH = "bad-length"
    CIADDR_SET = "ciaddr-set"
    NO_ADDRESS = "no-address"
    TWO_ADDRESSES = "two-addresses"
    NO_SERVER = "no-server"


class Ignored(Struct, frozen=True, gc=False):
    """A message to drop and count."""

    reason: Reason


class Request(Struct, frozen=True, gc=False):
    """A message to answer, with what matters taken out of it.

    `address` is what the client asks for or has: option 50, or ciaddr when RENEWING, REBINDING, RELEASE and INFORM.
    `server` is option 54: when SELECTING, compare it with your own. `client_id` is option 61.
    """

    kind: Kind
    address: IPv4Address | None
    server: IPv4Address | None
    client_id: bytes | None
    message: Message


class Binding(Struct, frozen=True, kw_only=True, gc=False):
    """What is delivered to one client.

    `server_id` is the gateway's address on the client's subnet. T1 and T2 (`renew_s`, `rebind_s`) are 0.5 and 0.875 of
    `lease_s` unless given, in whole seconds rounded down. `routes` are (destination, router). `extra` holds raw options
    by code; for an option that has a filled field here the field counts, and those of the protocol itself are skipped.
    """

    address: IPv4Address
    netmask: IPv4Address
    server_id: IPv4Address
    lease_s: int
    renew_s: int | None = None
    rebind_s: int | None = None
    routers: tuple[IPv4Address, ...] = ()
    dns: tuple[IPv4Address, ...] = ()
    domain: str | None = None
    mtu: int | None = None
    ntp: tuple[IPv4Address, ...] = ()
    routes: tuple[tuple[IPv4Network, IPv4Address], ...] = ()
    extra: dict[int, bytes] = {}


class Destination(Struct, frozen=True, gc=False):
    """Where a reply goes."""

    mac: Mac
    address: IPv4Address
    port: int


def classify(message: Message, unicast: bool) -> Request | Ignored:
    """Tell what a client wants. `unicast`: the datagram was addressed to the server and not to 255.255.255.255.

    Where the RFC says MUST NOT and the meaning is plain all the same, the client is served: option 50 in a renewal
    when it equals ciaddr, option 54 in DHCPDISCOVER and DHCPINFORM, option 50 in DHCPRELEASE and DHCPINFORM.
    An address of 0.0.0.0 counts as none.

    Source: RFC 2131 4.3.1 to 4.3.6, tables 4 and 5.
    """
    if message.op != BOOTREQUEST:
        return Ignored(Reason.NOT_A_REQUEST)
    chaddr = message.chaddr
    if chaddr[0] & 1 or chaddr == _NO_MAC:
        return Ignored(Reason.BAD_HARDWARE_ADDRESS)
    options = message.options
    if 53 not in options:
        return Ignored(Reason.NO_MESSAGE_TYPE)
    wanted, named = options.get(50), options.get(54)
    if (wanted is not None and len(wanted) != 4) or (named is not None and len(named) != 4):
        return Ignored(Reason.BAD_LENGTH)
    requested = IPv4Address(wanted) if wanted and any(wanted) else None
    server = IPv4Address(named) if named and any(named) else None
    has = message.ciaddr if message.ciaddr != ZERO else None
    verdict: tuple[Kind, IPv4Address | None] | Reason
    match message.message_type:
        case MessageType.DISCOVER:
            verdict = (Kind.DISCOVER, requested) if has is None else Reason.CIADDR_SET
        case MessageType.REQUEST:
            verdict = _which_request(requested, server, has, unicast and message.giaddr == ZERO)
        case MessageType.DECLINE if server is None:
            verdict = Reason.NO_SERVER
        case MessageType.DECLINE:
            verdict = Reason.CIADDR_SET if has else (Kind.DECLINE, requested) if requested else Reason.NO_ADDRESS
        case MessageType.RELEASE if server is None:
            verdict = Reason.NO_SERVER
        case MessageType.RELEASE:
            verdict = (Kind.RELEASE, has) if has else Reason.NO_ADDRESS
        case MessageType.INFORM:
            verdict = (Kind.INFORM, has) if has else Reason.NO_ADDRESS
        case _:
            verdict = Reason.NOT_FOR_SERVERS
    if isinstance(verdict, Reason):
        return Ignored(verdict)
    return Request(verdict[0], verdict[1], server, options.get(61), message)


def _which_request(
    requested: IPv4Address | None, server: IPv4Address | None, has: IPv4Address | None, direct: bool
) -> tuple[Kind, IPv4Address] | Reason:
    """Tell the four DHCPREQUESTs apart. Source: RFC 2131 4.3.2, table 4."""
    if server is not None:
        if has is not None:
            return Reason.CIADDR_SET
        return Reason.NO_ADDRESS if requested is None else (Kind.SELECTING, requested)
    if has is not None:
        if requested is not None and requested != has:
            return Reason.TWO_ADDRESSES
        return (Kind.RENEWING if direct else Kind.REBINDING), has
    return Reason.NO_ADDRESS if requested is None else (Kind.INIT_REBOOT, requested)


def offer(request: Message, binding: Binding) -> Message:
    """Answer a DHCPDISCOVER. The caller must hold the address for as long as the offer stands.

    Options 53, 54, 51, 58, 59 and 1 come first, then what option 55 asks for and `binding` has, in the order asked.
    A client without option 55 gets routers, DNS servers, domain and `extra` without option 108.

    Source: RFC 2131 4.3.1, 4.4.5; RFC 6842 3 (option 61); RFC 3046 2.2 (option 82).
    """
    return _reply(request, _lease_options(_OFFER, request, binding), ZERO, binding.address)


def ack(request: Message, binding: Binding) -> Message:
    """Grant a DHCPREQUEST, with the options of an offer. The lease must be durable before this is sent.

    Source: RFC 2131 4.3.2.
    """
    return _reply(request, _lease_options(_ACK, request, binding), request.ciaddr, binding.address)


def inform_ack(request: Message, binding: Binding) -> Message:
    """Answer a DHCPINFORM: parameters, but no address and no times. Source: RFC 2131 4.3.5."""
    options = {53: _ACK, 54: binding.server_id.packed}
    _add_parameters(options, request, binding)
    return _reply(request, options, request.ciaddr, ZERO)


def nak(request: Message, server_id: IPv4Address, why: str) -> Message:
    """Refuse a DHCPREQUEST; `why` goes into option 56.

    Behind a relay agent the broadcast bit is set, so that the agent reaches a client whose address is wrong.

    Source: RFC 2131 4.3.2, table 3.
    """
    reply = _reply(request, {53: _NAK, 54: server_id.packed, 56: why.encode()}, ZERO, ZERO)
    if request.giaddr != ZERO:
        reply.flags |= BROADCAST_FLAG
    return reply


def limit(request: Message) -> int:
    """Return the `maximum` for `message.encode`: option 57 within 576 and 1,500. Source: RFC 2132 9.10."""
    told = request.options.get(57, b"")
    if len(told) != 2:
        return SMALLEST_MAXIMUM
    return min(max(told[0] << 8 | told[1], SMALLEST_MAXIMUM), LARGEST_MAXIMUM)


def destination(request: Message, reply: Message, frame_source: Mac) -> Destination:
    """Tell where `reply` goes. `frame_source` is the Ethernet source of the frame that brought `request`.

    Source: RFC 2131 4.1.
    """
    if reply.options.get(53) == _NAK and request.giaddr == ZERO:
        return Destination(BROADCAST, _EVERYONE, CLIENT_PORT)
    return toward(request, reply.yiaddr, frame_source)


def toward(request: Message, yiaddr: IPv4Address, frame_source: Mac) -> Destination:
    """Tell where a reply goes that is no DHCPNAK.

    A relay agent, and a client that has an address, are reached through whoever sent the frame.

    Source: RFC 2131 4.1.
    """
    if request.giaddr != ZERO:
        return Destination(frame_source, request.giaddr, SERVER_PORT)
    if request.ciaddr != ZERO:
        return Destination(frame_source, request.ciaddr, CLIENT_PORT)
    if request.flags & BROADCAST_FLAG or yiaddr == ZERO:
        return Destination(BROADCAST, _EVERYONE, CLIENT_PORT)
    return Destination(request.chaddr, yiaddr, CLIENT_PORT)


_OFFER, _ACK, _NAK = (bytes((kind,)) for kind in (MessageType.OFFER, MessageType.ACK, MessageType.NAK))


def _reply(request: Message, options: dict[int, bytes], ciaddr: IPv4Address, yiaddr: IPv4Address) -> Message:
    """Return a reply with what every reply copies from its request. Source: RFC 2131 table 3."""
    theirs = request.options
    if 61 in theirs:
        options[61] = theirs[61]
    if 82 in theirs:
        options[82] = theirs[82]
    return Message(
        op=BOOTREPLY,
        htype=request.htype,
        hlen=request.hlen,
        hops=0,
        xid=request.xid,
        secs=0,
        flags=request.flags,
        ciaddr=ciaddr,
        yiaddr=yiaddr,
        siaddr=ZERO,
        giaddr=request.giaddr,
        chaddr=request.chaddr,
        sname=b"",
        file=b"",
        options=options,
    )


def _lease_options(kind: bytes, request: Message, binding: Binding) -> dict[int, bytes]:
    lease = binding.lease_s
    renew = lease // 2 if binding.renew_s is None else binding.renew_s
    rebind = lease * 7 // 8 if binding.rebind_s is None else binding.rebind_s
    options = {
        53: kind,
        54: binding.server_id.packed,
        51: _U32.pack(lease),
        58: _U32.pack(renew),
        59: _U32.pack(rebind),
        1: binding.netmask.packed,
    }
    _add_parameters(options, request, binding)
    return options


def _routes(binding: Binding) -> bytes:
    """Encode the routes, the default among them: a client that takes option 121 must ignore option 3 (RFC 3442)."""
    routes = binding.routes
    if routes and binding.routers and all(network != _DEFAULT_ROUTE for network, _ in routes):
        routes = ((_DEFAULT_ROUTE, binding.routers[0]), *routes)
    return ROUTES.encode(routes)


# Option code → how a binding fills it; empty octets where it does not.
_FIELDS: dict[int, Callable[[Binding], bytes]] = {
    1: lambda binding: binding.netmask.packed,
    3: lambda binding: ADDRESSES.encode(binding.routers),
    6: lambda binding: ADDRESSES.encode(binding.dns),
    15: lambda binding: (binding.domain or "").encode(),
    26: lambda binding: b"" if binding.mtu is None else _U16.pack(binding.mtu),
    42: lambda binding: ADDRESSES.encode(binding.ntp),
    121: _routes,
    249: _routes,
}


def _add_parameters(options: dict[int, bytes], request: Message, binding: Binding) -> None:
    """Add to `options` what the client asks for and `binding` has. Source: RFC 2131 4.3.1, RFC 8925 3.3."""
    extra = binding.extra
    wanted: Iterable[int] | None = request.options.get(55)
    if wanted is None:
        wanted = (*_UNASKED, *(code for code in extra if code != _V6ONLY_WAIT))
    for code in wanted:
        if code in options:
            continue
        fill = _FIELDS.get(code)
        if fill is not None and (value := fill(binding)):
            options[code] = value
        elif code in extra and code not in BY_THE_SERVER:
            options[code] = extra[code]
