"""The client's side: questions to several servers, repeated, failed over, thousands in flight.

A question goes to one server, is repeated there with growing waits (RFC 5080 2.2.1), and then goes to the next. What is
repeated unchanged keeps its identifier and authenticator; accounting says how old it is by now and is a new packet each
time (RFC 2866 3). Answers to any of them count. A server that let a question pass without a word, and said nothing to
others meanwhile, is dead: it is left out until it answers a Status-Server (RFC 5997), or for some time where it never
did. A reply that is not believed is counted and changes nothing: the question goes on waiting for a true one.

A machine without I/O: `ask`, `receive`, `expire` in; `take` gives what is to be sent, `outcomes` what became of
questions. A channel is one socket toward one server: it has 256 identifiers.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from wayleave.net.errors import Malformed
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.radius.packet import (
    ZEROS,
    Avp,
    Code,
    Doubt,
    Packet,
    access_request,
    accounting_request,
    decode,
    doubt_response,
    hide,
)

NEVER = BootNs(0)
_UNTIL_REGAINED = BootNs(1 << 62)
LONGEST_WAIT = Ns(16 * SECOND)
"""Between repetitions, however many there were."""
PROBE_EVERY = Ns(5 * SECOND)
"""Between questions to a dead server whether it lives: each has that long to be answered."""
BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Upper bounds of the latencies that are counted apart."""

_EXPECTED = {
    Code.ACCESS_REQUEST: {Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE},
    Code.ACCOUNTING_REQUEST: {Code.ACCOUNTING_RESPONSE},
}

Hide = Callable[[bytes], bytes]
"""Make the value of User-Password of a password: it depends on server and packet."""
Attributes = Callable[[BootNs, Hide], Iterable[Avp]]
"""The attributes of a question that is sent now."""


class Server(Struct, frozen=True, kw_only=True):
    """How one server is asked. `timeout` until the first repetition; `tries` transmissions in all, then the next one.

    `required`: its replies need a Message-Authenticator. `reliable`: it is behind a connection (RadSec), which repeats
    by itself: `tries` should be 1. It is dead until `regained` says that the connection stands, and identifier 0 is
    left to the connection's own probes (RFC 6613 2.6.4).
    """

    name: str
    secret: Secret
    channels: int = 1
    timeout: Ns = Ns(SECOND)
    tries: int = 3
    required: bool = True
    dead_for: Ns = Ns(30 * SECOND)
    probes: bool = True
    reliable: bool = False


class Channel(NamedTuple):
    """A socket: which server's, and which of its sources."""

    server: int
    source: int


class Datagram(NamedTuple):
    channel: Channel
    data: bytes


class Answered(Struct, frozen=True):
    """A reply that is believed. `server` is the name of who gave it."""

    key: Hashable
    packet: Packet
    server: str


class Unanswered(Struct, frozen=True):
    """No server gave an answer; `why` for people. `doubt`: some did, which was not believed."""

    key: Hashable
    why: str
    doubt: Doubt | None = None


Outcome = Answered | Unanswered


class _Question(Struct, eq=False):
    key: Hashable
    attributes: Attributes | None
    """None: a probe."""
    server: int = -1
    tried: int = 0
    """Servers, a bit each."""
    sent: int = 0
    """Transmissions to this server."""
    since: BootNs = NEVER
    wait: Ns = Ns(0)
    due: BootNs = NEVER
    datagram: Datagram | None = None
    slots: list[tuple[Channel, int]] = []
    over: bool = False


class Peer:
    """What is known of a server: its free identifiers, whether it lives, and counters."""

    def __init__(self, number: int, server: Server) -> None:
        self.server = server
        self.free = deque(
            (Channel(number, source), identifier)
            for identifier in range(int(server.reliable), 256)
            for source in range(server.channels)
        )
        self._all = len(self.free)
        self.heard = NEVER
        self.dead_until = _UNTIL_REGAINED if server.reliable else NEVER
        self.dead_since = NEVER
        """Silent since then, though perhaps tried again meanwhile; NEVER: it lives, as far as is known, or there has
        been no connection yet."""
        self.why = ""
        """What is known of why it is dead, for people."""
        self.doubted: Doubt | None = None
        """Why its last answer to what was asked was not believed; None: it was, or there was none."""
        self.probing: _Question | None = None
        self.knows_status = False
        """It has answered a Status-Server; one that never did is tried again after a while, as if it were not asked."""
        self.sent = self.repeated = self.timeouts = self.deaths = 0
        self.answers: Counter[str] = Counter()
        self.doubts: Counter[str] = Counter()
        self.latency = [0] * (len(BUCKETS_MS) + 1)
        self.latency_ns = 0

    @property
    def in_flight(self) -> int:
        return self._all - len(self.free)

    @property
    def dead(self) -> bool:
        return self.dead_until != NEVER

    @property
    def ever(self) -> bool:
        """It was heard of."""
        return self.heard != NEVER

    def __str__(self) -> str:
        return f"{self.server.name} ({self.why})" if self.why else self.server.name

    def answered(self, code: int, took: int) -> None:
        self.answers[Code(code).name.lower().replace("_", "-")] += 1
        self.latency_ns += took
        took_ms = took / 1_000_000
        self.latency[next((place for place, most in enumerate(BUCKETS_MS) if took_ms <= most), len(BUCKETS_MS))] += 1


class Exchange:
    """Questions of one kind (`code`) to one group of servers, the first of them preferred, or all in turn (`share`).

    `entropy(n)` returns n octets that nobody can foresee. `queue`: questions that wait for an identifier, at most;
    `patience`: for how long.
    """

    def __init__(
        self,
        code: Code,
        servers: Sequence[Server],
        entropy: Callable[[int], bytes],
        share: bool = False,
        queue: int = 10_000,
        patience: Ns = Ns(10 * SECOND),
    ) -> None:
        self.peers = [Peer(number, server) for number, server in enumerate(servers)]
        self.waiting: deque[_Question] = deque()
        self.refused = 0
        self._code, self._entropy, self._share = code, entropy, share
        self._queue, self._patience = queue, patience
        self._turn = 0
        self._open: dict[tuple[Channel, int], tuple[_Question, bytes]] = {}
        self._by_key: dict[Hashable, _Question] = {}
        self._timers: list[tuple[int, int, _Question]] = []
        self._serial = 0
        self._out: list[Datagram] = []
        self._outcomes: list[Outcome] = []

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def alive(self) -> bool:
        """At least one server is not known to be dead."""
        return any(not peer.dead for peer in self.peers)

    # ---- in -----------------------------------------------------------------------------

    def ask(self, key: Hashable, attributes: Attributes, now: BootNs) -> bool:
        """Ask; what becomes of it comes with `outcomes`, under `key`. False: too many wait already.

        A question with this key that is under way is forgotten.
        """
        self.forget(key)
        question = _Question(key, attributes, slots=[])
        if not self.alive:
            self._outcomes.append(self._unanswered(key, self._nobody()))
            return True
        if self.waiting and len(self.waiting) >= self._queue:
            self.refused += 1
            return False
        self._by_key[key] = question
        if self.waiting or not self._next_server(question, now):
            self._wait(question, now)
        return True

    def forget(self, key: Hashable) -> None:
        """Whoever asked is gone."""
        question = self._by_key.pop(key, None)
        if question is not None:
            self._end(question)

    def receive(self, channel: Channel, data: bytes, now: BootNs) -> Doubt | None:
        """Take what came in on a channel. Returns why it is not believed, counted; None: it is."""
        peer = self.peers[channel.server]
        doubt = self._receive(peer, channel, data, now)
        if doubt is not None:
            peer.doubts[doubt.value] += 1
        return doubt

    def _receive(self, peer: Peer, channel: Channel, data: bytes, now: BootNs) -> Doubt | None:
        try:
            packet = decode(data)
        except Malformed:
            return Doubt.MALFORMED
        found = self._open.get((channel, packet.identifier))
        if found is None:
            return Doubt.UNMATCHED
        question, authenticator = found
        # All that a probe's answer is believed for is that its server lives.
        probe = question.attributes is None
        if not probe and packet.code not in _EXPECTED[self._code]:
            return Doubt.UNEXPECTED_CODE
        required = peer.server.required and self._code is Code.ACCESS_REQUEST and not probe
        doubt = doubt_response(data, packet, authenticator, peer.server.secret, required)
        if doubt is not None:
            peer.doubted = doubt
            return doubt
        peer.heard = now
        peer.knows_status |= probe
        self._revive(peer, now)
        if not probe:
            peer.doubted = None
            peer.answered(packet.code, now - question.since)
            self._by_key.pop(question.key, None)
            self._outcomes.append(Answered(question.key, packet, peer.server.name))
        self._end(question)
        self._serve_waiting(now)
        return None

    def expire(self, now: BootNs) -> None:
        """Take the waits that are over."""
        while self._timers and self._timers[0][0] <= now:
            due, _, question = heapq.heappop(self._timers)
            if question.over or question.due != due:
                continue
            if question.attributes is None:
                self._probe(self.peers[question.server], now)
            elif question.server < 0:
                self._give_up(question, "no answer: too many questions wait for the servers")
            else:
                self._overdue(question, now)
        self._serve_waiting(now)

    def lost(self, server: int, now: BootNs, why: str = "") -> None:
        """The connection to a server is gone, or cannot be made: what waits for it goes elsewhere."""
        peer = self.peers[server]
        peer.why = why
        self._bury(peer, now)
        for question, _ in [found for (channel, _), found in self._open.items() if channel.server == server]:
            if not question.over and question.attributes is not None and question.server == server:
                self._fail_over(question, now)

    def regained(self, server: int, now: BootNs) -> None:
        """The connection to a server stands: it does again, or the server just showed that it still does."""
        self.peers[server].heard = now
        self._revive(self.peers[server], now)

    # ---- out ----------------------------------------------------------------------------

    def take(self) -> list[Datagram]:
        """What is to be sent, in order."""
        out, self._out = self._out, []
        return out

    def outcomes(self) -> list[Outcome]:
        """What became of questions since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    @property
    def deadline(self) -> BootNs:
        """When `expire` is worth calling; NEVER: not. Waits of questions that are answered are not worth it."""
        while self._timers and (self._timers[0][2].over or self._timers[0][2].due != self._timers[0][0]):
            heapq.heappop(self._timers)
        return BootNs(self._timers[0][0]) if self._timers else NEVER

    # ---- a question's way ---------------------------------------------------------------

    def _next_server(self, question: _Question, now: BootNs) -> bool:
        """Send a question to the best server it was not sent to. False: that has no identifier left, or none is."""
        places = self._places(question) if self._share else self._places(question)[:1]
        number = next((place for place in places if self.peers[place].free), None)
        if number is None:
            return False
        self._turn = (number + 1) % len(self.peers)
        question.server, question.tried = number, question.tried | 1 << number
        question.sent, question.since, question.wait = 0, now, self.peers[number].server.timeout
        question.datagram = None
        self._transmit(question, now)
        return True

    def _places(self, question: _Question) -> list[int]:
        """The servers that a question may still go to, the best first."""
        count = len(self.peers)
        start = self._turn if self._share else 0
        places = ((start + step) % count for step in range(count))
        return [place for place in places if not self.peers[place].dead and not question.tried >> place & 1]

    def _transmit(self, question: _Question, now: BootNs) -> None:
        peer = self.peers[question.server]
        if question.datagram is None or self._code is Code.ACCOUNTING_REQUEST:
            self._write(question, peer, now)
        if question.datagram is not None:
            self._out.append(question.datagram)
        peer.sent += 1
        peer.repeated += question.sent > 0
        question.sent += 1
        self._arm(question, after(now, self._spread(question.wait)))
        question.wait = Ns(min(2 * question.wait, LONGEST_WAIT))

    def _write(self, question: _Question, peer: Peer, now: BootNs) -> None:
        """Make a packet of a question, under an identifier of its own; without one it stays what it was."""
        if not peer.free:
            return
        channel, identifier = slot = peer.free.popleft()
        assert question.attributes is not None
        secret = peer.server.secret
        if self._code is Code.ACCOUNTING_REQUEST:
            data = accounting_request(identifier, question.attributes(now, _no_password), secret)
            authenticator = data[4:20]
        else:
            authenticator = self._entropy(16)
            hidden = lambda password: hide(password, authenticator, secret)  # noqa: E731
            data = access_request(identifier, authenticator, question.attributes(now, hidden), secret)
        self._open[slot] = question, authenticator
        question.slots.append(slot)
        question.datagram = Datagram(channel, data)

    def _overdue(self, question: _Question, now: BootNs) -> None:
        peer = self.peers[question.server]
        peer.timeouts += 1
        if question.sent < peer.server.tries and not peer.dead:
            self._transmit(question, now)
            return
        if peer.heard < question.since:
            self._bury(peer, now)
        self._fail_over(question, now)

    def _fail_over(self, question: _Question, now: BootNs) -> None:
        """Go on with another server. Earlier ones may still answer."""
        if not self._places(question):
            self._give_up(question, self._nobody() if not self.alive else self._nobody("answered"))
        elif not self._next_server(question, now):
            self._wait(question, now)

    def _wait(self, question: _Question, now: BootNs) -> None:
        question.server = -1
        self.waiting.append(question)
        self._arm(question, after(now, self._patience))

    def _serve_waiting(self, now: BootNs) -> None:
        while self.waiting:
            question = self.waiting[0]
            if not question.over:
                if not self._places(question):
                    self._give_up(question, self._nobody())
                elif not self._next_server(question, now):
                    return
            self.waiting.popleft()

    def _give_up(self, question: _Question, why: str) -> None:
        self._by_key.pop(question.key, None)
        self._outcomes.append(self._unanswered(question.key, why))
        self._end(question)

    def _unanswered(self, key: Hashable, why: str) -> Unanswered:
        doubted = [(peer.server.name, peer.doubted) for peer in self.peers if peer.doubted is not None]
        if not doubted:
            return Unanswered(key, why)
        said = ", ".join(f"{name}: {doubt.value}" for name, doubt in doubted)
        return Unanswered(key, f"answers that are not believed: {said}", doubted[0][1])

    def _nobody(self, did: str = "lives") -> str:
        return f"no server {did}: {', '.join(map(str, self.peers))}"

    def _end(self, question: _Question) -> None:
        question.over = True
        for slot in question.slots:
            del self._open[slot]
            self.peers[slot[0].server].free.append(slot)
        question.slots.clear()

    # ---- servers ------------------------------------------------------------------------

    def _bury(self, peer: Peer, now: BootNs) -> None:
        if peer.dead:
            return
        peer.dead_until, peer.dead_since = after(now, peer.server.dead_for), peer.dead_since or now
        peer.deaths += 1
        self._probe(peer, now)

    def _probe(self, peer: Peer, now: BootNs) -> None:
        """Ask a dead server whether it lives, or see whether it was dead for long enough."""
        number = self.peers.index(peer)
        if peer.probing is not None:
            self._end(peer.probing)
            peer.probing = None
        if peer.dead_since == NEVER or peer.server.reliable:  # a connection says by itself when it stands again
            return
        if not (peer.server.probes and peer.knows_status) and now >= peer.dead_until:
            peer.dead_until = NEVER  # to be tried, and still asked whether it lives
            if not peer.server.probes:
                return
        probe = peer.probing = _Question(("probe", number), None, server=number, slots=[])
        if peer.server.probes and peer.free:
            channel, identifier = slot = peer.free.popleft()
            authenticator = self._entropy(16)
            data = access_request(identifier, authenticator, (), peer.server.secret, Code.STATUS_SERVER)
            self._open[slot] = probe, authenticator
            probe.slots.append(slot)
            self._out.append(Datagram(channel, data))
        self._arm(probe, after(now, self._spread(PROBE_EVERY)) if peer.server.probes else peer.dead_until)

    def _revive(self, peer: Peer, now: BootNs) -> None:
        if peer.dead_since == NEVER and not peer.dead:
            return
        peer.dead_until, peer.dead_since, peer.why = NEVER, NEVER, ""
        peer.heard = max(peer.heard, now)
        if peer.probing is not None:
            self._end(peer.probing)
            peer.probing = None

    # ---- time ---------------------------------------------------------------------------

    def _arm(self, question: _Question, due: BootNs) -> None:
        question.due = due
        self._serial += 1
        heapq.heappush(self._timers, (due, self._serial, question))

    def _spread(self, wait: Ns) -> Ns:
        """A tenth more or less, so that what was lost together is not repeated together (RFC 5080 2.2.1)."""
        return Ns(wait + (self._entropy(1)[0] - 128) * wait // 1280)


def _no_password(_password: bytes) -> bytes:
    return ZEROS
