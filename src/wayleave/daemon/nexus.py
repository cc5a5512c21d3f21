"""All of Nexus at a gateway: its blocks, what it tells of subscribers, and the talk with it, one question at a time.

Where none is configured nothing is shared, and nobody is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import structlog

from wayleave.aaa.local import Subscriber
from wayleave.api.nexus import NexusView, nexus_view
from wayleave.daemon.blocks import Blocks, bounds
from wayleave.daemon.directory import Directory
from wayleave.daemon.engine import Engine
from wayleave.daemon.reports import Reports
from wayleave.io.clock import Clock
from wayleave.io.nexus import Connection, Fenced, NexusError
from wayleave.io.settings import NexusSettings
from wayleave.io.store import Store
from wayleave.io.tls import client_context
from wayleave.io.writes import Write
from wayleave.proto.nexus.holder import Request
from wayleave.proto.nexus.messages import Block
from wayleave.session.model import CloseCause
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.settings import PoolSettings

log = structlog.get_logger()


class Nexus:
    """`changed`: blocks have come or gone; `told`: these subscribers are others, or were, as Nexus has it now."""

    def __init__(
        self,
        settings: NexusSettings | None,
        folder: Path,
        state: Path,
        store: Store,
        clock: Clock,
        changed: Callable[[], None],
        told: Callable[[list[Subscriber]], None],
    ) -> None:
        """`folder`: what paths in the configuration are relative to. Raises: SecretError, ReplicaError."""
        self._clock, self._changed = clock, changed
        self.blocks = Blocks(store.standing(), store, self._end, self._blocks_changed)
        self.connection: Connection | None = None
        self.directory: Directory | None = None
        self.reports: Reports | None = None
        self._store = store
        if settings is not None:
            context = client_context(*settings.pem(folder), "nexus")
            self.connection = Connection(settings.ends, context, clock.boot)
            self.directory = Directory(state, self.connection, told)
            self.reports = Reports(self.connection, store, clock, self._state)
        self._asking: asyncio.Task[None] | None = None

    @property
    def subscribers(self) -> list[Subscriber]:
        """Those that it tells of."""
        return self.directory.entries if self.directory is not None else []

    def expect(self, pools: Iterable[PoolSettings], subscribers: Iterable[Subscriber]) -> None:
        """Have the addresses of shared pools that these subscribers are to have, wherever they had them before."""
        shared = [(pool.network, pool.nexus) for pool in pools if pool.nexus is not None]
        self._store.shared = {pool.name: pool.nexus for pool in pools if pool.nexus is not None}
        fixed = [entry.address for entry in subscribers if entry.address is not None] if shared else []
        self.blocks.expect((name, str(address)) for address in fixed for network, name in shared if address in network)

    def serve(self, engine: Engine) -> None:
        """Have the sessions of this engine end with their blocks."""
        self._engine = engine

    def start(self, end_turn: Callable[[], None]) -> None:
        """Ask and follow from now on; `end_turn` is called when an answer has changed something."""
        self._end_turn = end_turn
        if self.directory is not None:
            self.directory.start()
        self.pump()

    def close(self) -> None:
        """Stop asking; what is under way is of no interest any more."""
        if self._asking is not None:
            self._asking.cancel()
        if self.reports is not None:
            self.reports.close()
        if self.directory is not None:
            self.directory.close()
        if self.connection is not None:
            self.connection.close()

    # ---- asking -------------------------------------------------------------------------

    def pump(self) -> None:
        """Ask what is to be asked, unless an answer is waited for. To be called often, on the loop."""
        if self.reports is not None:
            self.reports.pump()
        if self.connection is None or self._asking is not None:
            return
        request = self.blocks.request(self._clock.boot())
        if request is not None:
            self._asking = asyncio.get_running_loop().create_task(self._ask(self.connection, request))

    async def _ask(self, connection: Connection, request: Request) -> None:
        try:
            answer = await connection.ask(request)
        except Fenced as error:
            log.error("blocks-fenced", why=str(error))
            self.blocks.fence(self._clock.boot())
        except NexusError:
            self.blocks.fail(self._clock.boot())  # the connection has logged why
        else:
            self.blocks.receive(answer, self._clock.boot())
        self._asking = None
        self._end_turn()
        self.pump()

    def recorded(self, group: Iterable[Write], error: str | None) -> None:
        """Take a completed group of the store."""
        self.blocks.recorded(group, error)
        self.pump()

    # ---- blocks that come and go --------------------------------------------------------

    def _end(self, blocks: Sequence[Block]) -> None:
        """These blocks are not the gateway's any more: who lives there is gone."""
        shares = self.blocks.shares
        ranges = [(shares[block.pool].pool.name, *bounds(block)) for block in blocks if self.blocks.lives_in(block)]
        lost = Refusal(Reason.NO_BLOCK, "its block is not this gateway's any more")
        for session in list(self._engine.table) if ranges else ():
            lease = session.lease
            if lease is None or session.cause is not None:
                continue
            if any(lease.pool == pool and first <= lease.address <= last for pool, first, last in ranges):
                self._engine.clear(session.id, CloseCause.BLOCK_LOST, self._clock.boot(), lost)

    def _state(self) -> tuple[int, list[dict[str, Any]]]:
        """What Nexus is told of how the gateway does."""
        shares = self.blocks.shares.items()
        pools = [{"pool": name, "held": share.pool.held, "size": share.pool.size} for name, share in shares]
        return len(self._engine.table), pools

    def _blocks_changed(self) -> None:
        log.info("blocks", **{name: len(self.blocks.of(name)) for name in self.blocks.shares})
        self._changed()

    # ---- for the API --------------------------------------------------------------------

    def view(self, waiting: int) -> NexusView | None:
        """How it stands; `waiting` sessions of before wait for it. None: there is no Nexus."""
        if self.connection is None:
            return None
        return nexus_view(self.connection.state, self.blocks, waiting, self._clock.boot())

    def faults(self) -> list[str]:
        """Why customers cannot all be served."""
        strange = [share.strange for share in self.blocks.shares.values() if share.strange]
        why = [
            f"Nexus means another pool: {text}: give pools.network here what its pool has as space" for text in strange
        ]
        if self.blocks.shares and self.blocks.until <= self._clock.boot():
            why.append("nothing of the shared pools is this gateway's now: `bng show nexus`")
        return why
