"""/v1/hold: a gateway's hold, and the blocks that it claims and gives back (`holding`)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from wayleave.nexus.access import AsNode
from wayleave.nexus.records import checked
from wayleave.nexus.routes.wire import Wire
from wayleave.nexus.service import Service
from wayleave.proto.nexus.messages import Claim, Claimed, GiveBack, Held, Renew


def routes(service: Service) -> APIRouter:
    """Return the routes; the gateway is whoever asks."""
    router = APIRouter(prefix="/hold", tags=["gateways"])
    holding = service.holding

    @router.post("/renew")
    async def renew(node: AsNode, asked: Annotated[Renew, Wire, Body()]) -> Annotated[Held, Wire]:
        """Let the hold last on, or begin one where `epoch` is 0; tells every block that it has."""
        return await holding.renew(node.name, asked)

    @router.post("/claim")
    async def claim(node: AsNode, asked: Annotated[Claim, Wire, Body()]) -> Annotated[Claimed, Wire]:
        """Have more blocks of a pool. Not idempotent: who got no answer renews, which tells what it owns."""
        checked("pool", asked.pool)
        return await holding.claim(node.name, asked)

    @router.post("/give-back", status_code=204)
    async def give_back(node: AsNode, asked: Annotated[GiveBack, Wire, Body()]) -> None:
        """Give a block back that nobody lives on."""
        checked("pool", asked.pool)
        await holding.give_back(node.name, asked)

    return router
