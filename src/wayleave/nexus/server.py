"""HTTP over TLS: uvicorn's server and connections, which tell whose certificate TLS has verified, and do not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ssl import SSLContext, SSLError, SSLObject, SSLWantReadError, SSLWantWriteError
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

REQUEST_S = 20.0
"""How long a request may take to come in: at least so long, at most twice that."""
IDLE_S = 75
"""How long a connection is kept between two requests."""
GOODBYE_S = 0.2
"""How long the other side has to close its end of a connection, when Nexus stops."""
MOST_HEAD = 1 << 14
"""Octets of a request's line and headers."""


class Connection(H11Protocol):
    """`request.state` has of it: `certificate`, as `ssl` tells it, and `cut`, which ends the connection at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        told: dict[str, Any] = {"certificate": transport.get_extra_info("peercert") or {}, "cut": transport.abort}
        self.app_state = {**self.app_state, **told}
        self._look(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """See H11Protocol: close it, if nothing is under way. The other side is not waited for long."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(GOODBYE_S, self.transport.abort)

    def _look(self, before: object) -> None:
        """Cut a connection whose request was there already at the last look, and is not whole yet."""
        waits = self.cycle is None or self.cycle.more_body
        if before is not None and waits and before is (self.cycle or self):
            self.transport.abort()
        self._timer = self.loop.call_later(REQUEST_S, self._look, (self.cycle or self) if waits else None)


class Server(uvicorn.Server):
    """uvicorn without its signal handlers and its own log."""

    @classmethod
    def over_tls(cls, app: ASGIApp, context: SSLContext, refused: Callable[[SSLError], None]) -> Server:
        """For those that have a certificate; why others are not let on, `refused` is told."""

        class Handshake(SSLObject):
            """A side of a connection, while it comes about and after."""

            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except (SSLWantReadError, SSLWantWriteError):
                    raise
                except SSLError as error:
                    refused(error)
                    raise

        context.sslobject_class = Handshake
        return cls._of(app, ssl_context_factory=lambda *_: context, http=Connection)

    @classmethod
    def plain(cls, app: ASGIApp) -> Server:
        """For the machine itself."""
        return cls._of(app, http="h11")

    @classmethod
    def _of(cls, app: ASGIApp, **more: Any) -> Server:
        return cls(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=2,
                h11_max_incomplete_event_size=MOST_HEAD,
                **more,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to whoever runs it."""
        yield
