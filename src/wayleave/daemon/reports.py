"""What a gateway has to tell Nexus: how it does, and whose the addresses of shared pools are.

The latter wait on the disk, with the leases that they are of, until Nexus has them: however long it is away, and
whatever becomes of this process. It is told the present, and not all that happened meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from wayleave import __version__
from wayleave.io.clock import Clock
from wayleave.io.nexus import Connection, NexusError
from wayleave.io.store import Store, StoreError
from wayleave.io.writes import Assigned
from wayleave.net.units import SECOND, BootNs, Ns, UtcNs

STATE_EVERY, REPORT_EVERY = Ns(60 * SECOND), Ns(5 * SECOND)
AT_ONCE = 500


class Reports:
    """`state` returns how many sessions there are, and of each shared pool its name, addresses held, and all."""

    def __init__(
        self, connection: Connection, store: Store, clock: Clock, state: Callable[[], tuple[int, list[dict[str, Any]]]]
    ) -> None:
        self._connection, self._store, self._clock, self._state = connection, store, clock, state
        self._state_at = self._report_at = BootNs(0)
        self._telling: asyncio.Task[None] | None = None

    def pump(self) -> None:
        """Tell what is due, if Nexus answers, and the clock says when that is. To be called often, on the loop."""
        now = self._clock.boot()
        if (
            self._telling is None
            and now >= self._report_at
            and not self._connection.state.why
            and self._clock.plausible
        ):
            self._report_at = BootNs(now + REPORT_EVERY)
            self._telling = asyncio.get_running_loop().create_task(self._tell(now))

    def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()

    async def _tell(self, now: BootNs) -> None:
        try:
            if now >= self._state_at:
                await self._connection.tell("PUT", "/v1/node/state", msgspec.json.encode(self._now()))
                self._state_at = BootNs(now + STATE_EVERY)
            waiting = await asyncio.to_thread(self._store.untold, AT_ONCE)
            if waiting:
                items = [self._item(assigned) for assigned in waiting]
                await self._connection.tell("POST", "/v1/node/report", msgspec.json.encode({"items": items}))
                self._store.told(waiting)
                self._store.flush()
                self._report_at = BootNs(0) if len(waiting) == AT_ONCE else self._report_at
        except (NexusError, StoreError):
            pass  # it waits where it is; the connection has logged why
        finally:
            self._telling = None

    def _now(self) -> dict[str, Any]:
        sessions, pools = self._state()
        return {"version": __version__, "sessions": sessions, "pools": pools, "at": spoken_utc(self._clock.utc())}

    def _item(self, assigned: Assigned) -> dict[str, Any]:
        return {
            "subscriber": assigned.subscriber,
            "address": str(assigned.address),
            "pool": assigned.pool,
            "state": assigned.state,
            "at": spoken_utc(assigned.at or UtcNs(self._clock.utc())),
        }


def spoken_utc(moment: UtcNs) -> str:
    """Write a moment as RFC 3339 has it, to the nanosecond."""
    seconds, rest = divmod(moment, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
