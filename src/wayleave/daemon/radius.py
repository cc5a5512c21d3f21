"""RADIUS at work: exchanges and their sockets and connections, tied to the loop and to the turn."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import structlog

from wayleave.aaa.radius import Authorizer, Decision
from wayleave.aaa.settings import GroupSettings, RadiusSettings, ServerSettings
from wayleave.io.alarm import Alarm
from wayleave.io.clock import Clock
from wayleave.io.radius import Sockets
from wayleave.io.radsec import Connections, End
from wayleave.io.secrets import SecretError, read_secret
from wayleave.io.tls import client_context
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.radius.exchange import Channel, Exchange, Peer, Server
from wayleave.proto.radius.packet import LONGEST_PASSWORD, Code
from wayleave.session.model import NEVER

log = structlog.get_logger()

RADSEC_SECRET = b"radsec"
"""Over TLS there is nothing for a secret to do (RFC 6614 2.3)."""


class Radius:
    """The client's side. `open` reads secrets and makes sockets, `start` ties them to a loop, `pump` ends a turn."""

    def __init__(self, settings: RadiusSettings, folder: Path, clock: Clock) -> None:
        """`folder`: what paths of secrets are relative to. Raises: SecretError."""
        self._settings, self._folder, self._clock = settings, folder, clock
        self._secrets = {item.name: self._secret(item) for item in settings.servers}
        self._contexts = {item.name: self._context(item) for item in settings.servers if item.radsec}
        self.access = {
            group.name: self._exchange(Code.ACCESS_REQUEST, group, group.servers) for group in settings.groups
        }
        self.accounting = {
            group.name: self._exchange(Code.ACCOUNTING_REQUEST, group, _accounting(group))
            for group in settings.groups
            if _accounting(group)
        }
        self.passwords = {
            group.name: Secret(self._password(group.password, f"groups[{group.name}].password"))
            for group in settings.groups
            if group.password is not None
        }
        self._transports: dict[Exchange, list[Sockets | Connections]] = {}
        """Of each exchange: what every server's questions go to, by its number."""
        self._alarms = {
            exchange: self._alarm(exchange) for exchange in (*self.access.values(), *self.accounting.values())
        }
        self._silent: dict[Peer, BootNs] = {}
        """Servers that are silent as far as the log was told, and since when."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: Callable[[], None] = lambda: None

    def _alarm(self, exchange: Exchange) -> Alarm:
        def ring() -> None:
            exchange.expire(self._clock.boot())
            self._turn()

        return Alarm(self._clock.boot, ring)

    def _read(self, path: str, setting: str) -> bytes:
        return read_secret(self._folder / path, f"radius.{setting}")

    def _password(self, path: str, setting: str) -> bytes:
        read = self._read(path, setting)
        if len(read) > LONGEST_PASSWORD:
            says = f"{self._folder / path} has {len(read)} octets"
            raise SecretError(f"radius.{setting}", says, f"User-Password has room for {LONGEST_PASSWORD}")
        return read

    def _secret(self, server: ServerSettings) -> Secret:
        if server.secret is None:
            return Secret(RADSEC_SECRET)
        return Secret(self._read(server.secret, f"servers[{server.name}].secret"))

    def _context(self, server: ServerSettings) -> ssl.SSLContext:
        return client_context(*server.pem(self._folder), f"radius.servers[{server.name}]")

    def _server(self, name: str) -> ServerSettings:
        return next(server for server in self._settings.servers if server.name == name)

    def _exchange(self, code: Code, group: GroupSettings, names: Sequence[str]) -> Exchange:
        servers = [self._told(self._server(name)) for name in names]
        return Exchange(code, servers, os.urandom, share=group.mode == "share", queue=group.queue)

    def _told(self, server: ServerSettings) -> Server:
        timeout, tries = server.patience
        return Server(
            name=server.name,
            secret=self._secrets[server.name],
            channels=server.channels,
            timeout=timeout,
            tries=tries,
            reliable=server.radsec,
            required=server.message_authenticator,
            dead_for=server.dead_time,
            probes=server.status_server,
        )

    # ---- the loop -----------------------------------------------------------------------

    def open(self) -> None:
        """Make the sockets. Raises: RadiusError."""
        for group in self._settings.groups:
            self._connect(self.access[group.name], group.servers, "access")
            if group.name in self.accounting:
                self._connect(self.accounting[group.name], _accounting(group), "accounting")

    def _connect(self, exchange: Exchange, names: Sequence[str], purpose: Literal["access", "accounting"]) -> None:
        def receive(channel: Channel, data: bytes) -> None:
            exchange.receive(channel, data, self._clock.boot())

        def done() -> None:
            self._turn()

        servers = [*map(self._server, names)]
        ports = {number: item.ports[purpose == "accounting"] for number, item in enumerate(servers)}
        udp = {
            number: (item.address, ports[number], item.channels)
            for number, item in enumerate(servers)
            if not item.radsec
        }
        tls = {number: self._end(item, ports[number]) for number, item in enumerate(servers) if item.radsec}
        sockets = Sockets(udp, self._settings.address, receive, done)
        connections = Connections(tls, self._settings.address, exchange, purpose, self._clock.boot, done)
        self._transports[exchange] = [connections if item.radsec else sockets for item in servers]

    def _end(self, server: ServerSettings, port: int) -> End:
        return End(
            name=server.name,
            address=server.address,
            port=port,
            channels=server.channels,
            context=self._contexts[server.name],
            server_name=server.server_name or str(server.address),
            secret=self._secrets[server.name],
            silence=server.patience[0],
            probes=server.status_server,
        )

    def start(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Serve from now on. `turn` is called when something came in, or a wait is over; it is to call `pump`."""
        self._loop, self._turn = loop, turn
        for transport in self._each():
            transport.listen(loop)

    def stop(self) -> None:
        for alarm in self._alarms.values():
            alarm.cancel()
        for transport in self._each():
            if self._loop is not None:
                transport.unlisten(self._loop)
            transport.close()

    def _each(self) -> set[Sockets | Connections]:
        return {transport for transports in self._transports.values() for transport in transports}

    def pump(self, authorizer: Authorizer, decided: Callable[[Decision], None]) -> None:
        """Send what is to be sent, hand on what was decided, and see when to look again."""
        while decisions := authorizer.decisions(self._clock.boot()):
            for decision in decisions:
                decided(decision)
        for exchange, transports in self._transports.items():
            for datagram in exchange.take():
                transports[datagram.channel.server].send(datagram)
            if self._loop is not None:
                self._alarms[exchange].set(self._loop, exchange.deadline)
        for purpose, exchanges in (("access", self.access), ("accounting", self.accounting)):
            for group, exchange in exchanges.items():
                for peer in exchange.peers:
                    self._tell(group, purpose, peer)

    def _tell(self, group: str, purpose: str, peer: Peer) -> None:
        """Log that a server is silent, or no longer; of one behind a connection, that says so itself.

        One that is only tried again, as it may answer questions and no Status-Server, is not back.
        """
        silent = peer.dead_since != NEVER
        if peer.server.reliable or silent == (peer in self._silent):
            return
        whose = {"server": peer.server.name, "group": group, "purpose": purpose}
        if silent:
            self._silent[peer] = peer.dead_since
            log.warning("radius-server-silent", **whose)
        else:
            silent_s = (self._clock.boot() - self._silent.pop(peer)) // SECOND
            log.info("radius-server-back", **whose, silent_s=silent_s)


def _accounting(group: GroupSettings) -> Sequence[str]:
    """The servers that a group accounts to."""
    return group.servers if group.accounting is None else group.accounting
