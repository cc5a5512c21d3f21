"""Who asks, and how often it may: out of the certificate that TLS has verified.

A certificate of the operator's CA says in its subject who its holder is: CN is the name, OU the role. The chain, the
dates and the purpose were verified when the connection came about (`serve`); the date is looked at again with each
request, as a connection may outlive its certificate.

    node        a gateway: its hold, its view, what it reports; it is the CN
    provider    its own subscribers; it is the CN
    operator    everything
    auditor     reads everything
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from msgspec import Struct

from wayleave.net.units import SECOND, BootNs, UtcNs
from wayleave.nexus.problems import TooLarge, TooMany, refusal
from wayleave.nexus.refusal import Forbidden
from wayleave.session.settings import parse_name

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from wayleave.nexus.service import Service
    from wayleave.nexus.settings import LimitSettings

MOST_BODY = 1 << 20
"""Octets of a request's body."""


class Role(StrEnum):
    """What a certificate's holder is; written in its OU."""

    NODE = "node"
    PROVIDER = "provider"
    OPERATOR = "operator"
    AUDITOR = "auditor"


class Peer(Struct, frozen=True):
    """Whoever asks. `until`: its certificate's end."""

    role: Role
    name: str
    until: UtcNs

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


def peer_of(certificate: Mapping[str, Any]) -> Peer:
    """Return whose a certificate is, as `ssl.SSLSocket.getpeercert` has it. Raises: Forbidden."""
    said = list(_subject(certificate))
    names = [value for key, value in said if key == "commonName"]
    roles = [value for key, value in said if key == "organizationalUnitName"]
    if len(names) != 1 or len(roles) != 1 or roles[0] not in list(Role):
        raise Forbidden(
            f"the certificate's subject has to have one CN, a name, and one OU, of {', '.join(Role)}: see `nexus certs`"
        )
    try:
        name = parse_name(names[0])
    except ValueError as error:
        raise Forbidden(f"the certificate's CN: {error}") from None
    return Peer(Role(roles[0]), name, UtcNs(ssl.cert_time_to_seconds(certificate["notAfter"]) * SECOND))


def _subject(certificate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in certificate.get("subject", ()):
        yield from part


def only(*roles: Role) -> Any:
    """Return what lets a route be asked by some roles alone, and tells it who asks."""

    async def asking(request: Request) -> Peer:
        peer: Peer = request.state.peer
        if peer.role not in roles:
            raise Forbidden(f"{peer} may not ask this: it is for {' and '.join(roles)}")
        return peer

    return Depends(asking)


AsNode = Annotated[Peer, only(Role.NODE)]
AsOperator = Annotated[Peer, only(Role.OPERATOR)]
AsReader = Annotated[Peer, only(Role.OPERATOR, Role.AUDITOR)]
AsProvider = Annotated[Peer, only(Role.OPERATOR, Role.PROVIDER)]
"""Who changes subscribers: the route looks at whose they are."""
AsProviderReader = Annotated[Peer, only(Role.OPERATOR, Role.AUDITOR, Role.PROVIDER)]


class Bucket:
    """How often one may ask: `rate` times a second, and `burst` at once after a pause."""

    def __init__(self, rate: int, burst: int, now: BootNs) -> None:
        self._cost, self._most = SECOND // rate, SECOND // rate * burst
        self._level, self._at = 0, now

    def take(self, now: BootNs) -> int:
        """Count a question; returns for how many nanoseconds there may be no other, 0: it may be answered."""
        level = max(0, self._level - (now - self._at))
        self._at = now
        over = level + self._cost - self._most
        self._level = level if over > 0 else level + self._cost
        return max(0, over)


class Gate:
    """Lets those requests in that have a name, a certificate that still counts, and are not too many or too large.

    Beneath it `request.state.peer` is who asks.
    """

    def __init__(self, app: ASGIApp, limits: LimitSettings, service: Service) -> None:
        self._app, self._rate, self._burst = app, limits.rate, limits.burst
        self._boot, self._utc, self._answers = service.boot, service.utc, service.counts.answers
        self._buckets: dict[tuple[Role, str], Bucket] = {}
        """One for each that has a certificate of the operator's CA: they are as many as it has issued."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request (ASGI)."""
        role = "unknown"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answers[role, str(message["status"])] += 1
            await send(message)

        try:
            peer = peer_of(scope["state"]["certificate"])
            role = peer.role
            self._admit(peer)
        except (Forbidden, TooMany) as error:
            await refusal(error)(scope, receive, counted)
        else:
            scope["state"]["peer"] = peer
            await self._app(scope, _bounded(receive), counted)

    def _admit(self, peer: Peer) -> None:
        if self._utc() >= peer.until:
            raise Forbidden(f"the certificate of {peer} has expired: it needs a new one, and a new connection")
        now = self._boot()
        bucket = self._buckets.setdefault((peer.role, peer.name), Bucket(self._rate, self._burst, now))
        if wait := bucket.take(now):
            raise TooMany(f"{peer} asks more than {self._rate} times a second", -(-wait // SECOND))


def _bounded(receive: Receive) -> Callable[[], Awaitable[Message]]:
    """Return the same, which raises TooLarge behind `MOST_BODY` octets."""
    got = 0

    async def counted() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > MOST_BODY:
            raise TooLarge(MOST_BODY)
        return message

    return counted
