"""/v1/node: what a gateway tells of itself. /v1/nodes: what operators see of all of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body
from msgspec import Struct
from msgspec.structs import replace

from wayleave.nexus import model
from wayleave.nexus.access import AsNode, AsReader
from wayleave.nexus.model import Node, NodeState
from wayleave.nexus.records import find
from wayleave.nexus.refusal import Absent
from wayleave.nexus.routes.wire import After, Limit, Name, Wire
from wayleave.nexus.service import Service
from wayleave.nexus.store.port import Put


class NodeView(Struct, frozen=True):
    """A gateway. `holds`: whether its epoch has a hold, and with it what its blocks are; `state`: as it last told."""

    name: str
    epoch: int
    holds: bool
    state: NodeState | None


class Nodes(Struct, frozen=True):
    """A page of them."""

    items: tuple[NodeView, ...]
    revision: int
    after: str | None


def routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["nodes"])
    store = service.store

    async def seen(name: str, node: Node) -> NodeView:
        state = await store.get(model.state_key(name))
        hold = await store.get(model.hold_key(name, node.epoch))
        told = None if state is None else model.decode(NodeState, state.value)
        return NodeView(name, node.epoch, hold is not None, told)

    @router.put("/node/state", status_code=204)
    async def tell_state(node: AsNode, state: Annotated[NodeState, Wire, Body()]) -> None:
        """Have Nexus know how the gateway does."""
        heard = replace(state, heard=service.now())
        await store.commit([], [Put(model.state_key(node.name), model.encode(heard))])

    @router.get("/nodes")
    async def nodes(_: AsReader, after: After = "", limit: Limit = 100) -> Annotated[Nodes, Wire]:
        """List the gateways that ever had a hold."""
        page = await store.page(model.NODES, f"{model.NODES}{after}" if after else "", limit)
        names = [entry.key.removeprefix(model.NODES) for entry in page.entries]
        known = [model.decode(Node, entry.value) for entry in page.entries]
        items = [await seen(*one) for one in zip(names, known, strict=True) if one[0] != model.NEXUS]
        return Nodes(tuple(items), page.revision, names[-1] if page.more else None)

    @router.get("/nodes/{name}")
    async def node(_: AsReader, name: Name) -> Annotated[NodeView, Wire]:
        """One gateway."""
        if name == model.NEXUS:
            raise Absent(f"there is no node {name}: that is Nexus's own name")
        found = await find(store, Node, model.node_key(name), f"node {name}")
        return await seen(name, found.record)

    return router
