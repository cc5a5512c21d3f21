"""The capture programs: they do all that the ports' own do, and copy one client's packets at both ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import pytest

from wayleave.dataplane.abi import CAPTURE_FRAME_MAX, CaptureFilter, DropReason, Outcome, PortKind, Stage
from wayleave.dataplane.capture import NOBODY, Copies, Copy
from wayleave.io.clock import Clock
from wayleave.net.mac import Mac

from .frames import UDP, Raw, into, packet, up
from .rig import _KINDS, ALICE, BOB, DEVICES, NET, SUB, Bench, Case
from .test_whole import TABLES

ANYWHERE = CaptureFilter(ALICE.mac, 0, 0, 0, 0)
AT_HOME = CaptureFilter(ALICE.mac, SUB, 100, 7, 1)
LEAVING = (Outcome.ANSWERED, Outcome.TO_SUBSCRIBER, Outcome.TO_NETWORK, Outcome.TO_HOST)


@pytest.fixture
def copies(bench: Bench) -> Iterator[Copies]:
    found = Copies(bench.maps)
    bench.twin = "capture"
    yield found
    found.choose(NOBODY)


@pytest.mark.parametrize("case", list(chain(*TABLES)), ids=str)
def test_they_do_what_the_ports_own_do(bench: Bench, copies: Copies, case: Case) -> None:
    """Whoever is captured: the sender, or nobody."""
    copies.choose(NOBODY)
    bench.check(case)
    assert list(copies.take(10)) == []
    bench.reset()
    bench.twin = "capture"
    sender = Mac(case.sent[6:12].ljust(6, b"\0"))
    copies.choose(CaptureFilter(sender, 0, 0, 0, 0))
    bench.check(case)
    found = list(copies.take(10))
    if _KINDS[case.on] == PortKind.SUBSCRIBER and any(sender) and len(case.sent) >= 14:
        assert found[0] == expected(case, found[0], came=True)
        left = [expected(case, found[-1], came=False)] if case.ends[1] in LEAVING else []
        assert found[1:] == left


def expected(case: Case, copy: Copy, came: bool) -> Copy:
    """What must stand in a copy; its time is its own."""
    octets = case.sent if came or case.out is None else case.out
    port = DEVICES[case.on] if came or case.ends[1] is Outcome.ANSWERED else case.to
    stage, outcome = case.ends
    return Copy(copy.at, port, came, stage, outcome, case.reason, len(octets), octets[:CAPTURE_FRAME_MAX])


def test_each_end_has_its_own_time(bench: Bench, copies: Copies) -> None:
    """On the clock of CLOCK_BOOTTIME: first it comes, then it leaves."""
    bench.place([ALICE])
    bench.open_only(NET)
    copies.choose(ANYWHERE)
    before = Clock().boot()
    bench.run(up(packet()))
    after = Clock().boot()
    came, left = copies.take(10)
    assert before < came.at < left.at < after


def test_what_lies_there_when_it_ends_can_be_taken_until_the_next(bench: Bench, copies: Copies) -> None:
    bench.place([ALICE])
    bench.open_only(NET)
    copies.choose(ANYWHERE)
    bench.run(up(packet()))
    copies.end()
    bench.run(up(packet()))
    assert len(list(copies.take(1))) == 1
    assert copies.drop() == 1
    assert copies.lost == 0


@pytest.mark.parametrize("wanted", [ANYWHERE, AT_HOME], ids=["anywhere", "at home"])
def test_both_ways_and_from_another_client_and_of_nobody_else(
    bench: Bench, copies: Copies, wanted: CaptureFilter
) -> None:
    bench.place([ALICE, BOB])
    bench.open_only(SUB, NET)
    copies.choose(wanted)
    for sent, on in (
        (up(packet(destination="8.8.8.8")), "sub"),
        (into(packet(source="8.8.8.8", destination=ALICE.address)), "net"),
        (up(packet(source=BOB.address, destination=ALICE.address), BOB), "sub"),
        (up(packet(source=BOB.address, destination="8.8.8.8"), BOB), "sub"),
        (into(packet(source="8.8.8.8", destination=BOB.address)), "net"),
    ):
        bench.run(sent, on)
    ends = [(copy.came, copy.port) for copy in copies.take(100)]
    assert ends == [(True, SUB), (False, NET), (True, NET), (False, SUB), (True, SUB), (False, SUB)]
    assert copies.lost == 0


@pytest.mark.parametrize(
    "elsewhere", [replace(AT_HOME, port=NET), replace(AT_HOME, svid=101), replace(AT_HOME, cvid=8)], ids=str
)
def test_another_line_is_another_client(bench: Bench, copies: Copies, elsewhere: CaptureFilter) -> None:
    bench.place([ALICE])
    bench.open_only(SUB, NET)
    copies.choose(elsewhere)
    bench.run(up(packet()))
    bench.run(into(packet(source="8.8.8.8", destination=ALICE.address)), "net")
    assert list(copies.take(10)) == []


def test_a_frame_longer_than_a_record_says_so(bench: Bench, copies: Copies) -> None:
    bench.place([ALICE])
    copies.choose(ANYWHERE)
    sent = up(packet(source="9.9.9.9") / UDP() / Raw(b"x" * (CAPTURE_FRAME_MAX + 10)))
    bench.run(sent)
    (copy,) = copies.take(10)
    assert (copy.length, copy.octets) == (len(sent), sent[:CAPTURE_FRAME_MAX])
    assert (copy.stage, copy.reason) == (Stage.ANTISPOOF, DropReason.SPOOFED_IPV4)


def test_what_finds_no_room_is_counted_and_forwarded(bench: Bench, copies: Copies) -> None:
    bench.place([ALICE])
    bench.open_only(NET)
    copies.choose(ANYWHERE)
    before = bench.counters()
    sent = 0
    while not copies.lost:
        bench.run(up(packet(size=1400)))
        sent += 1
    bench.run(up(packet(size=1400)))
    lost = copies.lost
    assert len(list(copies.take(10_000))) == 2 * (sent + 1) - lost
    assert bench.counters().since(before).ends == {(Stage.FORWARD, Outcome.TO_NETWORK): sent + 1}
    copies.choose(ANYWHERE)
    assert copies.lost == 0
