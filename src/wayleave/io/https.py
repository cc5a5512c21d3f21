"""HTTP/1.1 over TLS, the asking side: one connection, one exchange after the other (RFC 9112, by h11).

What the other side says is read as it comes, and no more than is wanted: who asks bounds it, in octets and in time.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import h11
from msgspec import Struct

from wayleave.io.settings import Server
from wayleave.net.errors import Malformed

READ = 1 << 16
SOURCE = "RFC 9112"
_DIGITS = 6
"""Of a number of seconds, fewer."""


class Closed(ConnectionError):
    """The other side closed the connection, and owed an answer."""


class Head(Struct, frozen=True):
    """What an answer begins with: its media type without parameters, and when to ask again, if it says so (0: no)."""

    status: int
    kind: str
    retry_s: int = 0


class Channel:
    """A connection. What is wrong with it raises OSError (ssl.SSLError and Closed among them) or Malformed."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)
        self._answered = False
        """Something was asked before, and answered to the end."""
        self._heard = False
        """Something of the answer has come."""

    @classmethod
    async def open(cls, server: Server, context: ssl.SSLContext) -> Channel:
        """Connect, and agree on TLS: the server's certificate is of its host."""
        return cls(server, *await asyncio.open_connection(server.host, server.port, ssl=context))

    @property
    def idle(self) -> bool:
        """Can something be asked? Not while an answer is read, and not once the other side has closed."""
        there = not self._writer.is_closing() and not self._reader.at_eof() and self._reader.exception() is None
        return there and self._http.our_state is h11.IDLE

    @property
    def stale(self) -> bool:
        """Has it answered before, and said nothing to what was asked last?"""
        return self._answered and not self._heard

    async def ask(self, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> Head:
        """Send a request, and return the head of its answer; the rest is to be read, too."""
        length = [("Content-Length", str(len(body)))] if body else []
        request = h11.Request(method=method, target=target, headers=[("Host", self._host), *headers, *length])
        self._heard = False
        events = [request, *([h11.Data(body)] if body else []), h11.EndOfMessage()]
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))
        await self._writer.drain()
        while not isinstance(event := await self._event(), h11.Response):
            if isinstance(event, h11.ConnectionClosed):
                raise Closed
        said = dict(reversed(list(event.headers)))
        kind = said.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("ascii", "replace")
        retry = said.get(b"retry-after", b"")
        return Head(event.status_code, kind, int(retry) if retry.isdigit() and len(retry) < _DIGITS else 0)

    async def part(self) -> bytes | None:
        """Return what comes next of the answer; None: that was all of it."""
        event = await self._event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._answered = True
        return None

    async def rest(self, most: int) -> bytes:
        """Return all of the answer that is still to come. Raises: Malformed if it is more than `most` octets."""
        parts: list[bytes] = []
        length = 0
        while (part := await self.part()) is not None:
            parts.append(part)
            length += len(part)
            if length > most:
                raise Malformed(most, f"an answer of more than {most} octets", SOURCE)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of it, whatever is under way."""
        self._writer.transport.abort()

    @property
    def _host(self) -> str:
        return str(self.server).removeprefix("https://")

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        octets: bytes | None = None
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                if octets == b"":
                    raise Closed from None
                raise Malformed(0, f"no HTTP: {error}", SOURCE) from None
            if not isinstance(event, type) or event is h11.PAUSED:
                return event
            octets = await self._reader.read(READ)
            self._heard = self._heard or bool(octets)
            self._http.receive_data(octets)
