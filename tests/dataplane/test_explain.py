"""The program's twin: it says of every packet what the program does with it, and leaves everything as it is."""

from __future__ import annotations

from itertools import chain

import pytest

from wayleave.dataplane import syscall
from wayleave.dataplane.abi import Dhcp4Result, DropReason, Outcome, Policer, PortKind, Stage
from wayleave.dataplane.explain import LONGEST, Explainer

from .frames import discover, packet, up
from .household import Household
from .rig import _KINDS, ALICE, BOB, SUB, Bench, Case, Counters
from .test_dhcp4 import ALICE as GUEST
from .test_whole import TABLES

REDIRECTED = (Outcome.TO_SUBSCRIBER, Outcome.TO_NETWORK, Outcome.TO_HOST)


@pytest.fixture
def explainer(bench: Bench) -> Explainer:
    return Explainer(bench.programs, bench.maps)


def memory(bench: Bench) -> tuple[bytes, Counters, int, int]:
    """What every packet leaves a trace in."""
    return bytes(bench._usage.view), bench.counters(), bench.ring.produced, bench.sampled.produced


def buckets(bench: Bench) -> bytes:
    """What is charged to policers."""
    map_ = bench.maps["buckets"]
    return syscall.lookup_batch(map_.fd, 4, 8, map_.max_entries)[1]


@pytest.mark.parametrize("case", list(chain(*TABLES)), ids=str)
def test_it_says_what_the_program_does(bench: Bench, explainer: Explainer, case: Case) -> None:
    bench.place(case.sessions)
    bench.open_only(case.to)
    before = memory(bench)
    kind = PortKind(_KINDS[case.on]) if _KINDS[case.on] else PortKind.SUBSCRIBER
    told = explainer.explain(case.sent, bench.devices[case.on], kind)
    assert memory(bench) == before
    assert (told.stages[-1] if told.stages else Stage.PARSE, told.outcome) == case.ends
    assert told.reason == case.reason
    assert told.packet == (case.sent if case.out is None else case.out)
    if told.outcome in REDIRECTED:
        assert told.out == case.to
    ran = bench.run(case.sent, case.on)
    assert ran.packet == told.packet


def test_it_names_sender_receiver_and_the_stages_on_the_way(bench: Bench, explainer: Explainer) -> None:
    bench.place([ALICE, BOB])
    bench.open_only(SUB)
    told = explainer.explain(up(packet(destination=BOB.address)), bench.devices["sub"], PortKind.SUBSCRIBER)
    assert (told.session, told.receiver, told.out) == (ALICE.id, BOB.id, SUB)
    assert told.outcome is Outcome.TO_SUBSCRIBER
    assert told.stages == tuple(stage for stage in Stage if stage <= Stage.FORWARD)


def test_what_would_be_refused_for_its_rate_is_told_and_not_charged(bench: Bench, explainer: Explainer) -> None:
    bench.place([ALICE])
    bench.police(Policer.CLIENT, 10**12, 0)
    frame = up(discover(), destination=b"\xff" * 6)
    before = buckets(bench)
    for _ in range(3):
        assert explainer.explain(frame, bench.devices["sub"], PortKind.SUBSCRIBER).outcome is Outcome.PUNTED
    assert buckets(bench) == before
    bench.run(frame)
    assert buckets(bench) != before
    told = explainer.explain(frame, bench.devices["sub"], PortKind.SUBSCRIBER)
    assert told.reason is DropReason.PUNT_CLIENT


def test_a_dhcp_answer_is_shown_and_renews_nothing(bench: Bench, explainer: Explainer) -> None:
    home = Household(bench)
    home.move_in(GUEST.id, GUEST.selecting().frame())
    frame = GUEST.renewing().frame()
    told = explainer.explain(frame, bench.devices["sub"], PortKind.SUBSCRIBER)
    assert (told.dhcp4, told.outcome, told.session) == (Dhcp4Result.ACKED, Outcome.ANSWERED, GUEST.id)
    assert told.packet == home.python(frame).answer
    assert home.renewed(GUEST.id) == 0
    home.close()


def test_what_is_no_frame_is_refused_in_words(bench: Bench, explainer: Explainer) -> None:
    for frame in (b"", bytes(13), bytes(LONGEST + 1)):
        with pytest.raises(ValueError, match="whole Ethernet frame"):
            explainer.explain(frame, bench.devices["net"], PortKind.NETWORK)
