"""The client's side of discovery: a small machine, for the lab and for tests.

It asks into the broadcast domain, takes the first offer of its service, asks that concentrator for a session, and
begins again if it gets none. Waits double from one repetition to the next (RFC 2516 8).

Source: RFC 2516 5 and 8, RFC 4638 3.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.pppoe.packet import (
    AC_COOKIE,
    AC_NAME,
    AC_SYSTEM_ERROR,
    GENERIC_ERROR,
    HOST_UNIQ,
    PLAIN_MRU,
    PPP_MAX_PAYLOAD,
    RELAY_SESSION_ID,
    SERVICE_NAME,
    SERVICE_NAME_ERROR,
    Code,
    Packet,
    Tag,
    encode,
)

NEVER = BootNs(0)
FIRST_WAIT = Ns(SECOND)
TRIES = 4
"""Transmissions of a PADI or of a PADR, before the machine gives up or begins again."""

_ERRORS = (SERVICE_NAME_ERROR, AC_SYSTEM_ERROR, GENERIC_ERROR)


class Stage(Enum):
    SEEKING = "seeking"
    ASKING = "asking"
    IN_SESSION = "in session"
    ENDED = "ended"


class Send(Struct, frozen=True, gc=False):
    """A packet for the discovery stage, and whom it is for."""

    destination: Mac
    data: bytes


class Host(Struct):
    """One client. `begin`, `receive` and `expire` return what to send.

    `host_uniq` tells its packets from those of others on the same MAC. `rounds` are the times that a concentrator which
    had offered gave no session. Once IN_SESSION, `concentrator`, `session_id` and `max_payload` say which session.
    """

    host_uniq: bytes
    service: str = ""
    concentrator_name: str = ""
    """Empty: any."""
    most_payload: int = PLAIN_MRU
    more: tuple[Tag, ...] = ()
    """Tags beside its own, such as an access node adds on the way."""
    rounds: int = 3
    stage: Stage = Stage.SEEKING
    deadline: BootNs = NEVER
    concentrator: Mac = BROADCAST
    session_id: int = 0
    max_payload: int = PLAIN_MRU
    error: str = ""
    """What the concentrator said of why not."""
    _sent: int = 0
    _packet: bytes = b""

    def begin(self, now: BootNs) -> list[Send]:
        """Look for a concentrator."""
        self.stage, self.concentrator, self.session_id = Stage.SEEKING, BROADCAST, 0
        return self._ask(encode(Code.PADI, 0, self._tags()), now)

    def receive(self, source: Mac, packet: Packet, now: BootNs) -> list[Send]:
        """Hear a discovery packet; one that is not for this client, or not of this stage, changes nothing."""
        match packet.code:
            case Code.PADO if self.stage is Stage.SEEKING and self._is_mine(packet) and self._suits(packet):
                self.stage, self.concentrator = Stage.ASKING, source
                kept = [tag for tag in packet.tags if tag[0] in (AC_COOKIE.number, RELAY_SESSION_ID.number)]
                return self._ask(encode(Code.PADR, 0, [*self._tags(), *kept]), now)
            case Code.PADS if self.stage is Stage.ASKING and self._is_mine(packet) and source == self.concentrator:
                return self._answered(packet, now)
            case Code.PADT if self.stage is Stage.IN_SESSION:
                if (source, packet.session_id) == (self.concentrator, self.session_id):
                    self.stage = Stage.ENDED
        return []

    def expire(self, now: BootNs) -> list[Send]:
        """Repeat what was not answered; after `TRIES`, begin again or give up."""
        if self.deadline == NEVER or now < self.deadline:
            return []
        if self._sent < TRIES:
            return self._transmit(now)
        return self._again(now) if self.stage is Stage.ASKING else self._end()

    def _answered(self, packet: Packet, now: BootNs) -> list[Send]:
        if not packet.session_id:
            self.error = next((said.decode(errors="replace") for row in _ERRORS for said in packet.all(row)), "")
            return self._again(now)
        self.stage, self.session_id, self.deadline = Stage.IN_SESSION, packet.session_id, NEVER
        said = packet.first(PPP_MAX_PAYLOAD)
        if said is not None and len(said) == 2:
            self.max_payload = max(PLAIN_MRU, min(self.most_payload, int.from_bytes(said, "big")))
        return []

    def _again(self, now: BootNs) -> list[Send]:
        self.rounds -= 1
        return self.begin(now) if self.rounds > 0 else self._end()

    def _end(self) -> list[Send]:
        self.stage, self.deadline = Stage.ENDED, NEVER
        return []

    def _is_mine(self, packet: Packet) -> bool:
        return packet.first(HOST_UNIQ) == self.host_uniq

    def _suits(self, packet: Packet) -> bool:
        name = packet.first(AC_NAME)
        return (
            name is not None
            and self.concentrator_name in ("", name.decode(errors="replace"))
            and self.service.encode() in packet.all(SERVICE_NAME)
        )

    def _tags(self) -> list[Tag]:
        tags = [(SERVICE_NAME.number, self.service.encode()), (HOST_UNIQ.number, self.host_uniq)]
        if self.most_payload > PLAIN_MRU:
            tags.append((PPP_MAX_PAYLOAD.number, self.most_payload.to_bytes(2, "big")))
        return [*tags, *self.more]

    def _ask(self, packet: bytes, now: BootNs) -> list[Send]:
        self._packet, self._sent = packet, 0
        return self._transmit(now)

    def _transmit(self, now: BootNs) -> list[Send]:
        self.deadline = after(now, Ns(FIRST_WAIT << self._sent))
        self._sent += 1
        return [Send(self.concentrator, self._packet)]
