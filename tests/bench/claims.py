"""Blocks that gateways claim of Nexus over etcd, beside what etcd alone can do of the same commits.

Three etcds, one process of Nexus, mutual TLS throughout, all on this machine. A gateway claims a block and gives it
back, again and again. Beside it etcd's own compare-and-set: the two commits that this takes, with as many expectations
and changes on keys of the same length, by the same stubs over the same TLS, and without reading anything.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from tests.nexus.service import HERE, Nexus
from wayleave.io.nexus import Connection
from wayleave.io.settings import Server
from wayleave.lab.etcd import EtcdCluster
from wayleave.net.units import BootNs
from wayleave.nexus.store.etcd import _Member
from wayleave.nexus.store.etcd_messages import MOD, TxnRequest
from wayleave.proto.nexus.messages import Claim, Claimed, GiveBack, Held, Renew

from .report import Result, Table, Wrong, palindrome, shown

AT_ONCE = (1, 8, 64)
POOL = {"name": "home", "kind": "ipv4", "space": "10.0.0.0/8", "block": 256, "tenant": "isp"}
LIMITS = "[nexus.limits]\nrate = 100000\nburst = 100000\n"
OWNERSHIP = b'{"node":"gateway-00","epoch":1,"fence":1000}'
Turn = Callable[[], Awaitable[None]]


class Gateway:
    """Claims a block, and gives it back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._held: Held

    async def begin(self) -> None:
        held = await self._connection.ask(Renew(0))
        assert isinstance(held, Held)
        self._held = held

    async def __call__(self) -> None:
        claimed = await self._connection.ask(Claim(self._held.epoch, "home"))
        if not isinstance(claimed, Claimed) or len(claimed.blocks) != 1:
            raise Wrong(f"a claim got {claimed}")
        (block,) = claimed.blocks
        await self._connection.ask(GiveBack(self._held.epoch, self._held.beat, *block.key, block.fence))


class Alone:
    """Commits what that takes, on keys of its own."""

    def __init__(self, member: _Member, number: int) -> None:
        self._member = member
        *self._same, self._block = (
            f"alone/{kind}/{number:04}/00000001".encode() for kind in ("node", "hold", "pool", "block")
        )
        self._held = f"alone/held/{number:04}/00000001/home/00000001".encode()

    async def begin(self) -> None:
        self._since = self._at = await self._commit({}, [put(key) for key in (*self._same, self._block)])

    async def __call__(self) -> None:
        expects = {**dict.fromkeys(self._same, self._since), self._block: self._at}
        self._at = await self._commit(expects, [put(self._block), put(self._held)])
        expects = {self._same[1]: self._since, self._block: self._at}
        gone = {"request_delete_range": {"key": self._held}}
        self._at = await self._commit(expects, [put(self._block), gone])

    async def _commit(self, expects: dict[bytes, int], changes: list[dict[str, Any]]) -> int:
        compare = [{"target": MOD, "key": key, "mod_revision": revision} for key, revision in expects.items()]
        failure = [{"request_range": {"key": key, "keys_only": True}} for key in expects]
        answer = await self._member.txn(TxnRequest(compare=compare, success=changes, failure=failure), timeout=60)
        if not answer.succeeded:
            raise Wrong("somebody else wrote these keys")
        return int(answer.header.revision)


def put(key: bytes) -> dict[str, Any]:
    """A change as RequestOp has it."""
    return {"request_put": {"key": key, "value": OWNERSHIP}}


async def rate(turns: list[Turn], seconds: float) -> tuple[float, list[float]]:
    """Return how many a second there are of turns, each again and again, and what each took in ms."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def again(turn: Turn) -> None:
        while (began := time.perf_counter()) < end:
            await turn()
            took.append(1000 * (time.perf_counter() - began))

    began = time.perf_counter()
    await asyncio.gather(*map(again, turns))
    return len(took) / (time.perf_counter() - began), took


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def measured(nexus: Nexus, etcd: EtcdCluster, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return all that was measured, by what it is of and its unit."""
    member = _Member(etcd.endpoints[0], etcd.tls)  # whom Nexus asks first, too
    samples: dict[str, list[float]] = {}
    gateways, alone = [], []
    for number in range(max(AT_ONCE)):
        context = nexus.client("node", f"gateway-{number:02}").context
        gateways.append(
            Gateway(Connection([Server(HERE, nexus.port)], context, lambda: BootNs(time.monotonic_ns()), 60))
        )
        alone.append(Alone(member, number))
    for each in (*gateways, *alone):
        await each.begin()
    for count in AT_ONCE:
        for name in palindrome(["nexus", "etcd"]) * rounds:
            before = cpu_s(nexus.process.pid)
            turns: list[Turn] = [*(gateways if name == "nexus" else alone)][:count]
            found, took = await rate(turns, seconds)
            samples.setdefault(f"{name} {count}, 1/s", []).append(found)
            samples.setdefault(f"{name} {count}, ms", []).extend(took)
            if name == "nexus":
                spent = 1000 * (cpu_s(nexus.process.pid) - before) / len(took)
                samples.setdefault(f"nexus {count}, CPU ms", []).append(spent)
    await member.channel.close()
    return samples


def bench(quick: bool) -> Result:
    """Every number of gateways, there and back. Raises: Wrong."""
    rounds, seconds = (1, 1.0) if quick else (3, 4.0)
    with tempfile.TemporaryDirectory(prefix="wayleave-bench-") as folder, EtcdCluster(Path(folder)) as etcd:
        nexus = Nexus(Path(folder), f"{LIMITS}{etcd.section}")
        nexus.start()
        try:
            answer = nexus.client("operator", "ops").ask("PUT", "/v1/pools/home", POOL, {"If-None-Match": "*"})
            if answer.status >= 400:
                raise Wrong(str(answer.body))
            samples = uvloop.run(measured(nexus, etcd, rounds, seconds))
        finally:
            nexus.process.stop()
    rows = []
    for count in AT_ONCE:
        through, alone = samples[f"nexus {count}, 1/s"], samples[f"etcd {count}, 1/s"]
        ratio = sorted(one / other for one, other in zip(through, alone, strict=True))
        rows.append(
            (
                str(count),
                shown(through),
                shown(alone),
                f"{ratio[len(ratio) // 2]:.2f}",
                f"{_part(samples[f'nexus {count}, ms'], 0.5):.1f} {_part(samples[f'nexus {count}, ms'], 0.99):.1f}",
                f"{_part(samples[f'etcd {count}, ms'], 0.5):.1f} {_part(samples[f'etcd {count}, ms'], 0.99):.1f}",
                shown(samples[f"nexus {count}, CPU ms"], 1),
            )
        )
    columns = ("at once", "nexus 1/s", "etcd alone 1/s", "ratio", "nexus ms", "etcd ms", "nexus CPU ms")
    title = "claims: blocks claimed and given back, over etcd of three members; ms: median and 99th of 100"
    return Result([Table(title, columns, rows)], [], samples)


def _part(samples: list[float], part: float) -> float:
    return sorted(samples)[int(part * (len(samples) - 1))]
