"""The power comes back at every line at once: all get their address, each its own, and nobody waits for the others."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

import pytest

from tests.bench.storm import kernel_answers
from wayleave.lab.access_node import Line
from wayleave.lab.crowd import DELAYS_S, Crowd, State, run
from wayleave.lab.dhcp_client import PROFILES, Member, Server
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.net.mac import Mac

from .watch import Meter, pool

KNOWN, NEW, RENEWING = 1_000, 100, 50
TRIES = 3
"""Messages for one step: more means that a line is kept waiting for the others."""

BOUND_S = 2 * sum(delay + 1 for delay in DELAYS_S[: TRIES - 1])
"""Two steps, at the last of whose messages a client is answered (RFC 2131 4.1)."""

CIRCUITS = 7
"""The access node puts option 82 into what every seventh line says."""

SEED = 4


@dataclass(frozen=True, slots=True)
class Storm:
    """What became of it. `refused`: at the punt meanwhile, by class and why. `up`: what known ones said to Python."""

    crowd: Crowd
    refused: dict[str, int]
    up: int
    held: int


def member(number: int) -> Member:
    """One client a line, of all makes."""
    circuit = b"olt1/%d" % number if number % CIRCUITS == 0 else b""
    line = Line(100 + number // 400, 1 + number % 400, circuit=circuit)
    return Member(Mac(b"\x02\xab\0\0" + number.to_bytes(2, "big")), line, PROFILES[number % len(PROFILES)])


def let_talk(lab: Lab, members: Sequence[Member], seconds: float) -> Crowd:
    """Have them speak until all are served, or for so long; what was wrong with answers is in the crowd."""
    server = Server(GATEWAY_ACCESS_MAC, lab.pool_gateway)
    crowd = Crowd(members, server, random.Random(SEED), time.monotonic_ns())
    with lab.access_node.trunk.wire() as wire:
        run(crowd, wire, seconds)
        assert (wire.lost, wire.refused) == (0, 0), "the crowd's own sockets lost frames"
    return crowd


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The product's own policers; one real customer beside the crowd."""
    with Lab([Line(900, 1)], pools=[IPv4Network("100.64.0.0/20")]) as lab:
        lab.gateway.start(lab.config(subscriber={"trusted": True}))
        yield lab


@pytest.fixture(scope="module")
def known(lab: Lab) -> list[Member]:
    """Clients that have a lease, and know it."""
    paced = [replace(member(number), after_s=number / 1_000) for number in range(KNOWN + RENEWING)]
    crowd = let_talk(lab, paced, 30)
    assert (crowd.waiting, crowd.faults) == (0, Counter()), crowd.examples
    return crowd.rebooted()


@pytest.fixture(scope="module")
def storm(lab: Lab, known: list[Member]) -> Storm:
    """The known ones and new ones at once; others renew in its first second."""
    meters = {
        f"{kind} {why}": Meter(lab.gateway, "punts", f"dhcp4-{kind}", f"refused-{why}")
        for kind in ("known", "new")
        for why in ("client", "line", "class", "ring")
    }
    up = Meter(lab.gateway, "punts", "dhcp4-known", "sent")
    renewing = [replace(item, renews=True, after_s=number / RENEWING) for number, item in enumerate(known[KNOWN:])]
    new = [member(number) for number in range(KNOWN + RENEWING, KNOWN + RENEWING + NEW)]
    members = [*known[:KNOWN], *new, *renewing]
    random.Random(SEED).shuffle(members)
    crowd = let_talk(lab, members, BOUND_S + 1)
    refused = {name: meter.grown for name, meter in meters.items() if meter.grown}
    return Storm(crowd, refused, up.grown, pool(lab.gateway)["held"])


def test_everybody_has_an_address_in_time(storm: Storm) -> None:
    late = [client for client in storm.crowd.clients if client.waited_s is None or client.waited_s > BOUND_S]
    assert not late, f"{len(late)} of {len(storm.crowd.clients)}, such as {late[0].member} {late[0].state}"


def test_no_answer_is_wrong_or_given_twice(storm: Storm) -> None:
    assert storm.crowd.faults == Counter(), storm.crowd.examples
    assert storm.crowd.answers <= storm.crowd.sent.total()


def test_no_address_is_given_twice(storm: Storm) -> None:
    everybody = KNOWN + NEW + RENEWING
    assert len({client.address for client in storm.crowd.clients}) == storm.held == everybody


def test_who_is_known_keeps_its_address(storm: Storm) -> None:
    returned = [client for client in storm.crowd.clients if client.member.address is not None]
    assert len(returned) == KNOWN + RENEWING
    assert all(client.address == client.member.address.packed for client in returned if client.member.address)
    assert [client.member for client in storm.crowd.clients if client.naks] == []


def test_no_line_is_kept_waiting(storm: Storm) -> None:
    """What so few clients say is within every rate, so nothing is refused; and nobody has to ask again and again."""
    assert max(client.most_tries for client in storm.crowd.clients) <= TRIES
    assert storm.refused == {}


def test_who_is_known_is_answered_by_the_kernel(storm: Storm) -> None:
    """So the way to Python is free for those who are new."""
    assert storm.up == 0


def test_who_renews_is_answered_amid_the_storm(storm: Storm) -> None:
    renewing = [client for client in storm.crowd.clients if client.starts_in is State.RENEWING]
    assert len(renewing) == RENEWING
    assert {client.most_tries for client in renewing} == {1}


@pytest.mark.usefixtures("storm")
def test_a_customer_is_served_after_it(lab: Lab) -> None:
    (customer,) = lab.customers
    customer.dhcp("udhcpc")
    assert customer.ping(lab.server_address)
    assert lab.gateway.get("/counters")["sessions"]["unexpected"] == {}
    assert "Traceback" not in lab.gateway.log


# ---- without bng --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Orphaned:
    """A storm over which nobody watched. `kernel`: by how much XDP's answers have grown, read afterwards."""

    crowd: Crowd
    kernel: int


@pytest.fixture(scope="module")
def orphaned(lab: Lab, storm: Storm) -> Orphaned:
    """Everybody is known by now, and loses power once more while `bng` is dead; then it is started again."""
    before = kernel_answers(lab.gateway.get("/counters"))
    lab.gateway.kill9()
    crowd = let_talk(lab, storm.crowd.rebooted(), BOUND_S + 1)
    lab.gateway.restart()
    return Orphaned(crowd, kernel_answers(lab.gateway.get("/counters")) - before)


def test_without_bng_the_kernel_gives_every_known_client_its_address(orphaned: Orphaned) -> None:
    crowd = orphaned.crowd
    unserved = [client for client in crowd.clients if client.state is not State.BOUND]
    assert not unserved, f"{len(unserved)} of {len(crowd.clients)}, such as {unserved[0].member} {unserved[0].state}"
    assert all(client.address == client.had for client in crowd.clients)
    assert orphaned.kernel == crowd.answers


def test_without_bng_no_answer_is_wrong_or_given_twice(orphaned: Orphaned) -> None:
    assert orphaned.crowd.faults == Counter(), orphaned.crowd.examples


def test_without_bng_nobody_has_to_ask_twice(orphaned: Orphaned) -> None:
    """XDP answers in the same breath: who asks again has lost a message."""
    assert {client.most_tries for client in orphaned.crowd.clients} == {1}


def test_what_the_kernel_promised_is_kept_when_bng_is_back(lab: Lab, orphaned: Orphaned) -> None:
    renewing = [replace(item, renews=True, after_s=n / 1_000) for n, item in enumerate(orphaned.crowd.rebooted())]
    crowd = let_talk(lab, renewing, BOUND_S)
    assert len(crowd.clients) == KNOWN + NEW + RENEWING
    assert (crowd.waiting, crowd.faults) == (0, Counter()), crowd.examples
    assert "Traceback" not in lab.gateway.log
