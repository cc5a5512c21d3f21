"""The server's side: CoA and Disconnect requests, heard from whom they may come from, and answered once.

A request is believed if its sender is known and its authenticators are right, and if its Event-Timestamp, where it has
one, is of now (RFC 5176 6.3). A repeated one gets the answer that the first one got, for as long as it could be a
repetition; while there is none yet, nothing. What is not believed gets no answer at all (RFC 5176 2.3).

A machine without I/O: `receive` gives a request, or octets to send; `answer` gives those for a request.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple

from msgspec import Struct

from wayleave.net.errors import Malformed
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns, UtcNs
from wayleave.proto.radius.packet import Avp, Code, Doubt, Packet, decode, doubt_request, response

WINDOW = Ns(300 * SECOND)
"""How far an Event-Timestamp may be from now, and how long answers are kept (RFC 5176 6.3)."""
KEPT = 65536
"""Answers that are kept, at most: what controllers may ask within twice the window."""
EVENT_TIMESTAMP, PROXY_STATE = 55, 33
ERROR_CAUSE = 101


class Source(NamedTuple):
    """Address and UDP port of a sender, and the address of ours that it sent to; None: it does not matter."""

    address: IPv4Address
    port: int
    to: IPv4Address | None = None


_ANSWERS = {
    Code.DISCONNECT_REQUEST: (Code.DISCONNECT_ACK, Code.DISCONNECT_NAK),
    Code.COA_REQUEST: (Code.COA_ACK, Code.COA_NAK),
}


class Controller(Struct, frozen=True, kw_only=True):
    """Who may change sessions. `required`: needs a Message-Authenticator; `timestamped`: an Event-Timestamp."""

    secret: Secret
    required: bool = True
    timestamped: bool = False


class Request(Struct, frozen=True):
    """A request that is believed."""

    source: Source
    packet: Packet

    @property
    def disconnects(self) -> bool:
        return self.packet.code == Code.DISCONNECT_REQUEST


_Known = tuple[IPv4Address, int, bytes]


def _known(source: Source, packet: Packet) -> _Known:
    """What a request is known by: from whatever port its sender's address says it, it is the same."""
    return source.address, packet.identifier, packet.authenticator


class _Kept(Struct):
    at: BootNs
    answer: bytes | None = None


class Listener:
    """Hears controllers; `counts` says what became of everything that came in."""

    def __init__(
        self,
        controllers: Mapping[IPv4Address, Controller],
        ignored: Callable[[IPv4Address, str], None] = lambda _address, _why: None,
    ) -> None:
        """`ignored` hears of who sent what gets no answer, and why."""
        self.controllers, self._ignored = controllers, ignored
        self.counts: Counter[str] = Counter()
        self._kept: OrderedDict[_Known, _Kept] = OrderedDict()

    def receive(self, source: Source, data: bytes, now: BootNs, utc: UtcNs | None) -> Request | bytes | None:
        """Take a datagram. `utc`: None where the wall clock cannot be believed; then timestamps cannot be checked.

        Octets are the answer to a repetition. None: nothing is to be done, and `counts` says why.
        """
        controller = self.controllers.get(source.address)
        if controller is None:
            return self._ignore("unknown-source", source)
        try:
            packet = decode(data)
        except Malformed:
            return self._ignore(Doubt.MALFORMED.value, source)
        if packet.code not in _ANSWERS:
            return self._ignore(Doubt.UNEXPECTED_CODE.value, source)
        doubt = doubt_request(data, packet, controller.secret, controller.required)
        if doubt is not None:
            return self._ignore(doubt.value, source)
        self._forget(now)
        key = _known(source, packet)
        kept = self._kept.get(key)
        if kept is not None:
            self._count("repeated")
            return kept.answer
        stale = self._stale(packet, controller, utc)
        if stale is not None:
            return self._ignore(stale, source)
        if len(self._kept) >= KEPT:
            return self._ignore("too-many", source)
        self._kept[key] = _Kept(now)
        self._count("disconnect" if packet.code == Code.DISCONNECT_REQUEST else "coa")
        return Request(source, packet)

    def answer(self, request: Request, error: int | None, attributes: Iterable[Avp] = ()) -> bytes:
        """Return the answer: ACK, or NAK with an Error-Cause. Proxy-State goes back as it came (RFC 5176 2.3)."""
        packet = request.packet
        ack, nak = _ANSWERS[Code(packet.code)]
        said = list(attributes) if error is None else [(ERROR_CAUSE, error.to_bytes(4, "big")), *attributes]
        said += [(PROXY_STATE, state) for state in packet.all(PROXY_STATE)]
        secret = self.controllers[request.source.address].secret
        octets = response(packet, ack if error is None else nak, said, secret)
        self._count("acknowledged" if error is None else "refused")
        kept = self._kept.get(_known(request.source, packet))
        if kept is not None:
            kept.answer = octets
        return octets

    def _stale(self, packet: Packet, controller: Controller, utc: UtcNs | None) -> str | None:
        stamp = packet.first(EVENT_TIMESTAMP)
        if stamp is None:
            return "no-timestamp" if controller.timestamped else None
        if len(stamp) != 4:
            return Doubt.MALFORMED.value
        if utc is None:
            return "clock-unset" if controller.timestamped else None
        return "stale" if abs(int.from_bytes(stamp, "big") * SECOND - utc) > WINDOW else None

    def _forget(self, now: BootNs) -> None:
        while self._kept and now - next(iter(self._kept.values())).at > 2 * WINDOW:
            self._kept.popitem(last=False)

    def _ignore(self, why: str, source: Source) -> bytes | None:
        self._count(why)
        self._ignored(source.address, why)
        return None

    def _count(self, what: str) -> None:
        self.counts[what] += 1
