"""/v1/subscribers: who buys service. A provider sees and changes its own, as if there were no others."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response

from wayleave.nexus.access import AsProvider, AsProviderReader, Peer, Role
from wayleave.nexus.model import Subscriber
from wayleave.nexus.records import Listed
from wayleave.nexus.routes.wire import After, Expected, Limit, Matched, Name, Wire, same, tag
from wayleave.nexus.service import Service
from wayleave.nexus.subscribers import Subscribers


def routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/subscribers", tags=["subscribers"])
    known = Subscribers(service.store, service.holding.own)

    @router.get("")
    async def subscribers(
        peer: AsProviderReader, after: After = "", limit: Limit = 100
    ) -> Annotated[Listed[Subscriber], Wire]:
        """List them, each with its revision."""
        return await known.list(_by(peer), after, limit)

    @router.get("/{name}")
    async def subscriber(peer: AsProviderReader, name: Name, said: Response) -> Annotated[Subscriber, Wire]:
        """One of them; its ETag is what a change expects."""
        found = await known.get(name, _by(peer))
        tag(said, found.revision)
        return found.record

    @router.put("/{name}")
    async def put(
        peer: AsProvider, name: Name, record: Annotated[Subscriber, Wire, Body()], expected: Expected, said: Response
    ) -> Annotated[Subscriber, Wire]:
        """Make it, or change it; its gateway hears of it at once."""
        same(name, record.name)
        tag(said, await Subscribers(service.by(peer), service.holding.own).put(record, expected, _by(peer)))
        return record

    @router.delete("/{name}", status_code=204)
    async def delete(peer: AsProvider, name: Name, expected: Matched) -> None:
        """Delete it; its gateway hears of it at once."""
        await Subscribers(service.by(peer), service.holding.own).delete(name, expected, _by(peer))

    return router


def _by(peer: Peer) -> str:
    """On behalf of which provider; empty: of the operator."""
    return peer.name if peer.role is Role.PROVIDER else ""
