"""The object as a whole: nothing uncounted whatever comes in, every reason reached, settings that take effect."""

from __future__ import annotations

import random
from pathlib import Path

from wayleave.dataplane import abi, objects
from wayleave.dataplane.abi import DropReason, Outcome, Stage

from . import (
    test_arp,
    test_downstream,
    test_meter,
    test_mss,
    test_parse,
    test_ppp,
    test_pppoe,
    test_punt,
    test_too_big,
    test_upstream,
)
from .conftest import SIZES
from .frames import out, packet, up
from .rig import EVERYBODY, LINK, NET, SUB, Bench, Case, Use

TABLES = [
    test_parse.CASES,
    test_arp.CASES,
    test_punt.CASES,
    test_upstream.ADMISSION,
    test_upstream.ROUTED,
    test_upstream.KERNEL,
    test_upstream.LOCAL,
    test_upstream.ON_PURPOSE,
    test_upstream.HAIRPIN,
    test_downstream.FROM_THE_NETWORK,
    test_downstream.FROM_THE_KERNEL,
    test_meter.CASES,
    test_mss.CLAMPED,
    test_pppoe.PARSED,
    test_pppoe.UPSTREAM,
    test_ppp.CONTROL,
    test_ppp.ECHO,
    test_too_big.CASES,
    test_pppoe.DOWNSTREAM,
]
ROWS = [row for table in TABLES for row in table]
BY_RATE = {
    DropReason.LINK_POLICED,
    DropReason.PUNT_CLASS,
    DropReason.PUNT_LINE,
    DropReason.PUNT_CLIENT,
    DropReason.PUNT_RING,
}
"""Reached by many packets, not by one: each has a test function of its own."""


def test_every_reason_has_a_row() -> None:
    reached = {row.reason for row in ROWS if row.reason is not None}
    assert reached | BY_RATE | {DropReason.NONE} == set(DropReason)


def test_rows_say_different_things() -> None:
    """Two rows under one description would hide one of them in a report."""
    for table in TABLES:
        assert len({row.says for row in table}) == len(table)


def test_garbage_is_counted_once(bench: Bench) -> None:
    """Every row's packet with octets changed, cut or added at random: in equals out, and no stage forgets one."""
    chance = random.Random(1)
    bench.place(EVERYBODY)
    bench.open_only(NET, LINK, SUB)
    before = bench.counters()
    sent = 0
    for row in ROWS:
        for _ in range(20):
            frame = bytearray(row.sent)
            for _ in range(chance.randint(1, 4)):
                frame[chance.randrange(min(len(frame), 80))] = chance.choice([0, 1, 0xFF, chance.randrange(256)])
            frame = frame[: chance.randint(14, len(frame))] if chance.random() < 0.2 else frame
            bench.run(bytes(frame + bytes(chance.randrange(3))), row.on)
            sent += 1
        for _ in bench.ring.read(1000):
            pass
    counted = bench.counters().since(before)
    counted.assert_balanced()
    assert sum(counted.received) == sent
    assert len(counted.reasons) > 10


def test_without_table_lookup_routes_come_from_the_main_table(loaded: Bench, compiled: Path) -> None:
    """Kernels before 6.5 have no BPF_FIB_LOOKUP_TBID: the setting must keep the flag away from them."""
    assert loaded.devices
    tenant = test_upstream.TENANT_1
    object_ = objects.load(compiled, SIZES, {".rodata.settings": abi.Settings(fib_by_table=0).pack()})
    bench = Bench(object_)
    bench.reset()
    bench.check(
        Case(
            "",
            up(packet()),
            (Stage.FORWARD, Outcome.TO_NETWORK),
            out=out(packet(ttl=63)),
            to=NET,
            sessions=[tenant],
            used={tenant: Use(up=(1, len(packet())))},
        )
    )
    object_.close()
