"""PPPoE on a line: discovery, and a call for every session that it gave out, with PPP on it.

    PADI, PADR → (cookie) → Call: LCP, who it is → Dialed … Reply → IPCP, IPV6CP … → HungUp

A call begins before its client is anybody: the session of the domain begins when the client has said who it is, and
ends with the call, whichever of the two ends first. What is heard becomes frames, handed to `send`, and events, taken
with `told`. A client that negotiates anew on a call begins a new session there, once the old one is gone.

Source: RFC 2516, RFC 1661 3.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from wayleave.access.calls import Call, Calls
from wayleave.access.demux import Ignored
from wayleave.access.ipoe import Delivery
from wayleave.access.settings import PortSettings, PppoeSettings
from wayleave.net import frame
from wayleave.net.errors import Malformed
from wayleave.net.frame import ETHERTYPE_PPPOE_DISCOVERY, ETHERTYPE_PPPOE_SESSION, MINIMUM, Frame
from wayleave.net.mac import Mac
from wayleave.net.units import MILLISECOND, SECOND, BootNs, Ns, after
from wayleave.proto.ppp import session as ppp
from wayleave.proto.ppp.auth import ChapMd5, MsChap2, Pap
from wayleave.proto.ppp.ipcp import Addresses, IpcpServer
from wayleave.proto.ppp.ipv6cp import Identifiers, Ipv6cpServer, made_up
from wayleave.proto.ppp.lcp import Entropy
from wayleave.proto.ppp.news import (
    Authenticate,
    Down,
    Dropped,
    NetworkDown,
    NetworkUp,
    Output,
    Reason,
    Restarted,
    Send,
    Up,
)
from wayleave.proto.ppp.packet import Code as PppCode
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe import discovery
from wayleave.proto.pppoe import line as pppoe_line
from wayleave.proto.pppoe.discovery import Concentrator, Confirmed
from wayleave.proto.pppoe.packet import (
    AC_SYSTEM_ERROR,
    VENDOR_SPECIFIC,
    Code,
    Packet,
    SessionPacket,
    decode,
    decode_session,
    encode_session,
)
from wayleave.session import lifecycle
from wayleave.session.lifecycle import Answer, Event, Reply
from wayleave.session.model import NEVER, Client, CloseCause, Line, Link, Phase, Session
from wayleave.session.refusal import PASSING, Refusal
from wayleave.session.refusal import Reason as Why
from wayleave.session.table import Key

KEY = 32
"""Octets of the key that cookies are made with."""

OPENING = Ns(SECOND // 4)
"""How long LCP waits for its client to begin: many have no ear for it yet when they read the PADS, and lose what came
with that; ours would be repeated only after three seconds."""

MOST_DELAYED = 4096
"""PADOs that wait for their time; of more than that, the further ones leave at once."""

_CAUSES = {
    Reason.PEER_TERMINATED: CloseCause.USER_REQUEST,
    Reason.SILENT: CloseCause.LOST_CARRIER,
}
"""What is not here came to no agreement."""

_NOTHING = {
    Reason.LINK_FAILED: "LCP had no answer, no agreement, or no authentication that both know",
    Reason.NOT_AUTHENTICATED: "it does not say who it is",
    Reason.PEER_TERMINATED: "it hung up before it said who it is",
    Reason.LOOPED: "what it sends is what it was sent: a loop",
    Reason.SILENT: "it answers no more",
}
"""Of who never said who it is, in words."""

_NOT_ITS_FAULT = PASSING | {
    Why.ADDRESS_NOT_FREE,
    Why.LINE_FULL,
    Why.NO_POOL,
    Why.POOL_EMPTY,
    Why.RADIUS_UNUSABLE,
    Why.STORE_FAILED,
    Why.SUBSCRIBER_FULL,
    Why.TABLE_FULL,
}
"""A client that is refused for one of these may be whom it says: it is not told that its password is wrong."""

_CALLED: dict[type, bytes] = {Pap: b"PAP", ChapMd5: b"CHAP", MsChap2: b"MS-CHAPv2"}


class Ask(Struct, frozen=True, gc=False):
    """What waits for a verdict: which attempt on which call. `called`: how it was said, for the journal."""

    key: Key
    attempt: int
    called: bytes


class Pppoe:
    """All calls of a gateway. `seen` tells when the data plane last heard a session's client."""

    def __init__(
        self,
        settings: PppoeSettings,
        name: str,
        ports: Mapping[int, PortSettings],
        macs: Mapping[int, Mac],
        pools: Mapping[str, Delivery],
        known: Callable[[Client], Session | None],
        seen: Callable[[int], BootNs],
        entropy: Entropy,
        send: Callable[[Client, bytes], None],
        unheard: Callable[[int, bytes, str], None] = lambda _port, _data, _why: None,
        turned_away: Callable[[Client, Refusal], None] = lambda _client, _refusal: None,
        most: int = 1 << 20,
    ) -> None:
        """`name`: the gateway's, where no other AC-Name is set. `most`: calls at once.

        `send` takes a frame for a client; `unheard` is told of a frame that leads to nothing, and `turned_away` of a
        client that is given no session, or never said who it is, and why.
        """
        self._macs, self._known, self._seen, self._entropy = macs, known, seen, entropy
        self._send, self._unheard, self._turned_away = send, unheard, turned_away
        self._key = entropy(KEY)
        self.calls = Calls(most, entropy)
        self._leaving: dict[Client, set[Key]] = {}  # sessions on their way out
        self._delayed: list[tuple[BootNs, int, Client, bytes]] = []
        self._serial = count()
        self._told: list[tuple[Client, Event]] = []
        self.reconfigure(settings, name, ports, pools)
        self.ignored: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.said: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def reconfigure(
        self,
        settings: PppoeSettings,
        name: str,
        ports: Mapping[int, PortSettings],
        pools: Mapping[str, Delivery],
    ) -> None:
        """Go by another configuration from now on; calls that are up keep what they agreed on."""
        self._settings, self._ports, self._pools = settings, ports, pools
        self._concentrator = Concentrator(
            name=settings.name or name, services=settings.services, most_payload=settings.mru
        )
        self._ppp = ppp.Settings(
            name=(settings.name or name).encode(), demands=settings.demands(), keepalive=settings.keepalive()
        )

    def told(self) -> list[tuple[Client, Event]]:
        """Return what became known since the last call, about whom."""
        told, self._told = self._told, []
        return told

    # ---- discovery ----------------------------------------------------------------------

    def discover(self, port: int, data: bytes, now: BootNs) -> None:
        """Take a frame of discovery. Never raises for what a peer sent."""
        try:
            outer = frame.decode(data)
            packet = decode(outer.payload)
        except Malformed:
            self._ignore(port, data, Ignored.MALFORMED_PPPOE)
            return
        if packet.code == Code.PADT:
            self._hang_up(port, outer, packet, data)
            return
        client, agent = self._caller(port, outer, packet)
        if isinstance(client, Ignored):
            self._ignore(port, data, client)
            return
        line = str(client.line).encode()
        if packet.code == Code.PADI:
            pado = discovery.offer(packet, self._concentrator, discovery.cookie(self._key, client.mac, line, now))
            if isinstance(pado, discovery.Ignored):
                self._ignore(port, data, pado.reason)
            else:
                self.heard["padi"] += 1
                self._offer(client, self._header(client, outer) + pado, now)
            return
        confirmed = discovery.confirm(packet, self._concentrator, (self._key,), client.mac, line, now)
        if isinstance(confirmed, discovery.Ignored):
            self._ignore(port, data, confirmed.reason)
            return
        self.heard["padr"] += 1
        header = self._header(client, outer)
        if isinstance(confirmed, bytes):
            self._ignore(port, data, discovery.Reason.OTHER_SERVICE)
            self._say(client, "pads-error", header + confirmed)
        else:
            self._accept(client, agent, header, confirmed, now)

    def _ignore(self, port: int, data: bytes, why: str) -> None:
        self.ignored[why] += 1
        self._unheard(port, data, why)

    def _caller(self, port: int, outer: Frame, packet: Packet) -> tuple[Client | Ignored, bytes]:
        """Who asks, and what a trusted access node says of its line; elsewhere nothing of that is believed."""
        settings, vids = self._ports[port], frame.vids(outer)
        said: pppoe_line.LineInfo | None = None
        agent = b""
        if settings.trusted:
            try:
                said = pppoe_line.of(packet)
            except Malformed:
                return Ignored.MALFORMED_LINE, b""
            if said is not None:
                agent = next(value for value in packet.all(VENDOR_SPECIFIC) if value[:4] == pppoe_line.VENDOR)
        circuit = said.circuit_id or b"" if said is not None else b""
        if settings.line == "vlan":
            return Client(Line(port, *vids), outer.source), agent
        if not circuit:
            return Ignored.NO_CIRCUIT_ID, b""
        return Client(Line(port, *vids, circuit), outer.source), agent

    def _header(self, client: Client, outer: Frame) -> bytes:
        """Ethernet's header of discovery, back the way a frame came."""
        tags = tuple([frame.Tag(tag.tpid, tag.vid) for tag in outer.tags if tag.vid])
        return frame.encode_l2(client.mac, self._macs[client.line.port], tags, ETHERTYPE_PPPOE_DISCOVERY)

    def _say(self, client: Client, what: str, data: bytes) -> None:
        self.said[what] += 1
        self._send(client, data.ljust(MINIMUM, b"\0"))

    def _offer(self, client: Client, pado: bytes, now: BootNs) -> None:
        delay = Ns(self._ports[client.line.port].pado_delay_ms * MILLISECOND)
        if not delay or len(self._delayed) >= MOST_DELAYED:
            self._say(client, "pado", pado)
        else:
            heapq.heappush(self._delayed, (after(now, delay), next(self._serial), client, pado))

    def _accept(self, client: Client, agent: bytes, header: bytes, confirmed: Confirmed, now: BootNs) -> None:
        """Give a client a session; the same one again if it only repeats itself."""
        mine = self.calls.of_station(client)
        for call in mine:
            again = call.cookie == confirmed.cookie
            if again and call.pads == discovery.established(confirmed, call.client.pppoe):
                self._say(client, "pads", header + call.pads)
                return
        settings = self._ports[client.line.port]
        surplus = mine[: max(0, len(mine) + 1 - self._settings.per_client)]
        if any(discovery.made_before(confirmed.cookie, call.cookie) for call in surplus):
            self.ignored[Ignored.OVERTAKEN] += 1  # a PADR of an earlier dial, late
            return
        for call in surplus:
            self._replace(call, now)
        full = self.calls.full(client, settings)
        if full is not None:
            self.ignored[full.reason.spoken] += 1
            self._turned_away(client, full)
            self._say(client, "pads-error", header + discovery.refused(confirmed, AC_SYSTEM_ERROR, full.why))
            return
        client = replace(client, pppoe=self.calls.new_id(client))
        call = Call(
            client,
            _with_type(header, ETHERTYPE_PPPOE_SESSION),
            ppp.Session(self._ppp, self._entropy, confirmed.max_payload),
            agent,
            confirmed.cookie,
            discovery.established(confirmed, client.pppoe),
            Link(service=confirmed.service.decode("utf-8", "backslashreplace")),
            opens_at=after(now, OPENING),
        )
        self.calls.add(call)
        self._say(client, "pads", header + call.pads)

    def _hang_up(self, port: int, outer: Frame, padt: Packet, data: bytes) -> None:
        """End a call by its client's word; not if an access node says that it is another circuit's."""
        call = self.calls.get((port, *frame.vids(outer), outer.source, padt.session_id))
        caller, _ = self._caller(port, outer, padt)
        if call is None or caller not in (call.client.station, Ignored.NO_CIRCUIT_ID):
            self._ignore(port, data, Ignored.UNKNOWN_SESSION)
            return
        self.heard["padt"] += 1
        self.ended["padt"] += 1
        self._tell_end(call, CloseCause.USER_REQUEST, "PADT")
        self.calls.drop(call)

    # ---- sessions -----------------------------------------------------------------------

    def receive(self, key: Key, at: int, data: bytes, now: BootNs) -> None:
        """Take a frame of a session, whose packet of PPPoE begins at an octet. Never raises for what a peer sent."""
        try:
            packet = decode_session(data[at:])
        except Malformed:
            self._ignore(key[0], data, Ignored.MALFORMED_PPPOE)
            return
        call = self.calls.get(key)
        if call is None:
            self._unknown(key, packet, data)
            return
        self._open(call, now)
        self._do(call, call.ppp.receive(packet.protocol, packet.information, now), now)

    def _open(self, call: Call, now: BootNs) -> None:
        if call.opens_at:
            call.opens_at = NEVER
            self._do(call, call.ppp.open(now), now)

    def _unknown(self, key: Key, packet: SessionPacket, data: bytes) -> None:
        """Tell a client that goes on with a session of before that it is over: it dials again at once."""
        if packet.protocol == Protocol.LCP and packet.information[:1] == _FAREWELL:
            return  # it answers that we took our leave
        self._ignore(key[0], data, Ignored.UNKNOWN_SESSION)
        try:
            outer = frame.decode(data)
        except Malformed:
            return
        client = Client(Line(*key[:3]), key[3], key[4])
        self._say(client, "padt", self._header(client, outer) + discovery.ended(client.pppoe, "no such session"))

    def _do(self, call: Call, outputs: list[Output], now: BootNs) -> None:
        """Do what PPP says, in its order."""
        for output in outputs:
            match output:
                case Send(protocol, information):
                    self._frame(call, protocol, information)
                case Up(peer_mru):
                    call.link = Link(
                        magic=call.ppp.link.magic if call.ppp.link is not None else b"",
                        mru=peer_mru,
                        service=call.link.service,
                    )
                case Authenticate():
                    self._ask(call, output, now)
                case NetworkUp(protocol, agreed):
                    self.heard[protocol.name.lower() + "-up"] += 1
                    if isinstance(agreed, Identifiers):
                        call.link = replace(call.link, identifiers=(agreed.own, agreed.peer))
                        self._told.append((call.client, lifecycle.Negotiated(call.link)))
                case NetworkDown(protocol):
                    self.heard[protocol.name.lower() + "-down"] += 1
                case Restarted():
                    self._tell_end(call, CloseCause.USER_REQUEST, "it negotiates anew")
                case Dropped(reason):
                    self.ignored[f"ppp-{reason}"] += 1
                case Down(reason):
                    self._down(call, reason)
                    return
        self.calls.arm(call)

    def _frame(self, call: Call, protocol: int, information: bytes) -> None:
        packet = call.header + encode_session(call.client.pppoe, protocol, information)
        self._say(call.client, _PROTOCOLS.get(protocol, "other"), packet)

    def _ask(self, call: Call, asked: Authenticate, now: BootNs) -> None:
        """Have it decided who this is."""
        credentials = asked.credentials
        if credentials is not None:
            call.link = replace(call.link, name=credentials.name.decode("utf-8", "backslashreplace"))
        called = _CALLED.get(type(credentials), b"")
        dialed = lifecycle.Dialed(
            client=call.client,
            ask=Ask(call.client.key, asked.attempt, called),
            encapsulation=call.header,
            link=call.link,
            credentials=credentials,
            agent=call.agent,
        )
        call.asked_at = now
        if self._known(call.client) is None and call.client.station not in self._leaving:
            self._told.append((call.client, dialed))
        else:
            call.waiting = dialed

    def _down(self, call: Call, reason: Reason) -> None:
        self.ended[reason] += 1
        if call.served is None and not call.asked_at and reason is not Reason.REFUSED:
            says = f"PPP came to nothing: {_NOTHING.get(reason, reason.value)}"
            self._turned_away(call.client, Refusal(Why.NO_AGREEMENT, says))
        self._tell_end(call, _CAUSES.get(reason, CloseCause.NOT_NEGOTIATED), reason.value)
        self._padt(call)
        self.calls.drop(call)

    def _tell_end(self, call: Call, cause: CloseCause, says: str) -> None:
        """Tell that the client's link is gone; also where it is not decided yet who it is."""
        if call.served is not None or (call.asked_at and call.waiting is None):
            self._told.append((call.client, lifecycle.HungUp(cause, says)))
        self.calls.carries(call, None)
        call.waiting, call.asked_at = None, NEVER

    def _padt(self, call: Call, why: str = "") -> None:
        header = _with_type(call.header, ETHERTYPE_PPPOE_DISCOVERY)
        self._say(call.client, "padt", header + discovery.ended(call.client.pppoe, why))

    # ---- what became of it --------------------------------------------------------------

    def reply(self, session: Session, reply: Reply, now: BootNs) -> None:
        """Tell a client the verdict; who is let on negotiates its addresses."""
        ask = reply.ask
        assert isinstance(ask, Ask)
        call = self.calls.get(ask.key)
        if call is None or call.waiting is not None:
            return
        call.asked_at = NEVER
        if reply.answer is Answer.ADMIT and session.lease is not None:
            self.calls.carries(call, session.id)
            outputs = call.ppp.decide(ask.attempt, True, reply.proof, self._networks(session), now)
        elif reply.refusal is not None and reply.refusal.reason in _NOT_ITS_FAULT:
            outputs = call.ppp.close(now, Reason.REFUSED)
        else:
            outputs = call.ppp.decide(ask.attempt, False, reply.proof, (), now)
        self._do(call, outputs, now)

    def _networks(self, session: Session) -> tuple[ppp.Network, ...]:
        timers = self._ppp.timers
        own, suggested = made_up(self._entropy(8)), made_up(self._entropy(8))
        ip4 = self._addresses(session)
        return (
            IpcpServer(timers, own=ip4.own, peer=ip4.peer, dns=ip4.dns),
            Ipv6cpServer(timers, own=own, suggested=suggested),
        )

    def _addresses(self, session: Session) -> Addresses:
        lease, service = session.lease, session.service
        assert lease is not None
        told = self._pools.get(lease.pool)
        dns: tuple[IPv4Address, ...] = service.dns if service is not None else ()
        return Addresses(lease.subnet.gateway, lease.address, dns or (told.dns if told is not None else ()))

    def follow(self, session: Session, before: Session | None, now: BootNs) -> None:
        """Take note of what became of a session: if it ends, so does its call, but where that began anew."""
        if session.live:
            return
        self._leave(session)
        call = self.calls.get(session.client.key)
        if call is None or call.waiting is not None:
            return
        turned_away = session.lease is None and session.cause in (CloseCause.REFUSED, CloseCause.NO_ADDRESS)
        if (before is None or before.live) and not turned_away:  # who is hears it by `reply`
            mine = call.served == session.id if call.served is not None else call.asked_at != NEVER
            if mine:
                self._end(call, session.cause.value if session.cause is not None else "", now)

    def _leave(self, session: Session) -> None:
        """Have a client that dials again wait until its last session is gone, and its address free again."""
        mine = session.client.station
        leaving = self._leaving.setdefault(mine, set())
        if session.phase is not Phase.CLOSED:
            leaving.add(session.client.key)
            return
        leaving.discard(session.client.key)
        if leaving:
            return
        del self._leaving[mine]
        for call in self.calls.of_station(session.client):
            if call.waiting is not None:
                self._told.append((call.client, call.waiting))
                call.waiting = None

    def _end(self, call: Call, why: str, now: BootNs) -> None:
        """End a call from here. PADT says so to whoever does not read the Terminate-Request before it."""
        for output in call.ppp.close(now):
            if isinstance(output, Send):
                self._frame(call, output.protocol, output.information)
        self.ended[why] += 1
        self._padt(call, why)
        self.calls.drop(call)

    def _replace(self, call: Call, now: BootNs) -> None:
        """Its client dials anew, and has forgotten it."""
        self._tell_end(call, CloseCause.USER_REQUEST, "it dials anew")
        self._end(call, "replaced", now)

    # ---- time ---------------------------------------------------------------------------

    @property
    def next_deadline(self) -> BootNs:
        """When `due` is worth calling; NEVER: nothing waits. May be early."""
        delayed = self._delayed[0][0] if self._delayed else NEVER
        return min(filter(None, (delayed, self.calls.next_deadline)), default=NEVER)

    def due(self, now: BootNs, limit: int) -> None:
        """Do what is due, of at most `limit` calls."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, client, pado = heapq.heappop(self._delayed)
            if client.line.port in self._macs:
                self._say(client, "pado", pado)
        for call in self.calls.due(now, limit):
            self._expire(call, now)

    def _expire(self, call: Call, now: BootNs) -> None:
        if call.verdict_by and now >= call.verdict_by:
            self._tell_end(call, CloseCause.NOT_NEGOTIATED, "no verdict")
            self._end(call, "no-verdict", now)
            return
        self._open(call, now)
        if call.served is not None:
            call.ppp.heard(self._seen(call.served))
        self._do(call, call.ppp.expire(now), now)

    def resume(self, session: Session, now: BootNs) -> None:
        """Go on with a session that another process had: its client notices nothing."""
        link, client = session.link, session.client
        assert link is not None
        call = Call(
            client,
            session.encapsulation,
            ppp.Session(self._ppp, self._entropy, link.mru),
            session.agent,
            link=link,
            served=session.id,
        )
        identifiers = Identifiers(*link.identifiers) if link.identifiers is not None else None
        call.ppp.resume(ppp.Kept(link.magic, link.mru, self._addresses(session), identifiers), now)
        self.calls.add(call)


def _with_type(header: bytes, ethertype: int) -> bytes:
    """Ethernet's header, of another type."""
    return header[:-2] + ethertype.to_bytes(2, "big")


_FAREWELL = bytes((PppCode.TERMINATE_ACK,))
_PROTOCOLS: dict[int, str] = {protocol: protocol.name.lower() for protocol in Protocol}
