"""Who answers a DHCP client through its life, the kernel or Python, and why Python.

Real clients, one after the other, each on a line of its own; option lists of others, spoken by the crowd. The life: a
first lease, renewals, a reboot (INIT-REBOOT by who has a disk), a start from nothing, a release. The lease is short,
because dhclient cannot be told to renew. A message counts as Python's when the data plane hands it up.

perfdhcp cannot live this life: it speaks as a relay agent, for clients whose frames never come in. It makes the
same exchanges twice; its option list, spoken by clients themselves, lives with the crowd.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from wayleave.lab.access_node import Line
from wayleave.lab.crowd import Crowd, run
from wayleave.lab.customer import Client, Customer
from wayleave.lab.dhcp_client import OLD_ROUTER, OPENWRT, WINDOWS, Member, Profile, Server
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Gateway, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

from .control import NO_POLICERS, RELAY
from .report import Aim, Result, Table, Wrong

CLIENTS: tuple[Client, ...] = get_args(Client)
PERFDHCP = Profile(
    "perfdhcp's options, unrelayed",
    order=(53, 50, 54, 55, 61),
    wants=(1, 28, 2, 3, 15, 6, 12),
    identified=True,
)
PROFILES = (WINDOWS, OPENWRT, OLD_ROUTER, PERFDHCP)
MEMBERS = 20
"""Clients of each option list; and perfdhcp's."""

LEASE_S = 60
"""The shortest that a pool may have. dhclient renews after 22 to 30 s of it."""

FIRST, RENEWALS, REBOOT, NOTHING, RELEASE = "first lease", "renewals", "reboot", "from nothing", "release"
KNOWN = (RENEWALS, REBOOT, NOTHING)


@dataclass(frozen=True, slots=True)
class Tally:
    """Messages that the kernel answered, and those that it left to Python, by why."""

    kernel: int = 0
    left: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, gateway: Gateway) -> Tally:
        """As it stands now."""
        found: dict[str, int] = gateway.get("/counters")["dhcp4"]["kernel"]
        left = {name.removeprefix("up-"): count for name, count in found.items() if name.startswith("up-")}
        return cls(sum(found.values()) - sum(left.values()), left)

    def __add__(self, other: Tally) -> Tally:
        names = {**self.left, **other.left}
        left = {name: self.left.get(name, 0) + other.left.get(name, 0) for name in names}
        return Tally(self.kernel + other.kernel, left)

    def since(self, before: Tally) -> Tally:
        """By how much it has grown."""
        left = {name: count - before.left[name] for name, count in self.left.items() if count != before.left[name]}
        return Tally(self.kernel - before.kernel, left)

    @property
    def python(self) -> int:
        """All that were left to it."""
        return sum(self.left.values())

    @property
    def messages(self) -> int:
        return self.kernel + self.python

    @property
    def share(self) -> float:
        """The kernel's."""
        return self.kernel / self.messages if self.messages else 0.0

    def __str__(self) -> str:
        return f"{self.kernel}/{self.messages}" if self.messages else ""


Life = dict[str, Tally]
Step = tuple[str, Callable[[], object]]


def lived(gateway: Gateway, steps: Sequence[Step]) -> Life:
    """Take the steps in turn; returns what each did to the counters. Raises: Wrong if one said nothing."""
    life: Life = {}
    for name, step in steps:
        before = Tally.read(gateway)
        step()
        found = Tally.read(gateway).since(before)
        if not found.messages:
            raise Wrong(f"no message at the step {name!r}")
        life[name] = life.get(name, Tally()) + found
    return life


def real(lab: Lab, customer: Customer, client: Client, renewals: int) -> Life:
    """A real client's life."""

    def lease_after(power_failure: Callable[[], None]) -> None:
        power_failure()
        customer.dhcp(client)

    def release() -> None:
        before = Tally.read(lab.gateway)
        customer.release()
        wait_until(lambda: Tally.read(lab.gateway).since(before).left.get("type"), "release that is heard")

    return lived(
        lab.gateway,
        [
            (FIRST, lambda: customer.dhcp(client)),
            *[(RENEWALS, lambda: customer.renew(LEASE_S))] * renewals,
            (REBOOT, lambda: lease_after(customer.reboot)),
            (NOTHING, lambda: lease_after(customer.forget)),
            (RELEASE, release),
        ],
    )


def spoken(lab: Lab, profile: Profile, svid: int, renewals: int) -> Life:
    """The life of clients that speak as the profile has it; the crowd does not release."""
    members = [
        Member(Mac(bytes((2, 0xAC, 0, 0, svid & 255, number))), Line(svid, number + 1), profile)
        for number in range(MEMBERS)
    ]

    def talk(changed: Callable[[Member], Member]) -> None:
        now = time.monotonic_ns()
        server = Server(GATEWAY_ACCESS_MAC, lab.pool_gateway)
        crowd = Crowd([changed(item) for item in members], server, random.Random(svid), now)
        with lab.access_node.trunk.wire() as wire:
            run(crowd, wire, seconds=20, linger_s=0.1)
        if crowd.waiting or crowd.faults:
            raise Wrong(f"{profile.name}: {crowd.waiting} wait; {dict(crowd.faults)} {crowd.examples}")
        members[:] = crowd.rebooted()

    return lived(
        lab.gateway,
        [
            (FIRST, lambda: talk(lambda item: item)),
            *[(RENEWALS, lambda: talk(lambda item: replace(item, renews=True)))] * renewals,
            (REBOOT, lambda: talk(lambda item: item)),
            (NOTHING, lambda: talk(lambda item: replace(item, address=None))),
        ],
    )


def relayed(lab: Lab, customer: Customer) -> Life:
    """perfdhcp, twice: clients not seen before, then the same once more, as if all came from nothing."""
    gateway = str(lab.pool_gateway)
    customer.namespace.ip(f"addr add {RELAY}/24 dev eth0", "route add default dev eth0")
    customer.namespace.ip(f"neigh add {gateway} lladdr {GATEWAY_ACCESS_MAC} dev eth0")
    words = (
        "-4",
        "-b",
        "mac=02:ad:00:00:00:00",
        "-R",
        str(MEMBERS),
        "-n",
        str(MEMBERS),
        "-r",
        "100",
        "-W",
        "500000",
        "-l",
        "eth0",
    )

    def exchange() -> None:
        text = customer.run("perfdhcp", *words, gateway, check=False)
        if f"received packets: {MEMBERS}" not in text:
            raise Wrong(f"perfdhcp was not answered:\n{text}")

    return lived(lab.gateway, [(FIRST, exchange), (NOTHING, exchange)])


def bench(quick: bool) -> Result:
    """Every life, one after the other, at one gateway."""
    renewals = 1 if quick else 2
    lives: dict[str, Life] = {}
    with Lab([Line(100, number + 1) for number in range(len(CLIENTS) + 1)]) as lab:
        subscriber = {"relays": [str(RELAY)], "clients": 2 * MEMBERS}
        lab.gateway.start(lab.config(subscriber=subscriber, pool={"lease": f"{LEASE_S}s"}, more=NO_POLICERS))
        for client, customer in zip(CLIENTS, lab.customers, strict=False):
            lives[client] = real(lab, customer, client, renewals)
        for number, profile in enumerate(PROFILES):
            lives[profile.name] = spoken(lab, profile, 200 + number, renewals)
        lives["perfdhcp, a relay"] = relayed(lab, lab.customers[-1])
    ours = [known(life) for name, life in lives.items() if name != "perfdhcp, a relay"]
    aim = Aim("least share of the kernel, once known (relayed apart)", min(tally.share for tally in ours), 1.0)
    samples = {f"{name}: {step}, share": [life[step].share] for name, life in lives.items() for step in life}
    return Result([_first_table(lives), _known_table(lives)], [aim], samples)


def known(life: Life) -> Tally:
    """All that came after the first lease and wants an answer."""
    return sum((life[step] for step in KNOWN if step in life), Tally())


_TELLS = ("messages", "kernel", "Python", "kernel's share", "why Python")


def _tells(tally: Tally) -> Iterator[str]:
    yield from (str(tally.messages), str(tally.kernel), str(tally.python), f"{100 * tally.share:.0f} %")
    yield ", ".join(f"{name} {count}" for name, count in tally.left.items())


def _first_table(lives: Mapping[str, Life]) -> Table:
    rows = [(name, *_tells(life[FIRST])) for name, life in lives.items()]
    return Table("clients: first lease", ("", *_TELLS), rows)


def _known_table(lives: Mapping[str, Life]) -> Table:
    rows = [
        (name, *(str(life.get(step, "")) for step in KNOWN), *_tells(known(life)), str(life.get(RELEASE, "")))
        for name, life in lives.items()
    ]
    notes = (
        "Steps: answered by the kernel / messages. A RELEASE has no answer; it is Python's, and no part of the share.",
        "udhcpc renews twice here: it closes the socket that it sent from, and the answer comes within that call.",
        "Relayed messages are left to Python on purpose: the frame is the relay's, and says nothing of the client.",
    )
    return Table("clients: known afterwards", ("", *KNOWN, *_TELLS, RELEASE), rows, notes)
