"""A crowd: many DHCPv4 clients in one process, each on a line of its own, that speak on the trunk with tags in band.

    crowd = Crowd(members, Server(GATEWAY_ACCESS_MAC, lab.pool_gateway), random.Random(1), time.monotonic_ns())
    with lab.access_node.trunk.wire() as wire:
        run(crowd, wire, seconds=30)
        assert not crowd.waiting and not crowd.faults

`Crowd` is a machine without I/O: time comes in, frames go out. Each client behaves as RFC 2131 says: INIT-REBOOT or
INIT, retransmission after 4, 8, 16 … seconds, back to INIT at a DHCPNAK or when nobody answers; it is done when it has
its address. Every answer is judged, and nobody may get what somebody else has.

Not there: T1 and T2 (a member renews once, when it is told to), DECLINE, RELEASE, ARP probes.

Source: RFC 2131 3.1, 3.2, 4.1, 4.4.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import Enum
from ipaddress import IPv4Address
from typing import Protocol

from wayleave.lab.dhcp_client import Answer, Judge, Kind, Letter, Member, Server, read_answer
from wayleave.lab.packet import Frame
from wayleave.lab.wire import Wire
from wayleave.net.units import SECOND

DELAYS_S = (4, 8, 16, 32, 64)
"""Until a message is repeated, each ± 1 s, the last one for ever after (RFC 2131 4.1)."""

RENEWAL_DELAY_S = 60
"""The least until a renewal is repeated (RFC 2131 4.4.5)."""

REBOOT_TRIES = 2
"""REQUESTs in INIT-REBOOT until a client goes back to INIT, 12 s after the first: dhclient gives up after 10 s."""

REQUEST_TRIES = 4
"""REQUESTs for an offer until it is given up (RFC 2131 3.1, 5)."""

BATCH = 256
"""Timers taken in one go."""

APPETITE = 4 * BATCH
"""Frames read in one go: more than all that a batch and its echoes bring, or the ring fills up in the long run."""

EXAMPLES = 10
"""Wrong answers that are kept for people to read."""

_NOTHING = bytes(4)


class State(Enum):
    """As in RFC 2131 4.4; a client that is BOUND is done."""

    INIT = "init"
    REBOOTING = "rebooting"
    SELECTING = "selecting"
    REQUESTING = "requesting"
    RENEWING = "renewing"
    BOUND = "bound"


class Client:
    """One client's state. `began` and `bound` are on the caller's clock in ns, once it has begun and is bound."""

    def __init__(self, number: int, member: Member, xid: int, server: Server) -> None:
        self.number, self.member, self.xid = number, member, xid
        self.judge = Judge(member, server)
        self.state = State.INIT
        self.tries = self.most_tries = self.owed = self.naks = 0
        self.began = self.bound = self.timer = self.secs = 0
        self.wanted = self.had = member.address.packed if member.address else b""
        self.address = self.server = b""
        self._discover = Letter(member, Kind.DISCOVER, xid, wanted=self.had if member.profile.recalls else b"")
        self._request = Letter(member, Kind.REQUEST, xid, wanted=_NOTHING, server=_NOTHING)
        self._first = self._discover
        if self.starts_in is State.RENEWING:
            self._first = Letter(member, Kind.REQUEST, xid, to=server)
        elif self.starts_in is State.REBOOTING:
            self._first = Letter(member, Kind.REQUEST, xid, wanted=self.had)

    @property
    def starts_in(self) -> State:
        """What it does first."""
        if self.member.address and self.member.renews:
            return State.RENEWING
        if self.member.address and self.member.profile.reboots:
            return State.REBOOTING
        return State.SELECTING

    @property
    def waited_s(self) -> float | None:
        """From its first frame to its address; None while it has none."""
        return (self.bound - self.began) / SECOND if self.state is State.BOUND else None

    @property
    def ciaddr(self) -> bytes:
        """The address that it has while it asks."""
        return self.wanted if self.state is State.RENEWING else _NOTHING

    def forget(self) -> None:
        """It was told no: what it had is not its own any more (RFC 2131 3.2, 3)."""
        self.naks += 1
        self.wanted = self.had = b""
        self._discover = Letter(self.member, Kind.DISCOVER, self.xid)

    def frame(self, now: int) -> bytes:
        """Return what it says in its present state. A REQUEST repeats the seconds of its DISCOVER (RFC 2131 4.4.1)."""
        if self.state is State.REQUESTING:
            return self._request.filled(self.secs, self.wanted, self.server)
        letter = self._discover if self.state is State.SELECTING else self._first
        self.secs = (now - self.began) // SECOND
        return letter.filled(self.secs) if self.secs else letter.frame


class Crowd:
    """All of them. The caller sends what `take` returns, calls `receive` with what comes in, and `expire` in time."""

    def __init__(self, members: Sequence[Member], server: Server, rng: random.Random, now: int) -> None:
        self.server = server
        self._rng = rng
        self._first_xid = rng.getrandbits(32)
        self.clients = [
            Client(number, member, (self._first_xid + number) & 0xFFFFFFFF, server)
            for number, member in enumerate(members)
        ]
        self.waiting = len(self.clients)
        """How many have no address yet."""
        self.faults: Counter[str] = Counter()
        """What was wrong with answers, by name: must be empty."""
        self.examples: list[str] = []
        self.sent: Counter[str] = Counter()
        """Messages, by the state in which they were said."""
        self.answers = 0
        self._holders = {client.wanted: client for client in self.clients if client.wanted}
        self._out: list[bytes] = []
        self._timers: list[tuple[int, int, int]] = []
        for client in self.clients:
            self._timers.append((now + round(client.member.after_s * SECOND), client.number, client.timer))
        heapq.heapify(self._timers)

    def deadline(self) -> int | None:
        """When `expire` is due."""
        return self._timers[0][0] if self._timers else None

    def take(self) -> list[bytes]:
        """The frames to send."""
        out, self._out = self._out, []
        return out

    def expire(self, now: int) -> None:
        """Take the timers that have run out, at most a batch."""
        for _ in range(BATCH):
            if not self._timers or self._timers[0][0] > now:
                return
            _, number, timer = heapq.heappop(self._timers)
            client = self.clients[number]
            if timer == client.timer:
                self._time_out(client, now)

    def receive(self, data: bytes, now: int) -> None:
        """Take a frame that came in; what is no answer to a DHCP client is none of ours."""
        answer = read_answer(data)
        if answer is None:
            return
        self.answers += 1
        number = (answer.xid - self._first_xid) & 0xFFFFFFFF
        if number >= len(self.clients):
            self._blame(["xid"], data)
            return
        client = self.clients[number]
        wrong = client.judge.faults(answer, self._due(client, answer), client.ciaddr)
        client.owed -= 1
        if client.owed < 0:
            wrong.append("answered-twice")
        if wrong:
            self._blame(wrong, data)
        else:
            self._believe(client, answer, data, now)

    def _due(self, client: Client, answer: Answer) -> bytes:
        """The address that an answer has to carry. An offer that comes late, after another one, may be of any."""
        late = answer.kind == Kind.OFFER and client.state is not State.SELECTING
        return answer.yiaddr if late else client.wanted

    def _blame(self, wrong: Iterable[str], data: bytes) -> None:
        self.faults.update(wrong)
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{', '.join(wrong)}: {Frame(data)} {data.hex()}")

    # ---- the machine --------------------------------------------------------------------

    def _believe(self, client: Client, answer: Answer, data: bytes, now: int) -> None:
        """RFC 2131 figure 5; what its state does not wait for, a client discards."""
        match client.state, answer.kind:
            case State.SELECTING, Kind.OFFER:
                client.wanted, client.server = answer.yiaddr, answer.options[54]
                self._go(client, State.REQUESTING, now)
            case ((State.REQUESTING | State.REBOOTING | State.RENEWING), Kind.ACK):
                self._bind(client, answer, data, now)
            case ((State.REQUESTING | State.REBOOTING | State.RENEWING), Kind.NAK):
                if self._holders.get(client.had) is client:
                    del self._holders[client.had]
                client.forget()
                self._go(client, State.SELECTING, now)
            case _:
                pass

    def _bind(self, client: Client, answer: Answer, data: bytes, now: int) -> None:
        if self._holders.setdefault(answer.yiaddr, client) is not client:
            self._blame(["address-of-another"], data)
            return
        client.state, client.address, client.bound = State.BOUND, answer.yiaddr, now
        client.timer += 1
        self.waiting -= 1

    def _time_out(self, client: Client, now: int) -> None:
        """Begin, repeat, or give up and begin anew."""
        if client.state is State.INIT:
            client.began = now
            self._go(client, client.starts_in, now)
        elif client.state is State.REBOOTING and client.tries >= REBOOT_TRIES:
            self._go(client, State.SELECTING, now)
        elif client.state is State.REQUESTING and client.tries >= REQUEST_TRIES:
            client.wanted = client.had
            self._go(client, State.SELECTING, now)
        else:
            self._say(client, now)

    def _go(self, client: Client, state: State, now: int) -> None:
        client.state, client.tries = state, 0
        self._say(client, now)

    def _say(self, client: Client, now: int) -> None:
        self._out.append(client.frame(now))
        self.sent[client.state.value] += 1
        client.owed += 1
        client.tries += 1
        client.most_tries = max(client.most_tries, client.tries)
        client.timer += 1
        delay = DELAYS_S[min(client.tries, len(DELAYS_S)) - 1]
        if client.state is State.RENEWING:
            delay = RENEWAL_DELAY_S
        due = now + round((delay + self._rng.uniform(-1, 1)) * SECOND)
        heapq.heappush(self._timers, (due, client.number, client.timer))

    # ---- afterwards ---------------------------------------------------------------------

    def rebooted(self, after_s: float = 0.0) -> list[Member]:
        """Those that have an address as they come back, knowing it, after the power does."""
        bound = (client for client in self.clients if client.state is State.BOUND)
        return [
            replace(item.member, address=IPv4Address(item.address), after_s=after_s, renews=False) for item in bound
        ]


class Talkers(Protocol):
    """A machine that speaks for many clients, as `Crowd` does."""

    waiting: int

    def deadline(self) -> int | None: ...

    def take(self) -> list[bytes]: ...

    def expire(self, now: int) -> None: ...

    def receive(self, data: bytes, now: int) -> None: ...


def run(crowd: Talkers, wire: Wire, seconds: float, linger_s: float = 0.5) -> None:
    """Let them talk until all have their address, or for `seconds`.

    `linger_s` more is spent listening: an answer too many comes after the last that was needed.
    """
    talk(crowd, wire, seconds, lambda: not crowd.waiting)
    end = time.monotonic_ns() + round(linger_s * SECOND)
    while (left := end - time.monotonic_ns()) > 0:
        if not _listen(crowd, wire):
            wire.wait(left / SECOND)


def talk(crowd: Talkers, wire: Wire, seconds: float, until: Callable[[], bool]) -> None:
    """Let them talk for `seconds`, or until something is so.

    What is due is said before anything is heard, while the wire's ring has room: at once is to mean at once.
    """
    end = time.monotonic_ns() + round(seconds * SECOND)
    while not until() and (now := time.monotonic_ns()) < end:
        crowd.expire(now)
        said = _speak(crowd, wire)
        if (said and not wire.half_full) or _listen(crowd, wire) or said:
            continue
        due = crowd.deadline()
        wire.wait((min(end, end if due is None else due) - time.monotonic_ns()) / SECOND)


def _speak(crowd: Talkers, wire: Wire) -> int:
    """Send what is to be sent; returns how many frames that was."""
    out = crowd.take()
    for frame in out:
        wire.send(frame)
    wire.flush()
    return len(out)


def _listen(crowd: Talkers, wire: Wire) -> int:
    """Take what has come in, or much of it; returns how many frames that was."""
    came = 0
    for at, data in wire.received(APPETITE):
        crowd.receive(data, at)
        came += 1
    return came
