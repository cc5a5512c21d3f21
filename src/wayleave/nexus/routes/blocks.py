"""/v1/blocks: who owns which part of a pool."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from msgspec import Struct

from wayleave.nexus import model
from wayleave.nexus.access import AsReader
from wayleave.nexus.model import Ownership, Pool
from wayleave.nexus.records import find
from wayleave.nexus.routes.wire import After, Limit, OfPool, Wire
from wayleave.nexus.service import Service
from wayleave.nexus.spaces import space


class BlockView(Struct, frozen=True):
    """A block that somebody owns or owned. `node` None: nobody does; `fence` counts its owners."""

    index: str
    first: str
    last: str
    node: str | None
    epoch: int
    fence: int


class Blocks(Struct, frozen=True):
    """A page of them."""

    items: tuple[BlockView, ...]
    revision: int
    after: str | None


def routes(service: Service) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/blocks", tags=["blocks"])
    store = service.store

    async def owner(said: Ownership) -> str | None:
        """None, too, where the owner's hold has ended."""
        stands = said.node and await store.get(model.hold_key(said.node, said.epoch))
        return said.node if stands else None

    @router.get("")
    async def blocks(_: AsReader, pool: OfPool, after: After = "", limit: Limit = 100) -> Annotated[Blocks, Wire]:
        """List the blocks of a pool that anybody ever owned."""
        ground = space((await find(store, Pool, model.pool_key(pool), f"pool {pool}")).record)
        prefix = f"{model.BLOCKS}{pool}/"
        page = await store.page(prefix, f"{prefix}{after}" if after else "", limit)
        items: list[BlockView] = []
        for entry in page.entries:
            index, said = entry.key.removeprefix(prefix), model.decode(Ownership, entry.value)
            ends = ground.bounds(int(index, 16))
            items.append(BlockView(index, *ends, await owner(said), said.epoch, said.fence))
        return Blocks(tuple(items), page.revision, items[-1].index if page.more else None)

    return router
