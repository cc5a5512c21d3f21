"""One client's connection: uvicorn's, which tells whose certificate TLS has verified, and does not wait for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 20.0
"""How long a request may take to come in: at least so long, at most twice that."""
MOST_HEAD = 1 << 14
"""Octets of a request's line and headers."""


class Connection(H11Protocol):
    """`request.state` has of it: `certificate`, as `ssl` tells it, and `cut`, which ends the connection at once."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        told: dict[str, Any] = {"certificate": transport.get_extra_info("peercert"), "cut": transport.abort}
        self.app_state = {**self.app_state, **told}
        self._look(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self, before: object) -> None:
        """Cut a connection whose request was there already at the last look, and is not whole yet."""
        waits = self.cycle is None or self.cycle.more_body
        if before is not None and waits and before is (self.cycle or self):
            self.transport.abort()
        self._timer = self.loop.call_later(REQUEST_S, self._look, (self.cycle or self) if waits else None)
