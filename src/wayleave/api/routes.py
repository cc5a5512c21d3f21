"""The local API: HTTP over a Unix socket that only its owner may open.

It reads the running gateway in its own task, a page at a time, and so never holds the loop for long.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import FastAPI, HTTPException, Query

from wayleave import __version__
from wayleave.api.schema import DhcpView, Page, PoolView, SessionView, dhcp_view, view
from wayleave.session.model import Phase, Session

if TYPE_CHECKING:
    from wayleave.access.ipoe import Ipoe
    from wayleave.dataplane.counters import Counters, Usage
    from wayleave.dataplane.plane import DataPlane
    from wayleave.net.units import BootNs
    from wayleave.session.ports import Clock
    from wayleave.session.table import Table

PAGE = 1000


class Running(Protocol):
    """What the API needs of a gateway."""

    table: Table
    plane: DataPlane
    ipoe: Ipoe
    repaired: list[str]

    @property
    def clock(self) -> Clock: ...

    def clear(self, id_: int) -> bool: ...

    def pool_views(self) -> list[PoolView]: ...

    def happenings(self) -> dict[str, Any]: ...


class Filter:
    """Which sessions are asked for. A value that is not given matches all."""

    def __init__(
        self,
        mac: str | None = None,
        line: str | None = None,
        address: str | None = None,
        phase: Phase | None = None,
        pool: str | None = None,
        tenant: str | None = None,
        subscriber: str | None = None,
    ) -> None:
        self.mac = mac.lower().replace("-", ":") if mac else None
        self.line, self.address, self.phase = line, address, phase
        self.pool, self.tenant, self.subscriber = pool, tenant, subscriber

    def admits(self, session: Session) -> bool:
        """Compare cheapest first; a line matches whole, or as its start up to a `.`, `:` or `/`."""
        service, lease = session.service, session.lease
        return (
            (self.phase is None or session.phase is self.phase)
            and (self.mac is None or str(session.client.mac) == self.mac)
            and (self.address is None or (lease is not None and str(lease.address) == self.address))
            and (self.pool is None or (service is not None and service.pool == self.pool))
            and (self.tenant is None or (service is not None and service.tenant == self.tenant))
            and (self.subscriber is None or (service is not None and service.subscriber == self.subscriber))
            and (self.line is None or _starts(str(session.client.line), self.line))
        )


def _starts(line: str, wanted: str) -> bool:
    return line == wanted or (line.startswith(wanted) and line[len(wanted)] in ".:/")


def application(gateway: Running) -> FastAPI:
    """Return the API of a running gateway."""
    app = FastAPI(title="Wayleave gateway", version=__version__, docs_url=None, redoc_url=None)
    counters: Counters = gateway.plane.counters

    def found(id_: int) -> Session:
        session = gateway.table.get(id_)
        if session is None:
            raise HTTPException(404, f"there is no session {id_}")
        return session

    def told(session: Session, now: BootNs, usage: Usage | None = None) -> SessionView:
        return view(session, now, usage, counters.seen(session.id), counters.renewed(session.id))

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        return {"status": "ok", "version": __version__, "sessions": len(gateway.table)}

    @app.get("/sessions")
    async def sessions(
        mac: str | None = None,
        line: str | None = None,
        address: str | None = None,
        phase: Phase | None = None,
        pool: str | None = None,
        tenant: str | None = None,
        subscriber: str | None = None,
        after: int = -1,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = 100,
    ) -> Page:
        wanted = Filter(mac, line, address, phase, pool, tenant, subscriber)
        now = gateway.clock.boot()
        chosen = islice((item for item in gateway.table.from_id(after + 1) if wanted.admits(item)), limit + 1)
        page = [told(session, now) for session in chosen]
        return Page(sessions=page[:limit], after=page[limit - 1].id if len(page) > limit else None)

    @app.get("/sessions/{id_}")
    async def session(id_: int) -> SessionView:
        return told(found(id_), gateway.clock.boot(), counters.usage(id_))

    @app.delete("/sessions/{id_}", status_code=202)
    async def clear(id_: int) -> dict[str, int]:
        found(id_)
        gateway.clear(id_)
        return {"cleared": id_}

    @app.get("/pools")
    async def pools() -> list[PoolView]:
        return gateway.pool_views()

    @app.get("/drops")
    async def drops() -> dict[str, int]:
        return counters.drops() | {f"dhcp4:{reason}": count for reason, count in gateway.ipoe.ignored.items()}

    @app.get("/dhcp")
    async def dhcp() -> DhcpView:
        replies = len(gateway.plane.tables.replies)
        return dhcp_view(counters.dhcp4(), dict(gateway.ipoe.said), dict(gateway.ipoe.ignored), replies)

    @app.get("/counters")
    async def all_counters() -> dict[str, Any]:
        return {
            "received": counters.received(),
            "outcomes": counters.outcomes(),
            "drops": counters.drops(),
            "punts": counters.punts(),
        } | gateway.happenings()

    @app.get("/repaired")
    async def repaired() -> list[str]:
        return gateway.repaired

    return app
