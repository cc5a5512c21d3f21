"""CoA and Disconnect at work: from a controller's request to a session that is changed or ended, and back.

A change is acknowledged once its row counts and the disk has it; what the disk refuses is undone. An end is
acknowledged once the disk has that.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import structlog

from wayleave.aaa.order import ErrorCause, Order, Refused, understand
from wayleave.aaa.radius import Deciders
from wayleave.aaa.settings import RadiusSettings
from wayleave.daemon.engine import Engine
from wayleave.io.clock import Clock
from wayleave.io.radius import DynauthSocket
from wayleave.io.secrets import read_secret
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.radius.dynauth import Controller, Listener, Request, Source
from wayleave.session.model import CloseCause, Service, Session

log = structlog.get_logger()

TOLD_EVERY, TOLD_MOST = Ns(60 * SECOND), 64
"""Who sends what is ignored is told to the log once a minute and reason; so many a minute at most."""


class _Change(NamedTuple):
    """A change that counts and is not on the disk yet, with the session as it was before and after it."""

    request: Request
    before: Session
    after: Session


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
            },
            self._ignored,
        )
        self._groups = {
            item.address: None if item.groups is None else frozenset(item.groups) for item in settings.controllers
        }
        self._changes: dict[int, list[_Change]] = {}
        self._ends: dict[int, Request] = {}
        """What waits for the disk, by the session's id."""
        self._told: OrderedDict[tuple[IPv4Address, str], BootNs] = OrderedDict()
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
            self._groups[request.source.address],
        )
        if isinstance(order, Refused):
            return self._refuse(request, order)
        if order.service is None:
            id_ = order.session.id
            self._ends[id_] = request
            self._engine.clear(id_, CloseCause.DISCONNECTED, now)
            log.info("disconnected", session=id_, by=str(request.source.address))
            return None
        return self._change(request, order, order.service)

    def _change(self, request: Request, order: Order, service: Service) -> bytes | None:
        session = order.session
        if not self._engine.change(session.id, service, self._clock.boot(), order.anew):
            return self._refuse(request, Refused(ErrorCause.RESOURCES_UNAVAILABLE, "there is no room for its new row"))
        after = self._engine.table.get(session.id)
        assert after is not None
        log.info("changed", session=session.id, service=service.name, by=str(request.source.address))
        self._changes.setdefault(session.id, []).append(_Change(request, session, after))
        return None

    def _refuse(self, request: Request, refused: Refused) -> bytes:
        log.warning("change-refused", by=str(request.source.address), cause=refused.cause, why=refused.why)
        return self.listener.answer(request, refused.cause)

    def kept(self, sessions: Iterable[Session], error: str | None) -> None:
        """The disk has what sessions are like by now, or refused it, the last change first."""
        done: list[_Change] = []
        for session in sessions:
            waiting = self._changes.get(session.id, [])
            mine = [change for change in waiting if change.after is session]
            left = [change for change in waiting if change.after is not session]
            if mine and not left:
                del self._changes[session.id]
            elif mine:
                self._changes[session.id] = left
            done += mine
        for change in reversed(done) if error is not None else ():
            self._engine.take_back(change.after, change.before, self._clock.boot())
            self._undone(change)
        for change in done:
            self._settle(change.request, error)

    def _undone(self, undone: _Change) -> None:
        """A change that was made of an undone one, and is to be undone as well, leads back to before both."""
        waiting = self._changes.get(undone.after.id, [])
        for place, change in enumerate(waiting):
            if change.before.service is undone.after.service:
                waiting[place] = change._replace(before=undone.before)

    def ended(self, ids: Iterable[int], error: str | None) -> None:
        """The disk has that sessions ended, or refused it: they do end, but a restart would bring them back."""
        for id_ in ids:
            request = self._ends.pop(id_, None)
            if request is not None:
                self._settle(request, error)

    def _settle(self, request: Request, error: str | None) -> None:
        answer = self.listener.answer(request, None if error is None else ErrorCause.RESOURCES_UNAVAILABLE)
        if self._socket is not None:
            self._socket.send(request.source, answer)

    def _ignored(self, address: IPv4Address, why: str) -> None:
        """Tell the log of who sends what gets no answer, but not each time."""
        now = self._clock.boot()
        if now - self._told.get((address, why), -TOLD_EVERY) < TOLD_EVERY:
            return
        self._told.pop((address, why), None)
        if len(self._told) >= TOLD_MOST:
            if now - next(iter(self._told.values())) < TOLD_EVERY:
                return  # whoever forges addresses is not to fill the log
            self._told.popitem(last=False)
        self._told[address, why] = now
        log.warning("change-ignored", by=str(address), why=why)
