"""UDP toward RADIUS servers, and from those who change sessions: one socket a channel, read in batches.

Sockets are not connected, since at the start there may be no route to a server yet: what comes from anybody else is
counted and dropped. What the kernel says of a server that is not there (ICMP) is not believed: anybody can forge that;
silence says the same a little later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address

from wayleave.proto.radius.exchange import Channel, Datagram
from wayleave.proto.radius.packet import MOST

BATCH = 256
"""Datagrams taken from a socket before the loop looks at anything else."""
BUFFER = 4 << 20
"""Octets of a socket's buffer for what comes in: as many answers as may be under way, and more."""


class RadiusError(Exception):
    """A socket cannot be opened; the text says which, why, and what to do."""


class Sockets:
    """The channels of one exchange. `receive(channel, data)` is called for what comes in, `done` after each batch."""

    def __init__(
        self,
        servers: Mapping[int, tuple[IPv4Address, int, int]],
        source: IPv4Address | None,
        receive: Callable[[Channel, bytes], object],
        done: Callable[[], None],
    ) -> None:
        """`servers`: address, port and channels of each, by its number in the exchange. `source`: address to send from.

        Raises: RadiusError.
        """
        self._receive, self._done = receive, done
        self._sockets: dict[Channel, tuple[socket.socket, tuple[str, int]]] = {}
        self.unsent = self.strange = 0
        """Datagrams that the kernel did not take, repeated like those that are lost; and those of strangers."""
        try:
            for number, (address, port, count) in servers.items():
                for place in range(count):
                    self._sockets[Channel(number, place)] = _bound(source), (str(address), port)
        except RadiusError:
            self.close()
            raise

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take what comes in from now on."""
        for channel, (sock, server) in self._sockets.items():
            loop.add_reader(sock.fileno(), self._on_readable, channel, sock, server)

    def unlisten(self, loop: asyncio.AbstractEventLoop) -> None:
        for sock, _ in self._sockets.values():
            loop.remove_reader(sock.fileno())

    def send(self, datagram: Datagram) -> None:
        sock, server = self._sockets[datagram.channel]
        try:
            sock.sendto(datagram.data, server)
        except OSError:
            self.unsent += 1

    def close(self) -> None:
        for sock, _ in self._sockets.values():
            sock.close()

    def _on_readable(self, channel: Channel, sock: socket.socket, server: tuple[str, int]) -> None:
        for _ in range(BATCH):
            try:
                data, sender = sock.recvfrom(MOST + 1)
            except BlockingIOError:
                break
            except OSError:
                continue
            if sender == server:
                self._receive(channel, data)
            else:
                self.strange += 1
        self._done()


def _bound(source: IPv4Address | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.bind((str(source or ""), 0))
    except OSError as error:
        sock.close()
        raise RadiusError(
            f"radius.address {source}: {error.strerror}: it has to be an address of the gateway's own"
        ) from error
    return sock


class DynauthSocket:
    """Where controllers send CoA and Disconnect. `receive(source, data)` returns what to answer at once, or None."""

    def __init__(
        self,
        address: IPv4Address | None,
        port: int,
        receive: Callable[[tuple[IPv4Address, int], bytes], bytes | None],
        done: Callable[[], None],
    ) -> None:
        """Raises: RadiusError."""
        self._receive, self._done = receive, done
        self.unsent = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind((str(address or ""), port))
        except OSError as error:
            self._socket.close()
            where = f"{address or '*'}:{port}"
            raise RadiusError(f"radius.listen, UDP {where}: {error.strerror}: is another program there?") from error

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.add_reader(self._socket.fileno(), self._on_readable)

    def unlisten(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._socket.fileno())

    def send(self, to: tuple[IPv4Address, int], data: bytes) -> None:
        try:
            self._socket.sendto(data, (str(to[0]), to[1]))
        except OSError:
            self.unsent += 1

    def close(self) -> None:
        self._socket.close()

    def _on_readable(self) -> None:
        for _ in range(BATCH):
            try:
                data, (host, port) = self._socket.recvfrom(MOST + 1)
            except BlockingIOError:
                break
            except OSError:
                continue
            source = (IPv4Address(host), port)
            answer = self._receive(source, data)
            if answer is not None:
                self.send(source, answer)
        self._done()
