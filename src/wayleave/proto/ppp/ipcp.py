"""IPCP: the address that authorization decided is delivered, and the resolvers with it.

`IpcpServer` is the gateway's side: it naks whatever a client asks for until that is what was granted, and asks for its
own address. A client that does not ask for an address is told that it should. `IpcpClient` takes what it is told.
WINS, header compression and RFC 1172's address pairs are rejected.

Source: RFC 1332 3, RFC 1877 1.
"""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address

from msgspec import Struct, field

from wayleave.proto.ppp.automaton import Automaton
from wayleave.proto.ppp.packet import Option, Protocol

ZERO = IPv4Address(0)


class Kind(IntEnum):
    """The options that are known here. Source: RFC 1332 3.3, RFC 1877 1.1 and 1.3."""

    ADDRESS = 3
    PRIMARY_DNS = 129
    SECONDARY_DNS = 131


_RESOLVERS: tuple[int, ...] = (Kind.PRIMARY_DNS, Kind.SECONDARY_DNS)


class Addresses(Struct, frozen=True, gc=False):
    """What both sides agreed on: whose address is which, and the resolvers that the client was told."""

    own: IPv4Address
    peer: IPv4Address
    dns: tuple[IPv4Address, ...]


class IpcpServer(Automaton, kw_only=True, gc=False):
    """The gateway's side. `peer` and up to two of `dns` are what the client gets, `own` is the gateway's address."""

    PROTOCOL = Protocol.IPCP

    own: IPv4Address
    peer: IPv4Address
    dns: tuple[IPv4Address, ...] = ()
    _says: bool = True
    """Whether the client bears to hear our address."""

    def agreed(self) -> Addresses:
        """Return what it came to, once open."""
        return Addresses(self.own, self.peer, self.dns[:2])

    def reset(self) -> None:
        self._says = True

    def wishes(self) -> list[Option]:
        return [(Kind.ADDRESS, self.own.packed)] if self._says else []

    def judge(self, kind: int, _value: bytes) -> bytes | None:
        if kind == Kind.ADDRESS:
            return self.peer.packed
        if kind in _RESOLVERS:
            told = self.dns[_RESOLVERS.index(kind) :][:1]
            return told[0].packed if told else None
        return None

    def lacking(self, kinds: set[int]) -> list[Option]:
        return [] if Kind.ADDRESS in kinds else [(Kind.ADDRESS, self.peer.packed)]

    def take(self, options: tuple[Option, ...]) -> None:
        """It is what was granted, or it would not be acknowledged."""

    def naked(self, _kind: int, _value: bytes) -> bool:
        return True  # our address is not the client's to choose; a client that insists ends in `most_rounds`

    def rejected(self, _kind: int) -> bool:
        self._says = False
        return True


class IpcpClient(Automaton, kw_only=True, gc=False):
    """The client's side: it asks for any address and for resolvers, and takes what it is told."""

    PROTOCOL = Protocol.IPCP

    wanted: IPv4Address = ZERO
    _told: dict[int, bytes] = field(default_factory=dict)
    _peer: IPv4Address = ZERO

    def agreed(self) -> Addresses:
        """Return what it came to, once open."""
        resolvers = tuple(IPv4Address(self._told[kind]) for kind in _RESOLVERS if kind in self._told)
        return Addresses(IPv4Address(self._told[Kind.ADDRESS]), self._peer, resolvers)

    def reset(self) -> None:
        self._told = {Kind.ADDRESS: self.wanted.packed, **dict.fromkeys(_RESOLVERS, ZERO.packed)}

    def wishes(self) -> list[Option]:
        return list(self._told.items())

    def judge(self, kind: int, value: bytes) -> bytes | None:
        return value if kind == Kind.ADDRESS and len(value) == 4 else None

    def take(self, options: tuple[Option, ...]) -> None:
        self._peer = IPv4Address(dict(options).get(Kind.ADDRESS, ZERO.packed))

    def naked(self, kind: int, value: bytes) -> bool:
        if kind in self._told and len(value) == 4:
            self._told[kind] = value
        return True

    def rejected(self, kind: int) -> bool:
        self._told.pop(kind, None)
        return kind != Kind.ADDRESS
