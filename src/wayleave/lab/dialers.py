"""A crowd that dials: many PPPoE clients in one process, each on a line of its own, by template on the trunk.

    dialers = Dialers(members)
    dialers.dial(time.monotonic_ns(), under_way=256)
    with lab.access_node.trunk.wire() as wire:
        run(dialers, wire, seconds=30)
        assert not dialers.waiting and not dialers.faults

The machines of `proto/ppp` would cost as much as the gateway that is measured with them. These clients know one way up,
the one that goes well, and answer out of ready octets: PADI, PADR, LCP with an MRU and a magic number, PAP or CHAP with
MD5 as they are asked, IPCP for an address and two resolvers, which the gateway has to have. IPV6CP they do not know.
What else they hear is a fault. What is not answered is repeated: discovery after 5, 10, 20 seconds as rp-pppoe does,
PPP after 3 (RFC 1661 4.6); who gets nowhere, or is cut off, dials anew.

`Dialers` is a machine without I/O, as `Crowd` is: time comes in, frames go out.

Source: RFC 2516 5, RFC 1661 5, RFC 1334 2.2, RFC 1994 4, RFC 1332 3.3, RFC 1877 1.
"""

from __future__ import annotations

import heapq
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from wayleave.lab.access_node import Line
from wayleave.lab.packet import PPPOE_DISCOVERY, PPPOE_SESSION, Frame, ethernet
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import SECOND
from wayleave.proto.ppp.account import Account
from wayleave.proto.ppp.auth import Authentication, ChapCode, PapCode, chap_response, counted
from wayleave.proto.ppp.ipcp import Kind as IpcpKind
from wayleave.proto.ppp.lcp import Kind as LcpKind
from wayleave.proto.ppp.packet import Code, Protocol, encode, encode_options
from wayleave.proto.pppoe import packet as pppoe

DISCOVERY_S = (5, 10, 20)
"""Until a PADI or PADR is repeated; then the client begins with a PADI again."""

PPP_S, PPP_TRIES = 3, 10
"""Until a request of PPP's is repeated, and how often it is said before the client dials anew."""

BATCH = 256
"""Timers taken in one go."""

EXAMPLES = 10
"""Wrong answers that are kept for people to read."""

_HEAD = struct.Struct("!BBHHH")
_VERSION_TYPE = 0x11
_DISCOVERY = PPPOE_DISCOVERY.to_bytes(2, "big")
_NO_SESSION = bytes(2)
_THEIRS, _OURS = 1, 2
_BOTH = _THEIRS | _OURS
_PAP_ASKED = encode_options([(LcpKind.AUTHENTICATION, Authentication.PAP.value)])
_CHAP_ASKED = encode_options([(LcpKind.AUTHENTICATION, Authentication.CHAP_MD5.value)])
_MRU = pppoe.PLAIN_MRU.to_bytes(2, "big")
_ANY_ADDRESS = encode_options((kind, bytes(4)) for kind in IpcpKind)


class Stage(IntEnum):
    """How far a client is; what it says is repeated until the next stage."""

    OFF = 0
    SEEKING = 1
    ASKING = 2
    LINK = 3
    PROOF = 4
    NETWORK = 5
    ONLINE = 6


@dataclass(frozen=True, slots=True)
class Member:
    """Who dials, where, as whom, and how long after the others."""

    mac: Mac
    line: Line
    account: Account
    after_s: float = 0.0


class Dialer:
    """One client's state. `began` and `online` are on the caller's clock in ns."""

    __slots__ = (
        "address", "agreed", "asks", "at", "began", "due", "first", "head", "host_uniq", "last", "magic",
        "member", "number", "online", "said", "session", "stage", "tries",
    )  # fmt: skip

    def __init__(self, number: int, member: Member) -> None:
        self.number, self.member = number, member
        self.host_uniq, self.magic = number.to_bytes(4, "big"), (number + 1).to_bytes(4, "big")
        tags = [(pppoe.SERVICE_NAME.number, b""), (pppoe.HOST_UNIQ.number, self.host_uniq)]
        padi = pppoe.encode(pppoe.Code.PADI, 0, tags)
        self.first = ethernet(BROADCAST, member.mac, PPPOE_DISCOVERY, padi, member.line.tags)
        self.at = 14 + 4 * len(member.line.tags)
        """Where PPPoE's header begins in a frame."""
        self.stage = Stage.OFF
        self.session = _NO_SESSION
        self.began = self.online = self.due = self.said = self.tries = self.agreed = 0
        """`said`: the most times that it said one thing."""
        self.asks = self.address = self.head = self.last = b""

    @property
    def waited_s(self) -> float | None:
        """From its first frame to its address; None while it has none."""
        return (self.online - self.began) / SECOND if self.stage is Stage.ONLINE else None


class Dialers:
    """All of them. The caller sends what `take` returns, calls `receive` with what comes in, and `expire` in time."""

    def __init__(self, members: Sequence[Member], keepalive_s: float = 0) -> None:
        """`keepalive_s`: who is online asks for an echo so often; 0: never."""
        self.keepalive = round(keepalive_s * SECOND)
        self.all = [Dialer(number, member) for number, member in enumerate(members)]
        self._of = {bytes(dialer.member.mac): dialer for dialer in self.all}
        self.waiting = 0
        """How many have no address yet."""
        self.faults: Counter[str] = Counter()
        """What was wrong, by name: must be empty."""
        self.examples: list[str] = []
        self.repeated: Counter[str] = Counter()
        """What was said again for want of an answer, by the stage."""
        self.echoes: Counter[str] = Counter()
        """Echoes that were asked for and answered, by who asked."""
        self._holders: dict[bytes, Dialer] = {}
        self._out: list[bytes] = []
        self._timers: list[tuple[int, int]] = []
        self._under_way = self._next = 0

    def dial(self, now: int, under_way: int = 0) -> None:
        """The power comes back to everybody, who has forgotten what was before.

        `under_way`: so many dial at once, whatever their `after_s`; 0: each begins when it is to.
        """
        self.waiting, self._under_way, self._next = len(self.all), under_way, 0
        self._holders.clear()
        self._timers.clear()
        for dialer in self.all:
            dialer.stage, dialer.said = Stage.OFF, 0
        if self._under_way:
            for _ in range(self._under_way):
                self._begin_another(now)
            return
        for dialer in self.all:
            dialer.due = now + round(dialer.member.after_s * SECOND)
            self._timers.append((dialer.due, dialer.number))
        heapq.heapify(self._timers)

    def deadline(self) -> int | None:
        """When `expire` is due; may be early."""
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
            _, number = heapq.heappop(self._timers)
            dialer = self.all[number]
            if dialer.due <= now:
                self._time_out(dialer, now)
            heapq.heappush(self._timers, (dialer.due, number))

    def receive(self, data: bytes, now: int) -> None:
        """Take a frame that came in; what is for no client of these is none of ours."""
        dialer = self._of.get(data[:6])
        if dialer is None:
            return
        at = dialer.at
        if data[at - 2 : at] == _DISCOVERY:
            self._discover(dialer, data, now)
        elif data[at + 2 : at + 4] == dialer.session:  # else it is of a session that it has forgotten
            head = at + 6
            protocol, code = data[head] << 8 | data[head + 1], data[head + 2]
            hear = _HEARD.get((protocol, code))
            if hear is None:
                self._blame(dialer, f"{protocol:#06x} code {code} in stage {dialer.stage.name}", data)
            else:
                packet = data[head + 2 : head + (data[at + 4] << 8 | data[at + 5])]
                hear(self, dialer, packet, now)

    def _blame(self, dialer: Dialer, what: str, data: bytes) -> None:
        self.faults[what] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{what}, to {dialer.member}: {Frame(data)} {data.hex()}")

    # ---- speaking -----------------------------------------------------------------------

    def _begin_another(self, now: int) -> None:
        """Have the next one dial, if one is left."""
        if self._next < len(self.all):
            dialer = self.all[self._next]
            self._next += 1
            self._begin(dialer, now)
            heapq.heappush(self._timers, (dialer.due, dialer.number))

    def _begin(self, dialer: Dialer, now: int) -> None:
        """Dial: also anew, after whatever was."""
        if dialer.stage is Stage.ONLINE:
            self.waiting += 1
            del self._holders[dialer.address]
        if dialer.stage is Stage.OFF:
            dialer.began = now
        dialer.session = _NO_SESSION
        self._go(dialer, Stage.SEEKING, dialer.first, now)

    def _go(self, dialer: Dialer, stage: Stage, frame: bytes, now: int) -> None:
        """Say something until the next stage; nothing to say is waiting for the gateway to speak."""
        dialer.stage, dialer.last, dialer.tries = stage, frame, 0
        if stage >= Stage.LINK:
            dialer.agreed = 0
        self._say(dialer, now)

    def _say(self, dialer: Dialer, now: int) -> None:
        if dialer.last:
            self._out.append(dialer.last)
        wait = PPP_S if dialer.stage >= Stage.LINK else DISCOVERY_S[dialer.tries]
        dialer.tries += 1
        dialer.said = max(dialer.said, dialer.tries)
        dialer.due = now + wait * SECOND

    def _time_out(self, dialer: Dialer, now: int) -> None:
        """Begin, repeat, ask for an echo, or dial anew."""
        if dialer.stage is Stage.ONLINE:
            self._keep_alive(dialer, now)
            return
        if dialer.stage is Stage.OFF:
            self._begin(dialer, now)
            return
        self.repeated[dialer.stage.name] += 1
        if dialer.tries >= (PPP_TRIES if dialer.stage >= Stage.LINK else len(DISCOVERY_S)):
            self._begin(dialer, now)
        else:
            self._say(dialer, now)

    def _keep_alive(self, dialer: Dialer, now: int) -> None:
        if self.keepalive:
            self.echoes["asked"] += 1
            self._ppp(dialer, Protocol.LCP, encode(Code.ECHO_REQUEST, 1, dialer.magic))
        dialer.due = now + (self.keepalive or 3600 * SECOND)

    def _frame(self, dialer: Dialer, protocol: int, packet: bytes) -> bytes:
        head = _HEAD.pack(_VERSION_TYPE, 0, int.from_bytes(dialer.session, "big"), 2 + len(packet), protocol)
        return (dialer.head + head + packet).ljust(60, b"\0")

    def _ppp(self, dialer: Dialer, protocol: int, packet: bytes) -> None:
        """Say something once: it answers what would be repeated, or nobody needs it."""
        self._out.append(self._frame(dialer, protocol, packet))

    # ---- discovery ----------------------------------------------------------------------

    def _discover(self, dialer: Dialer, data: bytes, now: int) -> None:
        packet = pppoe.decode(data[dialer.at :])
        match packet.code:
            case pppoe.Code.PADO if dialer.stage is Stage.SEEKING:
                cookie = packet.first(pppoe.AC_COOKIE) or b""
                tags = [
                    (pppoe.SERVICE_NAME.number, b""),
                    (pppoe.HOST_UNIQ.number, dialer.host_uniq),
                    (pppoe.AC_COOKIE.number, cookie),
                ]
                padr = pppoe.encode(pppoe.Code.PADR, 0, tags)
                member, concentrator = dialer.member, data[6:12]
                frame = ethernet(concentrator, member.mac, PPPOE_DISCOVERY, padr, member.line.tags)
                dialer.head = frame[: dialer.at - 2] + PPPOE_SESSION.to_bytes(2, "big")
                self._go(dialer, Stage.ASKING, frame, now)
            case pppoe.Code.PADS if dialer.stage is Stage.ASKING:
                if not packet.session_id:
                    self._blame(dialer, "no session", data)
                    return
                dialer.session = packet.session_id.to_bytes(2, "big")
                asks = encode_options([(LcpKind.MRU, _MRU), (LcpKind.MAGIC_NUMBER, dialer.magic)])
                request = encode(Code.CONFIGURE_REQUEST, 1, asks)
                self._go(dialer, Stage.LINK, self._frame(dialer, Protocol.LCP, request), now)
            case pppoe.Code.PADT if packet.session_id.to_bytes(2, "big") == dialer.session:
                self._blame(dialer, "cut off", data)
                self._begin(dialer, now)
            case _:
                pass  # an answer to what it said twice, or of a session that it has forgotten

    # ---- PPP ----------------------------------------------------------------------------

    def _hear_lcp_request(self, dialer: Dialer, packet: bytes, now: int) -> None:
        self._ppp(dialer, Protocol.LCP, b"\2" + packet[1:])
        if dialer.stage is Stage.LINK:
            dialer.asks = packet
            self._link_agreed(dialer, _THEIRS, now)

    def _hear_lcp_ack(self, dialer: Dialer, _packet: bytes, now: int) -> None:
        if dialer.stage is Stage.LINK:
            self._link_agreed(dialer, _OURS, now)

    def _link_agreed(self, dialer: Dialer, whose: int, now: int) -> None:
        """Once both sides are agreed, say who this is, as it was asked for."""
        dialer.agreed |= whose
        if whose == _OURS:
            dialer.last = b""
        if dialer.agreed != _BOTH:
            return
        if _PAP_ASKED in dialer.asks:
            account = dialer.member.account
            proof = encode(PapCode.REQUEST, 1, counted(account.name) + counted(account.password))
            self._go(dialer, Stage.PROOF, self._frame(dialer, Protocol.PAP, proof), now)
        elif _CHAP_ASKED in dialer.asks:
            self._go(dialer, Stage.PROOF, b"", now)
        else:
            self._ask_address(dialer, _ANY_ADDRESS, now)

    def _hear_challenge(self, dialer: Dialer, packet: bytes, _now: int) -> None:
        account, challenge = dialer.member.account, packet[5 : 5 + packet[4]]
        digest = chap_response(packet[1], account.password, challenge)
        response = encode(ChapCode.RESPONSE, packet[1], counted(digest) + account.name)
        self._ppp(dialer, Protocol.CHAP, response)

    def _hear_welcome(self, dialer: Dialer, _packet: bytes, now: int) -> None:
        if dialer.stage is Stage.PROOF:
            self._ask_address(dialer, _ANY_ADDRESS, now)

    def _ask_address(self, dialer: Dialer, options: bytes, now: int) -> None:
        agreed = dialer.agreed if dialer.stage is Stage.NETWORK else 0
        dialer.asks = options
        request = encode(Code.CONFIGURE_REQUEST, 1 + (options is not _ANY_ADDRESS), options)
        self._go(dialer, Stage.NETWORK, self._frame(dialer, Protocol.IPCP, request), now)
        dialer.agreed = agreed

    def _hear_ipcp_request(self, dialer: Dialer, packet: bytes, now: int) -> None:
        self._ppp(dialer, Protocol.IPCP, b"\2" + packet[1:])
        self._address_agreed(dialer, _THEIRS, now)

    def _hear_ipcp_nak(self, dialer: Dialer, packet: bytes, now: int) -> None:
        if dialer.stage is Stage.NETWORK and dialer.asks is _ANY_ADDRESS:
            self._ask_address(dialer, packet[4:], now)

    def _hear_ipcp_ack(self, dialer: Dialer, _packet: bytes, now: int) -> None:
        self._address_agreed(dialer, _OURS, now)

    def _address_agreed(self, dialer: Dialer, whose: int, now: int) -> None:
        if dialer.stage is not Stage.NETWORK:
            return
        dialer.agreed |= whose
        if whose == _OURS:
            dialer.last = b""
        if dialer.agreed != _BOTH:
            return
        dialer.stage, dialer.address, dialer.online = Stage.ONLINE, dialer.asks[2:6], now
        dialer.due = now + (self.keepalive or 3600 * SECOND)
        if self._holders.setdefault(dialer.address, dialer) is not dialer:
            self._blame(dialer, f"{IPv4Address(dialer.address)} of another", b"")
        self.waiting -= 1
        if self._under_way:
            self._begin_another(now)

    def _hear_ipv6cp(self, dialer: Dialer, packet: bytes, _now: int) -> None:
        reject = encode(Code.PROTOCOL_REJECT, 1, Protocol.IPV6CP.to_bytes(2, "big") + packet)
        self._ppp(dialer, Protocol.LCP, reject)

    def _hear_echo_request(self, dialer: Dialer, packet: bytes, _now: int) -> None:
        self.echoes["heard"] += 1
        self._ppp(dialer, Protocol.LCP, encode(Code.ECHO_REPLY, packet[1], dialer.magic + packet[8:]))

    def _hear_echo_reply(self, _dialer: Dialer, _packet: bytes, _now: int) -> None:
        self.echoes["answered"] += 1


_HEARD: dict[tuple[int, int], Callable[[Dialers, Dialer, bytes, int], None]] = {
    (Protocol.LCP, Code.CONFIGURE_REQUEST): Dialers._hear_lcp_request,
    (Protocol.LCP, Code.CONFIGURE_ACK): Dialers._hear_lcp_ack,
    (Protocol.LCP, Code.ECHO_REQUEST): Dialers._hear_echo_request,
    (Protocol.LCP, Code.ECHO_REPLY): Dialers._hear_echo_reply,
    (Protocol.PAP, PapCode.ACK): Dialers._hear_welcome,
    (Protocol.CHAP, ChapCode.CHALLENGE): Dialers._hear_challenge,
    (Protocol.CHAP, ChapCode.SUCCESS): Dialers._hear_welcome,
    (Protocol.IPCP, Code.CONFIGURE_REQUEST): Dialers._hear_ipcp_request,
    (Protocol.IPCP, Code.CONFIGURE_NAK): Dialers._hear_ipcp_nak,
    (Protocol.IPCP, Code.CONFIGURE_ACK): Dialers._hear_ipcp_ack,
    (Protocol.IPV6CP, Code.CONFIGURE_REQUEST): Dialers._hear_ipv6cp,
}
"""What a client understands, and what it does about it."""
