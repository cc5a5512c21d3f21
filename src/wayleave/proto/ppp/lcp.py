"""LCP: the link itself, before anybody is known on it.

We ask for our MRU where it is not the default, for a magic number, and for the best authentication on our list; a peer
that naks it gets the next one, one of its own choice first. Of a peer's options MRU, magic number and, on the side that
has an account, authentication are taken. All others are rejected, those among them that PPPoE forbids (RFC 2516 7).

Once open, the link is listened to: whoever was silent for `every` is asked for an echo, and after `most` such questions
the link is closed. `heard` may be told from outside, for what the kernel hears. One's own magic number coming back,
`LOOPS` times in a row, closes it too.

Source: RFC 1661 5.6 to 5.9 and 6, RFC 1570 2 (Identification, Time-Remaining: heard and ignored), RFC 2516 7.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from msgspec import Struct

from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.ppp.auth import Authentication
from wayleave.proto.ppp.automaton import (
    MOST_COPIED,
    NEVER,
    Automaton,
    Event,
    Layer,
    Output,
    Refused,
    State,
)
from wayleave.proto.ppp.packet import Code, Control, Option, Protocol, encode

DEFAULT_MRU = 1500
"""What a side that asks for nothing takes (RFC 1661 6.1)."""
LEAST_MRU = 128
LOOPS = 5
"""Times in a row that a magic number may be met again: by chance that does not happen (RFC 1661 6.4)."""

Entropy = Callable[[int], bytes]
"""Return as many octets that nobody can foresee."""

_METHODS = {method.value: method for method in Authentication}
_NO_MAGIC = bytes(4)


class Kind(IntEnum):
    """The options that are known here. Source: RFC 1661 6."""

    MRU = 1
    AUTHENTICATION = 3
    MAGIC_NUMBER = 5


class Keepalive(Struct, frozen=True, kw_only=True, gc=False):
    """How long silence is borne. `every` of 0: for ever."""

    every: Ns = Ns(30 * SECOND)
    most: int = 3


class Lcp(Automaton, kw_only=True, gc=False):
    """The link of one session.

    `mru`: what we take, and the most that we send, in octets. `demands`: how the peer may prove who it is, the best
    first; empty: it need not. `accepts`: how we would. Once open, `method` and `owed` say which of them it came to, and
    `peer_mru` what the peer takes. `silent` says that the link was closed by itself, for want of any answer.
    """

    PROTOCOL = Protocol.LCP

    entropy: Entropy
    mru: int
    keepalive: Keepalive
    demands: tuple[Authentication, ...] = ()
    accepts: tuple[Authentication, ...] = ()
    peer_mru: int = DEFAULT_MRU
    owed: Authentication | None = None
    silent: bool = False
    heard: BootNs = NEVER
    _choices: tuple[Authentication, ...] = ()
    """What is left of `demands`, that being asked for first."""
    _magic: bytes = _NO_MAGIC
    _mru: int = 0
    """What we ask for; 0: nothing."""
    _loops: int = 0
    _echoes: int = 0
    """Questions since the peer was heard, the last of them at `_asked`."""
    _asked: BootNs = NEVER

    @property
    def method(self) -> Authentication | None:
        """How the peer is to prove who it is."""
        return self._choices[0] if self._choices else None

    @property
    def magic(self) -> bytes:
        """Our magic number, which an echo of ours has to bear; zeros: none was agreed."""
        return self._magic

    @property
    def looped(self) -> bool:
        """Whether the magic number that was seen last is our own: the peer is ourselves."""
        return self._loops > 0

    # ---- negotiation --------------------------------------------------------------------

    def reset(self) -> None:
        self.peer_mru, self.owed = DEFAULT_MRU, None
        self._choices = self.demands
        self._mru = self.mru if self.mru != DEFAULT_MRU else 0
        self._magic = self._new_magic()

    def wishes(self) -> list[Option]:
        options: list[Option] = []
        if self._mru:
            options.append((Kind.MRU, self._mru.to_bytes(2, "big")))
        if self._choices:
            options.append((Kind.AUTHENTICATION, self._choices[0].value))
        if self._magic != _NO_MAGIC:
            options.append((Kind.MAGIC_NUMBER, self._magic))
        return options

    def judge(self, kind: int, value: bytes) -> bytes | None:
        match kind:
            case Kind.MRU:
                fits = len(value) == 2 and LEAST_MRU <= int.from_bytes(value, "big") <= self.mru
                return value if fits else self.mru.to_bytes(2, "big")
            case Kind.MAGIC_NUMBER:
                if len(value) != 4 or value == _NO_MAGIC:
                    return self._new_magic()
                return self._new_magic() if self._meets_itself(value) else value
            case Kind.AUTHENTICATION if self.accepts:
                return value if _METHODS.get(value) in self.accepts else self.accepts[0].value
        return None

    def take(self, options: tuple[Option, ...]) -> None:
        self.peer_mru, self.owed = min(DEFAULT_MRU, self.mru), None
        for kind, value in options:
            if kind == Kind.MRU:
                self.peer_mru = int.from_bytes(value, "big")
            elif kind == Kind.AUTHENTICATION:
                self.owed = _METHODS[value]

    def naked(self, kind: int, value: bytes) -> bool:
        if kind == Kind.MRU and len(value) == 2:
            said = int.from_bytes(value, "big")
            if self._mru and LEAST_MRU <= said < self._mru:
                self._mru = said
        elif kind == Kind.MAGIC_NUMBER:
            self._magic = self._new_magic()
        elif kind == Kind.AUTHENTICATION and self._choices:
            left = self._choices[1:]
            liked = _METHODS.get(value)
            self._choices = tuple(sorted(left, key=lambda method: method is not liked))
            return bool(left)
        return True

    def rejected(self, kind: int) -> bool:
        if kind == Kind.MRU:
            self._mru = 0
        elif kind == Kind.MAGIC_NUMBER:
            self._magic = _NO_MAGIC
        return kind != Kind.AUTHENTICATION

    def _new_magic(self) -> bytes:
        """Four octets, never all zero (RFC 1661 6.4)."""
        magic = self.entropy(4)
        return magic if magic != _NO_MAGIC else b"\0\0\0\1"

    def _meets_itself(self, magic: bytes) -> bool:
        """Count how often in a row our own magic number was met."""
        met = magic == self._magic != _NO_MAGIC
        self._loops = self._loops + 1 if met else 0
        return met

    # ---- what happens -------------------------------------------------------------------

    def go_on(self, magic: bytes, peer_mru: int, now: BootNs) -> None:
        """Be open, as an earlier machine was, and begin to listen."""
        self.resume()
        self._magic, self.peer_mru = magic, peer_mru
        self._listen(now)

    def receive(self, data: bytes, now: BootNs) -> list[Output]:
        return self._watched(Automaton.receive(self, data, now), now)

    def expire(self, now: BootNs) -> list[Output]:
        if self.state is not State.OPENED:
            return self._watched(Automaton.expire(self, now), now)
        if self.deadline == NEVER or now < self.deadline:
            return []
        if self.heard >= self._asked:
            self._echoes = 0
        due = after(self.heard, self.keepalive.every)
        if due > now:
            self.deadline = due
            return []
        if self._echoes == self.keepalive.most:
            self.silent = True
            return self.close(now)
        self._echoes, self._asked = self._echoes + 1, now
        self.deadline = after(now, self.keepalive.every)
        return [encode(Code.ECHO_REQUEST, self.next_identifier(), self._magic)]

    def more(self, packet: Control, now: BootNs) -> list[Output] | None:
        match packet.code:
            case Code.ECHO_REQUEST:
                if len(packet.data) < 4 or self._meets_itself(packet.data[:4]):
                    return []
                reply = encode(Code.ECHO_REPLY, packet.identifier, self._magic + packet.data[4 : self.peer_mru - 4])
                return self.step(Event.ECHO, now, packet.identifier, reply)
            case Code.PROTOCOL_REJECT if len(packet.data) >= 2 and self.state is State.OPENED:
                protocol = int.from_bytes(packet.data[:2], "big")
                return self.refuse(now) if protocol == Protocol.LCP else [Refused(protocol)]
            case Code.ECHO_REPLY | Code.DISCARD_REQUEST | Code.IDENTIFICATION | Code.TIME_REMAINING:
                return []
            case Code.PROTOCOL_REJECT:
                return []
        return None

    def reject(self, protocol: int, information: bytes) -> bytes:
        """Return the Protocol-Reject of a packet whose protocol nobody knows. Source: RFC 1661 5.7."""
        data = protocol.to_bytes(2, "big") + information[:MOST_COPIED]
        return encode(Code.PROTOCOL_REJECT, self.next_identifier(), data)

    def _watched(self, output: list[Output], now: BootNs) -> list[Output]:
        """Begin to listen once the link is up; close it if it is a loop."""
        if Layer.UP in output:
            self._listen(now)
        if self._loops >= LOOPS:
            output += self.close(now)
        return output

    def _listen(self, now: BootNs) -> None:
        self._echoes, self._asked, self.heard = 0, NEVER, now
        self.deadline = after(now, self.keepalive.every) if self.keepalive.every else NEVER
