"""All of Nexus at a gateway: its blocks, what it tells of subscribers, and the talk with it, one question at a time.

Where none is configured nothing is shared, and nobody is asked.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import structlog

from wayleave.aaa.local import Subscriber
from wayleave.api.nexus import NexusView, nexus_view
from wayleave.daemon.blocks import Blocks, numbers
from wayleave.daemon.directory import Directory
from wayleave.daemon.engine import Engine
from wayleave.daemon.reports import Reports
from wayleave.io.clock import Clock
from wayleave.io.nexus import Connection, Fenced, NexusError, Refused
from wayleave.io.settings import NexusSettings
from wayleave.io.store import Store
from wayleave.io.tls import client_context, of_gateway
from wayleave.io.writes import Write
from wayleave.proto.nexus.holder import Request
from wayleave.proto.nexus.messages import Block
from wayleave.session.model import CloseCause, Phase
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.settings import PoolSettings

log = structlog.get_logger()

STRANGERS = 20
"""Subscribers that are out of place, and told of."""


class StillLeased(Exception):
    """What is to be the gateway's own is, as far as it knows, leased; the text says what to do."""


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
        name: str = "",
    ) -> None:
        """`folder`: what paths in the configuration are relative to; `name`: the gateway's.

        Raises: SecretError, ReplicaError.
        """
        self._clock, self._changed = clock, changed
        self.strangers: Mapping[str, str] = {}
        """Subscribers that Nexus tells of and that make no sense under this configuration: why."""
        self.blocks = Blocks(store.standing(), store, self._end, self._blocks_changed, f"{clock.boot_id}/{store.epoch}")
        self.connection: Connection | None = None
        self.directory: Directory | None = None
        self.reports: Reports | None = None
        self._store = store
        if settings is not None:
            context = client_context(*settings.pem(folder), "nexus")
            of_gateway(settings.pem(folder)[0], name, "nexus", clock.utc() if clock.plausible else None)
            self.connection = Connection(settings.ends, context, clock.boot)
            self.directory = Directory(state, self.connection, told)
            self.reports = Reports(self.connection, store, clock, self._state)
        self._asking: asyncio.Task[None] | None = None
        self._stood = False

    @property
    def subscribers(self) -> list[Subscriber]:
        """Those that it tells of."""
        return self.directory.entries if self.directory is not None else []

    def expect(self, pools: Iterable[PoolSettings], subscribers: Iterable[Subscriber]) -> None:
        """Have the addresses of shared pools that these subscribers are to have, wherever they had them before."""
        shared = [(pool.network, pool.nexus) for pool in pools if pool.nexus is not None]
        self._store.shared = {pool.name: pool.nexus for pool in pools if pool.nexus is not None}
        fixed = [entry.address for entry in subscribers if entry.address is not None] if shared else []
        if self.directory is not None and self.directory.replica.revision is None:
            return  # nobody knows yet whom Nexus means: nothing is given back for that
        self.blocks.expect((name, str(address)) for address in fixed for network, name in shared if address in network)

    def check(self, pools: Iterable[PoolSettings]) -> None:
        """See that no pool is all the gateway's own of which it holds blocks. Raises: StillLeased."""
        held = [ends for block in self.blocks.holder.blocks.values() if (ends := numbers(block)) is not None]
        for pool in pools:
            first, last = int(pool.network.network_address), int(pool.network.broadcast_address)
            if pool.nexus is None and any(low <= last and first <= high for low, high in held):
                raise StillLeased(
                    f"pool {pool.name}: this gateway holds blocks of {pool.network} from Nexus, and others may have "
                    "more: write pools.nexus again; to have it for its own, start once without the pool and with "
                    "[nexus], which gives the blocks back"
                )

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
        self._watch()
        if self.reports is not None:
            self.reports.pump()
        if self.connection is None or self._asking is not None:
            return
        request = self.blocks.request(self._clock.boot())
        if request is not None:
            self._asking = asyncio.get_running_loop().create_task(self._ask(self.connection, request))

    def _watch(self) -> None:
        """Say that the hold is over, once."""
        stands = self.blocks.until > self._clock.boot()
        if self._stood and not stands:
            log.error("hold-over", pools=sorted(self.blocks.shares), why="Nexus did not renew it in time")
        self._stood = stands

    async def _ask(self, connection: Connection, request: Request) -> None:
        now = self._clock.boot
        try:
            answer = await connection.ask(request)
        except Fenced as error:
            log.error("blocks-fenced", why=str(error))
            self.blocks.fence(now())
        except Refused as error:
            log.warning("nexus-refuses", why=str(error))
            self.blocks.refuse(str(error), now())
        except NexusError:
            self.blocks.fail(now())  # the connection has logged why
        except Exception:
            log.exception("nexus-not-asked")
            self.blocks.fail(now())
        else:
            self.blocks.receive(answer, now())
        finally:
            self._asking = None
        self.pump()
        self._end_turn()

    def recorded(self, group: Iterable[Write], error: str | None) -> None:
        """Take a completed group of the store. What the disk refused is tried again in a second, and not at once."""
        self.blocks.recorded(group, error)
        if error is None:
            self.pump()

    # ---- blocks that come and go --------------------------------------------------------

    def _end(self, blocks: Sequence[Block]) -> int:
        """These blocks are not the gateway's any more: who lives there is ended. Returns how many are there yet.

        Also of a pool that is not there any more, whose sessions are about to be looked at.
        """
        of_others = {name for name, terms in self._engine.pools.items() if terms.tenure is None}
        ranges = sorted(ends for block in blocks if (ends := numbers(block)) is not None)
        firsts = [first for first, _ in ranges]
        lost = Refusal(Reason.NO_BLOCK, "its block is not this gateway's any more")
        found = []
        for session in self._engine.table if ranges else ():
            lease = session.lease
            if lease is not None and lease.pool not in of_others:
                at = bisect_right(firsts, int(lease.address)) - 1
                if at >= 0 and int(lease.address) <= ranges[at][1]:
                    found.append(session)
        for session in found:
            if session.cause is None or session.phase is Phase.REMOVING:  # nothing is to bring it back
                self._engine.clear(session.id, CloseCause.BLOCK_LOST, self._clock.boot(), lost)
        return len(found)

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
        state, now = self.connection.state, self._clock.boot()
        return nexus_view(state, self.blocks, waiting, self.faults(), self._out_of_place(), now)

    def _out_of_place(self) -> dict[str, str]:
        """Some subscribers that do not count as Nexus tells of them, and why."""
        refused = self.directory.replica.refused if self.directory is not None else {}
        return dict(islice(chain(self.strangers.items(), refused.items()), STRANGERS))

    def faults(self) -> list[str]:
        """Why customers cannot all be served."""
        shares = self.blocks.shares
        cure = "give pools.network here what the pool has as space there"
        why = [f"Nexus means another pool: {share.strange}: {cure}" for share in shares.values() if share.strange]
        refused = [(name, share.refused) for name, share in shares.items() if share.refused]
        why += [f"Nexus leases nothing more of {name}: {text}" for name, text in refused]
        if shares and self.blocks.until <= self._clock.boot():
            why.append("nothing of the shared pools is this gateway's now: `bng show nexus`")
        return why
