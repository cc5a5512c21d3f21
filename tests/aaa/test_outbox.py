"""Accounting on its way: an hour without a server, kills in between, more than memory holds; in virtual time."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.conftest import PROFILE
from tests.proto.radius.world import FakeServer, World
from wayleave.aaa.outbox import Account, Outbox
from wayleave.net.units import SECOND, BootNs, UtcNs
from wayleave.proto.radius.packet import Avp, Code, decode

SEQ = 250
"""An attribute that numbers the records, for the test."""
FLIGHT = 2 * SECOND
"""What a datagram of the world takes at most."""
SEEDS = {"test": 40, "soak": 10_000}[PROFILE]
UTC0 = 1_800_000_000


def utc(moment: BootNs) -> UtcNs:
    return UtcNs(UTC0 * SECOND + moment)


class Gateway:
    """A process with its disk: records are on the disk before they are in the outbox, and leave both in order."""

    def __init__(self, seed: int, memory: int = 50, servers: int = 1, **how: object) -> None:
        """`how` the world is, and each server asked: see World and Server."""
        lossy: dict[str, Any] = {"lose": 0.1, "jitter": SECOND // 2, **how}
        self.world = World(servers, Code.ACCOUNTING_REQUEST, seed, **lossy)
        self.disk: dict[int, Account] = {}
        self.memory, self.seq = memory, 0
        self.forgotten: dict[int, BootNs] = {}
        """When the disk forgot each record."""
        self.outbox = self._start()

    def _start(self) -> Outbox:
        outbox = Outbox(self.world.exchange, utc, memory=self.memory, window=8)
        outbox.resume(self.seq)
        return outbox

    def up(self, up: bool) -> None:
        for server in self.world.servers:
            server.up = up

    def record(self, session: str, kind: int, *more: Avp) -> int:
        self.seq += 1
        now = self.world.now
        body = ((40, kind.to_bytes(4, "big")), *more, (44, session.encode()), (SEQ, self.seq.to_bytes(4, "big")))
        account = self.disk[self.seq] = Account(self.seq, "g", session, body, now, utc(now))
        self.outbox.add(account)
        return self.seq

    def turn(self) -> None:
        for seq in self.outbox.acknowledged(self.world.now):
            del self.disk[seq]
            self.forgotten[seq] = self.world.now
        if self.outbox.wants:
            after = self.outbox.wants
            found = [self.disk[seq] for seq in sorted(self.disk) if seq > after][:20]
            self.outbox.refill(found, found[-1].seq if len(found) == 20 else self.seq)
        self.outbox.pump(self.world.now)
        assert len(self.outbox) <= self.memory + 20

    def run(self, seconds: float) -> None:
        end = self.world.now + int(seconds * SECOND)
        self.turn()
        while self.world.now < end:
            self.world.run(seconds=min(0.2, (end - self.world.now) / SECOND))
            # the world collects outcomes; they are the outbox's
            self.world.exchange._outcomes[:0] = self.world.outcomes
            self.world.outcomes.clear()
            self.turn()

    def kill(self) -> None:
        """SIGKILL: what was under way is asked again by the next process."""
        servers = self.world.servers
        fresh = World(count=len(servers), code=Code.ACCOUNTING_REQUEST, seed=self.seq, lose=0.1, jitter=SECOND // 2)
        fresh.servers, fresh.now = servers, self.world.now
        self.world = fresh
        self.disk = {
            seq: Account(seq, "g", item.session, item.body, BootNs(0) if seq % 2 else item.at, item.utc)
            for seq, item in self.disk.items()
        }
        self.outbox = self._start()


class Heard(NamedTuple):
    """A request as a server got it. `made`: when it was, by its own account of how long ago that is."""

    at: BootNs
    seq: int
    stamp: int
    made: int


def heard(servers: list[FakeServer]) -> dict[str, list[Heard]]:
    """Session → its requests in the order in which they came."""
    found: dict[str, list[Heard]] = defaultdict(list)
    for at, data in sorted((item for server in servers for item in server.heard), key=lambda item: item[0]):
        packet = decode(data)
        if packet.code == Code.ACCOUNTING_REQUEST:
            seq, stamp, delay = (int.from_bytes(packet.first(number) or b"", "big") for number in (SEQ, 55, 41))
            session = (packet.first(44) or b"").decode()
            found[session].append(Heard(at, seq, stamp, at // SECOND + UTC0 - delay))
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_server_away_for_an_hour_and_two_kills(seed: int) -> None:
    random = Random(seed)
    gateway = Gateway(seed, memory=random.choice((5, 50, 10_000)), servers=1 + seed % 2)
    live: list[str] = []
    made: dict[str, list[int]] = defaultdict(list)

    def act() -> None:
        choice = random.random()
        if choice < 0.5 or not live:
            live.append(f"s{gateway.seq}")
            name, kind = live[-1], 1
        else:
            name = random.choice(live)
            kind = 3 if choice < 0.8 else 2
            if kind == 2:
                live.remove(name)
        made[name].append(gateway.record(name, kind))

    for _ in range(15):
        act()
        gateway.run(random.random() * 5)
    gateway.up(False)
    for step in range(40):
        act()
        gateway.run(90)
        if step in (13, 26):
            gateway.kill()
    gateway.up(True)
    gateway.run(300)
    assert not gateway.disk, f"seed {seed}: {len(gateway.disk)} records never arrived"
    came = heard(gateway.world.servers)
    for name, seqs in made.items():
        assert list(dict.fromkeys(one.seq for one in came[name])) == seqs, f"seed {seed}: {name}: lost or out of order"
        for one in came[name]:
            assert abs(one.made - one.stamp) <= 2, f"seed {seed}: what it says of its age and its time disagree"
            assert one.at <= gateway.forgotten[one.seq] + FLIGHT, f"seed {seed}: sent though its server has it"


def test_what_is_about_all_sessions_is_between_them() -> None:
    gateway = Gateway(1)
    for name in ("a", "b"):
        gateway.record(name, 1)
    gateway.record("", 7)
    for name in ("c", "d"):
        gateway.record(name, 1)
    gateway.run(60)
    got = [packet.first(44) for packet in gateway.world.servers[0].asked(Code.ACCOUNTING_REQUEST)]
    order = list(dict.fromkeys(got))
    assert set(order[:2]) == {b"a", b"b"}
    assert order[2] == b""
    assert set(order[3:]) == {b"c", b"d"}
    assert not gateway.disk


def test_a_record_that_its_server_never_answers_holds_up_its_own_session_alone() -> None:
    gateway = Gateway(2)
    gateway.world.servers[0].answer = lambda asked: (
        None if asked.first(44) == b"odd" else (Code.ACCOUNTING_RESPONSE, [])
    )
    gateway.record("odd", 1)
    gateway.record("odd", 2)
    for number in range(50):
        gateway.record(f"s{number}", 1)
    gateway.run(300)
    assert {item.session for item in gateway.disk.values()} == {"odd"}
    asked = [
        packet.first(40)
        for packet in gateway.world.servers[0].asked(Code.ACCOUNTING_REQUEST)
        if packet.first(44) == b"odd"
    ]
    assert set(asked) == {(1).to_bytes(4, "big")}, "its Stop waits for its Start"


def test_how_long_the_oldest_has_waited() -> None:
    gateway = Gateway(3)
    assert gateway.outbox.oldest(gateway.world.now) is None
    gateway.up(False)
    gateway.record("a", 1)
    gateway.run(60)
    gateway.record("b", 1)
    assert gateway.outbox.oldest(gateway.world.now) == 60 * SECOND
    gateway.kill()
    gateway.run(60)
    assert gateway.outbox.oldest(gateway.world.now) == 120 * SECOND, "also what an earlier process made"
    gateway.up(True)
    gateway.run(60)
    assert gateway.outbox.oldest(gateway.world.now) is None


def test_delay_is_told_and_time_of_an_unset_clock_is_not() -> None:
    world = World(code=Code.ACCOUNTING_REQUEST)
    outbox = Outbox(world.exchange, lambda _: None)
    outbox.add(Account(1, "g", "s", ((40, b"\0\0\0\1"),), world.now, None))
    world.now = BootNs(world.now + 7 * SECOND)
    outbox.pump(world.now)
    world.run(seconds=1)
    (asked,) = world.servers[0].asked(Code.ACCOUNTING_REQUEST)
    assert asked.first(41) == (7).to_bytes(4, "big")
    assert asked.first(55) is None


def test_a_record_too_long_for_a_packet_goes_out_without_its_longest_parts_and_holds_up_nobody() -> None:
    gateway = Gateway(4)
    gateway.record("long", 1, *((25, bytes((number,)) * 253) for number in range(20)), (26, b"x" * 254))
    gateway.record("short", 1)
    gateway.run(60)
    assert not gateway.disk
    assert gateway.outbox.shortened == 1
    long = next(packet for packet in gateway.world.servers[0].asked(4) if packet.first(44) == b"long")
    assert long.all(25) == [bytes((number,)) * 253 for number in range(15)]
    assert (long.first(40), long.first(26)) == ((1).to_bytes(4, "big"), None)
    assert long.first(41) is not None
    assert long.first(55) is not None


@pytest.mark.parametrize("probes", [True, False], ids=["answers Status-Server", "does not"])
def test_what_is_about_all_sessions_and_is_never_answered_holds_up_nobody_for_ever(probes: bool) -> None:
    gateway = Gateway(5, probes=probes)
    gateway.world.servers[0].answer = lambda asked: None if asked.first(44) == b"" else (Code.ACCOUNTING_RESPONSE, [])
    gateway.record("a", 1)
    off, on = gateway.record("", 8), gateway.record("", 7)
    gateway.record("a", 2)
    gateway.record("b", 1)
    gateway.run(60)
    assert {item.session for item in gateway.disk.values()} == {"", "a", "b"}, "for a while all wait"
    gateway.run(900)
    assert [*gateway.disk] == [off, on]
    gateway.world.servers[0].answer = lambda _: (Code.ACCOUNTING_RESPONSE, [])
    gateway.run(120)
    assert not gateway.disk, "and it is asked on"
    gateway.record("", 7)
    gateway.record("c", 1)
    gateway.run(60)
    assert not gateway.disk


def test_what_is_about_all_sessions_goes_ahead_of_those_that_wait_no_longer_for_it() -> None:
    gateway = Gateway(6, lose=0, jitter=0, probes=False)
    (server,) = gateway.world.servers
    server.answer = lambda _: None
    off, on = gateway.record("", 8), gateway.record("", 7)
    for number in range(3):
        gateway.record(f"s{number}", 1)
    gateway.run(3600)
    assert heard([server]).keys() == {"", "s0", "s1", "s2"}, "they do not wait for it any more"
    while len(gateway.world.exchange):
        gateway.run(0.2)
    server.answer, server.heard = lambda _: (Code.ACCOUNTING_RESPONSE, []), []
    gateway.run(60)
    came = [int.from_bytes(packet.first(SEQ) or b"", "big") for packet in server.asked(Code.ACCOUNTING_REQUEST)]
    assert came[:2] == [off, on]
    assert not gateway.disk
