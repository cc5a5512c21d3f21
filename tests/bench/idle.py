"""What sessions cost that do nothing: CPU and memory of the gateway, while clients ask for echoes and while it asks.

In the first part every client sends an LCP echo request each 30 s, as routers do, and XDP answers; the gateway only
looks whether they live. In the second they say nothing, and it asks each of them after 30 s of silence.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from wayleave.lab.topology import Lab

from . import population
from .control import cpu_s
from .report import Aim, Result, Table, Wrong
from .start import rss
from .street import Street, apart, config, crowd

UNDER_WAY = 64
ECHO_S = 30
AIM_CPU, AIM_OCTETS = 10.0, 5_000


@dataclass(frozen=True, slots=True)
class Part:
    """One part: % of a core, echoes a second that the clients asked for and heard, and frames a second that came up."""

    name: str
    cpu: float
    asked: float
    heard: float
    punted: float

    @property
    def row(self) -> tuple[str, ...]:
        return (self.name, *(f"{value:,.1f}" for value in (self.cpu, self.asked, self.heard, self.punted)))


def bench(quick: bool) -> Result:
    """One gateway, both parts. Raises: Wrong unless everybody stays online and is answered."""
    count, echo_s, seconds = (300, 1, 2) if quick else (50_000, ECHO_S, 2 * ECHO_S)
    with apart(), Lab([], pools=[population.NETWORK]) as lab:
        pppoe = f'authentication = []\necho_interval = "{echo_s}s"'
        street = Street(lab, config(lab, count + 1000, pppoe))
        empty = rss(street.pid)
        dialers = crowd(count, keepalive_s=echo_s)
        street.bring_up(dialers, 30 + count / 100, UNDER_WAY)
        octets = (rss(street.pid) - empty) / count

        def part(name: str) -> Part:
            street.stay(dialers, echo_s + 1)  # until nothing is left of what was before
            dialers.echoes.clear()
            sent = sum(results["sent"] for results in street.punts().values())
            before, began = cpu_s(street.pid), time.monotonic()
            street.stay(dialers, seconds)
            spent, took = cpu_s(street.pid) - before, time.monotonic() - began
            punted = sum(results["sent"] for results in street.punts().values()) - sent
            asked, heard = dialers.echoes["asked"], dialers.echoes["heard"]
            if dialers.waiting or street.active() != count or asked - dialers.echoes["answered"] > count / 100:
                raise Wrong(f"{street.active()} of {count} are online; echoes: {dict(dialers.echoes)}")
            return Part(name, 100 * spent / took, asked / took, heard / took, punted / took)

        parts = [part("clients ask, XDP answers")]
        dialers.keepalive = 0
        parts.append(part("clients are silent, bng asks"))
    table = Table(
        f"idle: {count:,} sessions, an echo each {echo_s} s, over {seconds} s",
        ("", "bng % of a core", "clients asked/s", "bng asked/s", "frames up/s"),
        [item.row for item in parts],
        (f"Anonymous memory of bng: {octets:,.0f} octets a session, against none.",),
    )
    aims = [
        *(Aim(f"% of a core, {item.name}", item.cpu, AIM_CPU, most=True) for item in parts),
        Aim("octets a session", octets, AIM_OCTETS, most=True),
    ]
    samples = {f"{item.name} % of a core": [item.cpu] for item in parts} | {"octets a session": [octets]}
    return Result([table], aims, samples)
