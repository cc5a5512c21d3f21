"""Samples of dropped packets: of every drop, with what it takes to find its client, and never more than the rates."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from wayleave.access.settings import PortSettings
from wayleave.dataplane.abi import (
    NO_SESSION,
    SAMPLE_FRAME_MAX,
    DropReason,
    Outcome,
    Policer,
    Sample,
    SampleResult,
    Stage,
)
from wayleave.dataplane.maps import PerCpu
from wayleave.dataplane.samples import REASONS, Drops, Samples, whose
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs
from wayleave.session.model import Client, Line, Phase, Session
from wayleave.session.recent import STRANGERS
from wayleave.session.table import Key, Table

from .frames import UDP, Raw, ethernet, from_kernel, into, packet, up
from .rig import ALICE, BOB, GATEWAY_MAC, NET, SUB, Bench, Case
from .test_whole import TABLES

HOUR = 3600 * 10**9
DROPPED = [case for case in chain(*TABLES) if case.ends[1] is Outcome.DROPPED and case.on != "odd"]
SPOOFED = up(packet(source="9.9.9.9"))
STRANGER = Mac.parse("02:99:00:00:00:01")


def taken(bench: Bench) -> list[tuple[Sample, bytes]]:
    return list(Samples(bench.maps).take(1 << 20))


def results(bench: Bench) -> list[int]:
    return PerCpu(bench.maps["samples"]).totals()


@pytest.mark.parametrize("case", DROPPED, ids=str)
def test_a_dropped_packet_is_sampled(bench: Bench, case: Case) -> None:
    bench.place(case.sessions)
    bench.open_only(case.to)
    before = results(bench)
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ran = bench.run(case.sent, case.on)
    ((sample, head),) = taken(bench)
    assert began <= sample.at <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert (Stage(sample.stage), DropReason(sample.reason)) == (case.ends[0], case.reason)
    assert sample.length == len(ran.packet)
    assert head == ran.packet[:SAMPLE_FRAME_MAX]
    assert (sample.source == case.sent[6:12]) == (len(case.sent) >= 14)
    charged = [who for who, use in case.used.items() if use.up_dropped or use.down_dropped]
    if charged:
        assert sample.session == charged[0].id
    assert [new - old for new, old in zip(results(bench), before, strict=True)] == [1, 0, 0]


def test_a_sample_tells_the_line_and_the_client(bench: Bench) -> None:
    bench.place([ALICE])
    bench.run(SPOOFED)
    bench.run(ethernet(packet(), STRANGER, GATEWAY_MAC, ((0x88A8, 300), (0x8100, 9))))
    bench.run(into(packet(source="9.9.9.9", destination="100.64.9.9")), "net")
    (first, _), (second, _), (third, _) = taken(bench)
    assert (first.session, first.port, first.svid, first.cvid, first.source) == (ALICE.id, SUB, 100, 7, ALICE.mac)
    assert (second.session, second.port, second.svid, second.cvid) == (NO_SESSION, SUB, 300, 9)
    assert (second.source, DropReason(second.reason)) == (STRANGER, DropReason.NO_SESSION)
    assert (third.session, third.port) == (NO_SESSION, NET)


def test_the_head_of_a_long_frame_is_enough(bench: Bench) -> None:
    bench.place([ALICE])
    sent = up(packet(source="9.9.9.9") / UDP() / Raw(b"x" * 1200))
    bench.run(sent)
    ((sample, head),) = taken(bench)
    assert (sample.length, head) == (len(sent), sent[:SAMPLE_FRAME_MAX])


def test_what_is_not_dropped_is_not_sampled(bench: Bench) -> None:
    bench.place([ALICE])
    bench.open_only(NET)
    before = results(bench)
    bench.run(up(packet()))
    assert (taken(bench), results(bench)) == ([], before)


def test_a_flood_of_one_client_hides_neither_its_other_drops_nor_others(bench: Bench) -> None:
    bench.police(Policer.SAMPLE_CLIENT, HOUR, HOUR)
    bench.police(Policer.SAMPLE, HOUR, 100 * HOUR)
    bench.place([ALICE])
    before = results(bench)
    for _ in range(50):
        bench.run(SPOOFED)
    bench.run(up(packet(destination="239.1.1.1")))
    bench.run(ethernet(packet(), STRANGER, GATEWAY_MAC))
    reasons = [DropReason(sample.reason) for sample, _ in taken(bench)]
    assert reasons == [DropReason.SPOOFED_IPV4] * 2 + [DropReason.MULTICAST, DropReason.NO_SESSION]
    counted = [new - old for new, old in zip(results(bench), before, strict=True)]
    assert (counted[SampleResult.SENT], counted[SampleResult.POLICED]) == (4, 48)


def test_a_flood_of_made_up_macs_is_held_down_as_a_whole(bench: Bench) -> None:
    bench.police(Policer.SAMPLE_CLIENT, HOUR, HOUR)
    bench.police(Policer.SAMPLE, HOUR, 9 * HOUR)
    for number in range(50):
        bench.run(ethernet(packet(), b"\x02\x99\x01\0\0" + bytes([number]), GATEWAY_MAC))
    assert len(taken(bench)) == 10


def forged(number: int, vid: int = 300) -> bytes:
    """Return what a line sends under a MAC that it made up."""
    return ethernet(packet(), b"\x02\x99\x01\0" + number.to_bytes(2, "big"), GATEWAY_MAC, ((0x88A8, vid),))


def test_a_line_that_makes_up_macs_hides_its_own_drops_alone(bench: Bench) -> None:
    bench.place([ALICE])
    bench.police(Policer.SAMPLE_CLIENT, HOUR, 2 * HOUR)
    bench.police(Policer.SAMPLE_LINE, HOUR, 4 * HOUR)
    bench.police(Policer.SAMPLE, HOUR, 9 * HOUR)
    for number in range(50):
        bench.run(forged(number))
    bench.run(SPOOFED)
    bench.run(forged(1, vid=301))
    assert [sample.svid for sample, _ in taken(bench)] == [300] * 5 + [100, 301]


def test_what_is_refused_charges_no_other_bucket(bench: Bench) -> None:
    """A client whose own bucket is empty takes nothing from its line; a line, nothing from all."""
    bench.police(Policer.SAMPLE_CLIENT, HOUR, 0)
    bench.police(Policer.SAMPLE_LINE, HOUR, HOUR)
    bench.police(Policer.SAMPLE, HOUR, 2 * HOUR)
    for number in [1] * 10 + [2] * 10 + [3] * 10:
        bench.run(forged(number))
    bench.run(forged(4, vid=301))
    assert [sample.source[-1] for sample, _ in taken(bench)] == [1, 2, 4]


@pytest.mark.parametrize("empty", [Policer.SAMPLE_LINE, Policer.SAMPLE])
def test_what_has_nothing_left_refuses_before_the_client_is_charged(bench: Bench, empty: Policer) -> None:
    """MACs made up then must not use up the buckets of clients, theirs or such as share them."""
    bench.police(Policer.SAMPLE_CLIENT, HOUR, 0)
    bench.police(empty, HOUR, 0)
    for number in (1, 2, 2):
        bench.run(forged(number))
    bench.police(empty, 0, 0)
    bench.run(forged(2))
    assert [sample.source[-1] for sample, _ in taken(bench)] == [1, 2]


def test_clients_that_use_all_of_their_rates_hide_no_other_drops(bench: Bench) -> None:
    """Of what meters drop as many samples are taken as of all else, and no more."""
    bench.police(Policer.SAMPLE, HOUR, HOUR)
    bench.police(Policer.SAMPLE_METERED, HOUR, 3 * HOUR)
    bench.place([replace(ALICE, up=(1 << 31, 1), down=(1 << 31, 1))])
    for _ in range(20):
        bench.run(up(packet()))
        bench.run(into(packet("9.9.9.9", ALICE.address)), "net")
    for _ in range(5):
        bench.run(SPOOFED)
    reasons = Counter(DropReason(sample.reason) for sample, _ in taken(bench))
    metered = reasons.pop(DropReason.METERED_UP) + reasons.pop(DropReason.METERED_DOWN)
    assert (metered, reasons) == (4, {DropReason.SPOOFED_IPV4: 2})


def test_on_network_ports_there_is_no_line(bench: Bench) -> None:
    bench.police(Policer.SAMPLE_LINE, HOUR, 0)
    for number in range(5):
        bench.run(into(packet(source=f"9.9.9.{number + 1}", destination="100.64.9.9")), "net")
    assert len(taken(bench)) == 5


def test_on_network_ports_neither_a_reason_nor_a_source_hides_another(bench: Bench) -> None:
    """Toward a client by reason, whoever sends; toward nobody by source and reason."""
    bench.place([BOB])
    bench.open_only()
    bench.police(Policer.SAMPLE_CLIENT, HOUR, 0)
    for last in (1, 1, 2):
        bench.run(into(packet(source=f"9.9.9.{last}", destination="100.64.9.9")), "net")
    whole = into(packet())
    for broken in (whole[:33], whole[:14] + b"\x65" + whole[15:]):
        bench.run(broken, "net")
    to_bob = packet(source="9.9.9.1", destination=BOB.address)
    for sent in [to_bob] * 2 + [to_bob / Raw(b"x" * BOB.mtu)] * 2:
        bench.run(from_kernel(sent), "link")
    told = [(sample.session, DropReason(sample.reason)) for sample, _ in taken(bench)]
    assert told == [(NO_SESSION, DropReason.NO_SUBSCRIBER)] * 2 + [
        (NO_SESSION, DropReason.TRUNCATED),
        (NO_SESSION, DropReason.MALFORMED_IPV4),
        (BOB.id, DropReason.NO_EGRESS),
        (BOB.id, DropReason.TOO_BIG),
    ]


def test_a_full_ring_loses_samples_and_counts_them_and_dhcp_goes_on(bench: Bench) -> None:
    bench.place([ALICE])
    before = results(bench)
    punted = bench.ring.produced
    while results(bench)[SampleResult.LOST] == before[SampleResult.LOST]:
        bench.run(SPOOFED)
    sent = results(bench)[SampleResult.SENT] - before[SampleResult.SENT]
    assert len(taken(bench)) == sent
    assert sent > 1000
    assert bench.ring.produced == punted


PORTS = {
    1: PortSettings(number=1, device="acc0", role="subscriber"),
    2: PortSettings(number=2, device="core0", role="network"),
}


def sample(**fields: Any) -> Sample:
    told = {
        "session": NO_SESSION,
        "port": 1,
        "svid": 100,
        "cvid": 7,
        "source": STRANGER,
        "pppoe": 0,
        "reason": DropReason.NO_SESSION,
    }
    return Sample(**{"at": BootNs(50), "length": 60, "stage": Stage.ADMIT} | told | fields)


def test_whose_a_sample_is() -> None:
    """From a line: the sender's. From the network: the receiver's, unless its id has gone to another since."""
    table = Table(10)
    client = Client(Line(1, 100, 7), ALICE.mac)
    table.put(Session(id=3, client=client, phase=Phase.ACTIVE, since=BootNs(50)), BootNs(50))
    assert whose(sample(), PORTS, table) == (Client(Line(1, 100, 7), STRANGER), True)
    assert whose(sample(pppoe=9), PORTS, table) == (Client(Line(1, 100, 7), STRANGER, 9), True)
    assert whose(sample(port=2, session=3), PORTS, table) == (client, False)
    assert whose(sample(port=9, session=3), PORTS, table) == (client, False), "by a host link, which is no port"
    assert whose(sample(port=2, session=3, at=BootNs(49)), PORTS, table) is None
    assert whose(sample(port=2), PORTS, table) is None


def test_what_is_nobodys_is_not_remembered() -> None:
    drops, table = Drops(), Table(10)
    drops.take(sample(port=2), b"", PORTS, table)
    assert list(drops.clients()) == []
    drops.take(sample(), b"", PORTS, table)
    assert list(drops.clients()) == [Client(Line(1, 100, 7), STRANGER).key]


def key(number: int, vid: int = 100) -> Key:
    return Client(Line(1, vid), Mac(number.to_bytes(6, "big"))).key


def test_drops_of_one_client_are_put_together() -> None:
    drops = Drops()
    for at in (50, 60):
        drops.add(key(1), True, sample(at=BootNs(at)), b"frame %d" % at)
    drops.add(key(1), False, sample(at=BootNs(70)), b"to it")
    up_, down_ = drops.of(key(1))
    assert (up_.count, up_.first, up_.last, up_.octets) == (2, 50, 60, b"frame 60")
    assert (up_.upstream, down_.upstream, down_.count) == (True, False, 1)


def test_the_reason_sampled_last_stays() -> None:
    drops = Drops()
    reasons = list(DropReason)[1 : REASONS + 2]
    for reason in [*reasons[:-1], reasons[0], reasons[-1]]:
        drops.add(key(1), True, sample(reason=reason), b"")
    assert [drop.reason for drop in drops.of(key(1))] == [*reasons[2:-1], reasons[0], reasons[-1]]


def test_a_line_that_makes_up_macs_puts_out_no_others_drops() -> None:
    """Nor those of a client that has a session; and who was sampled again stays."""
    drops = Drops()
    drops.add(key(1, 200), True, sample(), b"")
    drops.add(key(9999), True, sample(session=3), b"")
    drops.add(key(1), True, sample(), b"")
    for number in range(2, 5000):
        drops.add(key(number), True, sample(), b"")
        drops.add(key(1), True, sample(), b"")
    assert [len(drops.of(of)) for of in (key(1, 200), key(9999), key(1))] == [1, 1, 1]
    assert len(list(drops.clients())) == STRANGERS + 2
    assert next(drops.clients()) == key(1)
