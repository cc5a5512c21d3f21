"""/v1/pools: what gateways and Nexus itself hand out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response

from wayleave.nexus.access import AsOperator, AsReader
from wayleave.nexus.model import Pool
from wayleave.nexus.pools import Pools
from wayleave.nexus.records import Listed
from wayleave.nexus.routes.wire import After, Expected, Limit, Matched, Name, Wire, same, tag
from wayleave.nexus.service import Service


def routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/pools", tags=["pools"])
    known = Pools(service.store)

    @router.get("")
    async def pools(_: AsReader, after: After = "", limit: Limit = 100) -> Annotated[Listed[Pool], Wire]:
        """List them, each with its revision."""
        return await known.list(after, limit)

    @router.get("/{name}")
    async def pool(_: AsReader, name: Name, said: Response) -> Annotated[Pool, Wire]:
        """One of them; its ETag is what a change expects."""
        found = await known.get(name)
        tag(said, found.revision)
        return found.record

    @router.put("/{name}")
    async def put(
        peer: AsOperator, name: Name, record: Annotated[Pool, Wire, Body()], expected: Expected, said: Response
    ) -> Annotated[Pool, Wire]:
        """Make it, or change it; what its blocks are stays."""
        same(name, record.name)
        tag(said, await Pools(service.by(peer)).put(record, expected))
        return record

    @router.delete("/{name}", status_code=204)
    async def delete(peer: AsOperator, name: Name, expected: Matched) -> None:
        """Delete it, where nobody has anything of it."""
        await Pools(service.by(peer)).delete(name, expected)

    return router
