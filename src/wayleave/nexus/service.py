"""What the routes of one process share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from wayleave.net.units import SECOND, BootNs, UtcNs
from wayleave.nexus.access import Peer
from wayleave.nexus.allocations import Allocations
from wayleave.nexus.audit import Chain
from wayleave.nexus.feed import Feed
from wayleave.nexus.holding import Holding, Terms
from wayleave.nexus.metrics import Counts
from wayleave.nexus.store.port import Store


class Service:
    """A store, what works on it, and the clocks."""

    def __init__(self, store: Store, terms: Terms, boot: Callable[[], BootNs], utc: Callable[[], UtcNs]) -> None:
        self.store, self.boot, self.utc = store, boot, utc
        self.holding = Holding(store, terms)
        self.allocations = Allocations(store, self.holding)
        self.feed = Feed(store)
        self.counts = Counts(self.feed)
        self.unsettled = asyncio.Event()
        """A provider was changed here, and gateways have not heard of it yet (`Providers.settle`)."""
        self._chain = Chain(store, self.now, asyncio.Lock())

    def by(self, peer: Peer) -> Store:
        """Return the store as somebody changes it: each commit goes on record with it (`audit`)."""
        return self._chain.by(peer.role, peer.name)

    def now(self) -> str:
        """What time it is: UTC, to the second, as in RFC 3339."""
        return datetime.fromtimestamp(self.utc() // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
