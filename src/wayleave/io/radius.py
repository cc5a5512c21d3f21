"""UDP toward RADIUS servers, and from those who change sessions: one socket a channel, read in batches.

Sockets are not connected, since at the start there may be no route to a server yet: what comes from anybody else is
counted and dropped. What the kernel says of a server that is not there (ICMP) is not believed: anybody can forge that;
silence says the same a little later.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address

from wayleave.proto.radius.dynauth import Source
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


IP_PKTINFO = 8
"""ip(7); Python has no name for it."""
_PKTINFO = struct.Struct("=i4s4s")
"""struct in_pktinfo: ifindex, local address, destination."""


def _asked(about: Iterable[tuple[int, int, bytes]]) -> IPv4Address | None:
    """The address that a datagram was sent to, of what the kernel says about it."""
    for level, kind, data in about:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return IPv4Address(_PKTINFO.unpack(data)[2])
    return None


class DynauthSocket:
    """Where controllers send CoA and Disconnect. `receive(source, data)` returns what to answer at once, or None."""

    def __init__(
        self,
        address: IPv4Address | None,
        port: int,
        receive: Callable[[Source, bytes], bytes | None],
        done: Callable[[], None],
    ) -> None:
        """Raises: RadiusError."""
        self._receive, self._done = receive, done
        self.unsent = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
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

    def send(self, to: Source, data: bytes) -> None:
        """Answer from the address that was asked: who asked believes no other."""
        ours = to.to.packed if to.to is not None else bytes(4)
        about = [(socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(0, ours, bytes(4)))]
        try:
            self._socket.sendmsg([data], about, 0, (str(to.address), to.port))
        except OSError:
            self.unsent += 1

    def close(self) -> None:
        self._socket.close()

    def _on_readable(self) -> None:
        for _ in range(BATCH):
            try:
                data, about, _, (host, port) = self._socket.recvmsg(MOST + 1, socket.CMSG_SPACE(_PKTINFO.size))
            except BlockingIOError:
                break
            except OSError:
                continue
            source = Source(IPv4Address(host), port, _asked(about))
            answer = self._receive(source, data)
            if answer is not None:
                self.send(source, answer)
        self._done()
