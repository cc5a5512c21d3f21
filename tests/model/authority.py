"""The authority over an address, as a model: clients, kernel, process, disk, two clocks. The product is not used.

It says what the design rests on and is small enough to be read as its definition. Time is in whole units; everything
in capitals is a length. A client is *live* on an address while it believes its lease to stand: the product may never
let two clients be live on one. What may go wrong: replies and ring records are lost, the process is killed, the power
fails, the wall clock starts in 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

LEASE, HORIZON, REST = 4, 8, 1  # two leases: the kernel can then renew one in its last moment


@dataclass(frozen=True)
class Promise:
    """A record on disk: `until` on the boot clock of `boot`, `utc` on the wall clock, None if that was not set."""

    client: str
    boot: int
    until: int
    utc: int | None


@dataclass
class Row:
    """What the kernel knows of a session; `renewed` is in a map of its own, under the same index."""

    client: str
    address: int
    promise_until: int
    renewed: int = 0


@dataclass
class Held:
    """What the process knows: who has an address until when, and whether it is being taken back."""

    client: str
    until: int | None
    closing: bool = False


@dataclass
class World:
    """Everything at once. The switches are mutants: each must break the invariant."""

    promise_kept: bool = True
    index_rests: bool = True
    flight_awaited: bool = True
    clock_doubted: bool = True
    told_remembered: bool = True
    renewals_reread: bool = True
    time: int = 100
    boot: int = 1
    booted_at: int = 0
    wall_is_set: bool = True
    believes: dict[str, tuple[int, int]] = field(default_factory=dict)
    disk: dict[int, Promise] = field(default_factory=dict)
    pending: list[tuple[int, Promise | None]] = field(default_factory=list)
    process: dict[int, Held] | None = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    resting: dict[int, int] = field(default_factory=dict)
    flight: list[tuple[str, int]] = field(default_factory=list)

    # ---- clocks -------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The boot clock."""
        return self.time - self.booted_at

    @property
    def wall(self) -> int:
        return self.time if self.wall_is_set else self.now

    def live(self, client: str) -> int | None:
        """The address that a client believes to be its own, now."""
        address, until = self.believes.get(client, (0, 0))
        return address if until > self.time else None

    # ---- the process --------------------------------------------------------------------

    def ask(self, client: str, addresses: range) -> None:
        """A client without a lease is given an address that nobody holds; the promise goes to disk first."""
        if self.process is None or any(held.client == client for held in self.process.values()):
            return
        free = [address for address in addresses if address not in self.process]
        if free:
            self.process[free[0]] = Held(client, None)
            self._record(free[0], client)

    def _record(self, address: int, client: str) -> None:
        utc = self.wall + HORIZON if self.wall_is_set else None
        self.pending.append((address, Promise(client, self.boot, self.now + HORIZON, utc)))

    def renew(self, client: str, heard: bool) -> None:
        """The process extends a lease: at once under the promise, else after a new one is on disk."""
        address = self.live(client)
        held = (self.process or {}).get(address or 0)
        if held is None or address is None or held.client != client or held.closing:
            return
        row = self.rows.get(self.keys.get(client, -1))
        if row is None or row.promise_until < self.now + LEASE:
            self._record(address, client)
        else:
            self._confirm(client, address, held, row.promise_until, heard)

    def _confirm(self, client: str, address: int, held: Held, promise_until: int, heard: bool) -> None:
        """Grant a lease, or what the promise still covers of one: the disk may have been slow."""
        term = min(LEASE, promise_until - self.now)
        held.until = self.now + term
        if heard:
            self.believes[client] = (address, self.time + term)

    def commit(self, heard: bool) -> None:
        """The disk has everything that waited; then rows change, and only then anything is said."""
        writes, self.pending = self.pending, []
        for address, promise in writes:
            self._write(address, promise)
            held = (self.process or {}).get(address)
            if self.process is None or held is None:
                continue
            if promise is None:
                del self.process[address]
            elif not held.closing:
                self._install(promise.client, address, promise.until)
                self._confirm(promise.client, address, held, promise.until, heard)

    def _write(self, address: int, promise: Promise | None) -> None:
        if promise is None:
            self.disk.pop(address, None)
        else:
            self.disk[address] = promise

    def expire(self) -> None:
        """Take back what nobody renewed, here or (read back from its map) in the kernel."""
        for address, held in (self.process or {}).items():
            row = self.rows.get(self.keys.get(held.client, -1))
            renewed = row.renewed + LEASE if row is not None and row.renewed else 0
            if held.until is not None and not held.closing and max(held.until, renewed) <= self.now:
                self._take_keys(held)
                if not (self.renewals_reread and self._bring_back(address, held, row)):
                    self.pending.append((address, None))

    def _bring_back(self, address: int, held: Held, row: Row | None) -> bool:
        """A renewal slipped through between the look at its map and the removal of the keys: the lease stands."""
        if row is None or row.renewed + LEASE <= self.now:
            return False
        held.closing, held.until = False, row.renewed + LEASE
        self._install(held.client, address, row.promise_until)
        return True

    def release(self, client: str) -> None:
        """The client gives its address back, and the process hears it."""
        address = self.live(client)
        held = (self.process or {}).get(address or 0)
        if address is None or held is None or held.client != client or held.closing or held.until is None:
            return
        del self.believes[client]
        self._take_keys(held)
        self.pending.append((address, None))

    def _take_keys(self, held: Held) -> None:
        """Remove the keys and wait for what is in the program: only then may the end become durable."""
        held.closing = True
        self._remove(held.client)
        while self.flight and self.flight_awaited:
            self.answer(heard=True)

    # ---- the kernel ---------------------------------------------------------------------

    def _install(self, client: str, address: int, until: int) -> None:
        before = self.rows.get(self.keys.get(client, -1))
        self._remove(client)
        index = next(i for i in range(100) if i not in self.keys.values() and not self._rests(i))
        self.rows[index] = Row(client, address, until, before.renewed if before is not None else 0)
        self.keys[client] = index

    def _remove(self, client: str) -> None:
        index = self.keys.pop(client, None)
        if index is not None:
            self.resting[index] = self.time + REST

    def _rests(self, index: int) -> bool:
        return self.index_rests and self.resting.get(index, 0) > self.time

    def look(self, client: str) -> None:
        """A renewal enters the program, and finds the row of its client. It may have been sent in the last moment."""
        if client in self.keys and self._asks(client):
            self.flight.append((client, self.keys[client]))

    def answer(self, heard: bool) -> None:
        """A renewal leaves the program with what its row says, whatever the row has become meanwhile."""
        client, index = self.flight.pop(0)
        row = self.rows[index]
        if self.promise_kept and row.promise_until < self.now + LEASE:
            return
        row.renewed = self.now
        if heard and self._asks(client):
            self.believes[client] = (row.address, self.time + LEASE)

    def _asks(self, client: str) -> bool:
        """Does the client wait for the answer to a renewal that it sent while it was live?"""
        _, until = self.believes.get(client, (0, -1))
        return until >= self.time

    # ---- time and disaster --------------------------------------------------------------

    def wait(self, length: int) -> None:
        """Time passes. What is in the program leaves it first, long before anything has rested enough."""
        while self.flight:
            self.answer(heard=True)
        self.time += length

    def kill(self, written: int) -> None:
        """The process dies; of what waited for the disk, the first `written` got there."""
        for address, promise in self.pending[:written]:
            self._write(address, promise)
        self.pending.clear()
        self.process = None

    def start(self) -> None:
        """The process takes up the disk, and makes the kernel say the same."""
        if self.process is not None:
            return
        self.process = {}
        for address, promise in list(self.disk.items()):
            self.process[address] = Held(promise.client, self._told_at_most(self._on_this_boot(promise)))
        for client in [client for client, index in self.keys.items() if not self._agrees(client, self.rows[index])]:
            self._remove(client)
        for address, promise in self.disk.items():
            until = self._on_this_boot(promise)
            if until is not None and until > self.now:
                self._install(promise.client, address, until)

    def _told_at_most(self, promise_until: int | None) -> int | None:
        """When a client is certainly gone that was told, before now, of a lease within its promise. None: unknown."""
        if promise_until is None:
            return None
        return min(promise_until, self.now + LEASE) if self.told_remembered else self.now

    def _agrees(self, client: str, row: Row) -> bool:
        promise = self.disk.get(row.address)
        return promise is not None and promise.client == client

    def _on_this_boot(self, promise: Promise) -> int | None:
        """None: nobody can know yet, so that it has no end."""
        if promise.boot == self.boot:
            return promise.until
        if promise.utc is None:
            return self.now + HORIZON
        if not self.wall_is_set and self.clock_doubted:
            return None
        return self.now + promise.utc - self.wall

    def fail(self, off: int, in_1970: bool) -> None:
        """The power fails: what is not on disk is gone. Clients have batteries."""
        self.process, self.pending, self.keys, self.rows, self.resting, self.flight = None, [], {}, {}, {}, []
        self.time += off
        self.boot, self.booted_at, self.wall_is_set = self.boot + 1, self.time, not in_1970

    def set_clock(self) -> None:
        """The wall clock is right again: what waited for it has an end."""
        self.wall_is_set = True
        for address, held in (self.process or {}).items():
            promise = self.disk.get(address)
            if held.until is None and promise is not None and promise.boot != self.boot and not held.closing:
                held.until = self._told_at_most(self._on_this_boot(promise))

    def check(self) -> None:
        """No address with two live clients."""
        addresses = [address for client in self.believes if (address := self.live(client)) is not None]
        assert len(addresses) == len(set(addresses)), f"two clients live on one address: {self.believes} at {self.time}"


def mutant(**switches: bool) -> World:
    """A world with a mistake built in."""
    return replace(World(), **switches)  # type: ignore[arg-type]
