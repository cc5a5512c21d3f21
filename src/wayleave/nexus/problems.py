"""What Nexus answers when the answer is no: application/problem+json (RFC 9457), out of what rooms raise.

An exception of the `Refused` family is a problem by itself: it has a status, a name, and a text that says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from msgspec import Struct, to_builtins
from msgspec.json import schema_components
from starlette.exceptions import HTTPException as NotServed

from wayleave.net.printable import printable
from wayleave.nexus.refusal import Refused
from wayleave.nexus.store.port import Compacted, Conflict, Unavailable
from wayleave.session.wording import plainly

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
_URN = "urn:wayleave:nexus:"


class Problem(Struct, frozen=True):
    """Why not: `type` is for programs, `detail` says what to do."""

    type: str
    title: str
    status: int
    detail: str


def described() -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of every answer that is a problem."""
    _, parts = schema_components([Problem])
    return {"default": {"description": "Why not", "content": {MEDIA_TYPE: {"schema": parts["Problem"]}}}}


class TooMany(Refused):
    """Whoever asks does so too often. `wait_s`: for how long it may not, in seconds."""

    status, name = 429, "too-many"

    def __init__(self, why: str, wait_s: int) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class TooLarge(HTTPException):
    """A body is more than anything that makes sense. FastAPI lets its own exceptions pass while it reads a body."""

    def __init__(self, most: int) -> None:
        super().__init__(413, f"the body has more than {most:,} octets: make it several requests")


def problem(name: str, status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer. `name`: which problem it is, for programs; `detail`: for people."""
    said = Problem(f"{_URN}{name}", name.replace("-", " "), status, printable(detail))
    return JSONResponse(to_builtins(said), status, dict(headers or {}), MEDIA_TYPE)


def refusal(error: Refused) -> JSONResponse:
    """Return what an exception of the family answers."""
    headers = {"Retry-After": str(error.wait_s)} if isinstance(error, TooMany) else {}
    return problem(error.name, error.status, str(error), headers)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return refusal(error)


async def _senseless(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = [": ".join((*map(str, item["loc"][1:]), plainly(item))) for item in error.errors()]
    return problem("invalid", 422, "; ".join(said))


async def _not_served(_: Request, error: Exception) -> JSONResponse:
    """What the framework itself says no to: a path, a method, a body that is no JSON."""
    assert isinstance(error, NotServed)
    return problem(_OF_STATUS.get(error.status_code, "refused"), error.status_code, str(error.detail), error.headers)


_OF_STATUS = {404: "absent", 413: "too-large", 422: "invalid"}


async def _conflict(_: Request, error: Exception) -> JSONResponse:
    return problem("conflict", 412, f"{error}: read it again, and say If-Match of what you saw")


async def _compacted(_: Request, error: Exception) -> JSONResponse:
    return problem("compacted", 410, f"{error}: list anew, and watch from there")


async def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return problem("unavailable", 503, str(error), {"Retry-After": "1"})


async def _fault(request: Request, error: Exception) -> JSONResponse:
    log.error("fault", method=request.method, path=request.url.path, exc_info=error)
    return problem("fault", 500, "Nexus has a fault: its log says more")


def answer_problems(app: FastAPI) -> None:
    """Have an application answer every exception as a problem."""
    for kind, handler in (
        (Refused, _refused),
        (RequestValidationError, _senseless),
        (NotServed, _not_served),
        (Conflict, _conflict),
        (Compacted, _compacted),
        (Unavailable, _unavailable),
        (Exception, _fault),
    ):
        app.add_exception_handler(kind, handler)
