"""CoA and Disconnect at work: from a controller's request to a session that is changed or ended, and back.

A change is acknowledged once its row counts and the disk has it; what the disk refuses is undone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from wayleave.aaa.order import ErrorCause, Order, Refused, understand
from wayleave.aaa.radius import Deciders
from wayleave.aaa.settings import RadiusSettings
from wayleave.daemon.engine import Engine
from wayleave.io.clock import Clock
from wayleave.io.radius import DynauthSocket
from wayleave.io.secrets import read_secret
from wayleave.proto.radius.dynauth import Controller, Listener, Request, Source
from wayleave.proto.radius.exchange import Secret
from wayleave.session.model import CloseCause, Service, Session

log = structlog.get_logger()


class Dynauth:
    """Serves controllers, if any are configured."""

    def __init__(
        self, settings: RadiusSettings, folder: Path, engine: Engine, deciders: Callable[[], Deciders], clock: Clock
    ) -> None:
        """`folder`: what paths of secrets are relative to. Raises: SecretError."""
        self._settings, self._engine, self._deciders, self._clock = settings, engine, deciders, clock
        self.listener = Listener(
            {
                item.address: Controller(
                    secret=Secret(read_secret(folder / item.secret, f"radius.controllers[{item.address}].secret")),
                    required=item.message_authenticator,
                    timestamped=item.timestamp,
                )
                for item in settings.controllers
            }
        )
        self._groups = {
            item.address: None if item.groups is None else frozenset(item.groups) for item in settings.controllers
        }
        self._waiting: dict[int, deque[tuple[Request, Session]]] = {}
        """Changes of each session that count and are not on the disk yet, with the session as it was before."""
        self._socket: DynauthSocket | None = None
        self._turn: Callable[[], None] = lambda: None

    def open(self) -> None:
        """Raises: RadiusError."""
        if self._settings.controllers:
            listen = self._settings.listen or self._settings.address
            self._socket = DynauthSocket(listen, self._settings.port, self._receive, lambda: self._turn())

    def start(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Serve from now on; `turn` is called behind every batch."""
        self._turn = turn
        if self._socket is not None:
            self._socket.listen(loop)

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _receive(self, source: Source, data: bytes) -> bytes | None:
        now = self._clock.boot()
        utc = self._clock.utc() if self._clock.plausible else None
        request = self.listener.receive(source, data, now, utc)
        return self._carry_out(request) if isinstance(request, Request) else request

    def _carry_out(self, request: Request) -> bytes | None:
        """Do what is asked; None: the answer comes once the disk has it."""
        deciders, now = self._deciders(), self._clock.boot()
        order = understand(
            deciders.dictionary.explode(request.packet.attributes),
            request.disconnects,
            self._engine.table,
            self._engine.holder,
            deciders,
            self._groups[request.source[0]],
        )
        if isinstance(order, Refused):
            return self._refuse(request, order)
        if order.service is None:
            self._engine.clear(order.session.id, CloseCause.DISCONNECTED, now)
            log.info("disconnected", session=order.session.id, by=str(request.source[0]))
            return self.listener.answer(request, None)
        return self._change(request, order, order.service)

    def _change(self, request: Request, order: Order, service: Service) -> bytes | None:
        session = order.session
        if not self._engine.change(session.id, service, self._clock.boot()):
            why = "the session is on its way to the disk, or there is no room for its new row: try again"
            return self._refuse(request, Refused(ErrorCause.RESOURCES_UNAVAILABLE, why))
        log.info("changed", session=session.id, service=service.name, by=str(request.source[0]))
        self._waiting.setdefault(session.id, deque()).append((request, session))
        return None

    def _refuse(self, request: Request, refused: Refused) -> bytes:
        log.warning("change-refused", by=str(request.source[0]), cause=refused.cause, why=refused.why)
        return self.listener.answer(request, refused.cause)

    def kept(self, ids: Iterable[int], error: str | None) -> None:
        """The disk has what sessions are like by now, or refused it."""
        for id_ in ids:
            waiting = self._waiting.get(id_)
            if waiting is None or self._socket is None:
                continue
            request, before = waiting.popleft()
            if not waiting:
                del self._waiting[id_]
            if error is not None and before.service is not None:
                self._engine.change(id_, before.service, self._clock.boot())
            cause = None if error is None else ErrorCause.RESOURCES_UNAVAILABLE
            self._socket.send(request.source, self.listener.answer(request, cause))
