"""Journals of clients without a session, as the API tells them: those heard of last, and how many more there are."""

from __future__ import annotations

from tests.yardstick import adding, least
from wayleave.api.journal import SHOWN, heard_last, of_strangers
from wayleave.dataplane.abi import NO_SESSION, DropReason, Sample, Stage
from wayleave.dataplane.samples import Drops
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs
from wayleave.session.journal import ROOM, Journal
from wayleave.session.model import Client, Line, Phase, Session
from wayleave.session.table import Table

HERE, OTHER = Mac.parse("02:99:00:00:00:01"), Mac.parse("02:99:00:00:00:02")


def client(vid: int, mac: Mac = HERE) -> Client:
    return Client(Line(1, 100, vid), mac)


def drop(drops: Drops, vid: int, at: int) -> None:
    sample = Sample(BootNs(at), NO_SESSION, 60, 1, 100, vid, DropReason.NO_SESSION, Stage.ADMIT, HERE, 0)
    drops.add(client(vid).key, True, sample, b"")


def test_those_heard_of_last_by_word_or_by_packet() -> None:
    journal, drops, table = Journal(), Drops(), Table(10)
    for vid in range(1, 101):
        journal.stranger(client(vid), BootNs(10 * vid), "malformed-dhcp")
        journal.stranger(client(vid, OTHER), BootNs(10 * vid), "malformed-dhcp")
    drop(drops, 5, 995)
    drop(drops, 2000, 5000)
    table.put(Session(id=3, client=client(100), phase=Phase.ACTIVE, since=BootNs(1)), BootNs(1))
    found = of_strangers(HERE, journal, drops, table, BootNs(9999))
    lines = [view.line for view in found.journals]
    assert lines == [f"1:100.{vid}" for vid in [*range(100 - SHOWN + 2, 100), 5, 2000]]
    assert found.left_out == 100 - SHOWN
    assert {view.mac for view in found.journals} == {str(HERE)}
    few = of_strangers(OTHER, journal, drops, Table(1), BootNs(9999))
    assert (len(few.journals), few.left_out) == (SHOWN, 100 - SHOWN)
    (last,), more = heard_last(journal, drops, lambda key: key[3] == HERE and key[2] < 50, 1)
    assert (last, more) == (client(5), 48)


def test_one_mac_behind_all_vlans_does_not_hold_the_loop() -> None:
    journal, drops, table = Journal(), Drops(), Table(10)
    for vid in range(1, 4095):
        for at in range(ROOM // 14):
            journal.stranger(client(vid), BootNs(at), "")
        drop(drops, vid, vid)
    took = least(lambda: of_strangers(HERE, journal, drops, table, BootNs(9999)), tries=5)
    found = of_strangers(HERE, journal, drops, table, BootNs(9999))
    assert (len(found.journals), found.left_out) == (SHOWN, 4094 - SHOWN)
    assert took < adding(1_000_000), "what unpacks all journals takes three times as long"
