"""A street that dials: a gateway on a CPU of its own, and thousands of PPPoE clients on another, all on one trunk."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from wayleave.lab.access_node import Line
from wayleave.lab.crowd import run, talk
from wayleave.lab.dialers import Dialers, Member
from wayleave.lab.topology import Lab
from wayleave.proto.ppp.account import Account

from . import population
from .control import POOL
from .crossing import CPU
from .report import Wrong

PASSWORD = "sesame"
Decider = Literal["nobody", "gateway", "radius"]
RESOLVERS = ["198.51.100.10", "198.51.100.11"]
RING = 1 << 16
"""Frames that the crowd's ring holds."""

NO_POLICERS = """
[punt]
ppp_known = { pps = 0, burst = 1 }
ppp_new = { pps = 0, burst = 1 }
pppoe_discovery = { pps = 0, burst = 1 }
pppoe_line = { pps = 0, burst = 1 }
pppoe_client = { pps = 0, burst = 1 }
"""


def user(number: int) -> str:
    """What a client says it is called."""
    return f"c{number}@example.net"


def member(number: int) -> Member:
    """The client on a line of the population."""
    account = Account(name=user(number).encode(), password=PASSWORD.encode())
    return Member(population.mac(number), Line(*population.vids(number)), account)


def crowd(count: int, keepalive_s: float = 0) -> Dialers:
    """The clients of so many lines."""
    return Dialers([member(number) for number in range(count)], keepalive_s)


class Street:
    """The gateway that runs, and who dials there. `profile`: where cProfile writes when the gateway stops."""

    def __init__(self, lab: Lab, config: str, profile: Path | None = None) -> None:
        self.lab = lab
        if profile is None:
            lab.gateway.start(config)
        else:
            _start_profiled(lab, config, profile)
        process = lab.gateway.process
        assert process is not None
        self.pid = process.pid
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {CPU})

    def bring_up(self, dialers: Dialers, seconds: float, under_way: int = 0) -> int:
        """Have them dial, until all are online; returns frames that the crowd's own sockets lost. Raises: Wrong."""
        dialers.dial(time.monotonic_ns(), under_way)
        with self.lab.access_node.trunk.wire(RING) as wire:
            run(dialers, wire, seconds, linger_s=0.2)
            lost = wire.lost + wire.refused
        self._expect(dialers)
        return lost

    def stay(self, dialers: Dialers, seconds: float) -> None:
        """Let who is online stay so, and answer what it is asked. Raises: Wrong."""
        with self.lab.access_node.trunk.wire(RING) as wire:
            talk(dialers, wire, seconds, lambda: False)
        self._expect(dialers)

    def _expect(self, dialers: Dialers) -> None:
        if dialers.faults:
            raise Wrong(f"wrong: {dict(dialers.faults)}, such as\n" + "\n".join(dialers.examples))

    def active(self) -> int:
        """Sessions that are up."""
        return int(self.lab.gateway.get("/counters")["sessions"].get("active", 0))

    def punts(self) -> dict[str, dict[str, int]]:
        """What became of PPPoE's frames that were to come up so far, by class and result."""
        found = self.lab.gateway.get("/counters")["punts"]
        return {name: results for name, results in found.items() if name.startswith("ppp")}

    def refused(self) -> int:
        """What policers and ring turned away of PPPoE so far."""
        return sum(sum(results.values()) - results["sent"] for results in self.punts().values())


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Have all that is started meanwhile, and this thread, keep off the gateway's CPU, if there is another."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before - {CPU} or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def passwords(folder: Path, count: int) -> None:
    """Write the files in which the gateway finds who its clients are, and what they know."""
    entries = (f'[[subscribers]]\nname = "{number}"\nuser = "{user(number)}"\n' for number in range(count))
    (folder / "subscribers.toml").write_text("\n".join(entries))
    secrets = folder / "secrets.toml"
    secrets.write_text("".join(f'"{user(number)}" = "{PASSWORD}"\n' for number in range(count)))
    secrets.chmod(0o600)


def config(lab: Lab, sessions: int, pppoe: str, more: str = "", decides: Decider = "nobody") -> str:
    """What a gateway with room for so many sessions is told; `pppoe`: keys of its section, a line each."""
    files = {"subscribers": "subscribers.toml", "secrets": "secrets.toml"}
    return lab.config(
        gateway={"sessions": sessions, "durability": "full"},
        tenant={"radius": "isp"} if decides == "radius" else None,
        authorization=files if decides == "gateway" else None,
        subscriber={"protocols": ["pppoe"]},
        pool={**POOL, "dns": RESOLVERS},
        more=f"[pppoe]\n{pppoe}\n{more}",
    )


def _start_profiled(lab: Lab, config: str, profile: Path) -> None:
    gateway = lab.gateway
    gateway.config_file.write_text(config)
    own = str(Path(__file__).with_name("profiled.py"))
    arguments = ("run", "--config", str(gateway.config_file))
    gateway.process = gateway.spawn(sys.executable, own, str(profile), *arguments, log="bng")
    gateway.wait_ready()
