"""Gateways that share a pool, through everything that can go wrong: no address ever has two holders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Address
from random import Random

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.daemon.shared_world import LEASE, Nexus, Site, site
from tests.fakes.clock import FakeClock
from wayleave.daemon import blocks
from wayleave.daemon.engine import Engine
from wayleave.net.units import SECOND, BootNs, Ns, UtcNs
from wayleave.nexus import reclaim
from wayleave.session import growth
from wayleave.session.model import NEVER, Session
from wayleave.session.pool import Pool

SOAK = os.environ.get("WAYLEAVE_PROFILE") == "soak"
SEEDS, STEPS = (40, 20_000) if SOAK else (4, 2_000)
EPOCH = FakeClock().wall
"""What UTC is ahead of the time of Nexus."""
PEOPLE, KEEPERS = 24, 3
KEPT = IPv4Address("10.0.0.33")
"""Of the first keeper; the others' follow."""

MISCHIEF = {
    "somebody comes": 30, "somebody goes": 8, "time passes": 15, "long time passes": 1.5, "the way is cut": 3,
    "the way is back": 1.5, "an answer is lost": 4, "killed": 3, "booted": 2, "emptied": 0.5, "nexus is killed": 1,
    "the disk fails": 1, "the disk works": 3, "granted anew": 3, "the clock is set": 4, "a keeper moves": 2,
    "a keeper comes": 8,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet_and_quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks come and go within minutes."""
    monkeypatch.setattr(growth, "WINDOW", Ns(200 * SECOND))
    monkeypatch.setattr(growth, "EVERY", Ns(10 * SECOND))
    monkeypatch.setattr(blocks, "IDLE", Ns(30 * SECOND))
    with capture_logs():
        yield


class World:
    """Three gateways, their Nexus, and people who may come to any of them. Everything follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.nexus = Nexus()
        for keeper in range(KEEPERS):
            self.nexus.keeps(f"keeper-{keeper}", str(KEPT + keeper), "a", 100 + keeper)
        self.sites = [site(name, self.nexus, start) for name, start in (("a", 100), ("b", 7_000), ("c", 90_000))]
        self.served = self.admitted = self.fenced = 0
        self.most = self.kept = 0
        self.homes = [self.sites[0]] * KEEPERS

    def step(self) -> None:
        random = self.random
        (what,) = random.choices(list(MISCHIEF), list(MISCHIEF.values()))
        where, who = random.choice(self.sites), random.randrange(PEOPLE)
        match what:
            case "a keeper moves":
                self.move(random.randrange(KEEPERS), where)
            case "a keeper comes":
                keeper = random.randrange(KEEPERS)
                self.kept += self.homes[keeper].arrive(100 + keeper) == KEPT + keeper
            case "somebody comes":
                self.admitted += where.arrive(who) is not None
            case "somebody goes":
                where.release(who)
            case "time passes":
                self.pass_time(random.randint(1, 30))
            case "long time passes":
                self.pass_time(random.randint(200, 1000))
            case "the way is cut":
                where.cut = True
            case "the way is back":
                where.cut = False
            case "an answer is lost":
                where.talk(lost=True)
            case "the disk fails" | "the disk works":
                where.disk.failing = what == "the disk fails"
            case "granted anew":
                self.grant(where)
            case "the clock is set":
                where.clock.wall = UtcNs(self.nexus.now + EPOCH)
            case "killed":
                where.kill()
            case "booted" | "emptied":
                self.boot(where, what == "emptied")
            case "nexus is killed":
                self.nexus.restart()
        self.check()

    def grant(self, where: Site) -> None:
        """A server changes what somebody is sold, as it is."""
        sessions = list(where.table)
        if sessions:
            session = self.random.choice(sessions)
            if session.service is not None:
                service = replace(session.service, name=f"rate-{self.random.randrange(3)}")
                where.engine.change(session.id, service, where.clock.boot())
                where.written()

    def move(self, keeper: int, where: Site) -> None:
        """A subscriber that keeps its address is plugged in somewhere else: its old gateway's line is dead then."""
        old, self.homes[keeper] = self.homes[keeper], where
        if old is not where:
            old.told.pop(old.client(100 + keeper), None)
        self.nexus.keeps(f"keeper-{keeper}", str(KEPT + keeper), where.name, 100 + keeper)

    def boot(self, where: Site, empty: bool) -> None:
        """One machine is away for a while; for the others the time passes."""
        away = self.random.choice((5, 60, 700))
        others = [other for other in self.sites if other is not where]
        for _ in range(away):
            self.second(others)
            where.clock.wait(SECOND)
            self.check_of(others)
        where.reboot(off=0, empty=empty, in_1970=self.random.random() < 0.3)
        if where.clock.plausible:
            where.clock.wall = UtcNs(self.nexus.now + EPOCH)

    def pass_time(self, length: int) -> None:
        for _ in range(length):
            self.second(self.sites)
            self.check()

    def second(self, sites: list[Site]) -> None:
        for one in sites:
            one.second()
            if self.random.random() < 0.5:
                one.hear()
                one.talk()
            self.renewals(one)
        self.nexus.second(look=self.random.random() < 0.3)

    def renewals(self, where: Site) -> None:
        """Most clients stay: they renew in the second half of their lease."""
        now = where.clock.now
        for client, known in list(where.told.items()):
            if now < known.until < now + LEASE // 2 and self.random.random() < 0.1:
                where.renew(client.line.cvid)

    def check(self) -> None:
        self.check_of(self.sites)

    def check_of(self, sites: list[Site]) -> None:
        """Nobody is served at two places under one address, and no two clients believe in one."""
        served: dict[IPv4Address, str] = {}
        believed: dict[IPv4Address, tuple[str, str]] = {}
        for one in sites:
            for address in one.served():
                assert served.setdefault(address, one.name) == one.name, f"{address}: at {served[address]}, {one.name}"
            now = one.clock.now
            for client, known in one.told.items():
                if known.until > now:
                    here = (one.name, str(client))
                    assert believed.setdefault(known.address, here) == here, f"{known.address}: {here}, {believed}"
        self.most = max(self.most, len(served))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_address_ever_has_two_holders(seed: int) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
    assert world.most > 5
    assert world.admitted > STEPS // 20
    assert world.kept > STEPS // 100, "who moves finds its address where it comes to"


def no_end(_self: Engine, _session: Session) -> BootNs:
    return NEVER


def nothing(_self: Pool, _first: IPv4Address, _last: IPv4Address) -> None:
    pass


def early(duration: Ns, _rate_error: int, _grace: Ns) -> Ns:
    return Ns(duration // 2)


@pytest.mark.parametrize(
    ("where", "what", "instead"),
    [
        (reclaim, "watched", early),
        (Engine, "tenure", no_end),
        (Pool, "lose", nothing),
    ],
    ids=["reclaimed early", "promised past the hold", "kept when lost"],
)
def test_it_is_found_out_when_a_rule_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, where: object, what: str, instead: object
) -> None:
    monkeypatch.setattr(where, what, instead)
    with pytest.raises(AssertionError, match=r"10\.0\.0"):
        run_all()


def run_all() -> None:
    for seed in range(30):
        world = World(seed)
        for _ in range(1_000):
            world.step()
