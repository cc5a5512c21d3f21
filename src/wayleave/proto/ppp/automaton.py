"""The automaton by which two sides agree on options: LCP, and each network protocol, is one.

`TABLE` is the RFC's, letter for letter. What it leaves to the implementation is decided here:

* An Ack, Nak or Reject counts once: it has to bear the identifier of the last Configure-Request, and after it none does
  until the next request. So what the network repeats tears nothing down ("silently discarded", RFC 1661 5.2 to 5.4).
* A Configure-Request that only repeats the one that was acknowledged means that our Ack was lost. In Opened it is
  acknowledged once more instead of beginning anew; if it comes yet again, the table has its way.
* After `most_failures` Naks in a row what is still wrong is rejected; where there is nothing to reject, or after
  `most_rounds` requests of ours that came to nothing, the protocol is closed: two sides that never agree end.
* The restart option (r) is not used, nor is the passive one (p): who gives up says so.

A subclass is one protocol: it says what is asked (`wishes`), what a peer's option should be (`judge`) and what follows.
What goes out comes back from every call, in order: octets are a packet, a `Layer` is the news for what is above.

Source: RFC 1661 4 and 5.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import ClassVar

from msgspec import Struct

from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.ppp.packet import (
    Code,
    Control,
    Option,
    Protocol,
    decode,
    decode_options,
    encode,
    encode_options,
)

NEVER = BootNs(0)
MOST_COPIED = 64
"""Octets of a packet that we reject, given back with the reject: it fits any MRU, and answers no more than it got."""

_NONE = -1
_ESSENTIAL = range(Code.CONFIGURE_REQUEST, Code.CODE_REJECT + 1)


class State(IntEnum):
    """Source: RFC 1661 4.2."""

    INITIAL = 0
    STARTING = 1
    CLOSED = 2
    STOPPED = 3
    CLOSING = 4
    STOPPING = 5
    REQ_SENT = 6
    ACK_RCVD = 7
    ACK_SENT = 8
    OPENED = 9


class Event(Enum):
    """Source: RFC 1661 4.3. The values are the table's words."""

    UP = "Up"
    DOWN = "Down"
    OPEN = "Open"
    CLOSE = "Close"
    TIMEOUT = "TO+"
    LAST_TIMEOUT = "TO-"
    GOOD_REQUEST = "RCR+"
    BAD_REQUEST = "RCR-"
    ACK = "RCA"
    NAK = "RCN"
    TERMINATE_REQUEST = "RTR"
    TERMINATE_ACK = "RTA"
    UNKNOWN_CODE = "RUC"
    HARMLESS_REJECT = "RXJ+"
    FATAL_REJECT = "RXJ-"
    ECHO = "RXR"

    __hash__ = object.__hash__


class Action(Enum):
    """Source: RFC 1661 4.4."""

    THIS_LAYER_UP = "tlu"
    THIS_LAYER_DOWN = "tld"
    THIS_LAYER_STARTED = "tls"
    THIS_LAYER_FINISHED = "tlf"
    INITIALIZE_RESTART_COUNT = "irc"
    ZERO_RESTART_COUNT = "zrc"
    SEND_CONFIGURE_REQUEST = "scr"
    SEND_CONFIGURE_ACK = "sca"
    SEND_CONFIGURE_NAK = "scn"
    SEND_TERMINATE_REQUEST = "str"
    SEND_TERMINATE_ACK = "sta"
    SEND_CODE_REJECT = "scj"
    SEND_ECHO_REPLY = "ser"

    __hash__ = object.__hash__


# Actions "/" next state; "-" cannot happen. The RFC's notes: r, p and x are left out, see above.
_TABLE = """
       |    0        1          2            3           4        5         6          7          8            9
Events | Initial Starting   Closed      Stopped     Closing  Stopping  Req-Sent  Ack-Rcvd   Ack-Sent      Opened
-------+-----------------------------------------------------------------------------------------------------------
 Up    |    2    irc,scr/6     -            -           -        -         -          -          -            -
 Down  |    -        -         0          tls/1         0        1         1          1          1          tld/1
 Open  |  tls/1      1     irc,scr/6        3           5        5         6          7          8            9
 Close |    0      tlf/0       2            2           4        4     irc,str/4  irc,str/4  irc,str/4  tld,irc,str/4
       |
 TO+   |    -        -         -            -         str/4    str/5     scr/6      scr/6      scr/8          -
 TO-   |    -        -         -            -         tlf/2    tlf/3     tlf/3      tlf/3      tlf/3          -
       |
 RCR+  |    -        -       sta/2    irc,scr,sca/8     4        5       sca/8    sca,tlu/9    sca/8    tld,scr,sca/8
 RCR-  |    -        -       sta/2    irc,scr,scn/6     4        5       scn/6      scn/7      scn/6    tld,scr,scn/6
 RCA   |    -        -       sta/2        sta/3         4        5       irc/7      scr/6    irc,tlu/9    tld,scr/6
 RCN   |    -        -       sta/2        sta/3         4        5     irc,scr/6    scr/6    irc,scr/8    tld,scr/6
       |
 RTR   |    -        -       sta/2        sta/3       sta/4    sta/5     sta/6      sta/6      sta/6    tld,zrc,sta/5
 RTA   |    -        -         2            3         tlf/2    tlf/3       6          6          8        tld,scr/6
       |
 RUC   |    -        -       scj/2        scj/3       scj/4    scj/5     scj/6      scj/7      scj/8        scj/9
 RXJ+  |    -        -         2            3           4        5         6          6          8            9
 RXJ-  |    -        -       tlf/2        tlf/3       tlf/2    tlf/3     tlf/3      tlf/3      tlf/3    tld,irc,str/5
       |
 RXR   |    -        -         2            3           4        5         6          7          8          ser/9
"""


class Transition(Struct, frozen=True, gc=False):
    """A cell of the table. `anew`: another negotiation begins; `rests`: nothing is waited for in its state."""

    actions: tuple[Action, ...]
    state: State
    anew: bool
    rests: bool


def _transition(before: int, cell: str) -> Transition | None:
    if cell == "-":
        return None
    words, _, number = cell.rpartition("/")
    actions, state = tuple(Action(word) for word in words.split(",") if word), State(int(number))
    anew = Action.THIS_LAYER_DOWN in actions or (before <= State.STOPPED and state >= State.REQ_SENT)
    rests = state != before and not State.CLOSING <= state <= State.ACK_SENT
    return Transition(actions, state, anew, rests)


TABLE: dict[Event, tuple[Transition | None, ...]] = {
    Event(event.strip()): tuple(_transition(*column) for column in enumerate(cells.split()))
    for event, cells in (line.split("|") for line in _TABLE.strip().splitlines()[3:])
    if event.strip()
}


class Layer(Enum):
    """News for what is above, in the RFC's words: this layer is up, down, or finished."""

    UP = "up"
    DOWN = "down"
    FINISHED = "finished"


class Refused(Struct, frozen=True, gc=False):
    """News from LCP: the peer does not know a protocol."""

    protocol: int


Output = bytes | Layer | Refused
"""A control packet to send, or news."""


class Timers(Struct, frozen=True, kw_only=True, gc=False):
    """Bounds of a negotiation. Source: RFC 1661 4.6; `most_rounds` is ours."""

    restart: Ns = Ns(3 * SECOND)
    most_configures: int = 10
    most_terminates: int = 2
    most_failures: int = 5
    most_rounds: int = 40


class Automaton(Struct, gc=False):
    """One control protocol of one session. `deadline` is when `expire` wants to be called; NEVER: no timer runs."""

    PROTOCOL: ClassVar[Protocol]

    timers: Timers
    state: State = State.INITIAL
    deadline: BootNs = NEVER
    _restarts: int = 0
    _failures: int = 0
    _rounds: int = 0
    _identifier: int = 0
    _expected: int = _NONE
    """The identifier that an answer has to bear."""
    _request: bytes = b""
    """The options of our last Configure-Request."""
    _acknowledged: bytes = b""
    """Our last Configure-Ack, for a request that is repeated; empty: a repetition is as good as new."""

    # ---- what a protocol is -------------------------------------------------------------

    def wishes(self) -> list[Option]:
        """Return what the next Configure-Request asks for."""
        raise NotImplementedError

    def judge(self, kind: int, value: bytes) -> bytes | None:
        """Return what an option of the peer's should be: the same octets take it, None rejects it."""
        raise NotImplementedError

    def lacking(self, _kinds: set[int]) -> list[Option]:
        """Return what a peer that asks for `_kinds` should have asked for too."""
        return []

    def take(self, options: tuple[Option, ...]) -> None:
        """Keep the peer's options: they are acknowledged."""
        raise NotImplementedError

    def naked(self, kind: int, value: bytes) -> bool:
        """Hear that the peer would have an option of ours otherwise. False: we cannot live with that."""
        raise NotImplementedError

    def rejected(self, kind: int) -> bool:
        """Hear that the peer does not know an option of ours. False: we cannot live without it."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget what an earlier negotiation came to: another one begins."""
        raise NotImplementedError

    def more(self, _packet: Control, _now: BootNs) -> list[Output] | None:
        """Take a packet whose code is of this protocol alone; None: the code is unknown."""
        return None

    # ---- what happens -------------------------------------------------------------------

    def open(self, now: BootNs) -> list[Output]:
        """Begin, over a lower layer that is up."""
        return [*self.step(Event.UP, now), *self.step(Event.OPEN, now)]

    def resume(self) -> None:
        """Be open, as an earlier machine was: the peer does not know that there was another."""
        self.reset()
        self.state = State.OPENED

    def close(self, now: BootNs) -> list[Output]:
        """End in order; `Layer.FINISHED` follows within `most_terminates` restarts."""
        return self.step(Event.CLOSE, now)

    def refuse(self, now: BootNs) -> list[Output]:
        """Hear that the peer does not know this protocol."""
        return self.step(Event.FATAL_REJECT, now)

    def expire(self, now: BootNs) -> list[Output]:
        """Do what is due."""
        if self.deadline == NEVER or now < self.deadline:
            return []
        last = self._restarts <= 0 or self._rounds >= self.timers.most_rounds
        return self.step(Event.LAST_TIMEOUT if last else Event.TIMEOUT, now)

    def receive(self, data: bytes, now: BootNs) -> list[Output]:
        """Take a packet of this protocol. Raises: Malformed, and then nothing has changed."""
        packet = decode(data)
        identifier = packet.identifier
        match packet.code:
            case Code.CONFIGURE_REQUEST:
                return self._requested(packet, now)
            case Code.CONFIGURE_ACK | Code.CONFIGURE_NAK | Code.CONFIGURE_REJECT:
                return self._answered(packet, now)
            case Code.TERMINATE_REQUEST:
                return self.step(Event.TERMINATE_REQUEST, now, identifier)
            case Code.TERMINATE_ACK:
                return self.step(Event.TERMINATE_ACK, now)
            case Code.CODE_REJECT:
                fatal = packet.data and packet.data[0] in _ESSENTIAL
                return self.step(Event.FATAL_REJECT if fatal else Event.HARMLESS_REJECT, now)
        output = self.more(packet, now)
        if output is None:
            reject = encode(Code.CODE_REJECT, self.next_identifier(), data[:MOST_COPIED])
            output = self.step(Event.UNKNOWN_CODE, now, identifier, reject)
        return output

    def _requested(self, packet: Control, now: BootNs) -> list[Output]:
        """Judge a Configure-Request. Source: RFC 1661 5.1 to 5.4."""
        options = decode_options(packet.data)
        identifier = packet.identifier
        ack = encode(Code.CONFIGURE_ACK, identifier, packet.data)
        if self.state is State.OPENED and ack == self._acknowledged:
            self._acknowledged = b""
            return [ack]
        rejected, wrong = self._objections(options)
        if rejected:
            reply = encode(Code.CONFIGURE_REJECT, identifier, encode_options(rejected))
            return self.step(Event.BAD_REQUEST, now, identifier, reply)
        if not wrong:
            self._failures = 0
            return self.step(Event.GOOD_REQUEST, now, identifier, ack, options)
        self._failures += 1
        if self._failures <= self.timers.most_failures:
            reply = encode(Code.CONFIGURE_NAK, identifier, encode_options(wrong.items()))
            return self.step(Event.BAD_REQUEST, now, identifier, reply)
        hopeless = [option for option in options if option[0] in wrong]
        if not hopeless:
            return self.step(Event.FATAL_REJECT, now)
        reply = encode(Code.CONFIGURE_REJECT, identifier, encode_options(hopeless))
        return self.step(Event.BAD_REQUEST, now, identifier, reply)

    def _objections(self, options: tuple[Option, ...]) -> tuple[list[Option], dict[int, bytes]]:
        """Return the options to reject, and what others should be; one that stands there twice is rejected."""
        rejected: list[Option] = []
        wrong: dict[int, bytes] = {}
        seen: set[int] = set()
        for kind, value in options:
            right = None if kind in seen else self.judge(kind, value)
            seen.add(kind)
            if right is None:
                rejected.append((kind, value))
            elif right != value:
                wrong[kind] = right
        if not rejected:
            wrong.update(self.lacking(seen))
        return rejected, wrong

    def _answered(self, packet: Control, now: BootNs) -> list[Output]:
        """Take an answer to our request, if it is one. Source: RFC 1661 5.2 to 5.4."""
        if packet.identifier != self._expected:
            return []
        if packet.code == Code.CONFIGURE_ACK:
            if packet.data != self._request:
                return []
            self._expected = _NONE
            return self.step(Event.ACK, now, packet.identifier)
        options = decode_options(packet.data)
        asked = decode_options(self._request)
        if packet.code == Code.CONFIGURE_REJECT:
            if not options or any(option not in asked for option in options):
                return []
            agreeable = all(self.rejected(kind) for kind, _ in options)
        else:
            agreeable = all(self.naked(kind, value) for kind, value in dict(options).items())
        self._expected = _NONE
        if not agreeable or self._rounds >= self.timers.most_rounds:
            return self.step(Event.FATAL_REJECT, now)
        return self.step(Event.NAK, now, packet.identifier)

    # ---- the table at work --------------------------------------------------------------

    def step(
        self,
        event: Event,
        now: BootNs,
        identifier: int = 0,
        reply: bytes = b"",
        options: tuple[Option, ...] = (),
    ) -> list[Output]:
        """Do what the table says of an event in this state; where it says "-", nothing.

        `identifier` is that of the packet that caused it, `reply` what to answer and `options` what it asks for.
        """
        transition = TABLE[event][self.state]
        if transition is None:
            return []
        if transition.anew:
            self._rounds = self._failures = 0
            self.reset()
        output: list[Output] = []
        for action in transition.actions:
            match action:  # the way up comes first: an Enum's member takes 75 ns to read
                case Action.SEND_CONFIGURE_REQUEST:
                    output.append(self._send_request(event is Event.TIMEOUT, now))
                case Action.INITIALIZE_RESTART_COUNT:
                    ending = Action.SEND_TERMINATE_REQUEST in transition.actions
                    self._restarts = self.timers.most_terminates if ending else self.timers.most_configures
                case Action.SEND_CONFIGURE_ACK:
                    self._acknowledged = reply
                    self.take(options)
                    output.append(reply)
                case Action.SEND_CONFIGURE_NAK | Action.SEND_CODE_REJECT | Action.SEND_ECHO_REPLY:
                    output.append(reply)
                case Action.THIS_LAYER_UP:
                    self._request = b""  # nobody answers it any more, and it would be kept for days
                    output.append(Layer.UP)
                case Action.THIS_LAYER_DOWN:
                    output.append(Layer.DOWN)
                case Action.THIS_LAYER_FINISHED:
                    output.append(Layer.FINISHED)
                case Action.ZERO_RESTART_COUNT:
                    self._restarts = 0
                    self.deadline = after(now, self.timers.restart)
                case Action.SEND_TERMINATE_REQUEST:
                    self._tick(now)
                    output.append(encode(Code.TERMINATE_REQUEST, self.next_identifier()))
                case Action.SEND_TERMINATE_ACK:
                    output.append(encode(Code.TERMINATE_ACK, identifier))
        if transition.rests:
            self.deadline = NEVER
        self.state = transition.state
        return output

    def _send_request(self, repeated: bool, now: BootNs) -> bytes:
        """Ask; a repetition of what was not answered keeps its identifier (RFC 1661 5.1)."""
        if not (repeated and self._expected != _NONE):
            self._rounds += 1
            self._request = encode_options(self.wishes())
            self._expected = self.next_identifier()
        self._tick(now)
        return encode(Code.CONFIGURE_REQUEST, self._expected, self._request)

    def next_identifier(self) -> int:
        """Return an identifier for a packet that nobody asked for."""
        self._identifier = self._identifier + 1 & 0xFF
        return self._identifier

    def _tick(self, now: BootNs) -> None:
        self._restarts -= 1
        self.deadline = after(now, self.timers.restart)
