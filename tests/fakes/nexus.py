"""A Nexus of one file: it speaks as the real one does, over real TLS, and a test says what of it is out of order."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec

from wayleave.io.settings import Server
from wayleave.lab.radsec import Authority
from wayleave.net.units import SECOND, Ns
from wayleave.proto.nexus.messages import Block, Claimed, Held

HERE = "127.0.0.1"
DAY = Ns(86400 * SECOND)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Said = tuple[int, str, bytes]
"""Status, media type, body."""


class FakeNexus:
    """One server. To be closed on the loop that it was opened on.

    `instead` serves a connection instead of it, `says` answers paths instead of it. `asked` are the paths of requests,
    `served` counts connections.
    """

    def __init__(self, authority: Authority, certificate: tuple[Path, Path], alive_s: float = 0.05) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.context.load_verify_locations(authority.certificate)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.instead: Serve | None = None
        self.says: dict[str, Said] = {}
        self.asked: list[str] = []
        self.served = 0
        self.busy = 0
        """So many requests are refused as too many."""
        self.revision = 1
        self.epoch, self.beat = 7, 0
        self.blocks: list[Block] = []
        self.view: dict[str, object] = {}
        self.changes: list[tuple[int, str, object | None]] = []
        self.compacted = 0
        """Changes up to this revision are not known any more."""
        self._alive_s = alive_s
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def open(self, port: int = 0) -> Server:
        """Listen; returns where."""
        self._listener = await asyncio.start_server(self._serve, HERE, port, ssl=self.context)
        return Server(HERE, int(self._listener.sockets[0].getsockname()[1]))

    async def close(self) -> None:
        """As a process that ends: its connections are reset."""
        if self._listener is not None:
            self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def put(self, name: str, value: object | None) -> None:
        """Change the view; None: the entry goes."""
        self.revision += 1
        self.changes.append((self.revision, name, value))
        if value is None:
            self.view.pop(name, None)
        else:
            self.view[name] = value
        self._changed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.served += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError, h11.RemoteProtocolError, asyncio.CancelledError):
                await (self.instead or self._serve_http)(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            request, body = await _request(http, reader)
            url = urlsplit(request.target.decode())
            self.asked.append(request.target.decode())
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            said = self.says.get(url.path) or self._answer(url.path, query, body)
            if self.busy:
                self.busy, said = self.busy - 1, problem(429, "too-many", "asked too often")
            status, kind, answer = said or (200, "text/event-stream", b"")
            headers = [
                ("Content-Type", kind),
                ("Retry-After", "0"),
                *([("Content-Length", str(len(answer)))] if said else []),
            ]
            writer.write(http.send(h11.Response(status_code=status, headers=headers)) or b"")
            if said is None:
                await self._tell(http, writer, int(query["after"]))
            writer.write(http.send(h11.Data(data=answer)) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            http.start_next_cycle()

    def _answer(self, path: str, query: dict[str, str], body: bytes) -> Said | None:
        match path:
            case "/v1/hold/renew":
                epoch, self.beat = json.loads(body)["epoch"], self.beat + 1
                if epoch not in (0, self.epoch):
                    return problem(409, "fenced", "that epoch is over")
                return good(Held(self.epoch, self.beat, DAY, tuple(self.blocks)))
            case "/v1/hold/claim":
                asked = json.loads(body)
                first = len(self.blocks)
                block = Block(asked["pool"], first, f"10.0.{first}.0", f"10.0.{first}.255", 1)
                self.blocks.append(block)
                return good(Claimed((block,)))
            case "/v1/hold/give-back":
                return 204, "", b""
            case "/v1/view":
                return self._page(query)
            case "/v1/view/changes":
                return problem(410, "compacted", "too long ago") if int(query["after"]) < self.compacted else None
        return problem(404, "absent", f"there is no {path}")

    def _page(self, query: dict[str, str]) -> Said:
        names = sorted(name for name in self.view if name > query.get("after", ""))
        limit = int(query["limit"])
        after = names[limit - 1] if len(names) > limit else None
        entries = [{"name": name, "value": self.view[name]} for name in names[:limit]]
        return good({"entries": entries, "revision": int(query.get("at", self.revision)), "after": after})

    async def _tell(self, http: h11.Connection, writer: asyncio.StreamWriter, after: int) -> None:
        while True:
            new = [item for item in self.changes if item[0] > after]
            for revision, name, value in new:
                data = json.dumps([{"name": name, "value": value}])
                writer.write(http.send(h11.Data(data=event("changes", revision, data))) or b"")
            after = self.revision
            if not new:
                writer.write(http.send(h11.Data(data=event("alive", after, "{}"))) or b"")
            await writer.drain()
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._alive_s):
                    await self._changed.wait()


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes]:
    request, body = None, b""
    while True:
        match http.next_event():
            case h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            case h11.Request() as request:
                pass
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage():
                assert request is not None
                return request, body
            case _:
                raise ConnectionAbortedError


def event(kind: str, revision: int, data: str) -> bytes:
    """Write one of a stream."""
    return f"id: {revision}\nevent: {kind}\ndata: {data}\n\n".encode()


def good(body: object) -> Said:
    return 200, "application/json", msgspec.json.encode(body)


def problem(status: int, name: str, detail: str) -> Said:
    said = {"type": f"urn:wayleave:nexus:{name}", "title": name, "status": status, "detail": detail}
    return status, "application/problem+json", msgspec.json.encode(said)
