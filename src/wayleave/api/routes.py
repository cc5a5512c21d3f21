"""The local API: HTTP over a Unix socket that only its owner may open.

It reads the running gateway in its own task, a bounded piece of the table at a time, and so never holds the loop for
long.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from wayleave import __version__
from wayleave.access.settings import LAST_PORT
from wayleave.api.capture import Busy, CaptureFile, Captures, CaptureView, Wanted
from wayleave.api.diagnose import SOMEWHERE, Diagnosing, DiagnosisView, Unknown, Whom
from wayleave.api.diagnose import answer as diagnosed
from wayleave.api.explain import Absent, Question, Verdict, answer
from wayleave.api.journal import JournalsView, JournalView, of_session, of_strangers
from wayleave.api.metrics import CONTENT_TYPE, exposition
from wayleave.api.nexus import NexusView
from wayleave.api.radius import RadiusView, view_radius
from wayleave.api.schema import (
    DhcpView,
    Page,
    PlanView,
    PoolView,
    PortView,
    PppoeView,
    PuntView,
    SessionView,
    dhcp_view,
    view,
)
from wayleave.api.search import Filter, NotOne, search
from wayleave.config.load import FILES_MAX, Files
from wayleave.io import devices
from wayleave.net.ipv4 import Address4
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, Ns
from wayleave.session.model import Phase, Session
from wayleave.session.wording import plainly

if TYPE_CHECKING:
    from wayleave.access.ipoe import Ipoe
    from wayleave.access.pppoe import Pppoe
    from wayleave.dataplane.counters import Counters, Usage
    from wayleave.dataplane.plane import DataPlane
    from wayleave.dataplane.samples import Drops
    from wayleave.net.units import BootNs
    from wayleave.session.journal import Journal
    from wayleave.session.ports import Clock
    from wayleave.session.table import Table


class Running(Diagnosing, Protocol):
    """What the API needs of a gateway."""

    table: Table
    plane: DataPlane
    ipoe: Ipoe
    pppoe: Pppoe
    repaired: list[str]
    started: BootNs
    captures: Captures

    @property
    def journal(self) -> Journal: ...

    def dropped(self) -> Drops:
        """What was dropped, up to now."""

    @property
    def clock(self) -> Clock: ...

    def clear(self, id_: int) -> bool: ...

    async def end_sessions(self) -> dict[str, int]: ...

    def stop(self) -> None: ...

    def pool_views(self) -> list[PoolView]: ...

    def nexus_view(self) -> NexusView | None: ...

    def happenings(self) -> dict[str, Any]: ...

    def unready(self) -> list[str]: ...


class Changing(Protocol):
    """What the API needs of whoever changes a gateway's configuration."""

    async def plan(self, files: Files | None = None) -> PlanView: ...

    async def reload(self, file: str | None = None) -> PlanView: ...


async def _senseless(_: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a request in the words that a configuration is told."""
    assert isinstance(error, RequestValidationError)
    said = [": ".join((*map(str, item["loc"][1:]), plainly(item))) for item in error.errors()]
    return JSONResponse({"detail": "; ".join(said)}, 422)


def application(gateway: Running, configuration: Changing) -> FastAPI:
    """Return the API of a running gateway."""
    app = FastAPI(title="Wayleave gateway", version=__version__, docs_url=None, redoc_url=None)
    counters: Counters = gateway.plane.counters
    app.add_exception_handler(RequestValidationError, _senseless)

    def found(id_: int) -> Session:
        session = gateway.table.get(id_)
        if session is None:
            raise HTTPException(404, f"there is no session {id_}")
        return session

    def read_mac(text: str) -> Mac:
        try:
            return Mac.parse(text)
        except ValueError as error:
            raise HTTPException(422, f"mac: {error}") from error

    def told(session: Session, now: BootNs, usage: Usage | None = None) -> SessionView:
        return view(session, now, usage, counters.seen(session.id), counters.renewed(session.id))

    @app.get("/healthz")
    async def healthz() -> dict[str, object]:
        name, sessions = gateway.plane.instance, len(gateway.table)
        return {"status": "ok", "name": name, "version": __version__, "sessions": sessions}

    @app.post("/stop", status_code=202)
    async def stop(end_sessions: bool = False) -> dict[str, Any]:
        """Stop the process; with `end_sessions` every session ends before, and accounting hears of it."""
        ended = await gateway.end_sessions() if end_sessions else {}
        gateway.stop()
        return {"status": "stopping", **ended}

    @app.get("/readyz")
    async def readyz(answer: Response) -> dict[str, object]:
        why = gateway.unready()
        answer.status_code = 503 if why else 200
        return {"ready": not why, "why": why}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(exposition(gateway), media_type=CONTENT_TYPE)

    @app.get("/punt")
    async def punt() -> PuntView:
        ring = gateway.plane.ring
        return PuntView(classes=counters.punts(), ring_waiting=ring.waiting, ring_size=ring.size)

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
        limit: Annotated[int, Query(ge=1)] = 100,
    ) -> Page:
        try:
            wanted = Filter(mac, line, address, phase, pool, tenant, subscriber)
        except NotOne as error:
            raise HTTPException(422, str(error)) from error
        now = gateway.clock.boot()
        found, go_on = search(gateway.table, wanted, after, limit)
        return Page(sessions=[told(item, now) for item in found], after=go_on)

    @app.get("/sessions/{id_}")
    async def session(id_: int) -> SessionView:
        item = found(id_)
        return told(item, gateway.clock.boot(), counters.usage(id_, item.since))

    @app.get("/sessions/{id_}/journal")
    async def journal(id_: int) -> JournalView:
        item, drops, now = found(id_), gateway.dropped(), gateway.clock.boot()
        return of_session(item, gateway.journal, drops, counters.renewed(id_), now)

    @app.get("/journals")
    async def journals(mac: str) -> JournalsView:
        """Of clients without a session."""
        return of_strangers(read_mac(mac), gateway.journal, gateway.dropped(), gateway.table, gateway.clock.boot())

    @app.delete("/sessions/{id_}", status_code=202)
    async def clear(id_: int) -> dict[str, int]:
        found(id_)
        gateway.clear(id_)
        return {"cleared": id_}

    @app.get("/pools")
    async def pools() -> list[PoolView]:
        return gateway.pool_views()

    @app.get("/ports")
    async def ports() -> list[PortView]:
        lost = set(gateway.lost_ports())
        return [
            PortView(
                number=port.number,
                device=port.device,
                role=port.role,
                tenant=port.tenant,
                state=devices.state(port.device),
                program=port.xdp if number in gateway.plane.attached and number not in lost else None,
                sessions=gateway.table.on_port[number],
            )
            for number, port in sorted(gateway.ports.items())
        ]

    @app.get("/radius")
    async def radius() -> RadiusView:
        return view_radius(gateway.authority, gateway.clock.boot())

    @app.get("/nexus")
    async def nexus() -> NexusView:
        found = gateway.nexus_view()
        if found is None:
            raise HTTPException(404, "this gateway has no Nexus: its pools are its own")
        return found

    @app.get("/drops")
    async def drops() -> dict[str, int]:
        ignored = {"dhcp4": gateway.ipoe.ignored, "pppoe": gateway.pppoe.ignored}
        python = {f"{of}:{reason}": count for of, counts in ignored.items() for reason, count in counts.items()}
        return counters.drops() | python

    @app.get("/dhcp")
    async def dhcp() -> DhcpView:
        replies = len(gateway.plane.tables.replies)
        runs = Ns(gateway.clock.boot() - gateway.started)
        return dhcp_view(counters.dhcp4(), dict(gateway.ipoe.said), dict(gateway.ipoe.ignored), replies, runs)

    @app.get("/pppoe")
    async def pppoe() -> PppoeView:
        said = gateway.pppoe
        return PppoeView(
            sessions=len(said.calls),
            dialing=said.calls.dialing,
            heard=dict(said.heard),
            said=dict(said.said),
            ignored=dict(said.ignored),
            ended=dict(said.ended),
            python_s=(gateway.clock.boot() - gateway.started) // SECOND,
        )

    @app.post("/explain")
    async def explain(asked: Question) -> Verdict:
        try:
            return answer(gateway, asked)
        except Absent as error:
            raise HTTPException(404, str(error)) from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    @app.get("/diagnose")
    async def diagnose(
        session: int | None = None,
        mac: str | None = None,
        subscriber: str | None = None,
        to: Address4 = SOMEWHERE,
    ) -> DiagnosisView:
        """One verdict about one client: a session's, or one that has none and is known by MAC or subscriber."""
        whom = Whom(session, read_mac(mac) if mac is not None else None, subscriber)
        try:
            return await diagnosed(gateway, whom, to)
        except Unknown as error:
            raise HTTPException(404, str(error)) from error

    @app.post("/capture")
    async def capture(
        session: int | None = None,
        mac: str | None = None,
        port: Annotated[int, Query(ge=0, le=LAST_PORT)] = 0,
        seconds: Annotated[float | None, Query(gt=0)] = None,
        count: Annotated[int | None, Query(ge=1)] = None,
    ) -> Response:
        """One client's packets as they come: of a session, or of a MAC that may have none. A pcapng file."""
        if port and port not in gateway.plane.attached:
            there = ", ".join(str(number) for number in sorted(gateway.plane.attached) if number <= LAST_PORT)
            raise HTTPException(404, f"there is no port {port}: there is {there}")
        if session is not None:
            client = found(session).client
            wanted = Wanted(client.mac, client)
        else:
            wanted = Wanted(read_mac(mac or ""), port=port)
        try:
            return CaptureFile(gateway.captures.start(wanted, seconds, count))
        except Busy as error:
            raise HTTPException(409, str(error)) from error

    @app.get("/capture")
    async def captured() -> CaptureView:
        return gateway.captures.view()

    @app.get("/counters")
    async def all_counters() -> dict[str, Any]:
        return {
            "received": counters.received(),
            "outcomes": counters.outcomes(),
            "drops": counters.drops(),
            "punts": counters.punts(),
            "samples": counters.samples(),
        } | gateway.happenings()

    @app.get("/plan")
    async def plan() -> PlanView:
        """Of the gateway's own file."""
        return await configuration.plan()

    @app.post("/plan")
    async def plan_of(request: Request) -> PlanView:
        """Of the files in the body, as `config.load.Files`: what is large is decoded beside the loop."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > FILES_MAX:
                raise HTTPException(413, f"a configuration of more than {FILES_MAX >> 20} MiB is not planned")
        try:
            files = await asyncio.to_thread(msgspec.json.decode, body, type=Files)
        except msgspec.DecodeError as error:
            raise HTTPException(422, f"the body is no configuration: {error}") from error
        return await configuration.plan(files)

    @app.post("/reload")
    async def reload(said: Response, file: str | None = None) -> PlanView:
        """`file`: refused if the gateway reads another."""
        told = await configuration.reload(file)
        said.status_code = 409 if told.refused else 200
        return told

    @app.get("/repaired")
    async def repaired() -> list[str]:
        return gateway.repaired

    return app
