"""A customer's router as a DHCP client: it speaks through the real codecs and believes what it was told.

It is as careless as real ones: a lease counts from when its DHCPACK arrives, an address is used to the last second of
it, and a router that starts again without an answer goes on with the lease that it remembers (RFC 2131 3.2).

Source: RFC 2131 3.1, 3.2, 4.4, figure 5.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address
from random import Random

from wayleave.net.frame import ETHERTYPE_IPV4, TPID_C, TPID_S, Tag, encode_l2, encode_udp4
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import SECOND
from wayleave.proto.dhcp4 import message, relay
from wayleave.proto.dhcp4.message import ZERO, Message, MessageType
from wayleave.session.model import Client, Line

EVERYONE = IPv4Address("255.255.255.255")
QUIET = 5 * SECOND
"""How long a router stays away after it gave an address back: longer than any frame stays on the wire."""
TRIES = 4


class State(Enum):
    OFF = "off"
    INIT = "init"
    SELECTING = "selecting"
    REQUESTING = "requesting"
    REBOOTING = "rebooting"
    BOUND = "bound"
    RENEWING = "renewing"
    REBINDING = "rebinding"


ASKING = (State.REQUESTING, State.REBOOTING, State.RENEWING, State.REBINDING)


class Wrong(AssertionError):
    """The gateway said something that a client must never hear."""


def frame_of(line: Line, mac: Mac, asked: Message, source: IPv4Address, to: tuple[Mac, IPv4Address]) -> bytes:
    """Put a message on a line, tagged; the access node marks what is broadcast on a line with a circuit."""
    if line.circuit and to[0] == BROADCAST:
        asked.options[82] = relay.encode(relay.RelayAgent(line.circuit, b"node-1"))
    tags = tuple(Tag(tpid, vid) for tpid, vid in ((TPID_S, line.svid), (TPID_C, line.cvid)) if vid)
    l2 = encode_l2(to[0], mac, tags, ETHERTYPE_IPV4)
    return encode_udp4(l2, source, message.CLIENT_PORT, to[1], message.SERVER_PORT, message.encode(asked))


def ask(kind: MessageType, mac: Mac, xid: int, options: dict[int, bytes], ciaddr: IPv4Address = ZERO) -> Message:
    """Return a client's message."""
    return Message(
        op=1, htype=1, hlen=6, hops=0, xid=xid, secs=0, flags=0, ciaddr=ciaddr, yiaddr=ZERO, siaddr=ZERO, giaddr=ZERO,
        chaddr=mac, sname=b"", file=b"", options={53: bytes([kind]), **options},
    )  # fmt: skip


class Router:
    """Call `expire` at `deadline` and `receive` with what arrives; `take` gives the frames it sends.

    `address` and `until` are its belief, `revoked_at` when an operator or a full line took that away behind its back.
    Times are true nanoseconds.
    """

    def __init__(self, line: Line, mac: Mac, chance: Random, declines: float = 0.0) -> None:
        self.line, self.mac, self.client = line, mac, Client(line, mac)
        self.key = self.client.key
        self.state = State.OFF
        self.address: IPv4Address | None = None
        self.until = 0
        self.deadline = 0
        self.revoked_at: int | None = None
        self.declines = declines
        self._chance = chance
        self._xid = 0
        self._tries = 0
        self._renew_at = self._rebind_at = 0
        self._server = ZERO
        self._last: IPv4Address | None = None
        self._gateway_mac = BROADCAST
        self._wanted: IPv4Address | None = None
        self._out: list[bytes] = []

    def __repr__(self) -> str:
        return f"{self.client} {self.state.value} {self.address}"

    def live(self, now: int) -> IPv4Address | None:
        """The address that it takes for its own, unless somebody with authority has taken it away."""
        return self.address if self.until > now and self.revoked_at is None else None

    def take(self) -> list[bytes]:
        """Return the frames that it sends."""
        out, self._out = self._out, []
        return out

    # ---- what its owner does ------------------------------------------------------------

    def start(self, now: int) -> None:
        """Switch it on. If it remembers an address, it asks for just that, even if the lease has long run out.

        Its firmware may have looked around a moment before, as machines do that can boot from the network.
        """
        self._next()
        if self._chance.random() < 0.5:
            self._broadcast(MessageType.DISCOVER, {})
            self._next()
        self._tries = 0
        self.state = State.INIT if self._last is None else State.REBOOTING
        self.expire(now)

    def stop(self, remember: bool) -> None:
        """Pull its plug. A lease that it remembers it may use when it comes back."""
        self.state, self.deadline = State.OFF, 0
        if not remember:
            self._forget()
            self._last = None

    def release(self, now: int) -> None:
        """Give the address back, and be gone for a while."""
        if self.state in (State.BOUND, State.RENEWING) and self.address is not None:
            asked = ask(MessageType.RELEASE, self.mac, self._next(), {54: self._server.packed}, self.address)
            self._send(asked, self.address, (self._gateway_mac, self._server))
            self._forget()
            self._tries = 0
            self.state, self.deadline = State.INIT, now + QUIET

    # ---- time ---------------------------------------------------------------------------

    def expire(self, now: int) -> None:
        """Do what is due: ask, ask again, or give up."""
        self._tries += 1
        match self.state:
            case State.INIT:
                self._discover(now)
            case State.SELECTING if self._tries > TRIES:
                self._rest(now)
            case State.SELECTING:
                self._discover(now)
            case State.REQUESTING if self._tries > TRIES:
                self._rest(now)
            case State.REQUESTING:
                self._select(now)
            case State.REBOOTING if self._tries > TRIES:
                self._go_on(now)
            case State.REBOOTING:
                assert self._last is not None
                self._wanted = self._last
                self._broadcast(MessageType.REQUEST, {50: self._last.packed})
                self._again(now)
            case State.BOUND | State.RENEWING | State.REBINDING:
                self._renew(now)
            case State.OFF:
                self.deadline = 0

    def _discover(self, now: int) -> None:
        self.state = State.SELECTING
        self._broadcast(MessageType.DISCOVER, {})
        self._again(now)

    def _select(self, now: int) -> None:
        assert self._wanted is not None
        self._broadcast(MessageType.REQUEST, {50: self._wanted.packed, 54: self._server.packed})
        self._again(now)

    def _renew(self, now: int) -> None:
        """Ask the gateway, then anybody; without an answer until the last second, start over."""
        assert self.address is not None
        if now >= self.until:
            self._forget()
            self._rest(now)
            return
        if self.state is State.BOUND:
            self._next()
        ask_all = now >= self._rebind_at
        self.state = State.REBINDING if ask_all else State.RENEWING
        self._wanted = self.address
        asked = ask(MessageType.REQUEST, self.mac, self._xid, {}, self.address)
        to = (BROADCAST, EVERYONE) if ask_all else (self._gateway_mac, self._server)
        self._send(asked, self.address, to)
        left = (self.until if ask_all else self._rebind_at) - now
        self.deadline = min(self.until, now + max(left // 2, 5 * SECOND))

    def _go_on(self, now: int) -> None:
        """Nobody answered: the remembered lease is used to its end (RFC 2131 3.2)."""
        if self.until > now:
            self.state = State.BOUND
            self.deadline = max(now, self._renew_at)
        else:
            self._forget()
            self._rest(now)

    def _rest(self, now: int) -> None:
        self.state, self._tries = State.INIT, 0
        self._next()
        self.deadline = now + round((1 + 20 * self._chance.random()) * SECOND)

    def _again(self, now: int) -> None:
        self.deadline = now + round((2**self._tries + self._chance.random()) * SECOND)

    # ---- answers ------------------------------------------------------------------------

    def receive(self, said: Message, source: Mac, now: int, sent: int) -> None:
        """Hear an answer that was `sent` a while ago. Raises: Wrong if no server may say that."""
        if said.xid != self._xid or said.chaddr != self.mac or said.op != 2:
            return
        match said.message_type:
            case MessageType.OFFER if self.state is State.SELECTING:
                self._told_lease(said)
                self._wanted, self._server = said.yiaddr, IPv4Address(said.options[54])
                self._gateway_mac = source
                self.state, self._tries = State.REQUESTING, 1
                self._select(now)
            case MessageType.ACK if self.state in ASKING:
                self._bind(said, source, now, sent)
            case MessageType.NAK if self.state in ASKING:
                self._forget()
                self._last = None
                self._rest(now)

    def _bind(self, said: Message, source: Mac, now: int, sent: int) -> None:
        if said.yiaddr != self._wanted:
            raise Wrong(f"{self} asked for {self._wanted} and was given {said.yiaddr}")
        if self.revoked_at is not None and sent > self.revoked_at:
            self.revoked_at = None
        lease = self._told_lease(said) * SECOND
        self.address, self.until = said.yiaddr, now + lease
        self._last = self.address
        self._server, self._gateway_mac = IPv4Address(said.options[54]), source
        if self.state is State.REQUESTING and self._chance.random() < self.declines:
            options = {50: self.address.packed, 54: self._server.packed}
            self._broadcast(MessageType.DECLINE, options)
            self._forget()
            self._last = None
            self.state, self.deadline = State.INIT, now + 10 * SECOND
            return
        self.state, self._tries = State.BOUND, 0
        self._renew_at, self._rebind_at = now + lease // 2, now + lease * 7 // 8
        self.deadline = self._renew_at

    def _told_lease(self, said: Message) -> int:
        lease = int.from_bytes(said.options[51], "big")
        if lease == 0:
            raise Wrong(f"{self} was told a lease of no time in {said.message_type}")
        return lease

    def _forget(self) -> None:
        self.address, self.until, self.revoked_at = None, 0, None
        self._next()

    def _next(self) -> int:
        self._xid = self._chance.getrandbits(32)
        return self._xid

    def _broadcast(self, kind: MessageType, options: dict[int, bytes]) -> None:
        self._send(ask(kind, self.mac, self._xid, options), ZERO, (BROADCAST, EVERYONE))

    def _send(self, asked: Message, source: IPv4Address, to: tuple[Mac, IPv4Address]) -> None:
        self._out.append(frame_of(self.line, self.mac, asked, source, to))
