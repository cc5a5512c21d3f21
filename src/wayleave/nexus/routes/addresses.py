"""/v1/node/report: whose addresses are, as gateways tell. /v1/addresses: what operators see of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Path
from msgspec import Meta, Struct

from wayleave.nexus import model
from wayleave.nexus.access import AsNode, AsReader
from wayleave.nexus.model import Assignment, Moment
from wayleave.nexus.records import again, checked, find
from wayleave.nexus.refusal import Invalid
from wayleave.nexus.routes.wire import Name, Wire
from wayleave.nexus.service import Service
from wayleave.nexus.store.port import MAX_OPERATIONS, Is, Put, Store

MOST_ITEMS = 1000
ADDRESS = "^[0-9a-fA-F.:/]{1,64}$"
"""An address, or a prefix."""


class Item(Struct, frozen=True):
    """A subscriber got an address, or has it no more, `at` a moment."""

    subscriber: Annotated[str, Meta(max_length=256)]
    address: Annotated[str, Meta(pattern=ADDRESS)]
    pool: str
    state: Literal["began", "ended"]
    at: Moment


class Report(Struct, frozen=True):
    """What has happened on a gateway."""

    items: Annotated[tuple[Item, ...], Meta(max_length=MOST_ITEMS)]


def routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["addresses"])
    store = service.store

    @router.post("/node/report", status_code=204)
    async def report(node: AsNode, told: Annotated[Report, Wire, Body()]) -> None:
        """Have Nexus know whose addresses are.

        Idempotent by itself: of an address the latest moment counts, whatever is repeated or comes late.
        """
        latest: dict[str, Assignment] = {}
        for item in told.items:
            key = model.address_key(checked("pool", item.pool), item.address)
            said = Assignment(item.subscriber, node.name, item.state, item.at)
            if key not in latest or _moment(said) >= _moment(latest[key]):
                latest[key] = said
        keys = list(latest)
        for begin in range(0, len(keys), MAX_OPERATIONS):
            part = {key: latest[key] for key in keys[begin : begin + MAX_OPERATIONS]}
            await again(lambda part=part: _record(store, part), f"report of {node.name}")  # type: ignore[misc]

    @router.get("/addresses/{pool}/{address:path}")
    async def address(
        _: AsReader, pool: Name, address: Annotated[str, Path(pattern=ADDRESS)]
    ) -> Annotated[Assignment, Wire]:
        """Whose one address is, or last was."""
        key = model.address_key(pool, address)
        return (await find(store, Assignment, key, f"address {address} of {pool} that anybody had")).record

    return router


async def _record(store: Store, told: dict[str, Assignment]) -> None:
    """Write what is news. Raises: Conflict."""
    known = {key: await store.get(key) for key in told}
    news = {
        key: said
        for key, said in told.items()
        if (entry := known[key]) is None or _moment(said) > _moment(model.decode(Assignment, entry.value))
    }
    changes = [Put(key, model.encode(said)) for key, said in news.items()]
    await store.commit([Is(key, entry.revision if (entry := known[key]) else 0) for key in news], changes)


def _moment(said: Assignment) -> datetime:
    try:
        return datetime.fromisoformat(said.at)
    except ValueError:
        raise Invalid(f"at: there is no moment {said.at}") from None
