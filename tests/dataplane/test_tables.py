"""The one writer of the session tables: no torn rows, no lost keys, and what differs is mended. On real maps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec.structs import replace

from wayleave.dataplane import objects
from wayleave.dataplane.abi import ClientKey, Encapsulation, Host4Key, Meter, Reply, Session, Slot
from wayleave.dataplane.maps import TableFull
from wayleave.dataplane.rows import Rows
from wayleave.dataplane.syscall import lookup, update
from wayleave.dataplane.tables import REST, Tables
from wayleave.net.mac import Mac
from wayleave.net.units import MILLISECOND, SECOND, BootNs

NOW = BootNs(100 * SECOND)
CAPACITY = 8
SIZES = {"sessions": CAPACITY + 4, "clients": CAPACITY, "hosts4": CAPACITY, "usage": 16}


@pytest.fixture
def object_() -> Iterator[objects.Object]:
    loaded = objects.load(objects.PROGRAM, SIZES)
    yield loaded
    loaded.close()


@pytest.fixture
def tables(object_: objects.Object) -> Tables:
    return Tables(object_.maps, NOW)


def rows(id_: int, address: str | None = None, promise: int = 1) -> Rows:
    key = ClientKey(1, 100, id_, 0, Mac(id_.to_bytes(6, "big")))
    ip = IPv4Address(address or f"10.0.0.{id_ + 2}")
    row = Session(
        BootNs(promise),
        0,
        id_,
        key,
        ip,
        IPv4Address("255.255.255.0"),
        0,
        254,
        0,
        1500,
        0,
        Meter(0, 0),
        Encapsulation(1, 14, 0, b"", b""),
        0,
        0,
        Meter(0, 0),
    )
    return Rows(id_, key.pack(), Host4Key(0, ip).pack(), row.pack())


def replying(id_: int, reply: bytes) -> Rows:
    return replace(rows(id_), reply=reply.ljust(Reply.SIZE, b"\0"))


def found(tables: Tables, wanted: Rows) -> Session:
    """Follow both keys as the program does; they must lead to one row of the right generation."""
    assert wanted.client is not None
    slot = tables.clients.get(wanted.client)
    assert slot is not None
    assert slot == tables.hosts4.get(wanted.host)
    place = Slot.unpack(slot)
    row = Session.unpack(tables.sessions.view, place.row * tables.sessions.stride)
    assert row.generation == place.generation
    return row


def row_of(tables: Tables, wanted: Rows) -> int:
    slot = tables.hosts4.get(wanted.host)
    assert slot is not None
    return Slot.unpack(slot).row


def test_a_session_is_found_by_both_keys_and_gone_after_its_removal(tables: Tables) -> None:
    tables.install([rows(1), rows(2)], NOW)
    assert found(tables, rows(1)).address == IPv4Address("10.0.0.3")
    assert found(tables, rows(2)).id == 2
    tables.remove([1], NOW)
    assert tables.clients.get(rows(1).client or b"") is None
    assert tables.hosts4.get(rows(1).host) is None
    assert found(tables, rows(2)).id == 2


def test_a_change_gets_a_fresh_row_and_the_old_one_is_left_as_it_was_for_a_second(tables: Tables) -> None:
    tables.install([rows(1, promise=10)], NOW)
    old = row_of(tables, rows(1))
    tables.install([rows(1, promise=20)], NOW)
    assert found(tables, rows(1)).promise_until == 20
    assert Session.unpack(tables.sessions.view, old * tables.sessions.stride).promise_until == 10
    fresh = {row_of(tables, rows(1))}
    for id_ in range(2, 6):
        tables.install([rows(id_)], BootNs(NOW + REST - 1))
        fresh.add(row_of(tables, rows(id_)))
    assert old not in fresh
    tables.install([rows(6)], BootNs(NOW + REST))
    assert row_of(tables, rows(6)) == old


def test_a_change_of_address_leaves_no_key_under_the_old_one(tables: Tables) -> None:
    tables.install([rows(1, "10.0.0.50")], NOW)
    tables.install([rows(1, "10.0.0.60")], NOW)
    assert tables.hosts4.get(rows(1, "10.0.0.50").host) is None
    assert found(tables, rows(1, "10.0.0.60")).address == IPv4Address("10.0.0.60")


def test_a_batch_that_does_not_fit_changes_nothing_that_a_packet_sees(tables: Tables) -> None:
    tables.install([rows(id_, promise=10) for id_ in range(6)], NOW)
    with pytest.raises(TableFull, match=r"gateway\.sessions"):
        tables.install([rows(0, promise=20), *(rows(id_) for id_ in range(6, 12))], NOW)
    assert found(tables, rows(0)).promise_until == 10
    assert tables.hosts4.get(rows(6).host) is None
    assert len(tables.clients.items()) == len(tables.hosts4.items()) == 6


def reply_at(tables: Tables, index: int) -> bytes:
    """What the map has at an index, as the program reads it."""
    value = lookup(tables.replies.map.fd, index.to_bytes(4, "little"), Reply.SIZE)
    assert value is not None
    return value


def test_sessions_that_hear_the_same_share_a_reply(tables: Tables) -> None:
    one, same, other = (replying(number, reply) for number, reply in ((1, b"one"), (2, b"one"), (3, b"other")))
    tables.install([one, same, other, rows(4)], NOW)
    first, second = found(tables, one).reply, found(tables, other).reply
    assert found(tables, same).reply == first
    assert found(tables, rows(4)).reply == 0
    assert (reply_at(tables, first), reply_at(tables, second)) == (one.reply, other.reply)
    assert len(tables.replies) == 2


def test_a_reply_stays_as_it_is_while_a_row_refers_to_it_and_for_a_rest() -> None:
    loaded = objects.load(objects.PROGRAM, {**SIZES, "replies": 2})
    tables = Tables(loaded.maps, NOW)
    tables.install([replying(1, b"one"), replying(2, b"one")], NOW)
    tables.install([replying(1, b"another")], NOW)
    assert reply_at(tables, 1) == replying(2, b"one").reply, "session 2 refers to it"
    tables.install([replying(2, b"another")], NOW)
    tables.install([replying(3, b"another")], BootNs(NOW + REST - 1))
    assert reply_at(tables, 1) == replying(2, b"one").reply, "a packet may still read it"
    tables.install([replying(3, b"another")], BootNs(NOW + REST))
    assert reply_at(tables, 1) == replying(3, b"another").reply
    loaded.close()


def test_a_reply_that_is_wanted_again_while_it_rests_is_not_written_over() -> None:
    loaded = objects.load(objects.PROGRAM, {**SIZES, "replies": 2})
    tables = Tables(loaded.maps, NOW)
    tables.install([replying(1, b"one")], NOW)
    tables.remove([1], NOW)
    tables.install([replying(2, b"one")], NOW)
    tables.install([replying(3, b"other")], BootNs(NOW + 2 * REST))
    assert found(tables, replying(2, b"one")).reply == 1
    assert reply_at(tables, 1) == replying(2, b"one").reply
    assert found(tables, replying(3, b"other")).reply == 0
    loaded.close()


def test_a_new_process_takes_up_the_replies_and_mends_one_that_differs(object_: objects.Object) -> None:
    wanted = [replying(1, b"one"), replying(2, b"two"), rows(3)]
    before = Tables(object_.maps, NOW)
    before.install(wanted, NOW)
    assert Tables(object_.maps, NOW).repair(wanted, lambda: NOW) == []
    update(object_.maps["replies"].fd, found(before, wanted[0]).reply.to_bytes(4, "little"), b"x" * Reply.SIZE)
    after = Tables(object_.maps, NOW)
    assert after.repair(wanted, lambda: NOW) == ["session 1: its reply was missing"]
    assert reply_at(after, found(after, wanted[0]).reply) == wanted[0].reply
    assert after.repair(wanted, lambda: NOW) == []


def test_a_reply_without_room_is_left_to_python_until_another_has_rested() -> None:
    loaded = objects.load(objects.PROGRAM, {**SIZES, "replies": 2})  # 0 refers to none: there is room for one
    tables = Tables(loaded.maps, NOW)
    one, same, other = (replying(number, reply) for number, reply in ((1, b"one"), (2, b"one"), (3, b"other")))
    tables.install([one, same, other], NOW)
    assert [found(tables, item).reply for item in (one, same, other)] == [1, 1, 0]
    assert tables.replies.refused == 1
    tables.remove([1, 2, 3], NOW)
    later = BootNs(NOW + REST)
    tables.install([other], later)
    assert found(tables, other).reply == 1
    loaded.close()


def test_a_process_that_starts_slowly_writes_on_no_reply_that_rows_still_refer_to() -> None:
    loaded = objects.load(objects.PROGRAM, {**SIZES, "replies": 3})
    before = Tables(loaded.maps, NOW)
    kept, changed = replying(1, b"one"), replying(2, b"two")
    before.install([kept, changed], NOW)
    after = Tables(loaded.maps, NOW)
    later = BootNs(NOW + 10 * REST)
    after.repair([kept, replying(2, b"new")], lambda: later)
    assert found(after, changed).reply == 0, "there is no room for another until those that were read have rested"
    after.install([replying(3, b"newer")], BootNs(later + REST - 1))
    for reply, index in ((b"one", 1), (b"two", 2)):
        assert reply_at(after, index) == replying(9, reply).reply
    after.install([replying(3, b"newer")], BootNs(later + REST))
    assert found(after, rows(3)).reply == 2, "nobody refers to it any more"
    assert reply_at(after, 1) == kept.reply, "it is held"
    loaded.close()


def test_mending_twice_counts_nobody_twice() -> None:
    loaded = objects.load(objects.PROGRAM, {**SIZES, "replies": 2})
    tables = Tables(loaded.maps, NOW)
    tables.install([replying(1, b"one")], NOW)
    tables.repair([replying(1, b"one")], lambda: NOW)
    tables.remove([1], NOW)
    tables.install([replying(2, b"two")], BootNs(NOW + REST))
    assert reply_at(tables, 1) == replying(2, b"two").reply
    loaded.close()


def test_a_batch_that_does_not_fit_holds_no_reply() -> None:
    loaded = objects.load(objects.PROGRAM, {**SIZES, "replies": 2})
    tables = Tables(loaded.maps, NOW)
    with pytest.raises(TableFull):
        tables.install([replying(id_, b"one") for id_ in range(CAPACITY + 1)], NOW)
    assert len(tables.replies) == 0
    tables.install([replying(1, b"two")], BootNs(NOW + REST))
    assert reply_at(tables, 1) == replying(1, b"two").reply
    loaded.close()


def test_a_new_process_does_not_write_on_rows_that_packets_may_still_read(object_: objects.Object) -> None:
    before = Tables(object_.maps, NOW)
    before.install([rows(1), rows(2)], NOW)
    used = {row_of(before, rows(1)), row_of(before, rows(2))}
    after = Tables(object_.maps, NOW)
    after.repair([rows(1)], lambda: NOW)
    after.install([rows(3)], NOW)
    assert row_of(after, rows(3)) not in used
    assert found(after, rows(3)).generation > found(after, rows(1)).generation


def test_nothing_is_mended_where_nothing_differs(object_: objects.Object) -> None:
    Tables(object_.maps, NOW).install([rows(1), rows(2)], NOW)
    after = Tables(object_.maps, NOW)
    place = row_of(after, rows(1))
    assert after.repair([rows(1), rows(2)], lambda: NOW) == []
    assert row_of(after, rows(1)) == place


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("client key", ["session 1: a key was missing"]),
        ("host key", ["session 1: a key was missing"]),
        ("row", ["session 1: its row differed"]),
        ("keys disagree", ["session 1: its keys disagreed"]),
        ("past the table", ["session 1: its key led past the table"]),
        (
            "stray",
            [f"client key {(rows(7).client or b'').hex()}: nobody's", f"host key {rows(7).host.hex()}: nobody's"],
        ),
    ],
)
def test_what_differs_is_mended_and_told(object_: objects.Object, damage: str, said: list[str]) -> None:
    before = Tables(object_.maps, NOW)
    before.install([rows(1), rows(2)], NOW)
    client, host = rows(1).client or b"", rows(1).host
    wrong = Slot(10_000, 1, 1).pack()
    match damage:
        case "client key":
            before.clients.remove([client])
        case "host key":
            before.hosts4.remove([host])
        case "row":
            before.sessions.view[row_of(before, rows(1)) * before.sessions.stride + 40] ^= 0xFF
        case "keys disagree":
            before.clients.put([(client, before.hosts4.get(rows(2).host) or b"")])
        case "past the table":
            before.clients.put([(client, wrong)])
            before.hosts4.put([(host, wrong)])
        case "stray":
            before.install([rows(7)], NOW)
    after = Tables(object_.maps, NOW)
    assert after.repair([rows(1), rows(2)], lambda: NOW) == said
    for id_ in (1, 2):
        assert found(after, rows(id_)).id == id_
    assert len(after.clients.items()) == len(after.hosts4.items()) == 2
    assert after.repair([rows(1), rows(2)], lambda: NOW) == []


def test_more_rows_that_differ_than_are_spare_are_mended_in_turns(object_: objects.Object) -> None:
    """As after a restart with another DHCP option, when everybody is there."""
    began = boot()
    Tables(object_.maps, began).install([rows(id_) for id_ in range(CAPACITY)], began)
    after = Tables(object_.maps, boot(), rest=20 * MILLISECOND)
    wanted = [rows(id_, promise=2) for id_ in range(CAPACITY)]
    assert after.repair(wanted, boot) == [f"session {id_}: its row differed" for id_ in range(CAPACITY)]
    assert boot() - began >= 20 * MILLISECOND, "four were spare, and then had to rest"
    for item in wanted:
        assert found(after, item).promise_until == 2
    assert after.repair(wanted, boot) == []


def boot() -> BootNs:
    return BootNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def test_pinned_maps_are_taken_up_with_what_is_in_them(tmp_path: Path) -> None:
    objects.ensure_bpffs()
    folder = objects.BPFFS / "wayleave" / f"test-{tmp_path.name}"
    try:
        first = objects.load(objects.PROGRAM, SIZES, pins=folder)
        Tables(first.maps, NOW).install([rows(1)], NOW)
        first.close()
        second = objects.load(objects.PROGRAM, SIZES, pins=folder)
        assert found(Tables(second.maps, NOW), rows(1)).id == 1
        second.close()
    finally:
        objects.unpin(folder)
    assert not folder.exists()


def test_an_object_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(objects.LoadError, match="make build"):
        objects.load(tmp_path / "none.bpf.o")
    (tmp_path / "bad.bpf.o").write_bytes(b"not an object")
    with pytest.raises(objects.LoadError, match=r"bad\.bpf\.o"):
        objects.load(tmp_path / "bad.bpf.o")
