"""What changes, told to many at once: one watch of the store, and a stream for each that listens.

The watch tells every change, so `position` is a revision up to which all has been seen, whatever a stream is about.
What was seen last is kept: who comes back goes on from where it was, if that is not too long ago, and lists anew
otherwise (`Compacted`). A stream that does not keep up is cut off; it comes back in the same way.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from wayleave.nexus.store.port import FIRST, Change, Compacted, Store, Unavailable

KEPT = 20_000
"""Changes that are kept for those who come back: at least half as many."""
MOST_WAITING = 10_000
"""Changes that wait for one stream before it is cut off."""


class Stream:
    """One that listens to what is under a prefix, from a revision on."""

    def __init__(self, feed: Feed, prefix: str, after: int, cut: Callable[[], None]) -> None:
        self._feed, self._after, self._cut = feed, after, cut
        self.prefix = prefix
        self._waiting: list[Change] = []
        self._news = asyncio.Event()
        self.ended = False

    def tell(self, changes: list[Change]) -> None:
        """Have it told of changes, or be cut off if too many wait."""
        self._waiting += [change for change in changes if change.revision > self._after]
        if self._waiting:
            self._news.set()
        if len(self._waiting) > MOST_WAITING:
            self._feed.cut += 1
            self.end()
            self._cut()

    def end(self) -> None:
        """Tell no more."""
        self.ended = True
        self._news.set()

    async def told(self, within_s: float) -> tuple[list[Change], int]:
        """Return what has changed, nothing after so many seconds, and up to which revision that is all."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), within_s)
        changes, self._waiting = self._waiting, []
        if not self.ended:
            self._news.clear()
        return changes, max(self._after, self._feed.position)


class Feed:
    """A store's changes, for one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: list[Change] = []
        self._streams: dict[str, set[Stream]] = defaultdict(set)
        self._begin = self.position = 0
        """What is kept begins behind the one; the other is the last revision that was seen."""
        self.cut = 0
        """Streams that were cut off."""

    @property
    def streams(self) -> int:
        """How many listen."""
        return sum(map(len, self._streams.values()))

    async def run(self) -> None:
        """Watch, for ever. Raises: Unavailable, if the store does not answer at first, or is closed."""
        after = max(FIRST, await self._store.revision() - KEPT // 2)
        while True:
            self._begin = self.position = after
            try:
                async for changes in self._store.watch("", after):
                    self._take(changes)
            except Compacted as compacted:  # what it missed, its streams have missed
                after = compacted.oldest
                self._kept.clear()
                self.end()

    def _take(self, changes: list[Change]) -> None:
        self._kept += changes
        self.position = changes[-1].revision
        for stream, told in self._by_stream(changes):
            stream.tell(told)
        if len(self._kept) > KEPT:
            first = bisect_right(self._kept, self._kept[-KEPT // 2].revision, key=_revision)  # whole commits
            self._begin = self._kept[first - 1].revision
            del self._kept[:first]

    def _by_stream(self, changes: list[Change]) -> Iterator[tuple[Stream, list[Change]]]:
        of: dict[str, list[Change]] = defaultdict(list)
        for change in changes:
            for prefix in _prefixes(change.key):
                if prefix in self._streams:
                    of[prefix].append(change)
        for prefix, told in of.items():
            for stream in [*self._streams[prefix]]:
                yield stream, told

    @contextmanager
    def listen(self, prefix: str, after: int, cut: Callable[[], None]) -> Iterator[Stream]:
        """Yield a stream of what changes behind revision `after` under a prefix that ends with a slash.

        `cut` ends its connection. Raises: Compacted, Unavailable.
        """
        self.check(after)
        stream = Stream(self, prefix, after, cut)
        first = bisect_right(self._kept, after, key=_revision)
        stream.tell([change for change in self._kept[first:] if change.key.startswith(prefix)])
        self._streams[prefix].add(stream)
        try:
            yield stream
        finally:
            self._streams[prefix].discard(stream)
            if not self._streams[prefix]:
                del self._streams[prefix]

    def check(self, after: int) -> None:
        """Raises: Compacted, if what changed behind a revision is not kept; Unavailable, if nothing was seen yet."""
        if not self._begin:
            raise Unavailable("the store has not been seen yet: is it running?")
        if after < self._begin:
            raise Compacted(self._begin)

    async def since(self, after: int) -> int:
        """Return from which revision on to listen; 0: from now on.

        Raises: Compacted, also for one that is still to come: it is of another history; Unavailable.
        """
        now = self.position
        if not 0 < after <= now:
            now = await self._store.revision()
        if after > now:
            raise Compacted(now)
        self.check(after or now)
        return after or now

    def end(self) -> None:
        """End every stream."""
        for streams in self._streams.values():
            for stream in streams:
                stream.end()


def _revision(change: Change) -> int:
    return change.revision


def _prefixes(key: str) -> Iterator[str]:
    """Yield `view/` and `view/bng1/` of `view/bng1/alice`."""
    end = key.find("/")
    while end >= 0:
        yield key[: end + 1]
        end = key.find("/", end + 1)
