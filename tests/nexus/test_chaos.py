"""Three etcds and three processes of Nexus, each on a machine of its own, and eight gateways, while machines die.

At moments and in an order that the seed decides: the leader of etcd is killed with -9; it, or another member, is cut
off; a process of Nexus is killed, and one is cut off. Whoever is killed or cut off comes back. What the gateways
compare, all the time and at the end, is in `crowd`; one of them hangs now and then until its hold is over. That they
would notice is seen from a Nexus whose commits expect nothing (`careless`).

`make test` has each of these happen once, `make soak` eight times; WAYLEAVE_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime_ns
from typing import Any

import pytest

from tests.conftest import PROFILE
from tests.nexus import careless, crowd
from wayleave.lab.etcd import EtcdCluster
from wayleave.lab.host import Host
from wayleave.lab.nexus import PORT, NexusHost
from wayleave.lab.process import Process
from wayleave.lab.switch import Switch
from wayleave.lab.waiting import wait_until

GATEWAYS = 8
NETWORK = "10.0.0.0/22"
POOL = {"name": "home", "kind": "ipv4", "space": NETWORK, "block": 16, "tenant": "isp"}
"""So there are 64 blocks, and gateways want 96."""
HOLD_S, GRACE_S = 8, 1
TERMS = f'hold = "{HOLD_S}s"\ngrace = "{GRACE_S}s"\n[nexus.limits]\nrate = 100000\nburst = 100000\n'
DOWN_S, BETWEEN_S = (1.5, 2.5), (0.5, 1.5)
ROUNDS = 8 if PROFILE == "soak" else 1
SEED = int(os.environ.get("WAYLEAVE_SEED", random.SystemRandom().randrange(1 << 32)))


class World:
    """All the machines."""

    def __init__(self, folder: Path, switch: Switch, etcd: EtcdCluster, held: ExitStack) -> None:
        self.switch, self.etcd, self.folder = switch, etcd, folder
        self._held = held
        self.nexuses: list[NexusHost] = []
        for number in range(3):
            machine = switch.machine(f"nexus{number}")
            own = folder / f"nexus{number}"
            own.mkdir()
            authority = self.nexuses[0].authority if self.nexuses else None
            nexus = NexusHost(machine, own, machine.interface, TERMS + etcd.section, authority)
            held.callback(nexus.close)
            self.nexuses.append(nexus)
        self.at = switch.machine("gateways")

    def start(self) -> None:
        """Start the processes of Nexus, with a pool."""
        with ThreadPoolExecutor() as starting:
            list(starting.map(NexusHost.start, self.nexuses))
        self.nexuses[0].make("/v1/pools/home", POOL)

    def gateways(self, seed: int, hangs_s: float) -> Process:
        """Start the gateways; returns when they have begun."""
        names = [f"bng{number}" for number in range(GATEWAYS)]
        settings = {
            "network": NETWORK,
            "servers": [(str(nexus.interface.ip), PORT) for nexus in self.nexuses],
            "gateways": {name: str(self.nexuses[0].certificate("node", name)) for name in names},
            "ca": str(self.nexuses[0].authority / "ca.pem"),
            "endpoints": self.etcd.endpoints,
            "etcd": {name: str(path) for name, path in self.etcd.pem.items()},
            "seed": seed,
            "hang_s": HOLD_S + GRACE_S + 2.0,
            "hangs_s": hangs_s,
        }
        file = self.folder / "crowd.json"
        file.write_text(json.dumps(settings))
        host = Host(self.at, "eth0", self.folder)
        self._held.callback(host.close)
        process = host.spawn(sys.executable, crowd.__file__, str(file), log="crowd")
        wait_until(lambda: "begun" in process.output() or not process.alive, process.output)
        return process


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as held:
        switch = held.enter_context(Switch())
        machines = [switch.machine(f"etcd{number}") for number in range(3)]
        etcd = held.enter_context(EtcdCluster(tmp_path, machines))
        yield World(tmp_path, switch, etcd, held)


class Chaos:
    """What is done to the machines: each is a story of going and coming back, with a pause between."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._random = world, random.Random(seed)
        self.kinds: dict[str, Callable[[], Callable[[], None]]] = {
            "leader killed": self._kill_leader,
            "leader cut off": lambda: self._cut(self._world.etcd.leader()),
            "member cut off": lambda: self._cut(self._random.choice(self._world.etcd.nodes)),
            "nexus killed": self._kill_nexus,
            "nexus cut off": self._cut_nexus,
        }

    def order(self) -> list[str]:
        """Every kind once."""
        return self._random.sample(list(self.kinds), len(self.kinds))

    def wait(self, between: tuple[float, float], alive: Callable[[], bool]) -> None:
        """Let the gateways do what they do for a moment, unless they have ended."""
        ended = threading.Event()
        for _ in range(10):
            if alive():
                ended.wait(self._random.uniform(*between) / 10)

    def _kill_leader(self) -> Callable[[], None]:
        etcd = self._world.etcd
        leader = etcd.leader()
        leader.kill9()
        return lambda: etcd.start(leader)

    def _cut(self, of: Any) -> Callable[[], None]:
        switch, machine = self._world.switch, of.machine
        switch.pull(machine)
        return lambda: switch.plug(machine)

    def _kill_nexus(self) -> Callable[[], None]:
        nexus = self._random.choice(self._world.nexuses)
        nexus.kill9()
        return nexus.start

    def _cut_nexus(self) -> Callable[[], None]:
        switch, machine = self._world.switch, self._random.choice(self._world.nexuses).namespace
        switch.pull(machine)
        return lambda: switch.plug(machine)


def now() -> int:
    return clock_gettime_ns(CLOCK_BOOTTIME)


def test_no_address_has_two_owners_and_nothing_acknowledged_is_lost_while_machines_die(world: World) -> None:
    print(f"\nseed {SEED} (WAYLEAVE_SEED)")
    world.start()
    gateways = world.gateways(SEED, hangs_s=8.0)
    chaos = Chaos(world, SEED)
    done: list[tuple[str, int, int]] = []
    for _ in range(ROUNDS):
        for kind in chaos.order():
            chaos.wait(BETWEEN_S, lambda: gateways.alive)
            began = now()
            back = chaos.kinds[kind]()
            chaos.wait(DOWN_S, lambda: gateways.alive)
            back()
            world.etcd.wait()
            done.append((kind, began, now()))
    chaos.wait(BETWEEN_S, lambda: gateways.alive)
    assert gateways.alive, gateways.output()[-3000:]
    gateways.signal(15)
    assert gateways.wait(60) == 0, gateways.output()[-3000:]
    found = json.loads(gateways.output().splitlines()[-1])
    stalls = found.pop("stalls")
    print(", ".join(f"{name}: {count:,}" for name, count in sorted(found.items())))
    for kind in chaos.kinds:
        lengths = [
            end - begin
            for what, since, until in done
            for begin, end, _ in stalls
            if what == kind and begin < until and end > since
        ]
        print(f"{kind}: the longest wait for an answer that falls into it {max(lengths, default=0) / 1e9:.1f} s")
    print(f"the longest of all: {found['longest'] / 1e9:.1f} s")
    assert found["Claim"] > 100
    assert found["given"] > 1000
    assert found["looked"] > 10
    assert stalls, "nothing was disturbed"


def test_a_store_that_forgets_what_was_expected_is_found_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wayleave.lab.nexus.SERVE", (sys.executable, careless.__file__))
    world.start()
    gateways = world.gateways(SEED, hangs_s=0)
    assert gateways.wait(30) == 1
    assert "Violation" in gateways.output()
