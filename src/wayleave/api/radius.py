"""How the RADIUS servers do, as the API and /metrics tell it. Never a secret.

What is asked for is counted since the process began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel, Field

from wayleave.aaa.outbox import Outbox
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.radius.exchange import BUCKETS_MS, Exchange, Peer
from wayleave.proto.radius.packet import Doubt

Purpose = Literal["access", "accounting"]


class Deciding(Protocol):
    """What it needs of a gateway's authority. Exchanges and outboxes are by the group's name."""

    @property
    def access(self) -> Mapping[str, Exchange]: ...

    @property
    def accounted(self) -> Mapping[str, Exchange]: ...

    @property
    def outboxes(self) -> Mapping[str, Outbox]: ...

    @property
    def backlog(self) -> Mapping[str, int]:
        """Records that no server has acknowledged, by group."""

    @property
    def changes(self) -> Mapping[str, int]:
        """What became of what controllers sent."""

    @property
    def provisional(self) -> int:
        """Sessions that go by what was granted last."""

    def held(self, now: BootNs) -> int:
        """How many clients were rejected, and are not asked about again yet."""


class ServerView(BaseModel):
    """One server, as one group asks it for one purpose."""

    group: str
    server: str
    purpose: Purpose
    alive: bool = Field(description="as far as is known: what is not asked is not known to be dead")
    dead_s: int | None = Field(
        description="for how long it is silent, tried again or not; None: it is not, or was never connected"
    )
    heard_s: int | None = Field(description="since it last said something that was believed; None: it never did")
    in_flight: int = Field(description="packets that may still be answered")
    requests: int = Field(description="packets sent, repeated ones too")
    repeated: int
    timeouts: int = Field(description="waits that ended without an answer")
    deaths: int = Field(description="how often it was found dead")
    answers: dict[str, int]
    doubts: dict[str, int] = Field(description="answers that were not believed, by reason")
    mean_ms: float | None = Field(description="of its answers, from the first transmission; None: there were none")
    p95_ms: int | None = Field(description="at most so long took 95 % of them; None: longer than the last bucket")
    hint: str | None = Field(description="what is wrong with it as far as is known, and what to do")


class QueueView(BaseModel):
    """What waits for a group's servers."""

    group: str
    purpose: Purpose
    waiting: int = Field(description="questions that wait until one may be sent")
    refused: int = Field(description="questions that found too many waiting")


class BacklogView(BaseModel):
    """A group's accounting. All that waits is on disk."""

    group: str
    waiting: int = Field(description="records that no server has acknowledged yet")
    in_memory: int = Field(description="of them, those that are about to be sent")
    oldest_s: int | None = Field(description="for how long the oldest has waited; None: none waits, or nobody knows")
    acknowledged: int
    shortened: int = Field(description="records too long for a packet, sent without their longest attributes")


class RadiusView(BaseModel):
    """All of RADIUS."""

    servers: list[ServerView]
    queues: list[QueueView]
    backlogs: list[BacklogView]
    controllers: dict[str, int] = Field(description="CoA and Disconnect requests, by what became of them")
    rejected: int = Field(description="clients that were rejected, and are not asked about again yet")
    provisional: int = Field(description="sessions that go by what was granted last, as no server could be asked")


class Asked(NamedTuple):
    """A server with whom it is asked for."""

    group: str
    purpose: Purpose
    peer: Peer

    @property
    def labels(self) -> tuple[str, str, str]:
        return self.group, self.peer.server.name, self.purpose


def exchanges(of: Deciding) -> Iterator[tuple[str, Purpose, Exchange]]:
    """Every group's, for each purpose."""
    for group, exchange in of.access.items():
        yield group, "access", exchange
    for group, exchange in of.accounted.items():
        yield group, "accounting", exchange


def servers(of: Deciding) -> Iterator[Asked]:
    """Every server, as often as it is asked for something."""
    for group, purpose, exchange in exchanges(of):
        for peer in exchange.peers:
            yield Asked(group, purpose, peer)


HINTS = {
    Doubt.NO_MESSAGE_AUTHENTICATOR: (
        "it signs no answers: have it send Message-Authenticator (docs/operations/radius.md), or set "
        "message_authenticator = false, and anybody on the way can turn its no into a yes (CVE-2024-3596)"
    ),
    Doubt.BAD_AUTHENTICATOR: "its answers are made with another secret: wrong secret? Or somebody forges them",
    Doubt.BAD_MESSAGE_AUTHENTICATOR: "its answers were changed on the way, or are made with another secret",
}
NEVER_HEARD = (
    "it never answered: is it up, is there a way to it, is this gateway a client of its? Wrong secret? "
    "A server says nothing to who has another"
)


def _hint(peer: Peer) -> str | None:
    if peer.doubted is not None and peer.doubted in HINTS:
        return HINTS[peer.doubted]
    if peer.server.reliable:
        return peer.why or None
    return NEVER_HEARD if peer.dead_since and not peer.ever else None


def p95_ms(latency: Sequence[int]) -> int | None:
    """The upper bound of the bucket in which 95 % of answers are reached; None: there is none, or no answer."""
    below, wanted = 0, 0.95 * sum(latency)
    for most, count in zip(BUCKETS_MS, latency, strict=False):
        below += count
        if below >= wanted > 0:
            return most
    return None


def view_server(asked: Asked, now: BootNs) -> ServerView:
    """Return how a server does."""
    peer, answered = asked.peer, sum(asked.peer.latency)
    return ServerView(
        group=asked.group,
        server=peer.server.name,
        purpose=asked.purpose,
        alive=not peer.dead,
        dead_s=(now - peer.dead_since) // SECOND if peer.dead_since else None,
        heard_s=(now - peer.heard) // SECOND if peer.ever else None,
        in_flight=peer.in_flight,
        requests=peer.sent,
        repeated=peer.repeated,
        timeouts=peer.timeouts,
        deaths=peer.deaths,
        answers=dict(peer.answers),
        doubts=dict(peer.doubts),
        mean_ms=round(peer.latency_ns / answered / 1e6, 2) if answered else None,
        p95_ms=p95_ms(peer.latency),
        hint=_hint(peer),
    )


def view_radius(of: Deciding, now: BootNs) -> RadiusView:
    """Return how all of it does."""
    names = [*of.outboxes, *(name for name, count in of.backlog.items() if count and name not in of.outboxes)]
    return RadiusView(
        servers=[view_server(asked, now) for asked in servers(of)],
        queues=[
            QueueView(group=group, purpose=purpose, waiting=len(exchange.waiting), refused=exchange.refused)
            for group, purpose, exchange in exchanges(of)
        ],
        backlogs=[_backlog(of, name, now) for name in names],
        controllers=dict(of.changes),
        rejected=of.held(now),
        provisional=of.provisional,
    )


def _backlog(of: Deciding, group: str, now: BootNs) -> BacklogView:
    outbox = of.outboxes.get(group)
    oldest = outbox.oldest(now) if outbox is not None else None
    return BacklogView(
        group=group,
        waiting=of.backlog.get(group, 0),
        in_memory=len(outbox) if outbox is not None else 0,
        oldest_s=None if oldest is None else oldest // SECOND,
        acknowledged=outbox.acked if outbox is not None else 0,
        shortened=outbox.shortened if outbox is not None else 0,
    )
