"""Streams of changes as server-sent events (WHATWG HTML 9.2): what `feed` tells, for one that has asked.

    id: REVISION
    event: changes
    data: [{"name": …, "value": {…} or null}, …]

`event: alive` says that nothing has changed up to a revision, so that silence is a broken connection. Who comes back
says `Last-Event-ID`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import msgspec
from fastapi import Header, Query, Request
from fastapi.responses import StreamingResponse
from msgspec import Struct

from wayleave.nexus.access import Peer
from wayleave.nexus.service import Service
from wayleave.nexus.store.port import Change

MOST_AN_EVENT = 500
ALIVE_S = 5.0
"""What silence is broken after."""

Since = Annotated[int, Query(ge=0, description="the revision of what is known; 0: only what changes from now on")]
LastEventId = Annotated[int | None, Header(ge=0)]


class Named(Struct, frozen=True):
    """A record's name and what it is now; None: there is none any more."""

    name: str
    value: msgspec.Raw | None


async def stream(service: Service, request: Request, prefix: str, after: int) -> StreamingResponse:
    """Return the answer that tells changes under a prefix, for as long as its certificate counts.

    Raises: Compacted, Unavailable.
    """
    after = await service.feed.since(after)
    told = _events(service, prefix, after, request)
    return StreamingResponse(told, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _events(service: Service, prefix: str, after: int, request: Request) -> AsyncIterator[bytes]:
    peer: Peer = request.state.peer
    with service.feed.listen(prefix, after, request.state.cut) as stream:
        yield _event(after, "alive", b"{}")
        while not stream.ended and service.utc() < peer.until:
            changes, revision = await stream.told(ALIVE_S)
            for part in _parts(changes):
                yield _event(part[-1].revision, "changes", _written(part, prefix))
            if not changes and not stream.ended:
                yield _event(revision, "alive", b"{}")


def _parts(changes: list[Change]) -> Iterator[list[Change]]:
    """Yield whole commits, some `MOST_AN_EVENT` changes at a time: up to its revision an event has told all."""
    begin = 0
    for at in range(1, len(changes)):
        if at - begin >= MOST_AN_EVENT and changes[at].revision > changes[at - 1].revision:
            yield changes[begin:at]
            begin = at
    if changes:
        yield changes[begin:]


def _event(revision: int, name: str, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (revision, name.encode(), data)


def _written(changes: list[Change], prefix: str) -> bytes:
    """Values are JSON, on one line, as `model.encode` wrote them."""
    return msgspec.json.encode(
        [
            Named(change.key.removeprefix(prefix), None if change.value is None else msgspec.Raw(change.value))
            for change in changes
        ]
    )
