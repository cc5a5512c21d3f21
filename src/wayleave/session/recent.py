"""What is kept of the clients heard of last. A sender makes up as many MACs as it likes: a line has a share.

A line is port and tags here, as a frame tells it. Clients that have a session do not take from those without one, and
there may be more of them: many lines may be behind one VLAN, and a session is not made up in passing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from wayleave.session.table import Key

V = TypeVar("V")

CLIENTS, STRANGERS, SERVED = 4096, 64, 1024
"""Clients that are remembered; and of those, how many of one line without a session and with one."""


class Recent(Generic[V]):
    """Values by client, those put last at the end. Where there is no room, the oldest goes. Every step is O(1)."""

    def __init__(self, most: int = CLIENTS, strangers: int = STRANGERS, served: int = SERVED) -> None:
        self._most, self._share = most, {True: strangers, False: served}
        self._kept: OrderedDict[Key, V] = OrderedDict()
        self._lines: dict[tuple[int, int, int, bool], OrderedDict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __reversed__(self) -> Iterator[Key]:
        return reversed(self._kept)

    def get(self, key: Key) -> V | None:
        return self._kept.get(key)

    def count(self, wanted: Callable[[V], bool]) -> int:
        """How many values are as wanted. Looks at all."""
        return sum(map(wanted, self._kept.values()))

    def put(self, key: Key, value: V, *, stranger: bool = True) -> None:
        """Keep a client's value, as the last one put. Its line's oldest goes if that has more than its share."""
        self.pop(key)
        self._kept[key] = value
        line = self._lines.setdefault((*key[:3], stranger), OrderedDict())
        line[key] = None
        if len(line) > self._share[stranger]:
            self.pop(next(iter(line)))
        if len(self._kept) > self._most:
            self.pop(next(iter(self._kept)))

    def pop(self, key: Key) -> V | None:
        """Forget a client; returns what was kept of it."""
        value = self._kept.pop(key, None)
        if value is not None:
            self._leave(key, stranger=True)
            self._leave(key, stranger=False)
        return value

    def _leave(self, key: Key, *, stranger: bool) -> None:
        line = self._lines.get((*key[:3], stranger))
        if line is not None:
            line.pop(key, None)
            if not line:
                del self._lines[*key[:3], stranger]
