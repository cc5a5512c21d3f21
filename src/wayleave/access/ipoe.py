"""IPoE: DHCPv4 on a line, between the wire and the session's life.

`receive` makes events of what a client asks; `reply` puts the answers of the session into DHCP. A session is a MAC on
a line: a client that changes its client-id (a machine that boots from the network, say) stays the same client.

The gateway is the only DHCP server on its lines. A client that it does not know and that asks to keep an address
(INIT-REBOOT, RENEWING, REBINDING) is therefore not left in silence, as RFC 2131 4.3.2 asks of servers that know of
others: it gets just that address if nobody else holds it, and DHCPNAK if somebody does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from wayleave.access.demux import Heard, Ignored, hear
from wayleave.access.settings import PortSettings
from wayleave.net.frame import ETHERTYPE_IPV4, encode_l2, encode_udp4
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.dhcp4 import server, standing
from wayleave.proto.dhcp4.message import SERVER_PORT, ZERO, Message, MessageType, encode
from wayleave.proto.dhcp4.server import Binding, Destination, Kind
from wayleave.proto.dhcp4.standing import StandingReply
from wayleave.session import lifecycle
from wayleave.session.lifecycle import Answer, Event
from wayleave.session.model import NEVER, Client, Lease, Line, Session


@dataclass(frozen=True, slots=True)
class Delivery:
    """What clients of a pool are told besides their address."""

    network: IPv4Network
    gateway: IPv4Address
    dns: tuple[IPv4Address, ...] = ()
    ntp: tuple[IPv4Address, ...] = ()
    domain: str | None = None
    extra: dict[int, bytes] = field(default_factory=dict)
    """More options by code, encoded."""


class Ask(Struct, frozen=True, gc=False):
    """A request that waits for its answer."""

    heard: Heard
    kind: Kind

    @property
    def called(self) -> bytes:
        """The message's name, for the journal."""
        return _CALLED[self.kind]


_CALLED = {
    Kind.DISCOVER: b"DISCOVER",
    Kind.SELECTING: b"REQUEST (selecting)",
    Kind.INIT_REBOOT: b"REQUEST (init-reboot)",
    Kind.RENEWING: b"REQUEST (renewing)",
    Kind.REBINDING: b"REQUEST (rebinding)",
    Kind.INFORM: b"INFORM",
}

_NAMES: dict[int, str] = {kind: kind.name.lower() for kind in MessageType}
"""What is said → the name of its counter."""

_FOR_A_LEASE = {Answer.OFFER: MessageType.OFFER, Answer.CONFIRM: MessageType.ACK}

STANDING = 4096
"""Standing replies kept at hand."""


class Ipoe:
    """Stateless but for its counters, and replies that it keeps at hand.

    `known` finds the session of (port, tags, MAC), whatever its circuit.
    """

    def __init__(
        self,
        ports: Mapping[int, PortSettings],
        macs: Mapping[int, Mac],
        pools: Mapping[str, Delivery],
        known: Callable[[Client], Session | None],
        unheard: Callable[[int, bytes, str], None] = lambda _port, _data, _why: None,
    ) -> None:
        """`unheard` is told of a frame that leads to nothing: its port, the frame, and why."""
        self._macs, self._known, self._unheard = macs, known, unheard
        self.reconfigure(ports, pools)
        self.ignored: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.said: Counter[str] = Counter()

    def reconfigure(self, ports: Mapping[int, PortSettings], pools: Mapping[str, Delivery]) -> None:
        """Go by another configuration from now on."""
        self._ports, self._pools = ports, pools
        self._gateways = {delivery.gateway for delivery in pools.values()}
        self._standing: dict[tuple[str, Ns, tuple[IPv4Address, ...], bytes], StandingReply | None] = {}

    # ---- in -----------------------------------------------------------------------------

    def receive(self, port: int, data: bytes, at: BootNs = NEVER) -> tuple[Client, Event] | None:
        """Return about whom and what a punted frame is; None, counted, if it leads to nothing.

        `at` is when the data plane took it in: it may have answered the client since.
        """
        if "ipoe" not in self._ports[port].protocols:
            self._ignore(port, data, Ignored.IPOE_NOT_SERVED)
            return None
        heard = hear(self._ports[port], data)
        if isinstance(heard, Ignored):
            self._ignore(port, data, heard.value)
            return None
        request = server.classify(heard.message, heard.unicast)
        if isinstance(request, server.Ignored):
            self._ignore(port, data, request.reason.value)
            return None
        client = self._client(heard)
        if client is None:
            self._ignore(port, data, Ignored.NO_CIRCUIT_ID.value)
            return None
        self.heard[request.kind.value] += 1
        return client, self._event(client, heard, request, at)

    def _ignore(self, port: int, data: bytes, why: str) -> None:
        self.ignored[why] += 1
        self._unheard(port, data, why)

    def _client(self, heard: Heard) -> Client | None:
        """Find the line. Where many share a VLAN, a message without circuit-id is believed only of a known session."""
        svid, cvid = heard.vids
        mac = heard.message.chaddr
        if self._ports[heard.port].line == "vlan":
            return Client(Line(heard.port, svid, cvid), mac)
        if heard.circuit is not None:
            return Client(Line(heard.port, svid, cvid, heard.circuit), mac)
        session = self._known(Client(Line(heard.port, svid, cvid), mac))
        return None if session is None else session.client

    def _event(self, client: Client, heard: Heard, request: server.Request, at: BootNs) -> Event:
        ask = Ask(heard, request.kind)
        relayed = heard.message.giaddr != ZERO
        address = request.address or ZERO
        match request.kind:
            case Kind.DISCOVER:
                return lifecycle.Discovered(
                    client=client,
                    ask=ask,
                    encapsulation=self._l2(heard, heard.source),
                    wanted=request.address,
                    relayed=relayed,
                    hostname=_hostname(heard.message),
                    agent=_agent(heard.message),
                )
            case Kind.SELECTING if request.server not in self._gateways:
                return lifecycle.Withdrawn()
            case Kind.SELECTING | Kind.INIT_REBOOT | Kind.RENEWING | Kind.REBINDING:
                return lifecycle.Requested(
                    client=client,
                    ask=ask,
                    encapsulation=self._l2(heard, heard.source),
                    address=address,
                    relayed=relayed,
                    hostname=_hostname(heard.message),
                    form=standing.form(heard.message),
                    agent=_agent(heard.message),
                )
            case Kind.RELEASE:
                return lifecycle.Released(address, at)
            case Kind.DECLINE:
                return lifecycle.Declined(address, at)
            case Kind.INFORM:
                return lifecycle.Queried(ask)

    # ---- out ----------------------------------------------------------------------------

    def reply(self, session: Session, reply: lifecycle.Reply) -> tuple[int, bytes] | None:
        """Return (port, frame) that carries an answer; None where DHCP says nothing."""
        ask, lease = reply.ask, reply.lease
        assert isinstance(ask, Ask)
        heard, asked = ask.heard, ask.heard.message
        if lease is None:
            if ask.kind is Kind.DISCOVER or reply.answer is not Answer.REFUSE:
                return None
            identifier = self._nearest_gateway(session, asked)
            return self._frame(heard, identifier, server.nak(asked, identifier, reply.why))
        identifier = lease.subnet.gateway
        kind = _FOR_A_LEASE.get(reply.answer)
        if kind is not None and reply.remaining == lease.duration:
            ready = self._ready(lease, _dns(session), standing.form(asked))
            payload = standing.say(ready, kind, asked, lease.address) if ready is not None else None
            if payload is not None:
                to = server.toward(asked, lease.address, heard.source)
                return self._framed(heard, identifier, to, kind, payload)
        return self._frame(heard, identifier, self._answer(asked, reply, lease, _dns(session)))

    def _frame(self, heard: Heard, identifier: IPv4Address, answer: Message) -> tuple[int, bytes]:
        asked = heard.message
        to = server.destination(asked, answer, heard.source)
        return self._framed(heard, identifier, to, answer.options[53][0], encode(answer, server.limit(asked)))

    def _framed(
        self, heard: Heard, identifier: IPv4Address, to: Destination, kind: int, payload: bytes
    ) -> tuple[int, bytes]:
        self.said[_NAMES[kind]] += 1
        return heard.port, encode_udp4(self._l2(heard, to.mac), identifier, SERVER_PORT, to.address, to.port, payload)

    def _l2(self, heard: Heard, to: Mac) -> bytes:
        """The Ethernet header that goes back the way a message came."""
        return encode_l2(to, self._macs[heard.port], heard.tags, ETHERTYPE_IPV4)

    def _answer(self, asked: Message, reply: lifecycle.Reply, lease: Lease, dns: tuple[IPv4Address, ...]) -> Message:
        binding = self._binding(lease, dns, reply.remaining)
        match reply.answer:
            case Answer.OFFER:
                return server.offer(asked, binding)
            case Answer.CONFIRM:
                return server.ack(asked, binding)
            case Answer.TELL:
                return server.inform_ack(asked, binding)
            case Answer.REFUSE | Answer.ADMIT:  # with an address nobody is refused, and DHCP admits nobody
                return server.nak(asked, binding.server_id, reply.why)

    def _binding(self, lease: Lease, dns: tuple[IPv4Address, ...], remaining: Ns) -> Binding:
        told = self._pools[lease.pool]
        return Binding(
            address=lease.address,
            netmask=lease.subnet.netmask,
            server_id=lease.subnet.gateway,
            lease_s=remaining // SECOND,
            routers=(lease.subnet.gateway,),
            dns=dns or told.dns,
            domain=told.domain,
            ntp=told.ntp,
            extra=told.extra,
        )

    def standing(self, session: Session) -> StandingReply | None:
        """Return what the data plane may answer this client by itself; None: its requests come up.

        Where a circuit-id tells lines apart, only to a client that is known by one; where option 82 is not believed,
        to no message that carries one. A lease that is to become longer is recorded as such before anybody hears of it;
        a client that is to have another address hears so from Python.
        """
        lease, port = session.lease, self._ports.get(session.client.line.port)
        if lease is None or lease.longer or session.moving or lease.pool not in self._pools:
            return None
        if port is None or "ipoe" not in port.protocols or session.form is None or session.relayed:
            return None
        if (port.line == "circuit") != bool(session.client.line.circuit) or (session.agent and not port.trusted):
            return None
        return self._ready(lease, _dns(session), session.form)

    def _ready(self, lease: Lease, dns: tuple[IPv4Address, ...], form: bytes | None) -> StandingReply | None:
        """Return the standing reply for a whole lease of this pool to requests of this form."""
        if form is None:
            return None
        key = (lease.pool, lease.duration, dns, form)
        if key not in self._standing:
            if len(self._standing) >= STANDING:
                self._standing.clear()
            self._standing[key] = standing.standing(form, self._binding(lease, dns, lease.duration))
        return self._standing[key]

    def _nearest_gateway(self, session: Session, asked: Message) -> IPv4Address:
        """Who says no, where no lease names a gateway: the one the client asked, or whose subnet it asked for."""
        named = asked.options.get(54, b"")
        if len(named) == 4 and (address := IPv4Address(named)) in self._gateways:
            return address
        wanted = session.wanted or ZERO
        inside = [told.gateway for told in self._pools.values() if wanted in told.network]
        granted = self._pools.get(session.service.pool) if session.service is not None else None
        if inside:
            return inside[0]
        return granted.gateway if granted is not None else min(self._gateways)


def _dns(session: Session) -> tuple[IPv4Address, ...]:
    """What authorization said instead of the pool's; nothing, most times."""
    return session.service.dns if session.service is not None else ()


def _agent(asked: Message) -> bytes:
    """Option 82, if it is one that a standing reply can give back."""
    agent = asked.relay_agent or b""
    return agent if len(agent) <= 255 else b""


def _hostname(asked: Message) -> str:
    """Option 12, for people to read; never trusted (RFC 2132 3.14)."""
    name = asked.options.get(12)
    if name is None:
        return ""
    text = name[:64].decode("ascii", "replace")
    return text if text.isprintable() else "".join(char for char in text if char.isprintable())
