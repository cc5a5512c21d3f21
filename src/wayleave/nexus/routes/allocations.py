"""/v1/allocations: single units of pools, for those who have no gateway with blocks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Response
from msgspec import Struct

from wayleave.nexus.access import AsOperator, AsReader
from wayleave.nexus.allocations import LONGEST_REQUEST, Allocation, Asked
from wayleave.nexus.model import Mode
from wayleave.nexus.records import Listed
from wayleave.nexus.routes.wire import After, Limit, OfPool, Wire, tag
from wayleave.nexus.service import Service

IdempotencyKey = Annotated[
    str,
    Header(
        min_length=1,
        max_length=LONGEST_REQUEST,
        description="of this question, and of it alone: who repeats it, having heard no answer, gets nothing more",
    ),
]


Identity = Annotated[str, Path(max_length=128, description="of an allocation, as it was told")]


class NewAllocation(Struct, frozen=True):
    """`unit`: that one; empty: any. `ttl`: for how many seconds from when it was asked for last, of mode `ttl`."""

    pool: str
    holder: str
    mode: Mode
    unit: str = ""
    ttl: int = 0


def routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/allocations", tags=["allocations"])
    known = service.allocations

    @router.get("")
    async def allocations(
        _: AsReader, pool: OfPool, after: After = "", limit: Limit = 100
    ) -> Annotated[Listed[Allocation], Wire]:
        """List those of a pool."""
        return await known.list(pool, after, limit)

    @router.get("/{identity}")
    async def allocation(_: AsReader, identity: Identity, said: Response) -> Annotated[Allocation, Wire]:
        """One that stands."""
        found = await known.get(identity)
        tag(said, found.revision)
        return found.record

    @router.post("", status_code=201)
    async def allocate(
        peer: AsOperator, asked: Annotated[NewAllocation, Wire, Body()], idempotency_key: IdempotencyKey, said: Response
    ) -> Annotated[Allocation, Wire]:
        """Give its holder a unit of the pool; who has one already is told it, under another id."""
        question = Asked(asked.pool, asked.holder, asked.mode, asked.unit, asked.ttl, idempotency_key)
        given = await known.by(service.by(peer)).allocate(question)
        said.headers["Location"] = f"/v1/allocations/{given.id}"
        return given

    @router.post("/{identity}/renew")
    async def renew(_: AsOperator, identity: Identity) -> Annotated[Allocation, Wire]:
        """Have the time of one begin anew. It is not on record, as it changes nothing for anybody else."""
        return await known.renew(identity)

    @router.delete("/{identity}", status_code=204)
    async def release(peer: AsOperator, identity: Identity) -> None:
        """Take the unit back."""
        await known.by(service.by(peer)).release(identity)

    return router
