"""The store of a cluster: etcd, from 3.4 on, which is Nexus's alone (`compact` forgets what all of it was).

One member is asked until it fails; then the next. What is read is asked again until the deadline. A commit is sent
once, to a member that is connected: when its answer does not come, nobody knows what became of it, and that is what
Unavailable says. The one answer after which it is sent again is that the member has no leader: etcd checks that before
it looks at the request.

A watch goes on from the revision that it saw last. It asks for the events of that revision again, and leaves them
out: only so does etcd tell whether what came next is compacted, as it may forget the deletes of the very revision that
it compacts at. That a stream lives is seen from answers to requests for progress; what revision they name is not
believed, as in older etcds they overtake events. The notices that etcd sends by itself do not: with them a watch of
quiet keys stays ahead of compaction.

Needs the extra `wayleave[etcd]`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import grpc
import grpc.aio
from msgspec import Struct

from wayleave.nexus.store.etcd_messages import (
    DELETED,
    MOD,
    NO_WATCH,
    CompactionRequest,
    CompactionResponse,
    RangeRequest,
    RangeResponse,
    TxnRequest,
    TxnResponse,
    WatchRequest,
    WatchResponse,
)
from wayleave.nexus.store.port import (
    FIRST,
    PAGE,
    Change,
    Compacted,
    Conflict,
    Delete,
    Entry,
    Is,
    Page,
    Put,
    Unavailable,
    check,
    check_key,
    check_keys,
    check_page,
    interval,
)

DEADLINE_S = 3.0
"""How long whoever asks is kept waiting at most. An election takes one to two seconds."""
TRY_S = 1.0
"""How long one member has for a connection, or to answer what can be asked again of another."""
PAUSE_S = 0.05
QUIET_S, ANSWER_S = 5.0, 2.0
"""After what silence a watch asks whether the member lives, and how long that has to answer."""

_NEEDS_LEADER = (("hasleader", "true"),)  # a member that was cut off says so, and does not answer from what it has
_NO_LEADER = "etcdserver: no leader"
_COMPACTED = "etcdserver: mvcc: required revision has been compacted"
_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)
_OPTIONS = (
    ("grpc.enable_retries", 0),  # what may be repeated is decided here
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # what a connection has to come about
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 10_000),  # etcd hangs up on who asks more often than every 5 s
    ("grpc.keepalive_timeout_ms", 3_000),
)


class Tls(Struct, frozen=True):
    """What both ends show each other, in PEM: the authority's certificate, our own, and its key."""

    authority: bytes
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Tls(...)"


class _Lost(Exception):
    """A watch's stream ended, or went silent."""


class _Refused(Exception):
    """A revision cannot be had; what etcd said."""

    def __init__(self, said: str) -> None:
        self.said = said


class _Member:
    """One of etcd's servers, and the methods that it has for us."""

    def __init__(self, endpoint: str, tls: Tls | None) -> None:
        self.endpoint = endpoint
        if tls is None:
            self.channel = grpc.aio.insecure_channel(endpoint, _OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(tls.authority, tls.key, tls.certificate)
            self.channel = grpc.aio.secure_channel(endpoint, credentials, _OPTIONS)
        self.range = self._unary("KV/Range", RangeRequest, RangeResponse)
        self.txn = self._unary("KV/Txn", TxnRequest, TxnResponse)
        self.compact = self._unary("KV/Compact", CompactionRequest, CompactionResponse)
        self.watch = self.channel.stream_stream(
            "/etcdserverpb.Watch/Watch", WatchRequest.SerializeToString, WatchResponse.FromString
        )

    def _unary(self, method: str, request: Any, response: Any) -> Any:
        return self.channel.unary_unary(f"/etcdserverpb.{method}", request.SerializeToString, response.FromString)

    async def ready(self, within_s: float) -> bool:
        """Connect, if it is not. False: it could not be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    state = self.channel.get_state(try_to_connect=True)
                    if state is grpc.ChannelConnectivity.READY:
                        return True
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        return False
                    await self.channel.wait_for_state_change(state)
        return False


class EtcdStore:
    """Implements port.Store. It belongs to the event loop that it was made in."""

    def __init__(self, endpoints: Sequence[str], tls: Tls | None = None, deadline_s: float = DEADLINE_S) -> None:
        """`endpoints`: as in "192.0.2.7:2379"; with TLS, what a member's certificate calls it. Nobody is asked yet."""
        self._members = deque(_Member(endpoint, tls) for endpoint in endpoints)
        self._deadline_s = deadline_s
        self._closed = asyncio.Event()

    # ---- The port -----------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """See port.Store."""
        check_key(key)
        answer = await self._call("range", RangeRequest(key=key.encode()))
        return _entry(answer.kvs[0]) if answer.kvs else None

    async def read(self, keys: Sequence[str]) -> dict[str, Entry | None]:
        """See port.Store."""
        check_keys(keys)
        questions = [{"request_range": {"key": key.encode()}} for key in keys]
        answer = await self._call("txn", TxnRequest(success=questions))
        found = (response.response_range.kvs for response in answer.responses)
        return {key: _entry(kvs[0]) if kvs else None for key, kvs in zip(keys, found, strict=True)}

    async def page(self, prefix: str, after: str = "", limit: int = PAGE, at: int = 0) -> Page:
        """See port.Store."""
        check_page(limit, at)
        begin, end = interval(prefix, after)
        try:
            answer = await self._call("range", RangeRequest(key=begin, range_end=end, limit=limit, revision=at))
        except _Refused as refused:
            raise await self._why(refused, at) from refused
        return Page([_entry(found) for found in answer.kvs], at or answer.header.revision, answer.more)

    async def commit(self, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        """See port.Store."""
        check(expects, changes)
        keys = [expected.key.encode() for expected in expects]
        request = TxnRequest(
            compare=[
                {"target": MOD, "key": key, "mod_revision": expected.revision}
                for key, expected in zip(keys, expects, strict=True)
            ],
            success=[_change(change) for change in changes],
            failure=[{"request_range": {"key": key, "keys_only": True}} for key in keys],
        )
        answer = await self._call("txn", request, once=bool(changes))
        if not answer.succeeded:
            found = [response.response_range.kvs for response in answer.responses]
            at = [kvs[0].mod_revision if kvs else 0 for kvs in found]
            raise Conflict(item.key for item, revision in zip(expects, at, strict=True) if item.revision != revision)
        return int(answer.header.revision)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[list[Change], None]:
        """See port.Store."""
        seen = max(after, FIRST)
        while True:
            member = self._asked()
            if await member.ready(TRY_S):
                with suppress(_Lost), self._unless_closed():
                    async with aclosing(_follow(member, *interval(prefix), seen)) as told:
                        async for changes, revision in told:
                            if changes:
                                yield changes
                            seen = max(seen, revision)
            await self._leave(member)

    async def revision(self) -> int:
        """See port.Store."""
        answer = await self._call("range", RangeRequest(key=b"\0", keys_only=True))
        return int(answer.header.revision)

    async def compact(self, before: int) -> None:
        """See port.Store."""
        try:
            await self._call("compact", CompactionRequest(revision=before))
        except _Refused as refused:
            if refused.said != _COMPACTED:
                raise await self._why(refused, before) from refused

    async def close(self) -> None:
        """See port.Store."""
        self._closed.set()
        for member in self._members:
            await member.channel.close()

    # ---- Whom to ask --------------------------------------------------------------------

    async def _call(self, method: str, request: Any, once: bool = False) -> Any:
        """Return a member's answer. `once`: what was sent is not sent again. Raises: Unavailable, _Refused."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._deadline_s
        why = "no connection"
        while (left := end - loop.time()) > 0:
            member = self._asked()
            if await member.ready(min(left, TRY_S)):
                timeout = left if once else min(left, TRY_S)
                try:
                    with self._unless_closed():
                        return await getattr(member, method)(request, timeout=timeout, metadata=_NEEDS_LEADER)
                except grpc.aio.AioRpcError as error:
                    why = self._judged(member, error, once)
            await self._leave(member)
        raise Unavailable(f"etcd at {', '.join(each.endpoint for each in self._members)}: {why}: is it running?")

    def _judged(self, member: _Member, error: grpc.aio.AioRpcError, once: bool) -> str:
        """Return why a call failed, if it may be made again. Raises what ends it, otherwise."""
        why = error.details()
        if error.code() is grpc.StatusCode.OUT_OF_RANGE:
            raise _Refused(why) from error
        if error.code() not in _PASSING:
            raise Unavailable(f"etcd at {member.endpoint}: {why}") from error
        if once and why != _NO_LEADER:
            self._turn_from(member)
            raise Unavailable(f"etcd at {member.endpoint}: {why}: what was to be written may be, or not") from error
        return str(why)

    async def _why(self, refused: _Refused, at: int) -> Exception:
        """Return what a refusal of a revision is called at the port."""
        if refused.said != _COMPACTED:
            return ValueError(f"revision {at} is still to come")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s), aclosing(self.watch("", at)) as told:
                try:
                    await anext(told)  # only a watch says what is left
                except Compacted as compacted:
                    return compacted
        return Unavailable(f"revision {at} is gone, and etcd does not say what is left: ask again")

    def _asked(self) -> _Member:
        if self._closed.is_set():
            raise Unavailable("the store was closed")
        return self._members[0]

    @contextmanager
    def _unless_closed(self) -> Iterator[None]:
        """Calls whose channel is closed end as if their task were cancelled: say what it is. Raises: Unavailable."""
        try:
            yield
        except asyncio.CancelledError:
            self._asked()
            raise

    async def _leave(self, member: _Member) -> None:
        """Ask another in a moment."""
        self._turn_from(member)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), PAUSE_S)

    def _turn_from(self, member: _Member) -> None:
        if self._members[0] is member:  # else somebody has turned already
            self._members.rotate(-1)


async def _follow(
    member: _Member, begin: bytes, end: bytes, seen: int
) -> AsyncGenerator[tuple[list[Change], int], None]:
    """Tell what changes behind `seen`, whole commits at a time, and up to which revision that is all.

    Raises: _Lost, Compacted, Unavailable.
    """
    stream = member.watch(metadata=_NEEDS_LEADER)
    changes: list[Change] = []
    try:
        create = {"key": begin, "range_end": end, "start_revision": seen, "progress_notify": True, "fragment": True}
        try:
            await asyncio.wait_for(stream.write(WatchRequest(create_request=create)), ANSWER_S)
        except TimeoutError:  # as where the channel was closed under it
            raise _Lost from None
        while True:
            answer = await _heard(stream)
            if answer.compact_revision:
                raise Compacted(answer.compact_revision)
            if answer.canceled:
                raise _Lost(answer.cancel_reason)
            changes += [_told(event) for event in answer.events if event.kv.mod_revision > seen]
            if answer.fragment:
                continue
            if changes:
                yield changes, changes[-1].revision
                changes = []
            elif not answer.created and answer.watch_id != NO_WATCH and not answer.events:
                yield [], answer.header.revision
    except grpc.aio.AioRpcError as error:
        if error.code() in _PASSING:
            raise _Lost(error.details()) from error
        raise Unavailable(f"etcd at {member.endpoint}: {error.details()}") from error
    finally:
        stream.cancel()


async def _heard(stream: Any) -> Any:
    """Return what a stream says next; if it is silent, ask it whether it lives. Raises: _Lost, AioRpcError."""
    reading = asyncio.ensure_future(stream.read())
    try:
        done, _ = await asyncio.wait({reading}, timeout=QUIET_S)
        if not done:
            with suppress(TimeoutError):
                await asyncio.wait_for(stream.write(WatchRequest(progress_request={})), ANSWER_S)
            done, _ = await asyncio.wait({reading}, timeout=ANSWER_S)
        if not done or reading.cancelled() or reading.result() is grpc.aio.EOF:  # cancelled: the channel was closed
            raise _Lost
        return reading.result()
    finally:
        reading.cancel()


def _entry(found: Any) -> Entry:
    return Entry(found.key.decode(), found.value, found.mod_revision)


def _told(event: Any) -> Change:
    value = None if event.type == DELETED else event.kv.value
    return Change(event.kv.mod_revision, event.kv.key.decode(), value)


def _change(change: Put | Delete) -> dict[str, Any]:
    """A change as RequestOp has it."""
    if isinstance(change, Put):
        return {"request_put": {"key": change.key.encode(), "value": change.value}}
    return {"request_delete_range": {"key": change.key.encode()}}
