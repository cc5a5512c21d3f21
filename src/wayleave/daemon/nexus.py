"""The gateway's talk with Nexus: one question at a time, and what comes of it (`daemon.blocks` knows what it means)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from wayleave.daemon.blocks import Blocks
from wayleave.io.clock import Clock
from wayleave.io.nexus import Connection, Fenced, NexusError
from wayleave.proto.nexus.holder import Request

log = structlog.get_logger()


class Nexus:
    """`pump` sends what is to be asked; `end_turn` is called when an answer has changed something."""

    def __init__(self, blocks: Blocks, connection: Connection, clock: Clock, end_turn: Callable[[], None]) -> None:
        self.connection = connection
        self._blocks, self._clock, self._end_turn = blocks, clock, end_turn
        self._asking: asyncio.Task[None] | None = None

    def pump(self) -> None:
        """Ask what is to be asked, unless an answer is waited for. To be called often, on the loop."""
        if self._asking is None and (request := self._blocks.request(self._clock.boot())) is not None:
            self._asking = asyncio.get_running_loop().create_task(self._ask(request))

    async def _ask(self, request: Request) -> None:
        try:
            answer = await self.connection.ask(request)
        except Fenced as error:
            log.error("blocks-fenced", why=str(error))
            self._blocks.fence(self._clock.boot())
        except NexusError as error:
            log.warning("nexus-unreachable", why=str(error))
            self._blocks.fail(self._clock.boot())
        else:
            self._blocks.receive(answer, self._clock.boot())
        self._asking = None
        self._end_turn()
        self.pump()

    def close(self) -> None:
        """Stop asking; what is under way is of no interest any more."""
        if self._asking is not None:
            self._asking.cancel()
        self.connection.close()
