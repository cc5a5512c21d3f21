"""/v1/lines: where subscribers attach."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response

from wayleave.nexus.access import AsOperator, AsReader
from wayleave.nexus.lines import Lines
from wayleave.nexus.model import Line
from wayleave.nexus.records import Listed
from wayleave.nexus.routes.wire import After, Expected, Limit, Matched, Name, Wire, same, tag
from wayleave.nexus.service import Service


def routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/lines", tags=["lines"])
    known = Lines(service.store)

    @router.get("")
    async def lines(_: AsReader, after: After = "", limit: Limit = 100) -> Annotated[Listed[Line], Wire]:
        """List them, each with its revision."""
        return await known.list(after, limit)

    @router.get("/{name}")
    async def line(_: AsReader, name: Name, said: Response) -> Annotated[Line, Wire]:
        """One of them; its ETag is what a change expects."""
        found = await known.get(name)
        tag(said, found.revision)
        return found.record

    @router.put("/{name}")
    async def put(
        peer: AsOperator, name: Name, record: Annotated[Line, Wire, Body()], expected: Expected, said: Response
    ) -> Annotated[Line, Wire]:
        """Make it, or change it; its subscribers move with it."""
        same(name, record.name)
        tag(said, await Lines(service.by(peer)).put(record, expected))
        return record

    @router.delete("/{name}", status_code=204)
    async def delete(peer: AsOperator, name: Name, expected: Matched) -> None:
        """Delete it, where it has no subscribers."""
        await Lines(service.by(peer)).delete(name, expected)

    return router
