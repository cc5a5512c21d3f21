"""The lease store: what is durable, and what a promise means after a reboot."""

from __future__ import annotations

import os
import queue
import sqlite3
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.fakes.clock import FakeClock
from wayleave.aaa.outbox import Account
from wayleave.io.clock import BUILT
from wayleave.io.store import Store, StoreError
from wayleave.io.writes import Assigned, Erase, Reclock, Save, Write
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns, UtcNs
from wayleave.proto.nexus.holder import Standing
from wayleave.proto.nexus.messages import Block
from wayleave.session.model import LEASE_GRACE, NEVER, Client, Lease, Line, Phase, Rate, Service, Session, Subnet, Used

HOUR, DAY = Ns(3600 * SECOND), Ns(86400 * SECOND)
NETWORK = IPv4Network("10.0.0.0/24")


def session(id_: int = 3, address: IPv4Address = NETWORK[50]) -> Session:
    return Session(
        id=id_,
        client=Client(Line(1, 100, 7, b"\xffdoor"), Mac(id_.to_bytes(6, "big"))),
        phase=Phase.RECORDING,
        since=BootNs(1),
        encapsulation=b"\x00\xff" * 11,
        hostname="tv",
        service=Service(
            tenant="isp", pool="p", subscriber="alice", address=NETWORK[50], limit=2, antispoof=False, mtu=1492
        ),
        lease=Lease(address, "p", Subnet(NETWORK, NETWORK[1]), HOUR, DAY),
    )


class Opened:
    """A store with its completions, on a clock by hand."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.done: queue.Queue[tuple[Sequence[Write], str | None]] = queue.Queue()
        self.clock = clock
        self.store = Store(folder, clock, "full", lambda group, error: self.done.put((group, error)))
        self.store.start()

    def save(self, *sessions: Session, until: BootNs | None = None) -> str | None:
        for item in sessions:
            self.store.save(item, until if until is not None else BootNs(self.clock.now + DAY))
        self.store.flush()
        return self.done.get(timeout=10)[1]

    def written(self) -> None:
        """Wait for the group that was flushed last."""
        assert self.done.get(timeout=10)[1] is None

    def load(self) -> list[tuple[Session, int | None]]:
        return [(item.session, item.unknown_until) for item in self.store.load()]


def promise(found: Session) -> BootNs:
    assert found.lease is not None
    return found.lease.promise_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def reopened(folder: Path, before: Opened, clock: FakeClock) -> list[tuple[Session, int | None]]:
    before.store.close()
    after = Opened(folder, clock)
    try:
        return after.load()
    finally:
        after.store.close()


def test_a_session_comes_back_as_it_was_with_its_promise_and_without_rows(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    assert opened.save(session()) is None
    until = BootNs(opened.clock.now + DAY)
    opened.clock.wait(HOUR)
    ((found, unknown),) = reopened(folder, opened, opened.clock)
    was = session()
    assert unknown is None
    assert was.lease is not None
    assert found == replace(
        was,
        phase=Phase.ACTIVE,
        since=opened.clock.now,
        lease=replace(was.lease, promise_until=until),
        leased_until=opened.clock.now + HOUR,
        deadline=opened.clock.now + HOUR + LEASE_GRACE,
        active_at=opened.clock.now,
    )
    assert not found.installed


def test_what_was_sold_comes_back_and_its_time_goes_on(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    was = session()
    assert was.service is not None
    sold = replace(
        was.service,
        name="gold",
        up=Rate.of(10_000_000),
        down=Rate(50_000_000, 20_000),
        dns=(IPv4Address("192.0.2.53"),),
        session_timeout=Ns(2 * HOUR),
        idle_timeout=Ns(HOUR),
        interim=Ns(HOUR),
        sessions=2,
        classes=(b"\xff\0", b"b"),
        authority="isp",
        reauthorize=True,
        state=b"\0s",
    )
    begun, over = BootNs(opened.clock.now), BootNs(opened.clock.now + 2 * HOUR)
    asked = replace(
        was, service=sold, accounting="0000000100000002", opened_at=begun, ends_at=over, asks_at=BootNs(over + HOUR)
    )
    assert opened.save(asked) is None
    opened.clock.wait(HOUR)
    ((found, _),) = reopened(folder, opened, opened.clock)
    assert (found.service, found.accounting) == (sold, "0000000100000002")
    assert (found.opened_at, found.ends_at, found.asks_at) == (begun, over, over + HOUR)
    later = opened.clock.reboot(off=HOUR // 2)
    ((found, _),) = reopened(folder, Opened(folder, opened.clock), later)
    assert found.service == sold
    assert (found.ends_at - later.now, found.asks_at - found.ends_at) == (HOUR // 2, HOUR)


def test_nobody_is_taken_to_have_been_told_of_more_than_the_promise(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    until = BootNs(opened.clock.now + HOUR // 2)
    opened.save(session(), until=until)
    ((found, _),) = reopened(folder, opened, opened.clock)
    assert (found.leased_until, found.deadline) == (until, until + LEASE_GRACE)


def test_a_longer_lease_that_is_not_told_yet_is_recorded_as_if_it_were(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    was = session()
    assert was.lease is not None
    opened.save(replace(was, lease=replace(was.lease, longer=Ns(2 * HOUR))))
    ((found, _),) = reopened(folder, opened, opened.clock)
    assert found.lease is not None
    assert found.lease.duration == 2 * HOUR
    assert found.leased_until == opened.clock.now + 2 * HOUR


def test_after_a_reboot_the_wall_clock_says_what_is_left_of_a_promise(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    opened.save(session())
    opened.clock.wait(HOUR)
    after = opened.clock.reboot(off=2 * HOUR)
    ((found, unknown),) = reopened(folder, opened, after)
    assert unknown is None
    assert promise(found) - after.now == DAY - 3 * HOUR


def test_while_the_wall_clock_says_1970_nobody_knows_and_nothing_ends(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    opened.save(session())
    promise_utc = opened.clock.wall + DAY
    after = opened.clock.reboot(in_1970=True)
    ((found, unknown),) = reopened(folder, opened, after)
    assert unknown == promise_utc
    assert found.deadline == NEVER
    assert found.recorded


def test_a_wall_clock_before_the_last_record_is_not_believed_either(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    opened.clock.wait(DAY)
    opened.save(session())
    after = opened.clock.reboot(off=-HOUR)
    ((_, unknown),) = reopened(folder, opened, after)
    assert unknown is not None


def test_a_promise_made_while_the_clock_was_wrong_is_held_in_full_again(folder: Path) -> None:
    wrong = FakeClock().reboot(in_1970=True)
    opened = Opened(folder, wrong)
    opened.save(session())
    after = FakeClock().reboot(off=300 * DAY)
    ((found, unknown),) = reopened(folder, opened, after)
    assert unknown is None
    assert promise(found) == after.now + DAY
    assert found.leased_until == after.now + HOUR


def test_what_is_erased_is_gone_in_the_order_it_was_asked_for(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    opened.store.save(session(1), BootNs(DAY))
    opened.store.erase(1)
    opened.store.save(session(2), BootNs(DAY))
    opened.store.flush()
    group, error = opened.done.get(timeout=10)
    assert error is None
    assert [type(write) for write in group] == [Save, Erase, Save]
    assert [found.id for found, _ in reopened(folder, opened, opened.clock)] == [2]


def test_a_renewed_promise_replaces_the_old_one(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    opened.save(session())
    until = BootNs(opened.clock.now + 2 * DAY)
    opened.save(session(), until=until)
    ((found, _),) = reopened(folder, opened, opened.clock)
    assert promise(found) == until


def test_the_disk_itself_refuses_one_address_for_two_sessions(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    assert opened.save(session(1)) is None
    assert "UNIQUE" in str(opened.save(session(2)))
    assert [found.id for found, _ in reopened(folder, opened, opened.clock)] == [1]


def test_writes_that_wait_go_to_disk_together_and_closing_loses_none(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    for number in range(200):
        opened.store.save(session(number, NETWORK[number + 2]), BootNs(DAY))
        opened.store.flush()
    assert len(reopened(folder, opened, opened.clock)) == 200
    assert opened.store.groups < 200


def test_a_disk_that_refuses_is_told_and_the_store_goes_on(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    with sqlite3.connect(folder / "leases.sqlite", isolation_level=None) as other:
        opened.store._db.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN EXCLUSIVE")
        assert "locked" in str(opened.save(session()))
        other.execute("ROLLBACK")
    assert opened.save(session()) is None
    opened.store.close()


def test_a_store_that_was_not_started_is_left_as_it_was(folder: Path) -> None:
    """A start that is refused ends nothing that it would have ended."""
    opened = Opened(folder, FakeClock())
    opened.save(session())
    opened.store.close()
    refused = Store(folder, FakeClock(), "full", lambda _group, _error: None)
    refused.erase(session().id)
    refused.flush()
    refused.close()
    assert len(reopened(folder, Opened(folder, FakeClock()), FakeClock())) == 1


def test_a_folder_that_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "occupied"
    file.write_text("")
    with pytest.raises(StoreError, match="is the folder writable"):
        Store(file / "state", FakeClock(), "full", lambda _group, _error: None)


def test_a_store_of_another_layout_is_refused_and_left_alone(folder: Path) -> None:
    Opened(folder, FakeClock()).store.close()
    with sqlite3.connect(folder / "leases.sqlite") as other:
        other.execute("UPDATE meta SET value = '99'")
    other.close()
    with pytest.raises(StoreError, match="layout 99"):
        Opened(folder, FakeClock())
    assert os.path.exists(folder / "leases.sqlite")


def test_a_clock_that_was_behind_and_is_set_takes_the_promises_along(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    opened.store.follow_clock()
    opened.done.get(timeout=10)
    opened.save(session())
    until = opened.clock.now + DAY
    opened.clock.wall = UtcNs(opened.clock.wall + 10 * HOUR)
    opened.store.follow_clock()
    opened.store.follow_clock()
    ((write,), error) = opened.done.get(timeout=10)
    assert (type(write), error) == (Reclock, None)
    assert opened.done.empty(), "once a step"
    left = until - opened.clock.now
    after = opened.clock.reboot(off=HOUR)
    ((found, _),) = reopened(folder, opened, after)
    assert promise(found) - after.now == left - HOUR


def test_a_clock_that_is_set_for_the_first_time_gives_its_promises_an_end(folder: Path) -> None:
    opened = Opened(folder, FakeClock().reboot(in_1970=True))
    opened.store.follow_clock()
    opened.save(session())
    until = opened.clock.now + DAY
    opened.clock.wall = FakeClock().wall
    opened.store.follow_clock()
    opened.done.get(timeout=10)
    left = until - opened.clock.now
    after = opened.clock.reboot(off=HOUR)
    ((found, _),) = reopened(folder, opened, after)
    assert promise(found) - after.now == left - HOUR


# ---- accounting and what was last granted -----------------------------------------------


def account(opened: Opened, name: str = "a1") -> Account:
    return Account(opened.store.next_seq(), "isp", name, ((40, b"\0\0\0\1"),), opened.clock.now, opened.clock.utc())


def test_a_record_is_durable_with_its_lease_and_gone_once_it_is_acknowledged(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    start, other = account(opened), account(opened, "a2")
    opened.store.save(session(), BootNs(opened.clock.now + DAY), start)
    opened.store.report(other, 3, Used(10, 1, 20, 2))
    opened.store.flush()
    opened.written()
    assert opened.store.accounts("isp", -1, 10) == [start, other]
    assert opened.store.accounts("isp", start.seq, 10) == [other]
    assert opened.store.accounts("another", -1, 10) == []
    opened.store.acknowledged([start.seq])
    opened.store.flush()
    opened.written()
    opened.store.close()
    after = Opened(folder, opened.clock)
    assert after.store.accounts("isp", -1, 10) == [other]
    assert (after.store.last_seq, after.store.waiting()) == (other.seq, {"isp": 1})
    (found,) = [*after.store.load()]
    assert found.used == Used(10, 1, 20, 2)
    after.store.close()


def test_after_a_reboot_a_record_has_its_utc_alone_and_an_unset_clock_dates_it_later(folder: Path) -> None:
    clock = FakeClock()
    clock.wall = UtcNs(5 * SECOND)
    opened = Opened(folder, clock)
    opened.store.report(Account(opened.store.next_seq(), "isp", "a", (), clock.now, None))
    opened.store.flush()
    opened.written()
    assert opened.store.accounts("isp", -1, 10)[0].utc is None
    clock.wall = UtcNs(BUILT + DAY)
    clock.wait(HOUR)
    opened.store.follow_clock()
    opened.written()
    opened.store.close()
    after = Opened(folder, clock.reboot())
    (found,) = after.store.accounts("isp", -1, 10)
    assert (found.at, found.utc) == (0, BUILT + DAY)
    assert after.store.first_of_boot
    after.store.close()


def test_what_only_takes_away_writes_nothing_that_a_full_disk_would_refuse(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    assert opened.save(session()) is None
    changes = opened.store._db.total_changes
    opened.store.erase(99)
    opened.store.acknowledged([98])
    opened.store.flush()
    opened.written()
    assert opened.store._db.total_changes == changes
    opened.store.close()


def test_records_that_cannot_be_read_are_said_so(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    for file in folder.glob("leases.sqlite*"):
        file.unlink()
    with pytest.raises(StoreError, match="unable to open"):
        opened.store.accounts("isp", -1, 10)
    opened.store.close()


def test_every_process_has_a_number_of_its_own(folder: Path) -> None:
    epochs = []
    for _ in range(3):
        opened = Opened(folder, FakeClock())
        epochs.append(opened.store.epoch)
        opened.store.close()
    assert epochs == [epochs[0], epochs[0] + 1, epochs[0] + 2]


def test_who_lost_the_folder_does_not_begin_with_the_same_numbers_again(tmp_path: Path) -> None:
    epochs = set()
    for number in range(4):
        opened = Opened(tmp_path / str(number), FakeClock())
        epochs.add(opened.store.epoch)
        opened.store.close()
    assert len(epochs) == 4
    assert max(epochs) < 1 << 31, "there is room for the processes to come"


def test_a_boot_is_the_first_until_it_is_on_the_disk_what_follows_from_it(folder: Path) -> None:
    def first(clock: FakeClock, settles: bool) -> bool:
        opened = Opened(folder, clock)
        if settles:
            opened.store.booted()
        opened.store.close()
        return opened.store.first_of_boot

    clock = FakeClock()
    assert [first(clock, settles) for settles in (False, True, False)] == [True, True, False]
    assert first(clock.reboot(), settles=False)


def test_what_was_last_granted_is_remembered_until_it_is_doubted(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    one = Client(Line(1, 100, 7, b"slot/1\xff"), Mac(b"\2\0\0\0\0\1"))
    other = Client(Line(1, 100, 7), Mac(b"\2\0\0\0\0\1"))
    granted = Service(
        tenant="isp", pool="p", subscriber="bob", classes=(b"\xff",), up=Rate.of(1_000_000), authority="g"
    )
    opened.store.learn({one: granted, other: granted})
    opened.store.learn({other: None})
    opened.store.flush()
    opened.written()
    opened.store.close()
    after = Opened(folder, opened.clock)
    assert after.store.known() == [(one, opened.clock.utc(), granted)]
    after.store.close()


def test_a_session_that_is_another_to_accounting_keeps_its_lease(folder: Path) -> None:
    opened = Opened(folder, FakeClock())
    assert opened.save(replace(session(), accounting="old", counted_before=Used(1, 1, 1, 1))) is None
    opened.store.rename(replace(session(), accounting="new", opened_at=BootNs(77)), account(opened, "new"))
    opened.store.flush()
    opened.written()
    opened.store.close()
    after = Opened(folder, opened.clock)
    (found,) = [*after.store.load()]
    assert (found.session.accounting, found.session.counted_before, found.session.opened_at) == ("new", Used(), 77)
    assert found.session.lease is not None
    assert found.session.lease.promise_until == opened.clock.now + DAY
    assert [item.session for item in after.store.accounts("isp", -1, 10)] == ["new"]
    after.store.close()


# ---- what Nexus is to know ------------------------------------------------------------------


def waiting(opened: Opened) -> list[tuple[str, str, str]]:
    """Addresses of which Nexus does not know yet: whose, and whether it has it."""
    return [(str(item.address), item.subscriber, item.state) for item in opened.store.untold(10)]


def tell(opened: Opened, told: list[Assigned]) -> None:
    opened.store.told(told)
    opened.store.flush()
    opened.written()


def test_whose_addresses_of_shared_pools_are_waits_with_their_leases_until_nexus_knows(tmp_path: Path) -> None:
    clock = FakeClock()
    opened = Opened(tmp_path, clock)
    opened.store.shared = {"p": "shared"}
    opened.save(session())
    (began,) = opened.store.untold(10)
    assert began == Assigned("shared", NETWORK[50], "alice", "began", clock.utc())
    opened.store.close()
    again = Opened(tmp_path, clock)
    assert waiting(again) == [("10.0.0.50", "alice", "began")], "a kill does not lose it"
    tell(again, [began])
    assert waiting(again) == []
    clock.wait(SECOND)
    again.store.erase(3)
    again.store.flush()
    again.written()
    assert waiting(again) == [("10.0.0.50", "alice", "ended")]
    tell(again, [began])
    assert waiting(again) == [("10.0.0.50", "alice", "ended")], "what it was told before is not so any more"
    tell(again, again.store.untold(10))
    assert waiting(again) == []
    again.store.close()


def test_nexus_is_told_the_present_of_an_address_and_not_all_that_happened_to_it(tmp_path: Path) -> None:
    clock = FakeClock()
    opened = Opened(tmp_path, clock)
    opened.store.shared = {"p": "shared"}
    for _ in range(3):
        opened.save(session())
        opened.store.erase(3)
        opened.store.flush()
        opened.written()
    opened.save(session(4))
    assert waiting(opened) == [("10.0.0.50", "alice", "began")]
    opened.store.close()


def test_of_a_pool_of_the_gateways_own_nexus_is_told_nothing(tmp_path: Path) -> None:
    opened = Opened(tmp_path, FakeClock())
    opened.store.shared = {"other": "shared"}
    opened.save(session())
    assert waiting(opened) == []
    opened.store.close()


def test_a_hold_is_of_the_boot_that_it_was_written_on(tmp_path: Path) -> None:
    clock = FakeClock()
    opened = Opened(tmp_path, clock)
    assert opened.store.standing() is None
    standing = Standing(3, 7, BootNs(clock.now + DAY), (Block("shared", 2, "10.0.0.0", "10.0.0.7", 5),))
    opened.store.stand(standing)
    opened.store.flush()
    opened.written()
    opened.store.close()
    same = Opened(tmp_path, clock)
    assert same.store.standing() == standing
    same.store.close()
    rebooted = Opened(tmp_path, clock.reboot())
    assert rebooted.store.standing() == replace(standing, until=BootNs(0)), "nobody knows how long it was away"
    rebooted.store.close()
