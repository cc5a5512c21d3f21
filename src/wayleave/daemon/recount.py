"""Other subscribers while the gateway runs, as Nexus tells of them: counted beside the loop, then looked at at once.

Only sessions that they may mean are looked at anew: a reload looks at all (`daemon.reload`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from wayleave.aaa.local import Subscriber
from wayleave.daemon.derived import Derived, derive
from wayleave.daemon.directory import concerned

if TYPE_CHECKING:
    from wayleave.daemon.app import Gateway

log = structlog.get_logger()


class Recount:
    """Of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._told: list[Subscriber] = []
        self._task: asyncio.Task[None] | None = None
        self.changing = asyncio.Lock()
        """Held by who has the gateway go by other subscribers, or another configuration."""

    def tell(self, entries: list[Subscriber]) -> None:
        """Have it seen to that these count as they are now, or no more. To be called on the loop."""
        self._told += entries
        if self._told and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._count())

    async def _count(self) -> None:
        gateway = self._gateway
        try:
            while self._told:
                async with self.changing:
                    entries, self._told = self._told, []
                    known = gateway.settings, gateway.own_subscribers, gateway.passwords, gateway.nexus.subscribers
                    try:
                        self._go_by(await asyncio.to_thread(derive, *known), entries)
                    except BaseException:
                        self._told += entries  # with what Nexus tells next
                        raise
        except Exception:
            log.exception("subscribers-not-counted")
        finally:
            self._task = None

    def _go_by(self, derived: Derived, entries: list[Subscriber]) -> None:
        gateway = self._gateway
        gateway.know(derived)
        gateway.authority.reconfigure(derived.deciders)
        if any(entry.address is not None for entry in entries):  # pools keep other addresses for somebody
            pools = gateway.nexus.blocks.equip(derived.settings.pools, derived.pools)
            gateway.engine.reconfigure(pools, gateway.authority.authorizer, derived.admission)
        ids = [session.id for entry in entries for session in concerned(gateway.table, entry)]
        gateway.engine.doubt(ids)
        gateway.engine.review(gateway.clock.boot(), only=ids)
        log.info("subscribers", told=len(gateway.nexus.subscribers), out_of_place=len(gateway.strangers))
        gateway.end_turn()
