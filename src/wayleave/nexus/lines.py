"""Lines: where subscribers attach. They are the network owner's; whoever sells service on one does not change it.

No two lines are one place. A line's subscribers are few (`subscribers.MOST_ON_A_LINE`), so a commit that changes the
line also writes what their gateways have to know: to move a line to another gateway takes its subscribers along, at one
moment. A line that has subscribers is not deleted: `attached/LINE` is written by every commit that attaches one.
"""

from __future__ import annotations

from wayleave.nexus import model
from wayleave.nexus.model import NEXUS, Attached, Line, Provider, Subscriber
from wayleave.nexus.records import Draft, Found, Listed, checked, find, listed, seen, shown, written
from wayleave.nexus.refusal import Exists, InUse, Invalid
from wayleave.nexus.spaces import LAST_VLAN
from wayleave.nexus.store.port import PAGE, Store
from wayleave.nexus.views import project

_LAST_PORT = 255
_LONGEST_CIRCUIT = 252
"""Octets: an option 82 of DHCP has no room for more."""


class Lines:
    """The lines of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, name: str) -> Found[Line]:
        """Raises: Absent."""
        return await find(self._store, Line, model.line_key(name), f"line {name}")

    async def list(self, after: str = "", limit: int = PAGE, at: int = 0) -> Listed[Line]:
        """Raises: Compacted."""
        return await listed(self._store, Line, model.LINES, after, limit, at)

    async def put(self, line: Line, at: int | None) -> int:
        """Make or change a line that was seen `at` a revision; returns its new one.

        Raises: Invalid, Exists (also of one in that place), Absent, Changed, Busy.
        """
        _sensible(line)
        return await written(self._store, lambda draft: self._put(draft, line, at), f"line {line.name}")

    async def _put(self, draft: Draft, line: Line, at: int | None) -> None:
        key, place = model.line_key(line.name), model.place_key(line)
        entry = await draft.get(key)
        seen(entry, at, f"line {line.name}")
        before = model.decode(Line, entry.value) if entry is not None else None
        if before is not None:
            draft.delete(model.place_key(before))
            await self._move(draft, before, line)
        there = await draft.get(place)
        if there is not None and there.value != line.name.encode():
            raise Exists(f"{line.place} of {line.node} is line {there.value.decode()}")
        draft.put(place, line.name)
        draft.put(key, line)

    async def _move(self, draft: Draft, before: Line, after: Line) -> None:
        """Write anew what gateways have to know of the line's subscribers."""
        attached = await draft.find(Attached, model.attached_key(after.name)) or Attached({})
        for name in attached.subscribers if (before.node, before.place) != (after.node, after.place) else ():
            subscriber = await draft.find(Subscriber, model.subscriber_key(name))
            assert subscriber is not None
            provider = await draft.find(Provider, model.provider_key(subscriber.provider))
            assert provider is not None
            draft.delete(model.view_key(before.node, name))
            draft.put(model.view_key(after.node, name), project(subscriber, after, provider))

    async def delete(self, name: str, at: int | None = None) -> None:
        """Delete a line that was seen `at` a revision. Raises: Absent, Changed, InUse, Busy."""

        async def deleted(draft: Draft) -> None:
            entry = await draft.get(model.line_key(name))
            seen(entry, at, f"line {name}")
            assert entry is not None
            attached = await draft.find(Attached, model.attached_key(name))
            if attached is not None:
                raise InUse(f"line {name} has subscribers: {shown(attached.subscribers)}; move or delete them first")
            draft.delete(entry.key)
            draft.delete(model.place_key(model.decode(Line, entry.value)))

        await written(self._store, deleted, f"line {name}")


def _sensible(line: Line) -> None:
    """Raises: Invalid."""
    checked("name", line.name)
    if checked("node", line.node) == NEXUS:
        raise Invalid(f"node: {NEXUS} is no gateway")
    if not 0 <= line.port <= _LAST_PORT:
        raise Invalid(f"port: a number of the gateway's, from 0 to {_LAST_PORT}")
    if not (0 <= line.svid <= LAST_VLAN and 0 <= line.cvid <= LAST_VLAN):
        raise Invalid(f"svid, cvid: VLANs are from 1 to {LAST_VLAN}; 0: none")
    if line.cvid and not line.svid:
        raise Invalid("cvid: is inside an svid; a single tag is the svid")
    circuit = line.circuit
    if len(circuit.encode()) > _LONGEST_CIRCUIT or not circuit.isprintable():
        raise Invalid(f"circuit: printable text of up to {_LONGEST_CIRCUIT} octets")
