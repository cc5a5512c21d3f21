"""Following Nexus: the view is listed once, then what changes is written as it is told, as long as the gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing

import structlog

from wayleave.aaa.local import Subscriber
from wayleave.io.nexus import Compacted, Connection, NexusError
from wayleave.io.replica import Replica, ReplicaError

log = structlog.get_logger()

SOONEST_S, LATEST_S = 0.2, 30.0
"""Before it is tried again, at first and at last."""
SAVED_S = 60.0
"""A revision that changed nothing here is written so seldom: the disk may be an access node's flash."""

Told = Callable[[Mapping[str, Subscriber | None]], None]
"""Called with subscribers as they are from now on (None: nobody any more), once that is durable."""


class Follower:
    """Keeps a replica as Nexus has it."""

    def __init__(
        self,
        connection: Connection,
        replica: Replica,
        told: Told,
        random: Callable[[], float],
        soonest_s: float = SOONEST_S,
        latest_s: float = LATEST_S,
    ) -> None:
        """`random` returns something from 0 up to 1: gateways that lost one Nexus do not come back all at once."""
        self._connection, self._replica, self._told, self._random = connection, replica, told, random
        self._soonest_s, self._latest_s = soonest_s, latest_s
        self._wait_s = soonest_s
        self._anew = replica.revision is None
        self._saved_at = 0.0
        self.why = ""
        """Why the disk does not take what is told; empty: it does."""

    async def run(self) -> None:
        """Keep at it until cancelled."""
        while True:
            try:
                await self._follow()
            except Compacted:
                self._anew = True
            except NexusError:
                pass  # the connection has said why
            except ReplicaError as error:
                if self.why != str(error):
                    log.error("view-not-written", why=str(error))
                self.why = str(error)
            except Exception:
                log.exception("view-not-followed")
            await asyncio.sleep(self._wait_s * (0.5 + self._random()))  # noqa: TID251 -- it needs time to come back
            self._wait_s = min(self._latest_s, 2 * self._wait_s)

    async def _follow(self) -> None:
        """List if that is needed, then follow until it breaks. Raises: Compacted, NexusError, ReplicaError."""
        if self._anew or self._replica.revision is None:
            view = await self._connection.view()
            self._tell(await self._replica.replace(view.revision, view.entries))
            self._anew = False
            log.info("view-listed", revision=view.revision, entries=len(view.entries))
        async with aclosing(self._connection.changes(self._replica.revision or 0)) as changes:
            async for revision, changed in changes:
                if changed or self._late():
                    self._tell(await self._replica.apply(revision, changed))
                self._wait_s = self._soonest_s

    def _late(self) -> bool:
        return asyncio.get_running_loop().time() - self._saved_at >= SAVED_S

    def _tell(self, entries: Mapping[str, Subscriber | None]) -> None:
        self._saved_at, self.why = asyncio.get_running_loop().time(), ""
        if entries:
            self._told(entries)
