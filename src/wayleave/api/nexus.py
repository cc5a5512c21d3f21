"""How the gateway does toward Nexus: whether it answers, what blocks there are, and how long they last without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from pydantic import BaseModel, Field

from wayleave.net.units import SECOND, BootNs
from wayleave.proto.nexus.holder import Holder
from wayleave.proto.nexus.messages import Block
from wayleave.session.growth import Growth
from wayleave.session.pool import Pool


class BlockView(BaseModel):
    """A range of addresses, both ends included."""

    first: str
    last: str
    fence: int


class ShareView(BaseModel):
    """What the gateway has of a shared pool."""

    pool: str
    blocks: list[BlockView]
    size: int
    held: int
    spare: int
    reserve: int = Field(description="what is to be in hand: as much as the last hour took, half a block at least")
    lasts_s: int | None = Field(description="until it is used up, if newcomers go on to come; None: not at this rate")


class NexusView(BaseModel):
    """Nexus, as this gateway sees it."""

    server: str
    why: str = Field(description="why it does not answer; empty: it does")
    since_s: int = Field(description="for how long it has been so")
    epoch: int = Field(description="0: this gateway has no hold")
    hold_s: int = Field(description="how long its blocks are its own if Nexus stays silent; 0: they are not, now")
    waiting: int = Field(description="sessions of before that wait until Nexus confirms their blocks")
    shares: list[ShareView]
    faults: list[str] = Field(description="what is wrong between it and this gateway's configuration")
    out_of_place: dict[str, str] = Field(
        description="some subscribers that it tells of and that do not count here, and why"
    )

    @property
    def partitioned(self) -> bool:
        """Nexus does not answer."""
        return self.why != ""


class State(Protocol):
    """How a connection does."""

    @property
    def server(self) -> str: ...

    @property
    def why(self) -> str: ...

    @property
    def since(self) -> BootNs: ...


class Share(Protocol):
    """A shared pool, and how it grows."""

    @property
    def pool(self) -> Pool: ...

    @property
    def growth(self) -> Growth: ...


class Holding(Protocol):
    """The blocks of a gateway."""

    @property
    def holder(self) -> Holder: ...

    @property
    def until(self) -> BootNs: ...

    @property
    def shares(self) -> Mapping[str, Share]: ...

    def of(self, name: str) -> list[Block]: ...


def nexus_view(
    state: State, blocks: Holding, waiting: int, faults: list[str], out_of_place: dict[str, str], now: BootNs
) -> NexusView:
    """Return how it is now."""
    return NexusView(
        server=state.server,
        why=state.why,
        since_s=(now - state.since) // SECOND,
        epoch=blocks.holder.epoch,
        hold_s=max(0, blocks.until - now) // SECOND,
        waiting=waiting,
        shares=list(_shares(blocks)),
        faults=faults,
        out_of_place=out_of_place,
    )


def _shares(blocks: Holding) -> Iterator[ShareView]:
    for name, share in blocks.shares.items():
        pool, growth = share.pool, share.growth
        lasts = growth.lasts(pool.held, pool.spare)
        yield ShareView(
            pool=name,
            blocks=[BlockView(first=item.first, last=item.last, fence=item.fence) for item in blocks.of(name)],
            size=pool.size,
            held=pool.held,
            spare=pool.spare,
            reserve=growth.reserve(pool.held),
            lasts_s=None if lasts is None else lasts // SECOND,
        )
