"""/v1/changes: what changes in a kind of records, for operators."""

from __future__ import annotations

from enum import StrEnum

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from wayleave.nexus import audit, model
from wayleave.nexus.access import AsReader
from wayleave.nexus.routes.events import LastEventId, Since, stream
from wayleave.nexus.service import Service


class Watched(StrEnum):
    """What can be watched, as its path is called."""

    POOLS = "pools"
    BLOCKS = "blocks"
    NODES = "nodes"
    PROVIDERS = "providers"
    LINES = "lines"
    SUBSCRIBERS = "subscribers"
    AUDIT = "audit"


_PREFIXES = {
    Watched.POOLS: model.POOLS,
    Watched.BLOCKS: model.BLOCKS,
    Watched.NODES: model.NODES,
    Watched.PROVIDERS: model.PROVIDERS,
    Watched.LINES: model.LINES,
    Watched.SUBSCRIBERS: model.SUBSCRIBERS,
    Watched.AUDIT: audit.AUDIT,
}


def routes(service: Service) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["operators"])

    @router.get("/changes", response_class=StreamingResponse)
    async def changes(
        _: AsReader, request: Request, prefix: Watched, after: Since = 0, last_event_id: LastEventId = None
    ) -> StreamingResponse:
        """Tell every change of a kind of records behind a revision, as it happens: server-sent events."""
        since = after if last_event_id is None else last_event_id
        return await stream(service, request, _PREFIXES[prefix], since)

    return router
