"""Addresses that a gateway gives from a block of its own, durably, in groups: no packets, and nobody is asked.

The pool, the rows of leases and the store are the product's, its durability is full (a flush to the disk a group), and
each address is also noted for Nexus to be told of. The thread that writes has the second CPU while there is one.
"""

from __future__ import annotations

import queue
import tempfile
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from wayleave.io.clock import Clock
from wayleave.io.store import Store
from wayleave.io.writes import Write
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session.model import Client, Lease, Line, Phase, Service, Session, Subnet
from wayleave.session.pool import Pool

from .report import Aim, Result, Table, Wrong, palindrome, shown

NETWORK = IPv4Network("10.0.0.0/12")
SUBNET = Subnet(NETWORK, NETWORK[1])
SERVICE = Service(tenant="isp", pool="home", subscriber="alice")
HOUR, DAY = Ns(3600 * SECOND), Ns(86400 * SECOND)
GROUPS = (1, 64, 1024, 8192)
UNDER_WAY = 8
"""Groups that the disk is behind by: nobody's answer waits for more."""
AIM = 100_000


def client(number: int) -> Client:
    return Client(Line(1, 100 + (number >> 12), number & 0xFFF), Mac((0x02 << 40 | number).to_bytes(6, "big")))


def session(number: int, address: IPv4Address) -> Session:
    return Session(
        id=number,
        client=client(number),
        phase=Phase.RECORDING,
        since=BootNs(1),
        encapsulation=b"\0" * 22,
        service=SERVICE,
        lease=Lease(address, "home", SUBNET, HOUR, DAY),
    )


class Gateway:
    """A pool with one block, and the store on a disk."""

    def __init__(self, folder: Path) -> None:
        self.done: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.clock = Clock()
        self.store = Store(folder, self.clock, "full", self._completed)
        self.store.shared = {"home": "shared"}
        self.store.start()
        self.pool = Pool("home", SUBNET, shared=True)
        self.pool.gain(NETWORK[0], NETWORK[-1])

    def _completed(self, group: Sequence[Write], error: str | None) -> None:
        del group
        self.done.put(error)

    def give(self, first: int, count: int, group: int) -> None:
        """Give `count` addresses, `group` to a flush; returns when the last is on the disk."""
        now = self.clock.boot()
        until = BootNs(now + DAY)
        for flushed, begin in enumerate(range(first, first + count, group)):
            for number in range(begin, min(begin + group, first + count)):
                self.store.save(session(number, self.pool.allocate(number, None, now)), until)
            self.store.flush()
            if group == 1 or flushed >= UNDER_WAY:
                self._wait()
        self.store.close()

    def _wait(self) -> None:
        error = self.done.get()
        if error is not None:
            raise Wrong(error)


def rate(count: int, group: int) -> float:
    """Addresses a second, durable."""
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder))
        began = time.perf_counter()
        gateway.give(0, count, group)
        took = time.perf_counter() - began
        if gateway.pool.held != count:
            raise Wrong(f"{gateway.pool.held} of {count} addresses are held")
        return count / took


def memory_rate(count: int) -> float:
    """Addresses a second, in memory alone."""
    pool = Pool("home", SUBNET, shared=True)
    pool.gain(NETWORK[0], NETWORK[-1])
    began = time.perf_counter()
    for number in range(count):
        pool.allocate(number, None, BootNs(1))
    return count / (time.perf_counter() - began)


def bench(quick: bool) -> Result:
    """Every size of group, there and back. Raises: Wrong if the disk refuses."""
    count, rounds = (2_000, 1) if quick else (200_000, 3)
    found: dict[str, list[float]] = {str(group): [] for group in GROUPS}
    for _ in range(rounds):
        for name in palindrome(list(found)):
            group = int(name)
            found[name].append(rate(min(count, 300 * group if not quick else 20 * group), group))
    memory = [memory_rate(count) for _ in range(2 * rounds)]
    rows = [(f"{name} a flush", shown(rates)) for name, rates in found.items()]
    rows.append(("in memory alone", shown(memory)))
    best = max(sorted(rates)[len(rates) // 2] for rates in found.values())
    return Result(
        [Table("blocks: addresses a second from a block, durable (median, least, greatest)", ("", "a second"), rows)],
        [Aim("addresses a second, durable in groups", best, AIM)],
        {**{f"durable, {name} a flush, 1/s": rates for name, rates in found.items()}, "memory, 1/s": memory},
    )
