"""IPV6CP: each side's interface identifier, of which its link-local address is made. Addresses come by RA and DHCPv6.

`Ipv6cpServer` is the gateway's side: its own identifier stands, and of a client's it naks zero, its own and, where
authorization fixed one (Framed-Interface-Id), any other. `Ipv6cpClient` takes what it is told. Compression is rejected.

Source: RFC 5072 4.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from wayleave.proto.ppp.automaton import Automaton
from wayleave.proto.ppp.packet import Option, Protocol

ZERO = bytes(8)
_UNIVERSAL = 0x02
"""Of the first octet: the identifier is no other's in the world."""


class Kind(IntEnum):
    """The option that is known here. Source: RFC 5072 4.1."""

    INTERFACE_IDENTIFIER = 1


class Identifiers(Struct, frozen=True, gc=False):
    """What both sides agreed on: eight octets each."""

    own: bytes
    peer: bytes


def made_up(entropy: bytes) -> bytes:
    """Return an identifier made of eight octets that nobody can foresee: one that says of itself that it is local.

    Source: RFC 5072 4.1: its u bit is zero.
    """
    return bytes((entropy[0] & ~_UNIVERSAL, *entropy[1:]))


class Ipv6cpServer(Automaton, kw_only=True, gc=False):
    """The gateway's side. `suggested` is for a client whose own will not do; `fixed`: no other will."""

    PROTOCOL = Protocol.IPV6CP

    own: bytes
    suggested: bytes
    fixed: bool = False
    _peer: bytes = ZERO

    def agreed(self) -> Identifiers:
        """Return what it came to, once open."""
        return Identifiers(self.own, self._peer)

    def reset(self) -> None:
        self._peer = ZERO

    def resume(self) -> None:
        Automaton.resume(self)
        self._peer = self.suggested

    def wishes(self) -> list[Option]:
        return [(Kind.INTERFACE_IDENTIFIER, self.own)]

    def judge(self, kind: int, value: bytes) -> bytes | None:
        if kind != Kind.INTERFACE_IDENTIFIER:
            return None
        taken = self.fixed or len(value) != 8 or value in (ZERO, self.own)
        return self.suggested if taken else value

    def lacking(self, kinds: set[int]) -> list[Option]:
        return [] if Kind.INTERFACE_IDENTIFIER in kinds else [(Kind.INTERFACE_IDENTIFIER, self.suggested)]

    def take(self, options: tuple[Option, ...]) -> None:
        self._peer = dict(options)[Kind.INTERFACE_IDENTIFIER]

    def naked(self, _kind: int, _value: bytes) -> bool:
        return True  # where both chose the same, it is the client that takes another: its own is nak'd

    def rejected(self, _kind: int) -> bool:
        return False


class Ipv6cpClient(Automaton, kw_only=True, gc=False):
    """The client's side: it asks for `own`, and takes what it is told."""

    PROTOCOL = Protocol.IPV6CP

    own: bytes
    _mine: bytes = ZERO
    _peer: bytes = ZERO

    def agreed(self) -> Identifiers:
        """Return what it came to, once open."""
        return Identifiers(self._mine, self._peer)

    def reset(self) -> None:
        self._mine, self._peer = self.own, ZERO

    def wishes(self) -> list[Option]:
        return [(Kind.INTERFACE_IDENTIFIER, self._mine)]

    def judge(self, kind: int, value: bytes) -> bytes | None:
        return value if kind == Kind.INTERFACE_IDENTIFIER and len(value) == 8 else None

    def take(self, options: tuple[Option, ...]) -> None:
        self._peer = dict(options).get(Kind.INTERFACE_IDENTIFIER, ZERO)

    def naked(self, kind: int, value: bytes) -> bool:
        if kind == Kind.INTERFACE_IDENTIFIER and len(value) == 8:
            self._mine = value
        return True

    def rejected(self, _kind: int) -> bool:
        return False
