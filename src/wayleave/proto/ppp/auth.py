"""Authentication of the peer: PAP and CHAP as an authenticator that does not verify.

It asks, repeats, and hands over `Credentials` for somebody else to verify, RADIUS as a rule. The verdict comes back
whenever it is there; until then repetitions get no answer, and from then on each gets the same one.

    PAP   Authenticate-Request: length (1) name, length (1) password        Ack, Nak: length (1) message
    CHAP  Challenge, Response: length (1) value, name                       Success, Failure: message

The value of a response is MD5's 16 octets, or of MS-CHAPv2: peer challenge (16) zeros (8) NT response (24) flags (1).

Source: RFC 1334 2, RFC 1994 4, RFC 2759 4 to 6. Not supported: challenges anew during a session, changing passwords
and trying again within one (RFC 2759 6 and 7): who fails is disconnected.
"""

from __future__ import annotations

import hashlib
from enum import Enum, IntEnum
from typing import ClassVar

from msgspec import Struct

from wayleave.net.errors import Malformed
from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.ppp.packet import Control, Protocol, encode

NEVER = BootNs(0)
CHALLENGE = 16
"""Octets of a challenge, which nobody may foresee. MS-CHAPv2 knows no other length (RFC 2759 3)."""


class Authentication(Enum):
    """How a peer proves who it is. The values are those of LCP's option (RFC 1661 6.2, RFC 1994 3, RFC 2759 3)."""

    PAP = b"\xc0\x23"
    CHAP_MD5 = b"\xc2\x23\x05"
    MS_CHAP_2 = b"\xc2\x23\x81"

    __hash__ = object.__hash__


class PapCode(IntEnum):
    """Source: RFC 1334 2.2."""

    REQUEST = 1
    ACK = 2
    NAK = 3


class ChapCode(IntEnum):
    """Source: RFC 1994 4."""

    CHALLENGE = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4


# ---- What is to be verified -------------------------------------------------------------


class Pap(Struct, frozen=True, gc=False):
    """Name and password in the clear: what RADIUS hides in User-Password."""

    name: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Pap({self.name!r}, <secret>)"


class ChapMd5(Struct, frozen=True, gc=False):
    """What RADIUS takes as CHAP-Password (identifier, then response) and CHAP-Challenge."""

    name: bytes
    identifier: int
    challenge: bytes
    response: bytes


class MsChap2(Struct, frozen=True, gc=False):
    """What RADIUS takes as MS-CHAP-Challenge and MS-CHAP2-Response (RFC 2548 2.3.2)."""

    name: bytes
    identifier: int
    challenge: bytes
    peer_challenge: bytes
    nt_response: bytes
    flags: int


Credentials = Pap | ChapMd5 | MsChap2


# ---- Taking packets apart ---------------------------------------------------------------


def decode_pap(data: bytes) -> Pap:
    """Read an Authenticate-Request's data. Raises: Malformed. Source: RFC 1334 2.2.1."""
    name, at = _counted(data, 0, "RFC 1334 2.2.1")
    password, _ = _counted(data, at, "RFC 1334 2.2.1")
    return Pap(name, password)


def decode_chap(data: bytes) -> tuple[bytes, bytes]:
    """Read value and name of a Challenge or Response. Raises: Malformed. Source: RFC 1994 4.1."""
    value, at = _counted(data, 0, "RFC 1994 4.1")
    return value, data[at:]


def chap_response(identifier: int, password: bytes, challenge: bytes) -> bytes:
    """Return the value of a response with MD5, 16 octets. Source: RFC 1994 4.1."""
    return hashlib.md5(bytes((identifier,)) + password + challenge, usedforsecurity=False).digest()


def counted(value: bytes) -> bytes:
    """Return octets behind their length. Raises: ValueError over 255."""
    return bytes((len(value),)) + value


def _counted(data: bytes, at: int, source: str) -> tuple[bytes, int]:
    if at >= len(data):
        raise Malformed(at, "there is no length", source)
    end = at + 1 + data[at]
    if end > len(data):
        raise Malformed(at, f"length {data[at]}, and {len(data) - at - 1} octets are there", source)
    return data[at + 1 : end], end


# ---- The authenticators -----------------------------------------------------------------


class Stage(Enum):
    """How far it is. ASKED: the credentials are with whoever verifies them. SILENT: the peer never gave any."""

    WAITING = "waiting"
    ASKED = "asked"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    SILENT = "silent"


Output = bytes | Credentials
"""A packet to send, or credentials to verify."""


class Patience(Struct, frozen=True, kw_only=True, gc=False):
    """How long the other side is waited for: `tries` times `every`."""

    every: Ns = Ns(3 * SECOND)
    tries: int = 10


class Authenticator(Struct, gc=False):
    """What both kinds have in common. `deadline` is when `expire` wants to be called."""

    PROTOCOL: ClassVar[Protocol]

    patience: Patience
    stage: Stage = Stage.WAITING
    deadline: BootNs = NEVER
    _answer: tuple[int, bytes] = (0, b"")

    def begin(self, now: BootNs) -> list[bytes]:
        """Begin to ask."""
        raise NotImplementedError

    def receive(self, packet: Control) -> list[Output]:
        """Take a packet. Raises: Malformed, and then nothing has changed."""
        raise NotImplementedError

    def expire(self, now: BootNs) -> list[bytes]:
        """Ask again, or fall SILENT."""
        raise NotImplementedError

    def decide(self, accepted: bool, message: bytes, now: BootNs) -> list[bytes]:
        """Tell the peer, who has been ASKED, the verdict; `message` is cut to what fits."""
        raise NotImplementedError

    def rest(self) -> None:
        """Hear that the peer goes on: it knows that it was accepted."""
        self.deadline = NEVER


class PapAuthenticator(Authenticator, gc=False):
    """PAP: the peer asks by itself, and repeats itself. Source: RFC 1334 2."""

    PROTOCOL = Protocol.PAP

    _identifier: int = 0

    def begin(self, now: BootNs) -> list[bytes]:
        self.deadline = after(now, Ns(self.patience.every * self.patience.tries))
        return []

    def receive(self, packet: Control) -> list[Output]:
        if packet.code != PapCode.REQUEST:
            return []
        credentials = decode_pap(packet.data)
        self._identifier = packet.identifier
        if self.stage is Stage.WAITING:
            self.stage, self.deadline = Stage.ASKED, NEVER
            return [credentials]
        return [] if self.stage is Stage.ASKED else [*self._say()]

    def expire(self, now: BootNs) -> list[bytes]:
        if self.deadline != NEVER and now >= self.deadline:
            self.stage, self.deadline = Stage.SILENT, NEVER
        return []

    def decide(self, accepted: bool, message: bytes, _now: BootNs) -> list[bytes]:
        self.stage = Stage.ACCEPTED if accepted else Stage.REFUSED
        self._answer = (PapCode.ACK if accepted else PapCode.NAK, counted(message[:255]))
        return self._say()

    def _say(self) -> list[bytes]:
        code, data = self._answer
        return [encode(code, self._identifier, data)]


class ChapAuthenticator(Authenticator, gc=False):
    """CHAP, with MD5 or as MS-CHAPv2: a challenge, repeated until it is answered.

    A peer does not repeat itself: if its Success is lost, it waits for one for ever. So that is repeated too, until the
    peer goes on. `challenge` and `identifier` are entropy of the caller's; `name` says who asks.

    Source: RFC 1994 4, RFC 2759 3 to 6.
    """

    PROTOCOL = Protocol.CHAP

    name: bytes = b""
    challenge: bytes = b""
    identifier: int = 0
    microsoft: bool = False
    _tries: int = 0

    def begin(self, now: BootNs) -> list[bytes]:
        self._tries += 1
        self.deadline = after(now, self.patience.every)
        return [encode(ChapCode.CHALLENGE, self.identifier, counted(self.challenge) + self.name)]

    def receive(self, packet: Control) -> list[Output]:
        if packet.code != ChapCode.RESPONSE or packet.identifier != self.identifier:
            return []
        credentials = self._credentials(*decode_chap(packet.data))
        if self.stage is Stage.WAITING:
            self.stage, self.deadline = Stage.ASKED, NEVER
            return [credentials]
        return [] if self.stage is Stage.ASKED else [*self._say()]

    def expire(self, now: BootNs) -> list[bytes]:
        if self.deadline == NEVER or now < self.deadline:
            return []
        if self._tries < self.patience.tries:
            challenge = self.begin(now)
            return challenge if self.stage is Stage.WAITING else self._say()
        self.deadline = NEVER
        if self.stage is Stage.WAITING:
            self.stage = Stage.SILENT
        return []

    def decide(self, accepted: bool, message: bytes, now: BootNs) -> list[bytes]:
        self.stage = Stage.ACCEPTED if accepted else Stage.REFUSED
        if accepted:
            self._tries, self.deadline = 1, after(now, self.patience.every)
        if self.microsoft and not accepted and not message:
            # A form that its clients read (RFC 2759 6): 691 is ERROR_AUTHENTICATION_FAILURE, and there is no retry.
            message = b"E=691 R=0 C=%s V=3 M=Access denied" % self.challenge.hex().upper().encode()
        self._answer = (ChapCode.SUCCESS if accepted else ChapCode.FAILURE, message[:255])
        return self._say()

    def _credentials(self, value: bytes, name: bytes) -> Credentials:
        if not self.microsoft:
            if len(value) != 16:
                raise Malformed(0, f"{len(value)} octets are no response of MD5", "RFC 1994 4.1")
            return ChapMd5(name, self.identifier, self.challenge, value)
        if len(value) != 49:
            raise Malformed(0, f"{len(value)} octets are no response of MS-CHAPv2", "RFC 2759 4")
        return MsChap2(name, self.identifier, self.challenge, value[:16], value[24:48], value[48])

    def _say(self) -> list[bytes]:
        code, data = self._answer
        return [encode(code, self.identifier, data)]
