"""/v1/view: what a gateway has to know of the subscribers on its lines (`registry`), as a list and as what changes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from msgspec import Struct

from wayleave.nexus import model
from wayleave.nexus.access import AsNode
from wayleave.nexus.routes.events import LastEventId, Named, Since, stream
from wayleave.nexus.routes.wire import MOST_A_PAGE, After, Limit, Wire
from wayleave.nexus.service import Service
from wayleave.nexus.store.port import Compacted

At = Annotated[int, Query(ge=0, description="the revision of the first page, for those that follow; 0: now")]


class View(Struct, frozen=True):
    """A page, as of `revision`; `after`: what the next one is asked for with, none if this is the last."""

    entries: list[Named]
    revision: int
    after: str | None


def routes(service: Service) -> APIRouter:
    """Return the routes; the gateway is whoever asks."""
    router = APIRouter(prefix="/view", tags=["gateways"])

    @router.get("", response_model=Annotated[View, Wire])
    async def view(node: AsNode, after: After = "", limit: Limit = MOST_A_PAGE, at: At = 0) -> Response:
        """List the view, all pages as of one revision; `changes` behind that is the rest."""
        prefix = model.view_prefix(node.name)
        try:
            page = await service.store.page(prefix, f"{prefix}{after}" if after else "", limit, at)
        except ValueError:  # a revision that is still to come is of another history
            raise Compacted(await service.store.revision()) from None
        entries = [Named(entry.key.removeprefix(prefix), msgspec.Raw(entry.value)) for entry in page.entries]
        told = View(entries, page.revision, entries[-1].name if page.more else None)
        return Response(msgspec.json.encode(told), media_type="application/json")

    @router.get("/changes", response_class=StreamingResponse)
    async def changes(
        node: AsNode, request: Request, after: Since = 0, last_event_id: LastEventId = None
    ) -> StreamingResponse:
        """Tell every change of the view behind a revision, as it happens: server-sent events."""
        since = after if last_event_id is None else last_event_id
        return await stream(service, request, model.view_prefix(node.name), since)

    return router
