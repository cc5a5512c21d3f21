"""Holds that nobody renews: an observer watches each on its own boot clock, and ends it when its gateway has.

A gateway stops believing in its hold `duration` after it asked, on its clock, which may run slow by `RATE_ERROR`. The
observer first sees what that request wrote after it was written; so once it has seen the same for `duration` on its own
clock, which may run fast by as much, and for the grace besides, the gateway has stopped. An observer that begins anew
begins to watch anew: that takes longer, and harms nobody. Neither trusts a wall clock or the other's.

What a lapsed hold owned is free at once; its index entries are swept behind it.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.nexus import model
from wayleave.nexus.model import Hold
from wayleave.nexus.store.port import Conflict, Delete, Entry, Is, Store, entries
from wayleave.proto.nexus.holder import RATE_ERROR

GRACE = Ns(600 * SECOND)
_SWEPT_AT_ONCE = 100


class Seen(Struct, frozen=True, gc=False):
    """An entry as it was first seen: the revision that it was written at, and when that was."""

    revision: int
    at: BootNs


class Watched:
    """Entries that are over when nobody has written them for as long as they last, and `grace` besides.

    `duration` reads from an entry how long that is; None: for ever.
    """

    def __init__(
        self, store: Store, prefix: str, duration: Callable[[Entry], Ns | None], grace: Ns, rate_error: int
    ) -> None:
        self._store, self._prefix, self._duration = store, prefix, duration
        self._grace, self._rate_error = grace, rate_error
        self._seen: dict[str, Seen] = {}

    def __len__(self) -> int:
        """How many there were at the last look that do not last for ever."""
        return len(self._seen)

    async def over(self, clock: Callable[[], BootNs]) -> list[Entry]:
        """Look at all of them; returns those whose time is over, as they were seen. Raises: Unavailable."""
        over: list[Entry] = []
        found: set[str] = set()
        async for entry in entries(self._store, self._prefix):
            now = clock()  # behind the reading: what it found was written before that
            lasts = self._duration(entry)
            if lasts is None:
                continue
            found.add(entry.key)
            if self._is_over(entry, lasts, now):
                over.append(entry)
        self._seen = {key: seen for key, seen in self._seen.items() if key in found}
        return over

    def _is_over(self, entry: Entry, lasts: Ns, now: BootNs) -> bool:
        seen = self._seen.get(entry.key)
        if seen is None or seen.revision != entry.revision:
            self._seen[entry.key] = Seen(entry.revision, now)
            return False
        return now - seen.at > watched(lasts, self._rate_error, self._grace)


class Observer:
    """Watches the holds of a store. `grace` is added to what arithmetic demands: time for people, and for surprises.

    Nexus's own hold is not of a gateway, and nobody ends it.
    """

    def __init__(self, store: Store, grace: Ns = GRACE, rate_error: int = RATE_ERROR) -> None:
        self._store = store
        self._watched = Watched(store, model.HOLDS, _duration, grace, rate_error)

    def __len__(self) -> int:
        """How many holds of gateways there were at the last look."""
        return len(self._watched)

    async def look(self, clock: Callable[[], BootNs]) -> list[str]:
        """Look at every hold, and end those whose time is over; returns their keys. Raises: Unavailable."""
        return [entry.key for entry in await self._watched.over(clock) if await self._lapse(entry)]

    async def _lapse(self, entry: Entry) -> bool:
        """End a hold that is still as it was seen. Its blocks are free from then on."""
        try:
            await self._store.commit([Is(entry.key, entry.revision)], [Delete(entry.key)])
        except Conflict:
            return False
        await self.sweep(*model.of_hold_key(entry.key))
        return True

    async def sweep(self, node: str, epoch: int) -> None:
        """Delete the index entries of a hold that is over."""
        prefix, more = model.held_prefix(node, epoch), True
        while more:
            page = await self._store.page(prefix, "", _SWEPT_AT_ONCE)
            await self._store.commit([], [Delete(entry.key) for entry in page.entries])
            more = page.more


def _duration(hold: Entry) -> Ns | None:
    node, _ = model.of_hold_key(hold.key)
    return None if node == model.NEXUS else model.decode(Hold, hold.value).duration


def watched(duration: Ns, rate_error: int, grace: Ns) -> Ns:
    """For how long on a clock that may run fast a hold is to be watched before it is over."""
    return Ns(duration + duration // rate_error + grace)
