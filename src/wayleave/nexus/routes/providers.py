"""/v1/providers: who sells service."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response

from wayleave.nexus.access import AsOperator, AsProviderReader, AsReader, Role
from wayleave.nexus.model import Provider
from wayleave.nexus.providers import Providers
from wayleave.nexus.records import Listed
from wayleave.nexus.refusal import Absent
from wayleave.nexus.routes.wire import After, Expected, Limit, Matched, Name, Wire, same, tag
from wayleave.nexus.service import Service


def routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/providers", tags=["providers"])
    known = Providers(service.store)

    @router.get("")
    async def providers(_: AsReader, after: After = "", limit: Limit = 100) -> Annotated[Listed[Provider], Wire]:
        """List them, each with its revision."""
        return await known.list(after, limit)

    @router.get("/{name}")
    async def provider(peer: AsProviderReader, name: Name, said: Response) -> Annotated[Provider, Wire]:
        """One of them; its ETag is what a change expects."""
        if peer.role is Role.PROVIDER and peer.name != name:
            raise Absent(f"there is no provider {name}")
        found = await known.get(name)
        tag(said, found.revision)
        return found.record

    @router.put("/{name}")
    async def put(
        peer: AsOperator, name: Name, record: Annotated[Provider, Wire, Body()], expected: Expected, said: Response
    ) -> Annotated[Provider, Wire]:
        """Make it, or change it; gateways hear of it soon behind it."""
        same(name, record.name)
        tag(said, await Providers(service.by(peer)).put(record, expected))
        service.unsettled.set()
        return record

    @router.delete("/{name}", status_code=204)
    async def delete(peer: AsOperator, name: Name, expected: Matched) -> None:
        """Delete it, where it has no subscribers."""
        await Providers(service.by(peer)).delete(name, expected)

    return router
