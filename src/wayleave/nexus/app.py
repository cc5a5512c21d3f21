"""The API: HTTPS under /v1 for gateways and operators, and a few words on a local listener for who looks after it."""

from __future__ import annotations

from fastapi import FastAPI, Response

from wayleave import __version__
from wayleave.nexus.metrics import CONTENT_TYPE, exposition
from wayleave.nexus.problems import answer_problems, described
from wayleave.nexus.routes import (
    addresses,
    allocations,
    audit,
    blocks,
    changes,
    hold,
    lines,
    nodes,
    pools,
    providers,
    subscribers,
    view,
)
from wayleave.nexus.service import Service

RESOURCES = (hold, view, nodes, addresses, pools, blocks, allocations, providers, lines, subscribers, changes, audit)
"""A module a resource, each with `routes(service)`."""


def application(service: Service) -> FastAPI:
    """Return what is served to those that have a certificate; `access.Gate` is put before it."""
    app = FastAPI(title="Wayleave Nexus", version=__version__, docs_url=None, redoc_url=None)
    answer_problems(app)
    for resource in RESOURCES:
        app.include_router(resource.routes(service), prefix="/v1", responses=described())
    return app


def local(service: Service) -> FastAPI:
    """Return what the local listener serves, without certificates."""
    app = FastAPI(title="Wayleave Nexus, local", version=__version__, openapi_url=None)
    answer_problems(app)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/readyz")
    async def readyz() -> dict[str, object]:
        return {"ready": True, "revision": await service.store.revision()}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(exposition(service.counts), media_type=CONTENT_TYPE)

    return app
