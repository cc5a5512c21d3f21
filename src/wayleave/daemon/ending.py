"""Ending all sessions before a planned stop, so that accounting hears of it now rather than after the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from wayleave.session.model import CloseCause

if TYPE_CHECKING:
    from wayleave.daemon.app import Gateway

AT_ONCE = 200
"""Sessions ended in a turn."""
PATIENCE_S = 10.0
"""What disk and servers may take in all; what servers have not heard of then goes out at the next start."""
_LOOK_S = 0.02


async def end_sessions(gateway: Gateway) -> dict[str, int]:
    """End every session, say Accounting-Off, and wait for the servers. Returns how many ended, and what is left."""
    last = asyncio.get_running_loop().time() + PATIENCE_S
    ids = [session.id for session in gateway.table]
    for first in range(0, len(ids), AT_ONCE):
        for id_ in ids[first : first + AT_ONCE]:
            gateway.engine.clear(id_, CloseCause.STOPPED, gateway.clock.boot())
        gateway.end_turn()
        await asyncio.sleep(0)  # noqa: TID251 -- the loop does everything else
    await _until(lambda: not len(gateway.table), last)
    accounting = gateway.authority.accounting
    if not len(gateway.table):
        accounting.ends(gateway.clock.boot())
        gateway.end_turn()
    await _until(lambda: not accounting.backlog, last)
    return {"ended": len(ids) - len(gateway.table), "left": len(gateway.table), "unacknowledged": accounting.backlog}


async def _until(condition: Callable[[], bool], last: float) -> None:
    """Wait for something that turns bring about, until `last` on the loop's clock."""
    while not condition() and asyncio.get_running_loop().time() < last:
        await asyncio.sleep(_LOOK_S)  # noqa: TID251 -- a turn, or the disk, brings it about
