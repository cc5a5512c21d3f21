"""Finding sessions, a bounded piece of the table at a time: whatever is asked for, the loop is soon free again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from wayleave.net.ipv4 import parse_address
from wayleave.net.mac import Mac
from wayleave.session.model import Line, Phase, Session
from wayleave.session.table import Table

PAGE = 150
"""Sessions in an answer, at most: telling one takes longer than looking at ten."""

LOOK = 2048
"""Ids that are looked at for an answer, at most."""


Read = TypeVar("Read")


class NotOne(ValueError):
    """A value of a filter is not what the filter is about; the text says which and why."""


class Filter:
    """Which sessions are asked for. A value that is not given matches all."""

    def __init__(
        self,
        mac: str | None = None,
        line: str | None = None,
        address: str | None = None,
        phase: Phase | None = None,
        pool: str | None = None,
        tenant: str | None = None,
        subscriber: str | None = None,
    ) -> None:
        """Raises: NotOne."""
        self.mac = _read("mac", Mac.parse, mac)
        self.line = _read("line", Line.parse, line)
        self.address = _read("address", parse_address, address)
        self._line = str(self.line)
        self.phase, self.pool, self.tenant, self.subscriber = phase, pool, tenant, subscriber

    def admits(self, session: Session) -> bool:
        """Compare cheapest first; a line matches whole, or as its start up to a `.`, `:` or `/`."""
        service, lease = session.service, session.lease
        return (
            (self.phase is None or session.phase is self.phase)
            and (self.mac is None or session.client.mac == self.mac)
            and (self.address is None or (lease is not None and lease.address == self.address))
            and (self.pool is None or (service is not None and service.pool == self.pool))
            and (self.tenant is None or (service is not None and service.tenant == self.tenant))
            and (self.subscriber is None or self._called(session))
            and (self.line is None or self._on_line(session.client.line))
        )

    def _called(self, session: Session) -> bool:
        """By its subscriber's name, or as a client of PPP says that it is called."""
        service, link = session.service, session.link
        names = (service.subscriber if service is not None else None, link.name if link is not None else None)
        return self.subscriber in names

    def _on_line(self, line: Line) -> bool:
        wanted = self._line
        if self.line is None or line.port != self.line.port:
            return False
        text = str(line)
        return text == wanted or (text.startswith(wanted) and text[len(wanted)] in ".:/")


def _read(name: str, parse: Callable[[str], Read], text: str | None) -> Read | None:
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise NotOne(f"{name}: {error}") from error


async def first(table: Table, wanted: Filter) -> Session | None:
    """Return the first session that is asked for, wherever in the table; the loop goes on between its pieces."""
    after: int | None = -1
    while after is not None:
        found, after = search(table, wanted, after, 1)
        if found:
            return found[0]
        await asyncio.sleep(0)  # noqa: TID251 -- the loop does everything else
    return None


def search(table: Table, wanted: Filter, after: int, limit: int) -> tuple[list[Session], int | None]:
    """Return sessions with ids past `after`, at most `limit` and at most a page; and past which id to go on.

    There may be more though few or none were found. None: that was the end of the table.
    """
    first = max(after + 1, 0)
    last = min(first + LOOK, table.end) - 1
    found: list[Session] = []
    for session in table.from_id(first, LOOK):
        if wanted.admits(session):
            found.append(session)
            if len(found) == min(limit, PAGE):
                last = session.id
                break
    return found, last if last + 1 < table.end else None
