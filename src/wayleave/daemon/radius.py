"""RADIUS at work: exchanges and their sockets, tied to the loop and to the turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from wayleave.aaa.radius import Authorizer, Decision
from wayleave.aaa.settings import GroupSettings, RadiusSettings, ServerSettings
from wayleave.io.clock import Clock
from wayleave.io.radius import Sockets
from wayleave.io.secrets import read_secret
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.radius.exchange import Channel, Exchange, Secret, Server
from wayleave.proto.radius.packet import Code

TIMER_GRAIN_S = 0.001
"""What the loop's timers may be early by: it would come back at once, again and again, until it is time."""


class Radius:
    """The client's side. `open` reads secrets and makes sockets, `start` ties them to a loop, `pump` ends a turn."""

    def __init__(self, settings: RadiusSettings, folder: Path, clock: Clock) -> None:
        """`folder`: what paths of secrets are relative to. Raises: SecretError."""
        self._settings, self._folder, self._clock = settings, folder, clock
        self._secrets = {
            item.name: Secret(self._read(item.secret, f"servers[{item.name}].secret")) for item in settings.servers
        }
        self.access = {
            group.name: self._exchange(Code.ACCESS_REQUEST, group, group.servers) for group in settings.groups
        }
        self.accounting = {
            group.name: self._exchange(Code.ACCOUNTING_REQUEST, group, _accounting(group))
            for group in settings.groups
            if _accounting(group)
        }
        self.passwords = {
            group.name: Secret(self._read(group.password, f"groups[{group.name}].password"))
            for group in settings.groups
            if group.password is not None
        }
        self._sockets: dict[Exchange, Sockets] = {}
        self._timers: dict[Exchange, tuple[asyncio.Handle, BootNs]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: Callable[[], None] = lambda: None

    def _read(self, path: str, setting: str) -> bytes:
        return read_secret(self._folder / path, f"radius.{setting}")

    def _server(self, name: str) -> ServerSettings:
        return next(server for server in self._settings.servers if server.name == name)

    def _exchange(self, code: Code, group: GroupSettings, names: Sequence[str]) -> Exchange:
        servers = [self._told(self._server(name)) for name in names]
        return Exchange(code, servers, os.urandom, share=group.mode == "share", queue=group.queue)

    def _told(self, server: ServerSettings) -> Server:
        return Server(
            name=server.name,
            secret=self._secrets[server.name],
            channels=server.sources,
            timeout=server.timeout,
            tries=server.tries,
            required=server.message_authenticator,
            dead_for=server.dead_time,
            probes=server.status_server,
        )

    # ---- the loop -----------------------------------------------------------------------

    def open(self) -> None:
        """Make the sockets. Raises: RadiusError."""
        for group in self._settings.groups:
            access, accounting = map(self._server, group.servers), map(self._server, _accounting(group))
            self._connect(self.access[group.name], [(item.address, item.auth_port, item.sources) for item in access])
            if group.name in self.accounting:
                ends = [(item.address, item.acct_port, item.sources) for item in accounting]
                self._connect(self.accounting[group.name], ends)

    def _connect(self, exchange: Exchange, ends: Sequence[tuple[IPv4Address, int, int]]) -> None:
        def receive(channel: Channel, data: bytes) -> None:
            exchange.receive(channel, data, self._clock.boot())

        self._sockets[exchange] = Sockets(ends, self._settings.address, receive, lambda: self._turn())

    def start(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Serve from now on. `turn` is called when something came in, or a wait is over; it is to call `pump`."""
        self._loop, self._turn = loop, turn
        for sockets in self._sockets.values():
            sockets.listen(loop)

    def stop(self) -> None:
        for timer, _ in self._timers.values():
            timer.cancel()
        for sockets in self._sockets.values():
            if self._loop is not None:
                sockets.unlisten(self._loop)
            sockets.close()

    def pump(self, authorizer: Authorizer, decided: Callable[[Decision], None]) -> None:
        """Send what is to be sent, hand on what was decided, and see when to look again."""
        while decisions := authorizer.decisions(self._clock.boot()):
            for decision in decisions:
                decided(decision)
        for exchange, sockets in self._sockets.items():
            sockets.send(exchange.take())
            self._wake(exchange)

    def _wake(self, exchange: Exchange) -> None:
        deadline = exchange.deadline
        if self._loop is None or not deadline:
            return
        timer, at = self._timers.get(exchange, (None, deadline))
        if timer is not None and at <= deadline:
            return
        if timer is not None:
            timer.cancel()
        wait = max(0, deadline - self._clock.boot()) / SECOND + TIMER_GRAIN_S
        self._timers[exchange] = self._loop.call_later(wait, self._expire, exchange), deadline

    def _expire(self, exchange: Exchange) -> None:
        del self._timers[exchange]
        exchange.expire(self._clock.boot())
        self._turn()


def _accounting(group: GroupSettings) -> Sequence[str]:
    """The servers that a group accounts to."""
    return group.servers if group.accounting is None else group.accounting
