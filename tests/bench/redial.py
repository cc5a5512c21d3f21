"""The power comes back to a town that dials: every client at once, while its session of before still stands.

First everybody is brought online, as fast as the gateway bears. Then all of them forget that and dial anew, in the same
instant, through the product's own policers; each replaces its own session, whose address it gets again or not.
Discovery is repeated after 5, 10 and 20 s, so in step: nobody's clock strays from the others'.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from wayleave.lab.topology import Lab

from . import population
from .report import Aim, Result, Table, Wrong, shown
from .start import rss
from .storm import grown, peak
from .street import Street, apart, config, crowd

UNDER_WAY = 64
STORM_S = 180.0
"""The most that it may take."""
AIM_LAST_S = 40.0
"""As long as at 500 a second."""
SHARES = {"p50": 0.5, "p99": 0.99, "longest": 1.0}


@dataclass(frozen=True, slots=True)
class Storm:
    """One storm. Waits in seconds, of those that came online; memory in octets. `said`: the most times, one thing."""

    clients: int
    waits: list[float]
    last_s: float
    first_words_s: float
    said: int
    lost: int
    same_address: int
    punts: dict[str, dict[str, int]]
    before: int
    after: int
    most: int

    def quantile(self, share: float) -> float:
        """Of the waits; infinite if that one is not online."""
        index = min(self.clients - 1, int(share * self.clients))
        return self.waits[index] if index < len(self.waits) else math.inf


def storm(count: int) -> Storm:
    """Bring them up, and then all at once. Raises: Wrong if they were not up before."""
    with apart(), Lab([], pools=[population.NETWORK]) as lab:
        street = Street(lab, config(lab, 2 * count + 1000, "authentication = []"))
        dialers = crowd(count)
        street.bring_up(dialers, 30 + count / 100, UNDER_WAY)
        if street.active() != count:
            raise Wrong(f"{street.active()} of {count} are online before the storm")
        addresses = [dialer.address for dialer in dialers.all]
        memory, punts = rss(street.pid), street.punts()
        lost = street.bring_up(dialers, STORM_S)
        online = [dialer for dialer in dialers.all if dialer.waited_s is not None]
        if len(online) == count != street.active():
            raise Wrong(f"the gateway has {street.active()} sessions of {count}")
        began = [dialer.began for dialer in dialers.all]
        return Storm(
            count,
            sorted(dialer.waited_s for dialer in online if dialer.waited_s is not None),
            (max(dialer.online for dialer in online) - min(began)) / 1e9 if len(online) == count else math.inf,
            (max(began) - min(began)) / 1e9,
            max(dialer.said for dialer in dialers.all),
            lost,
            sum(dialer.address == before for dialer, before in zip(dialers.all, addresses, strict=True)),
            {name: grown(found, punts[name]) for name, found in street.punts().items()},
            memory,
            rss(street.pid),
            peak(street.pid),
        )


def bench(quick: bool) -> Result:
    """A gateway just started each round."""
    count, rounds = (300, 1) if quick else (20_000, 3)
    storms = [storm(count) for _ in range(rounds)]
    title = f"redial: {count:,} clients at once, their old sessions still up; {rounds} rounds"
    facts = [
        *(
            (f"{name} wait for an address, s", [item.quantile(share) for item in storms])
            for name, share in SHARES.items()
        ),
        ("the last is online after, s", [item.last_s for item in storms]),
        ("the crowd's first words took, s", [item.first_words_s for item in storms]),
        ("not online", [item.clients - len(item.waits) for item in storms]),
        ("the most that somebody said one thing", [item.said for item in storms]),
        ("got the address of before", [item.same_address for item in storms]),
        ("frames lost in the crowd's own sockets", [item.lost for item in storms]),
        ("anonymous memory before, MB", [item.before / 1e6 for item in storms]),
        ("anonymous memory after, MB", [item.after / 1e6 for item in storms]),
        ("most memory of bng (VmHWM), MB", [item.most / 1e6 for item in storms]),
    ]
    rows = [(name, shown(values, 1).replace("inf", "never")) for name, values in facts]
    results = list(next(iter(storms[0].punts.values())))
    punts = [
        (name, *(f"{statistics.mean(item.punts[name][result] for item in storms):,.0f}" for result in results))
        for name in storms[0].punts
    ]
    tables = [
        Table(title, ("", "median [min…max]"), rows),
        Table(f"{title}: frames handed up or refused, by class; mean", ("", *results), punts),
    ]
    aims = [
        Aim("online, share of all", sum(len(item.waits) for item in storms) / (count * rounds), 1.0),
        Aim(
            "the last is online after, s",
            min(statistics.median(item.last_s for item in storms), STORM_S),
            AIM_LAST_S,
            most=True,
        ),
    ]
    return Result(tables, aims, {name: [value for value in values if math.isfinite(value)] for name, values in facts})
