"""/v1/audit: who changed what, and when. Whoever reads it can verify it (`nexus.audit`)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from msgspec import Struct

from wayleave.nexus import audit, model
from wayleave.nexus.access import AsReader
from wayleave.nexus.audit import Head, Record
from wayleave.nexus.routes.wire import Limit, Wire
from wayleave.nexus.service import Service


class Audit(Struct, frozen=True):
    """A page of records. `after`: the number of the last of them, None: there are no more; `head` is the end of all."""

    items: tuple[Record, ...]
    head: Head
    revision: int
    after: int | None


def routes(service: Service) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["audit"])
    store = service.store

    @router.get("/audit")
    async def records(
        _: AsReader, after: Annotated[int, Query(ge=0)] = 0, limit: Limit = 100
    ) -> Annotated[Audit, Wire]:
        """List records behind a number, in their order."""
        end = await store.get(audit.HEAD)
        page = await store.page(audit.AUDIT, audit.record_key(after), limit)
        items = tuple(model.decode(Record, entry.value) for entry in page.entries)
        head = model.decode(Head, end.value) if end else Head(0, "")
        return Audit(items, head, page.revision, items[-1].number if page.more else None)

    return router
