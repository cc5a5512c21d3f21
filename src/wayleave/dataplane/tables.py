"""The session tables and the standing replies: one writer, and nothing torn.

`Tables` turns projected rows into map contents without a torn read: a row is written through the memory-mapped
`sessions` array while no key points at it, then the keys are swung to it in a batch. A change writes a fresh row; the
old one rests for a second, longer than any packet stays in the program. Keys and rows carry a generation. `Replies`
does the same for what rows refer to.
"""

from __future__ import annotations

import struct
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from itertools import takewhile

from msgspec.structs import replace

from wayleave.dataplane import abi
from wayleave.dataplane.abi import Slot
from wayleave.dataplane.maps import Array, Hash, TableFull
from wayleave.dataplane.objects import Map
from wayleave.dataplane.rows import Rows
from wayleave.net.units import SECOND, BootNs

REST = SECOND
"""How long a row or a reply that was freed is not written again."""

OUTDATED = ("its reply was missing", "its row differed")
"""How `repair` ends what it says of rows that stand for the right client, but say something else of it: so does every
row after another configuration, and one whose change was recorded and not yet installed."""

_Differing = tuple[Rows, list[bytes | None]]
"""Rows that are to be installed, and the slots that their keys have until then."""

_WORD = struct.Struct("<I")
_GENERATION, _REPLY = abi.Session.OFFSET["generation"], abi.Session.OFFSET["reply"]


class Replies:
    """The map `replies`: each reply once, however many rows refer to it.

    A reply is written while no row refers to it, and stays as it is until none has for a rest.
    """

    def __init__(self, map_: Map, now: BootNs, rest: int = REST) -> None:
        self.map = map_
        self._array = Array(map_)
        self._rest = rest
        self._index: dict[bytes, int] = {}
        self._holders = [0] * map_.max_entries
        self._resting: OrderedDict[bytes, int] = OrderedDict()  # until when, the earliest first
        self._fresh = 1
        self.refused = 0
        """How often there was no room: those clients are answered by Python."""
        self._adopt()
        self.forget_holders(now)

    def _adopt(self) -> None:
        """Take up what an earlier process wrote."""
        view, stride = self._array.view, self._array.stride
        nothing = bytes(stride)
        for index in range(1, len(self._holders)):
            value = bytes(view[index * stride : (index + 1) * stride])
            if value != nothing:
                self._fresh = index + 1
                self._index[value] = index

    def forget_holders(self, now: BootNs) -> None:
        """The rows are about to be looked at: until they say which replies they refer to, all may be read."""
        self._holders = [0] * len(self._holders)
        self._resting = OrderedDict.fromkeys(self._index, now + self._rest)

    def __len__(self) -> int:
        return sum(map(bool, self._holders))

    def index_of(self, reply: bytes) -> int:
        """Where a reply stands; 0: nowhere."""
        return self._index.get(reply, 0)

    def hold(self, reply: bytes, now: BootNs) -> int:
        """Return where `reply` stands, for one row more to refer to; 0 if there is no room for another."""
        index = self._index.get(reply) or self._write(reply, now)
        if index:
            self._holders[index] += 1
            self._resting.pop(reply, None)
        return index

    def release(self, reply: bytes, now: BootNs) -> None:
        """One row less refers to it. The caller has held it."""
        index = self._index[reply]
        self._holders[index] -= 1
        if not self._holders[index]:
            self._resting[reply] = now + self._rest

    def _write(self, reply: bytes, now: BootNs) -> int:
        index = self._free(now)
        if not index:
            self.refused += 1
            return 0
        self._array.view[index * self._array.stride : (index + 1) * self._array.stride] = reply
        self._index[reply] = index
        return index

    def _free(self, now: BootNs) -> int:
        """A place that no packet can be reading; 0: there is none."""
        if self._fresh < len(self._holders):
            self._fresh += 1
            return self._fresh - 1
        reply = next(iter(self._resting), None)
        if reply is None or self._resting[reply] > now:
            return 0
        del self._resting[reply]
        return self._index.pop(reply)


class Tables:
    """`sessions`, `clients` and `hosts4`: rows in, rows out, nothing torn. One writer: the engine's task."""

    def __init__(self, maps: dict[str, Map], now: BootNs, rest: int = REST) -> None:
        self.sessions, self.clients, self.hosts4 = Array(maps["sessions"]), Hash(maps["clients"]), Hash(maps["hosts4"])
        self.replies = Replies(maps["replies"], now, rest)
        self._rest = rest
        self._placed: dict[int, tuple[Rows, bytes]] = {}
        self._resting: deque[tuple[int, int]] = deque()
        self._fresh = 0
        self._generation = 0
        self._adopt_rows(now)

    def __len__(self) -> int:
        return len(self._placed)

    def _adopt_rows(self, now: BootNs) -> None:
        """Find out which rows an earlier process has used, so that none is written while a packet may still read it."""
        view, stride = self.sessions.view, self.sessions.stride
        capacity = self.sessions.map.max_entries
        generations = [_WORD.unpack_from(view, index * stride + _GENERATION)[0] for index in range(capacity)]
        self._generation = max(generations)
        used = [index for index, generation in enumerate(generations) if generation]
        self._fresh = used[-1] + 1 if used else 0
        self._resting.extend((now + self._rest, index) for index in used)

    def stands(self, rows: Rows) -> bool:
        """Whether the tables say this of the session already; a reply that found no room does not count."""
        placed = self._placed.get(rows.id)
        if placed is None:
            return False
        return placed[0] == rows or (placed[0].reply is None and placed[0] == replace(rows, reply=None))

    def _take_row(self, now: BootNs) -> int:
        if self._resting and self._resting[0][0] <= now:
            return self._resting.popleft()[1]
        if self._fresh < self.sessions.map.max_entries:
            self._fresh += 1
            return self._fresh - 1
        raise TableFull("sessions")

    def _spare(self, now: BootNs) -> int:
        """How many rows may be written now."""
        rested = sum(1 for _ in takewhile(lambda rest: rest[0] <= now, self._resting))
        return self.sessions.map.max_entries - self._fresh + rested

    def install(self, wanted: Iterable[Rows], now: BootNs) -> None:
        """Make the tables say what `wanted` says; what was there under the same id is replaced without a gap.

        Raises: TableFull, with nothing changed that a packet can see.
        """
        view, stride = self.sessions.view, self.sessions.stride
        clients: list[tuple[bytes, bytes]] = []
        hosts: list[tuple[bytes, bytes]] = []
        placed: list[tuple[Rows, bytes]] = []
        try:
            for rows in wanted:
                index = self._take_row(now)
                self._generation += 1
                start = index * stride
                view[start : start + len(rows.session)] = rows.session
                _WORD.pack_into(view, start + _GENERATION, self._generation)
                if rows.reply is not None:
                    reply = self.replies.hold(rows.reply, now)
                    _WORD.pack_into(view, start + _REPLY, reply)
                    rows = rows if reply else replace(rows, reply=None)
                slot = Slot(index, self._generation, rows.id).pack()
                if rows.client is not None:
                    clients.append((rows.client, slot))
                hosts.append((rows.host, slot))
                placed.append((rows, slot))
            self.clients.put(clients)
            self.hosts4.put(hosts)
        except TableFull:
            self._undo(placed, now)
            raise
        self._settle(placed, now)

    def _undo(self, placed: list[tuple[Rows, bytes]], now: BootNs) -> None:
        """Point every key back where it pointed before a batch that did not fit."""
        for rows, slot in placed:
            old, old_slot = self._placed.get(rows.id, (None, b""))
            if old is not None:
                self.clients.put([(old.client, old_slot)] if old.client is not None else [])
                self.hosts4.put([(old.host, old_slot)])
            if rows.client is not None and (old is None or old.client != rows.client):
                self.clients.remove([rows.client])
            if old is None or old.host != rows.host:
                self.hosts4.remove([rows.host])
            self._let_go(rows, slot, now)

    def _settle(self, placed: list[tuple[Rows, bytes]], now: BootNs) -> None:
        """Remember what was installed, and let go of the rows and keys that it replaced."""
        stale_clients: list[bytes] = []
        stale_hosts: list[bytes] = []
        for rows, slot in placed:
            before = self._placed.get(rows.id)
            self._placed[rows.id] = (rows, slot)
            if before is None:
                continue
            old, old_slot = before
            if old.client is not None and old.client != rows.client:
                stale_clients.append(old.client)
            if old.host != rows.host:
                stale_hosts.append(old.host)
            self._let_go(old, old_slot, now)
        self.clients.remove(stale_clients)
        self.hosts4.remove(stale_hosts)

    def _let_go(self, rows: Rows, slot: bytes, now: BootNs) -> None:
        """No key leads to this row any more: it rests, and refers to its reply no longer."""
        self._resting.append((now + self._rest, Slot.unpack(slot).row))
        if rows.reply is not None:
            self.replies.release(rows.reply, now)

    def remove(self, ids: Iterable[int], now: BootNs) -> None:
        """Take the keys away; packets already past them finish within the row's rest."""
        gone = [self._placed.pop(id_) for id_ in ids if id_ in self._placed]
        self.clients.remove([rows.client for rows, _ in gone if rows.client is not None])
        self.hosts4.remove([rows.host for rows, _ in gone])
        for rows, slot in gone:
            self._let_go(rows, slot, now)

    def repair(self, wanted: Iterable[Rows], clock: Callable[[], BootNs]) -> list[str]:
        """Compare the maps with `wanted` (everything there should be), mend what differs, and say what was mended.

        Blocks for a rest each time that more rows differ than are spare.

        Raises: TableFull.
        """
        now = clock()
        clients, hosts = self.clients.items(), self.hosts4.items()
        view, stride = self.sessions.view, self.sessions.stride
        missing: list[_Differing] = []
        report: list[str] = []
        self._placed.clear()
        self.replies.forget_holders(now)
        led_to = Counter(Slot.unpack(slot).row for slots in (clients, hosts) for slot in slots.values())
        self._resting = deque((when, index) for when, index in self._resting if index not in led_to)
        for rows in wanted:
            slot = hosts.pop(rows.host, None)
            client_slot = clients.pop(rows.client, None) if rows.client is not None else slot
            why = None
            if slot is None or client_slot is None:
                why = "a key was missing"
            elif slot != client_slot:
                why = "its keys disagreed"
            else:
                place = Slot.unpack(slot)
                if place.row >= self.sessions.map.max_entries:
                    why = "its key led past the table"
                elif rows.reply is not None and not self.replies.index_of(rows.reply):
                    why, _ = OUTDATED
                else:
                    row = bytes(view[place.row * stride : place.row * stride + len(rows.session)])
                    if row != self._as_placed(rows, place.generation):
                        _, why = OUTDATED
            if why is None and slot is not None:
                self._placed[rows.id] = (rows, slot)
                if rows.reply is not None:
                    self.replies.hold(rows.reply, now)
            else:
                report.append(f"session {rows.id}: {why}")
                missing.append((rows, [slot, client_slot if rows.client is not None else None]))
        for name, table, stray in (("client", self.clients, clients), ("host", self.hosts4, hosts)):
            table.remove(list(stray))
            self._unled(stray.values(), led_to, now)
            report.extend(f"{name} key {key.hex()}: nobody's" for key in stray)
        self._replace(missing, led_to, clock)
        return report

    def _replace(self, differing: list[_Differing], led_to: Counter[int], clock: Callable[[], BootNs]) -> None:
        """Install what differs, as many at once as there are rows that no packet can be reading."""
        done = 0
        while done < len(differing):
            now = clock()
            batch = differing[done : done + self._spare(now)]
            if batch:
                self.install([rows for rows, _ in batch], now)
                self._unled((slot for _, slots in batch for slot in slots if slot is not None), led_to, now)
                done += len(batch)
            elif self._resting:
                threading.Event().wait((self._resting[0][0] - now) / SECOND)
            else:
                raise TableFull("sessions")

    def _unled(self, slots: Iterable[bytes], led_to: Counter[int], now: BootNs) -> None:
        """Keys lead elsewhere now, or are gone: a row that none leads to any more rests."""
        for slot in slots:
            row = Slot.unpack(slot).row
            led_to[row] -= 1
            if not led_to[row] and row < self.sessions.map.max_entries:
                self._resting.append((now + self._rest, row))

    def _as_placed(self, rows: Rows, generation: int) -> bytes:
        """The row as it should stand in the map."""
        row = bytearray(rows.session)
        _WORD.pack_into(row, _GENERATION, generation)
        if rows.reply is not None:
            _WORD.pack_into(row, _REPLY, self.replies.index_of(rows.reply))
        return bytes(row)
