"""The other side of authentication: a peer that proves who it is, for the lab and for tests.

What MS-CHAPv2 computes needs MD4 and DES, which nothing in the gateway does: it comes in as an `MsChap2Computer`.

Source: RFC 1334 2, RFC 1994 4, RFC 2759.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar
from typing import Protocol as Interface

from msgspec import Struct

from wayleave.net.units import BootNs, Ns, after
from wayleave.proto.ppp.auth import (
    CHALLENGE,
    NEVER,
    Authentication,
    ChapCode,
    PapCode,
    Patience,
    Stage,
    chap_response,
    counted,
    decode_chap,
)
from wayleave.proto.ppp.packet import Control, Protocol, encode


class MsChap2Computer(Interface):
    """RFC 2759's two computations. `challenge` is the authenticator's."""

    def response(self, name: bytes, password: bytes, challenge: bytes, peer_challenge: bytes) -> bytes:
        """Return the 24 octets of the NT response (RFC 2759 8.1)."""

    def proof(self, name: bytes, password: bytes, challenge: bytes, peer_challenge: bytes, nt_response: bytes) -> bytes:
        """Return what the authenticator has to say to be believed, `S=` and 40 digits (RFC 2759 8.7)."""


class Account(Struct, frozen=True, kw_only=True):
    """Who a peer is, and how it is ready to prove that, the best first."""

    name: bytes
    password: bytes
    accepts: tuple[Authentication, ...] = (Authentication.CHAP_MD5, Authentication.PAP)
    ms_chap: MsChap2Computer | None = None

    def __repr__(self) -> str:
        return f"Account({self.name!r})"


class PapPeer(Struct, gc=False):
    """Asks to be let in, until somebody answers. Source: RFC 1334 2.2.1."""

    PROTOCOL: ClassVar[Protocol] = Protocol.PAP

    account: Account
    patience: Patience
    stage: Stage = Stage.WAITING
    deadline: BootNs = NEVER
    message: bytes = b""
    _tries: int = 0

    def begin(self, now: BootNs) -> list[bytes]:
        self._tries += 1
        self.deadline = after(now, self.patience.every)
        data = counted(self.account.name) + counted(self.account.password)
        return [encode(PapCode.REQUEST, self._tries & 0xFF, data)]

    def receive(self, packet: Control) -> list[bytes]:
        if self.stage is Stage.WAITING and packet.code in (PapCode.ACK, PapCode.NAK):
            self.stage = Stage.ACCEPTED if packet.code == PapCode.ACK else Stage.REFUSED
            self.message, self.deadline = packet.data[1:], NEVER
        return []

    def expire(self, now: BootNs) -> list[bytes]:
        if self.deadline == NEVER or now < self.deadline:
            return []
        if self._tries < self.patience.tries:
            return self.begin(now)
        self.stage, self.deadline = Stage.SILENT, NEVER
        return []


class ChapPeer(Struct, gc=False):
    """Answers challenges; of MS-CHAPv2's authenticator it asks a proof too. Source: RFC 1994 4, RFC 2759 5."""

    PROTOCOL: ClassVar[Protocol] = Protocol.CHAP

    account: Account
    patience: Patience
    microsoft: bool
    entropy: Callable[[int], bytes]
    stage: Stage = Stage.WAITING
    deadline: BootNs = NEVER
    message: bytes = b""
    _challenge: tuple[int, bytes] | None = None
    _response: bytes = b""
    _proof: bytes = b""

    def begin(self, now: BootNs) -> list[bytes]:
        self.deadline = after(now, Ns(self.patience.every * self.patience.tries))
        return []

    def receive(self, packet: Control) -> list[bytes]:
        """Take a packet. Raises: Malformed."""
        match packet.code:
            case ChapCode.CHALLENGE:
                challenge, _ = decode_chap(packet.data)
                if self._challenge != (packet.identifier, challenge):
                    self._challenge = (packet.identifier, challenge)
                    self._response = self._answer(packet.identifier, challenge)
                return [encode(ChapCode.RESPONSE, packet.identifier, counted(self._response) + self.account.name)]
            case ChapCode.SUCCESS | ChapCode.FAILURE if self._challenge and packet.identifier == self._challenge[0]:
                if self.stage is Stage.WAITING:
                    proven = packet.data.startswith(self._proof)
                    accepted = packet.code == ChapCode.SUCCESS and proven
                    self.stage = Stage.ACCEPTED if accepted else Stage.REFUSED
                    self.message, self.deadline = packet.data, NEVER
        return []

    def expire(self, now: BootNs) -> list[bytes]:
        if self.deadline != NEVER and now >= self.deadline:
            self.stage, self.deadline = Stage.SILENT, NEVER
        return []

    def _answer(self, identifier: int, challenge: bytes) -> bytes:
        name, password = self.account.name, self.account.password
        computer = self.account.ms_chap
        if not self.microsoft or computer is None:
            return chap_response(identifier, password, challenge)
        mine = self.entropy(CHALLENGE)
        nt_response = computer.response(name, password, challenge, mine)
        self._proof = computer.proof(name, password, challenge, mine, nt_response)
        return mine + bytes(8) + nt_response + bytes(1)


Peer = PapPeer | ChapPeer
