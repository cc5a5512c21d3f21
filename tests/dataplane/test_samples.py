"""Samples of dropped packets: of every drop, with what it takes to find its client, and never more than the rates."""

from __future__ import annotations

import time
from itertools import chain

import pytest

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
from wayleave.dataplane.samples import Samples
from wayleave.net.mac import Mac

from .frames import UDP, Raw, ethernet, into, packet, up
from .rig import ALICE, GATEWAY_MAC, NET, SUB, Bench, Case
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
