"""The connection to Nexus: what a gateway asks, and is told, by HTTPS with certificates on both sides.

Of several servers one is asked as long as it answers, then the next. What is asked is sent once: what became of a
request without an answer Nexus alone knows, and tells when it is asked again (`proto/nexus/holder`). But a connection
that was kept may have ended meanwhile, unnoticed; what is asked there, and nothing said to, is sent again on another.
Whatever a server says that cannot be read is an error in words, and the next one's turn.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import urlencode

import msgspec
import structlog
from msgspec import Struct

from wayleave.io.https import SOURCE, Channel, Closed, Head
from wayleave.io.settings import Server
from wayleave.io.tls import NEXUS, in_words
from wayleave.net.errors import Malformed
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.nexus import answers
from wayleave.proto.nexus.answers import Change, Problem
from wayleave.proto.nexus.events import Events
from wayleave.proto.nexus.holder import PATIENCE, Request
from wayleave.proto.nexus.messages import Claim, Claimed, GiveBack, Held, Renew

log = structlog.get_logger()

SILENCE_S = 25.0
"""Nexus says something every ten seconds at least: who is silent for so long is not there."""
ANSWER_MOST = 16 << 20
"""Octets of an answer, at most: 65,536 blocks have some 8 MiB."""
EVENT_MOST = 4 << 20
ENTRIES_MOST = 1_000_000
"""Of a view, at most: as many as a gateway has sessions."""
PAGE = 1000
_TOO_MANY = 429
_TRIES, _WAIT_MOST_S = 5, 5.0
"""Of a page of a long view, which is asked for faster than Nexus likes; and what is waited in between, at most."""
_PATHS: dict[type[Request], str] = {Renew: "renew", Claim: "claim", GiveBack: "give-back"}
_STRANGER = "it closed the connection: does it know the CA of this gateway's certificate? Its log says why"
_HALF_SAID = "it closed the connection in the middle of an answer: was it stopped?"
_JSON, _PROBLEM, _EVENTS = "application/json", "application/problem+json", "text/event-stream"


class NexusError(Exception):
    """There is no answer that helps; the text says why, and what to do."""


class Busy(NexusError):
    """It was asked too often, and says when to ask again."""

    def __init__(self, why: str, wait_s: float) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class Refused(NexusError):
    """It answers, and says no: to ask the same once more does not help."""


class Fenced(Exception):
    """The epoch is over: nothing of it is the gateway's own any more."""


class Compacted(Exception):
    """What has changed since then is not known, or that was in another past: the view has to be listed anew."""


class State(Struct, frozen=True):
    """How the connection does: which server is asked, and why it does not answer (empty: it does), since when."""

    server: str
    why: str
    since: BootNs


class View(Struct, frozen=True):
    """What the gateway has to know, as it was at a revision: names and values."""

    revision: int
    entries: dict[str, bytes]


class Connection:
    """To one Nexus. May be asked several things at once."""

    def __init__(
        self,
        servers: Sequence[Server],
        context: ssl.SSLContext,
        clock: Callable[[], BootNs],
        patience_s: float = PATIENCE / SECOND,
        silence_s: float = SILENCE_S,
    ) -> None:
        """`context` shows the gateway's certificate (`io.tls.client_context`); `clock` is the boot clock.

        `patience_s`: how long an answer is waited for, from the first attempt to connect on.
        """
        self._servers = list(servers)
        self._context, self._clock = context, clock
        self._patience_s, self._silence_s = patience_s, silence_s
        self._at = 0
        self._idle: list[Channel] = []
        self._said: dict[Server, str] = {}
        """Why servers do not answer, as it was logged last."""
        self.state = State(str(servers[0]), "it has not been asked yet", clock())

    async def ask(self, request: Request) -> Held | Claimed | None:
        """Send what a holder wants sent; None: it was done. Raises: Fenced, NexusError."""
        server, body = await self._asked("POST", f"/v1/hold/{_PATHS[type(request)]}", msgspec.json.encode(request))
        with self._understood(server):
            return answers.answer(request, body)

    async def tell(self, method: str, path: str, body: bytes) -> None:
        """Send what Nexus is to know. Raises: NexusError."""
        await self._asked(method, path, body)

    async def view(self) -> View:
        """List what the gateway has to know, all of it as it was at one moment. Raises: Compacted, NexusError."""
        entries: dict[str, bytes] = {}
        asked: dict[str, str | int] = {"limit": PAGE}
        while True:
            server, body = await self._patiently("GET", f"/v1/view?{urlencode(asked)}")
            with self._understood(server):
                page = answers.page(body)
                entries.update(page.entries)
                if page.after is None:
                    return View(page.revision, entries)
                _goes_on(page, asked, len(entries))
            asked |= {"after": page.after, "at": page.revision}

    async def changes(self, after: int) -> AsyncGenerator[tuple[int, tuple[Change, ...]], None]:
        """Follow what changes after a revision: again and again the revision up to which all is told, and what changed.

        To be closed (`contextlib.aclosing`). Raises: Compacted, NexusError.
        """
        deadline = self._deadline()
        channel, head = await self._sent(deadline, "GET", f"/v1/view/changes?after={after}", _EVENTS)
        try:
            with self._understood(channel.server, closed=_HALF_SAID):
                async with asyncio.timeout_at(deadline):
                    self._accept(
                        channel.server, head, b"" if head.status == 200 else await channel.rest(ANSWER_MOST), _EVENTS
                    )
            events = Events(EVENT_MOST)
            while True:
                silent = f"not a word for {self._silence_s:g} s: is it gone?"
                with self._understood(channel.server, silent, "it closed the connection: was it stopped?"):
                    news = self._news(events, await self._octets(channel), after)
                for after, changed in news:
                    yield after, changed
        finally:
            channel.close()

    def close(self) -> None:
        """Let go of the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    # ---- one exchange -------------------------------------------------------------------

    async def _asked(self, method: str, target: str, body: bytes = b"") -> tuple[Server, bytes]:
        """Return who answered, and what it said."""
        deadline = self._deadline()
        channel, head = await self._sent(deadline, method, target, _JSON, body)
        try:
            with self._understood(channel.server, closed=_HALF_SAID):
                async with asyncio.timeout_at(deadline):
                    said = await channel.rest(ANSWER_MOST)
                self._accept(channel.server, head, said, _JSON)
        finally:
            self._put_back(channel)
        return channel.server, said

    async def _sent(
        self, deadline: float, method: str, target: str, kind: str, body: bytes = b""
    ) -> tuple[Channel, Head]:
        """Return a connection on which something was asked, and the head of the answer.

        What is asked on a connection that has died was most likely never read; and if it was, it does no harm twice. A
        renewal counts from the first time that it was sent, a block that has been given back is not the gateway's to
        give, reports and states say the same, and a claim is repeated by `holder` just so, in a second: what it got
        the first time is in the answer to the next renewal.
        """
        headers = [("Accept", kind), *([("Content-Type", _JSON)] if body else [])]
        while True:
            channel = await self._channel(deadline)
            with ExitStack() as failed:
                failed.callback(channel.close)
                with self._understood(channel.server):
                    try:
                        async with asyncio.timeout_at(deadline):
                            head = await channel.ask(method, target, headers, body)
                    except ConnectionError:
                        if channel.stale:
                            continue
                        raise
                failed.pop_all()
                return channel, head

    async def _patiently(self, method: str, target: str) -> tuple[Server, bytes]:
        """The same, asked again when it says so."""
        for _ in range(_TRIES - 1):
            try:
                return await self._asked(method, target)
            except Busy as busy:
                await asyncio.sleep(min(busy.wait_s, _WAIT_MOST_S))  # noqa: TID251 -- it said for how long
        return await self._asked(method, target)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._patience_s

    async def _channel(self, deadline: float) -> Channel:
        """Return a connection to the server that is asked, or to the next that can be had. Raises: NexusError."""
        whys: list[str] = []
        for left in range(len(self._servers), 0, -1):
            server = self._servers[self._at]
            kept = self._kept(server)
            if kept is not None:
                return kept
            share = max(0.0, deadline - asyncio.get_running_loop().time()) / left
            try:
                with self._understood(
                    server, f"no answer in {share:.1f} s: is there a way to it, and does no firewall stop TCP?"
                ):
                    async with asyncio.timeout(share):
                        return await Channel.open(server, self._context)
            except NexusError as error:
                whys.append(str(error))
        raise NexusError("; ".join(whys))

    def _kept(self, server: Server) -> Channel | None:
        """Return a connection that stands and waits for something to be asked."""
        while self._idle:
            channel = self._idle.pop()
            if channel.idle and channel.server == server:
                return channel
            channel.close()
        return None

    def _put_back(self, channel: Channel) -> None:
        if channel.idle:
            self._idle.append(channel)
        else:
            channel.close()

    def _accept(self, server: Server, head: Head, body: bytes, kind: str) -> None:
        """See that an answer is one. Raises: Fenced, Compacted, NexusError, Malformed."""
        if head.status in (200, 204):
            if head.status == 200 and head.kind != kind:
                raise Malformed(
                    0, f"{head.kind or 'something'} instead of {kind}: is it Nexus that listens there?", SOURCE
                )
            self._answers(server)
            return
        problem = answers.read(Problem, body) if head.kind == _PROBLEM else Problem()
        why = str(problem) or f"answers {head.status}: is it Nexus that listens there?"
        if head.status >= 500:
            self._lose(server, why)
            raise NexusError(f"{server}: {why}")
        self._answers(server)
        why = f"{server}: {why}"
        raise Busy(why, head.retry_s) if head.status == _TOO_MANY else _REFUSALS.get(problem.name, Refused)(why)

    # ---- a stream -----------------------------------------------------------------------

    async def _octets(self, channel: Channel) -> bytes:
        async with asyncio.timeout(self._silence_s):
            octets = await channel.part()
        if octets is None:
            raise Closed
        return octets

    @staticmethod
    def _news(events: Events, octets: bytes, after: int) -> list[tuple[int, tuple[Change, ...]]]:
        news = [answers.told(event) for event in events.receive(octets)]
        for revision, _ in news:
            if revision < after:
                raise Compacted(f"it is at revision {revision}, and was at {after}: its past is another one")
            after = revision
        return news

    # ---- how it does --------------------------------------------------------------------

    @contextmanager
    def _understood(
        self,
        server: Server,
        silent: str = "connected, and no answer: is it, or its store, overloaded?",
        closed: str = _STRANGER,
    ) -> Iterator[None]:
        """Have what goes wrong with a server told as a NexusError, and another one asked next.

        `silent`: why, if it says nothing; `closed`: if it ends the connection.
        """
        try:
            yield
        except (OSError, Malformed) as error:
            why = self._in_words(server, error, silent, closed)
            self._lose(server, why)
            raise NexusError(f"{server}: {why}") from None

    @staticmethod
    def _in_words(server: Server, error: OSError | Malformed, silent: str, closed: str) -> str:
        match error:
            case Malformed():
                return f"what it says makes no sense ({error.why}): is it of another version?"
            case TimeoutError():
                return silent
            case Closed() | ConnectionResetError():
                return closed
        return in_words(error, str(server), server.host, NEXUS)

    def _answers(self, server: Server) -> None:
        if self.state.why or self.state.server != str(server):
            self.state = State(str(server), "", self._clock())
            self._said.clear()
            log.info("nexus-connected", server=str(server))

    def _lose(self, server: Server, why: str) -> None:
        """Note why a server does not answer, and ask the next one from now on. Each cause is logged once in a row."""
        if self._servers[self._at] == server:
            self._at = (self._at + 1) % len(self._servers)
        if self._said.get(server) != why:
            self._said[server] = why
            log.warning("nexus-lost", server=str(server), why=why)
        since = self.state.since if self.state.why else self._clock()
        self.state = State(str(server), why, since)


_REFUSALS: dict[str, type[Exception]] = {"fenced": Fenced, "compacted": Compacted}


def _goes_on(page: answers.Page, asked: Mapping[str, str | int], count: int) -> None:
    """See that pages are of one view, and come to an end. Raises: Malformed."""
    if page.revision != asked.get("at", page.revision):
        raise Malformed(0, f"a page at revision {page.revision} instead of {asked['at']}", answers.SOURCE)
    if str(page.after) <= str(asked.get("after", "")) or count > ENTRIES_MOST:
        raise Malformed(0, f"a view without an end, of {count} entries by now", answers.SOURCE)
