"""The engine, told as stories: what clients say, what time brings, and what the ports were asked to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.fakes.clock import FakeClock
from tests.fakes.plane import Plane
from tests.fakes.records import Disk, Records
from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization, Subscriber
from wayleave.daemon.derived import terms_of
from wayleave.daemon.engine import Admission, Engine, Told
from wayleave.daemon.recovery import Recovery
from wayleave.daemon.review import Outcome, PoolTerms
from wayleave.io.writes import erased, saved
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns, UtcNs
from wayleave.session import lifecycle as life
from wayleave.session.lifecycle import Answer
from wayleave.session.model import (
    IN_FLIGHT,
    LEASE_GRACE,
    NEVER,
    OFFER_HOLD,
    STORE_RETRY,
    Client,
    CloseCause,
    Line,
    Session,
)
from wayleave.session.ports import PlaneFull
from wayleave.session.settings import PoolSettings
from wayleave.session.table import SILENT, Table

MINUTE, HOUR, DAY = Ns(60 * SECOND), Ns(3600 * SECOND), Ns(86400 * SECOND)
A, B, C = (Mac(b"\2\0\0\0\0" + bytes([number])) for number in (1, 2, 3))
LINE, SOMEWHERE = Line(1, 100, 1), Line(1, 100, 2)


def address(text: str) -> IPv4Address:
    return IPv4Address(f"10.0.0.{text}")


def pool(**changes: Any) -> PoolSettings:
    settings = {"name": "home", "network": "10.0.0.0/29", "gateway": "10.0.0.1", "quarantine": "10m"}
    return PoolSettings.model_validate(settings | changes)


def discovers(mac: Mac = A, line: Line = LINE, wanted: IPv4Address | None = None) -> Told:
    client = Client(line, mac)
    return client, life.Discovered(client=client, ask=f"discover of {mac}", encapsulation=b"l2", wanted=wanted)


def requests(number: IPv4Address, mac: Mac = A, line: Line = LINE, encapsulation: bytes = b"l2") -> Told:
    client = Client(line, mac)
    event = life.Requested(client=client, ask=f"request of {mac}", encapsulation=encapsulation, address=number)
    return client, event


def releases(number: IPv4Address, mac: Mac = A, line: Line = LINE) -> Told:
    return Client(line, mac), life.Released(number)


def declines(number: IPv4Address, mac: Mac = A, line: Line = LINE) -> Told:
    return Client(line, mac), life.Declined(number)


class Stage:
    """An engine between simulated ends: clients `say` things, and the disk has `written` when the story says so."""

    def __init__(
        self,
        pools: tuple[PoolSettings, ...] = (pool(),),
        *,
        clients: int = 8,
        at_limit: str = "replace",
        sessions: int = 16,
        rows: int = 16,
        subscribers: tuple[Subscriber, ...] = (),
        tenants: tuple[str, ...] = ("default",),
        clock: FakeClock | None = None,
        disk: Disk | None = None,
        plane: Plane | None = None,
        ports: tuple[int, ...] = (1, 2),
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """`meanwhile` happens after the leases are read and before the data plane is taken over."""
        self.clock, self.disk, self.plane = clock or FakeClock(), disk or Disk(), plane or Plane(rows)
        self.table = Table(sessions)
        self.records = Records(self.disk, self.clock)
        self.said: list[tuple[Client, life.Reply]] = []
        self.ports, self.tenants, self.admission = ports, tenants, Admission(clients, at_limit == "replace")
        terms, authorization, admission = self.terms(pools, subscribers)
        self.engine = Engine(
            self.table, terms, authorization, self.records, self.plane, self._hear, admission, self._watch
        )
        self.recovery = Recovery(self.engine, self.clock)
        self.recovery.restore(self.disk.load(self.clock))
        meanwhile()
        self.plane.repair([session for session in self.table if session.installed and session.live], self.clock.boot())
        self.recovery.took_over()
        self.written()

    def terms(
        self, pools: tuple[PoolSettings, ...], subscribers: tuple[Subscriber, ...]
    ) -> tuple[dict[str, PoolTerms], LocalAuthorization, dict[int, Admission]]:
        """What the engine goes by under a configuration."""
        return (
            {item.name: terms_of(item, subscribers) for item in pools},
            LocalAuthorization(
                AuthorizationSettings(default=pools[0].name),
                subscribers,
                dict.fromkeys(self.ports, self.tenants[0]),
                {},
                {},
            ),
            dict.fromkeys(self.ports, self.admission),
        )

    def reload(self, *pools: PoolSettings, subscribers: tuple[Subscriber, ...] = ()) -> Stage:
        """Another configuration counts from now on."""
        self.engine.reconfigure(*self.terms(pools or (pool(),), subscribers))
        while self.engine.review(self.clock.boot()):
            self.written()
        self.written()
        return self

    @property
    def pools(self) -> dict[str, PoolTerms]:
        return self.engine.pools

    def _hear(self, session: Session, reply: life.Reply) -> None:
        self.said.append((session.client, reply))

    def _watch(self, session: Session, before: Session | None) -> None:
        assert before is None or session.phase is not before.phase or session.service is not before.service

    def say(self, *told: Told) -> list[life.Reply]:
        """Have clients say something in one batch; returns what they are told before the disk has written."""
        self.said.clear()
        self.engine.take(told, self.clock.boot())
        return [reply for _, reply in self.said]

    def written(self) -> list[life.Reply]:
        """Let the disk write, until it has nothing more to do; returns what clients are told for it."""
        self.said.clear()
        while self.records.pending:
            group, error = self.records.commit()
            self.engine.recorded(saved(group), erased(group), error, self.clock.boot())
        return [reply for _, reply in self.said]

    def wait(self, length: int) -> None:
        """Let time pass, one deadline after the other; the disk writes meanwhile."""
        end = self.clock.now + length
        while self.table.next_deadline != NEVER and self.table.next_deadline <= end:
            self.clock.wait(max(0, self.table.next_deadline - self.clock.now))
            self.engine.due(self.clock.boot())
            self.written()
        self.clock.wait(end - self.clock.now)

    def serve(self, mac: Mac = A, line: Line = LINE) -> IPv4Address:
        """Take a client from its first message to its address."""
        (offer,) = self.say(discovers(mac, line))
        assert offer.lease is not None
        assert self.say(requests(offer.lease.address, mac, line)) == []
        (confirmed,) = self.written()
        assert confirmed.answer is Answer.CONFIRM
        return offer.lease.address

    def find(self, mac: Mac = A, line: Line = LINE) -> Session | None:
        return self.table.find(Client(line, mac))

    def uses(self, number: IPv4Address, mac: Mac = A, line: Line = LINE) -> bool:
        return self.plane.forwards(Client(line, mac).key, number, self.clock.boot())

    @property
    def held(self) -> int:
        return sum(terms.pool.held for terms in self.pools.values())

    # ---- disaster -----------------------------------------------------------------------

    def restart(self, *pools: PoolSettings, **changes: Any) -> Stage:
        """The process is killed and starts again, perhaps with another configuration."""
        return Stage(pools or (pool(),), clock=self.clock, disk=self.disk, plane=self.plane, **changes)

    def reboot(self, *pools: PoolSettings, off: int = 10 * SECOND, in_1970: bool = False, **changes: Any) -> Stage:
        """The machine goes down for a while; its tables are gone."""
        return Stage(pools or (pool(),), clock=self.clock.reboot(off, in_1970), disk=self.disk, **changes)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


def answers(replies: list[life.Reply]) -> list[Answer]:
    return [reply.answer for reply in replies]


# ---- up and down ------------------------------------------------------------------------


def test_a_client_is_served_and_every_step_waits_for_the_one_before() -> None:
    stage = Stage()
    (offer,) = stage.say(discovers())
    assert (offer.answer, offer.remaining) == (Answer.OFFER, HOUR)
    assert stage.say(requests(address("2"))) == [], "nothing is confirmed before it is durable"
    assert stage.plane.rows == {}, "nothing is installed before it is durable"
    (confirmed,) = stage.written()
    assert confirmed.answer is Answer.CONFIRM
    assert confirmed.ask == f"request of {A}"
    assert stage.uses(address("2"))
    assert stage.engine.counts.opened == 1


def test_an_address_given_back_is_free_only_once_its_end_is_durable() -> None:
    stage = Stage()
    mine = stage.serve()
    stage.say(releases(mine))
    assert not stage.uses(mine)
    stage.wait(IN_FLIGHT)
    assert stage.held == 0
    assert stage.disk.records == {}
    assert stage.engine.counts.closed == {"user-request": 1}


def test_until_the_end_is_durable_nobody_else_gets_the_address() -> None:
    stage = Stage((pool(network="10.0.0.0/30"),))
    mine = stage.serve(A)
    stage.say(releases(mine))
    stage.clock.wait(IN_FLIGHT)
    stage.engine.due(stage.clock.boot())
    assert stage.say(discovers(B, SOMEWHERE)) == [], "the disk has not written yet"
    stage.written()
    assert answers(stage.say(discovers(B, SOMEWHERE))) == [Answer.OFFER]


def test_offers_hold_their_addresses_for_a_minute() -> None:
    stage = Stage((pool(network="10.0.0.0/30"),))
    assert answers(stage.say(discovers(A))) == [Answer.OFFER]
    stage.wait(OFFER_HOLD - 1)
    assert stage.say(discovers(B, SOMEWHERE)) == []
    stage.wait(1)
    assert answers(stage.say(discovers(B, SOMEWHERE))) == [Answer.OFFER]


def test_a_declined_address_rests_and_is_offered_to_nobody() -> None:
    stage = Stage((pool(network="10.0.0.0/30"),))
    bad = stage.serve()
    stage.say(declines(bad))
    stage.wait(MINUTE)
    assert stage.say(discovers()) == []
    assert stage.engine.counts.refused == {"pool-empty": 1}
    stage.wait(10 * MINUTE)
    assert answers(stage.say(discovers())) == [Answer.OFFER]


def test_a_client_that_looks_around_and_claims_an_address_in_one_breath_gets_that_address_or_no() -> None:
    stage = Stage()
    stage.serve(B, SOMEWHERE)
    (said,) = stage.say(discovers(A), requests(address("2"), A)) or stage.written()
    assert said.answer is Answer.REFUSE, "it would be told of an address that it did not ask for"
    assert stage.held == 1


def test_a_claimed_address_that_is_free_is_given() -> None:
    stage = Stage()
    assert stage.say(requests(address("5"))) == []
    (confirmed,) = stage.written()
    assert confirmed.lease is not None
    assert confirmed.lease.address == address("5")


def test_the_latest_of_several_equal_requests_is_answered_once() -> None:
    stage = Stage()
    stage.say(discovers())
    stage.say(requests(address("2")), requests(address("2")))
    assert answers(stage.written()) == [Answer.CONFIRM]


# ---- limits -----------------------------------------------------------------------------


def test_a_full_line_refuses_the_next_client() -> None:
    stage = Stage(clients=2, at_limit="refuse")
    stage.serve(A)
    stage.serve(B)
    stage.wait(2 * SILENT)
    assert stage.say(discovers(C)) == []
    assert stage.engine.counts.refused == {"line-full": 1}
    assert [session.client.mac for session in stage.table] == [A, B]
    assert answers(stage.say(requests(address("5"), C))) == [Answer.REFUSE], "who claims an address is told"


def test_on_a_full_line_the_client_silent_longest_makes_room() -> None:
    stage = Stage(clients=2)
    first, second = stage.serve(A), stage.serve(B)
    stage.wait(SILENT)
    assert stage.uses(first, A)
    stage.wait(SECOND)
    assert answers(stage.say(discovers(C))) == [Answer.OFFER]
    assert not stage.uses(second, B)
    assert stage.uses(first, A)
    stage.wait(SECOND)
    assert stage.engine.counts.closed == {"displaced": 1}


def test_nobody_makes_room_who_sent_something_in_the_last_minute() -> None:
    stage = Stage(clients=1)
    mine = stage.serve(A)
    stage.wait(10 * MINUTE)
    stage.uses(mine, A)
    stage.wait(SILENT)
    assert stage.say(discovers(B)) == []
    assert stage.engine.counts.refused == {"line-full": 1}
    stage.wait(1)
    assert answers(stage.say(discovers(B))) == [Answer.OFFER]


def test_who_renews_with_the_data_plane_alone_is_not_silent() -> None:
    stage = Stage(clients=1)
    mine = stage.serve(A)
    stage.wait(10 * MINUTE)
    stage.plane.renews(Client(LINE, A).key, mine, stage.clock.boot())
    stage.wait(SILENT)
    assert stage.say(discovers(B)) == []
    assert stage.engine.counts.refused == {"line-full": 1}


def test_one_silent_client_makes_room_for_one_newcomer_not_for_two_in_a_batch() -> None:
    stage = Stage(clients=1)
    stage.serve(A)
    stage.wait(2 * SILENT)
    stage.say(discovers(B), discovers(C))
    assert sum(session.live for session in stage.table) == 1, "a line for one has one"
    assert stage.engine.counts.refused == {"line-full": 1}


def test_a_subscribers_own_limit_counts_instead_of_the_ports() -> None:
    one = Subscriber(name="single", line=LINE, limit=1)
    stage = Stage(clients=8, at_limit="refuse", subscribers=(one,))
    stage.serve(A)
    assert stage.say(discovers(B)) == []
    assert stage.engine.counts.refused == {"line-full": 1}
    stage.serve(B, SOMEWHERE)
    stage.serve(C, SOMEWHERE)


def test_a_live_mac_on_another_circuit_is_refused_and_counted_and_may_not_end_the_session_either() -> None:
    home, elsewhere = Line(2, 200, 0, b"door-1"), Line(2, 200, 0, b"door-2")
    stage = Stage()
    mine = stage.serve(A, home)
    assert stage.say(discovers(A, elsewhere), requests(mine, A, elsewhere), releases(mine, A, elsewhere)) == []
    assert stage.engine.counts.refused == {"mac-on-another-circuit": 3}
    assert stage.uses(mine, A, home)


def test_when_all_sessions_are_taken_a_newcomer_is_refused_until_an_id_has_rested() -> None:
    stage = Stage(sessions=2)
    mine = stage.serve(A)
    stage.serve(B)
    assert stage.say(discovers(C)) == []
    assert stage.engine.counts.refused == {"table-full": 1}
    stage.say(releases(mine, A))
    stage.wait(IN_FLIGHT)
    assert stage.say(discovers(C)) == [], "packets in flight may still be counted under the id"
    stage.wait(2 * SECOND)
    assert answers(stage.say(discovers(C))) == [Answer.OFFER]


def test_when_the_data_plane_is_full_those_that_fit_get_in_and_the_others_leave_nothing_behind() -> None:
    stage = Stage(rows=1)
    stage.say(discovers(A), discovers(B))
    stage.say(requests(address("2"), A), requests(address("3"), B))
    assert answers(stage.written()) == [Answer.CONFIRM]
    assert stage.uses(address("2"), A)
    stage.wait(SECOND)
    assert stage.engine.counts.closed == {"table-full": 1}
    assert (stage.held, len(stage.disk.records)) == (1, 1)


class Crowded(Plane):
    """A data plane that has a row for each session and, while `crowded`, none to spare for a change."""

    crowded = False

    def install(self, sessions: Sequence[Session], now: BootNs) -> None:
        if self.crowded:
            raise PlaneFull("no fresh row")
        super().install(sessions, now)


def test_a_client_behind_other_tags_keeps_what_it_has_while_there_is_no_fresh_row() -> None:
    plane = Crowded(16)
    stage = Stage(plane=plane)
    mine = stage.serve()
    plane.crowded = True
    assert stage.say(requests(mine, encapsulation=b"elsewhere")) == []
    assert stage.written() == [], "it asks again"
    stage.wait(SECOND)
    assert stage.uses(mine)
    assert stage.held == 1
    plane.crowded = False
    assert stage.say(requests(mine, encapsulation=b"elsewhere")) == []
    assert answers(stage.written()) == [Answer.CONFIRM]
    (row,) = plane.rows.values()
    assert row.session.encapsulation == b"elsewhere"


def test_a_fresh_row_behind_other_tags_does_not_wait_for_a_full_disk_and_outlives_a_restart() -> None:
    stage = Stage()
    mine = stage.serve()
    for full, encapsulation in ((True, b"elsewhere"), (False, b"there")):
        stage.disk.failing = full
        assert stage.say(requests(mine, encapsulation=encapsulation)) == []
        assert answers(stage.written()) == [Answer.CONFIRM]
        (row,) = stage.plane.rows.values()
        assert row.session.encapsulation == encapsulation
    session = stage.restart().find()
    assert session is not None
    assert session.encapsulation == b"there"


# ---- who gets which address -------------------------------------------------------------

KEPT = {"reservations": [{"address": "10.0.0.4", "mac": str(A)}, {"address": "10.0.0.5", "line": "1:100.2"}]}


def test_reserved_addresses_go_to_their_macs_and_lines_and_to_nobody_else() -> None:
    stage = Stage((pool(**KEPT),))
    assert stage.serve(A) == address("4")
    assert stage.serve(B, SOMEWHERE) == address("5")
    assert stage.serve(C) == address("2")
    everybody = [stage.serve(Mac(bytes((2, 0, 0, 0, 1, number)))) for number in range(2)]
    assert everybody == [address("3"), address("6")]
    assert stage.say(requests(address("5"), Mac(b"\2\0\0\0\2\0")))[0].answer is Answer.REFUSE


def test_who_has_a_reservation_is_refused_any_other_address() -> None:
    stage = Stage((pool(**KEPT),))
    (refused,) = stage.say(requests(address("6"), A))
    assert (refused.answer, refused.why) == (Answer.REFUSE, "10.0.0.6 is not this client's address")
    assert answers(stage.say(requests(address("4"), A)) or stage.written()) == [Answer.CONFIRM]


def test_a_static_address_may_lie_among_the_excluded_ones() -> None:
    alice = Subscriber(name="alice", mac=A, address=address("6"))
    stage = Stage((pool(exclude=["10.0.0.6"]),), subscribers=(alice,))
    assert stage.serve(A) == address("6")
    for number in range(4):
        stage.serve(Mac(bytes((2, 0, 0, 0, 1, number))))
    assert stage.say(discovers(B)) == [], "the others are used up"


def test_who_is_not_known_and_who_is_blocked_gets_nothing() -> None:
    stage = Stage(subscribers=(Subscriber(name="bad", mac=A, blocked=True),))
    assert stage.say(discovers(A)) == []
    (refused,) = stage.say(requests(address("2"), A))
    assert refused.why == "subscriber bad is blocked"
    assert stage.engine.counts.refused == {"blocked": 2, "told-no": 1}
    assert len(stage.table) == 0


def test_a_subscriber_of_a_pool_that_is_not_there_is_refused() -> None:
    stage = Stage(subscribers=(Subscriber(name="lost", mac=A, pool="gone"),))
    assert stage.say(discovers(A)) == []
    assert stage.engine.counts.refused == {"no-pool": 1}


def test_a_client_that_comes_and_goes_for_ever_leaves_nothing_behind_in_pool_and_table() -> None:
    stage = Stage((pool(network="10.0.0.0/16"),))
    for _ in range(300):
        stage.say(releases(stage.serve()))
        stage.wait(SECOND)
    home = stage.pools["home"].pool
    assert max(len(home._free), len(home._former), len(home._had)) == 1
    assert len(stage.table._resting) <= 16
    assert (len(stage.table), stage.held, stage.disk.records) == (0, 0, {})


# ---- time -------------------------------------------------------------------------------


def test_a_lease_that_nobody_renews_ends_a_little_after_its_time() -> None:
    stage = Stage()
    mine = stage.serve()
    stage.wait(HOUR + LEASE_GRACE - 1)
    assert stage.uses(mine)
    stage.wait(1)
    assert not stage.uses(mine)
    stage.wait(IN_FLIGHT)
    assert stage.engine.counts.closed == {"lease-expired": 1}


def test_who_sends_packets_is_not_idle_and_who_only_renews_is() -> None:
    """The data plane saw them: nobody told the process."""
    stage = Stage((pool(lease="10m"),))
    mine = stage.serve()
    (session,) = stage.table
    assert session.service is not None
    assert stage.engine.change(session.id, replace(session.service, idle_timeout=Ns(20 * MINUTE)), stage.clock.boot())
    for _ in range(8):
        stage.wait(5 * MINUTE)
        stage.plane._seen[session.id] = stage.clock.boot()
        assert stage.plane.renews(Client(LINE, A).key, mine, stage.clock.boot()) is not None
    for _ in range(3):
        stage.wait(5 * MINUTE)
        assert stage.plane.renews(Client(LINE, A).key, mine, stage.clock.boot()) is not None
    stage.wait(5 * MINUTE + SECOND)
    assert stage.engine.counts.closed == {"idle-timeout": 1}


def test_a_lease_that_the_data_plane_renews_goes_on_though_nobody_told_the_process() -> None:
    stage = Stage()
    mine = stage.serve()
    for _ in range(5):
        stage.wait(HOUR // 2)
        assert stage.plane.renews(Client(LINE, A).key, mine, stage.clock.boot()) is not None
    stage.wait(HOUR)
    assert stage.uses(mine)
    stage.wait(LEASE_GRACE + IN_FLIGHT)
    assert len(stage.table) == 0


class InFlight(Plane):
    """A data plane in which a renewal has just found its row when the keys are taken away."""

    def remove(self, ids: Iterable[int], now: BootNs) -> None:
        ids = list(ids)
        for id_ in ids:
            row = self.rows[id_]
            if row.key is not None:
                self.renews(row.key, row.host[1], now)
        super().remove(ids, now)


def test_a_renewal_in_flight_while_the_lease_ends_brings_its_session_back() -> None:
    stage = Stage(plane=InFlight(16))
    mine = stage.serve()
    stage.wait(HOUR + LEASE_GRACE)
    assert not stage.uses(mine)
    stage.wait(IN_FLIGHT)
    assert stage.uses(mine)
    assert stage.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE
    assert stage.engine.counts.opened == 1
    assert stage.engine.counts.closed == {"no-address": 1}, "which is the other client"
    stage.wait(HOUR - MINUTE)
    assert answers(stage.say(requests(mine))) == [Answer.CONFIRM]


def test_an_operators_word_counts_more_than_a_renewal_in_flight() -> None:
    stage = Stage(plane=InFlight(16))
    stage.serve()
    session = stage.find()
    assert session is not None
    stage.engine.clear(session.id, CloseCause.ADMIN_RESET, stage.clock.boot())
    stage.wait(IN_FLIGHT)
    assert (len(stage.table), stage.held, stage.disk.records) == (0, 0, {})


def test_a_renewal_of_an_earlier_holder_of_the_id_keeps_nobody_alive() -> None:
    stage = Stage(sessions=1)
    mine = stage.serve(A)
    stage.wait(HOUR // 2)
    stage.plane.renews(Client(LINE, A).key, mine, stage.clock.boot())
    stage.say(releases(mine))
    stage.wait(2 * SECOND)
    stage.serve(B)
    stage.wait(HOUR + LEASE_GRACE + IN_FLIGHT)
    assert len(stage.table) == 0


def test_more_deadlines_than_fit_into_a_turn_are_all_taken() -> None:
    stage = Stage((pool(network="10.0.0.0/16"),), sessions=2000, rows=2000, clients=2000)
    stage.say(*(discovers(Mac(b"\2\0\0\0" + number.to_bytes(2, "big"))) for number in range(1200)))
    assert len(stage.table) == 1200
    stage.wait(OFFER_HOLD)
    assert len(stage.table) == 0


# ---- a disk that fails ------------------------------------------------------------------


def test_while_the_disk_fails_newcomers_are_turned_away_and_everyone_else_is_served() -> None:
    stage = Stage((pool(promise="2h"),))
    mine = stage.serve(A)
    stage.disk.failing = True
    stage.say(discovers(B))
    stage.say(requests(address("3"), B))
    assert stage.written() == []
    assert stage.find(B) is not None, "its address stays taken until its end is on disk"
    stage.wait(HOUR // 2)
    (renewed,) = stage.say(requests(mine))
    assert renewed.remaining == HOUR, "inside the promise no disk is needed"
    stage.wait(HOUR - MINUTE)
    assert stage.say(requests(mine)) == []
    (renewed,) = stage.written()
    assert (renewed.answer, renewed.remaining) == (Answer.CONFIRM, HOUR // 2 + MINUTE), "what the promise still covers"
    stage.disk.failing = False
    stage.wait(STORE_RETRY)
    assert stage.find(B) is None
    assert stage.engine.counts.closed == {"store-failed": 1}
    stage.say(requests(mine))
    assert stage.written()[0].remaining == HOUR
    assert stage.serve(B) == address("3")


def test_the_end_of_a_promise_is_the_end_when_the_disk_never_comes_back() -> None:
    stage = Stage((pool(promise="1h"),))
    mine = stage.serve(A)
    stage.disk.failing = True
    stage.wait(HOUR - SECOND // 2)
    stage.say(requests(mine))
    assert stage.written() == [], "nobody is told of a lease of no time"
    stage.wait(SECOND // 2)
    assert not stage.uses(mine)
    stage.wait(MINUTE)
    assert stage.held == 1, "not free before its end is durable"
    stage.disk.failing = False
    stage.wait(STORE_RETRY)
    assert stage.held == 0


def test_a_release_while_the_disk_fails_frees_the_address_once_it_works_again() -> None:
    stage = Stage()
    mine = stage.serve()
    stage.disk.failing = True
    stage.say(releases(mine))
    stage.wait(10 * MINUTE)
    assert stage.held == 1
    stage.disk.failing = False
    stage.wait(STORE_RETRY)
    assert stage.held == 0


def test_who_comes_back_after_a_reboot_to_a_failing_disk_keeps_its_address() -> None:
    stage = Stage()
    mine = stage.serve(A)
    after = stage.reboot(in_1970=True)
    after.disk.failing = True
    after.say(requests(mine, A))
    assert after.written() == []
    after.disk.failing = False
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE
    after.say(requests(mine, A))
    assert answers(after.written()) == [Answer.CONFIRM]


def test_a_client_whose_end_never_reached_the_disk_is_back_after_a_restart_and_shares_its_address_with_nobody() -> None:
    stage = Stage(clients=1)
    first = stage.serve(A)
    stage.wait(SILENT + SECOND)
    stage.disk.failing = True
    stage.say(discovers(B))
    stage.wait(SECOND)
    stage.disk.failing = False
    stage.say(requests(address("3"), B))
    assert answers(stage.written()) == [Answer.CONFIRM]
    assert not stage.uses(first, A), "it made room"
    after = stage.restart(clients=1)
    assert after.uses(first, A), "one more than the line's limit, until its promise ends"
    assert after.uses(address("3"), B)
    assert after.say(requests(first, C, SOMEWHERE))[0].answer is Answer.REFUSE


# ---- restarts and configuration ---------------------------------------------------------


def test_a_restart_is_not_noticed_by_anybody() -> None:
    stage = Stage()
    mine = stage.serve()
    after = stage.restart()
    assert after.uses(mine)
    assert answers(after.say(requests(mine))) == [Answer.CONFIRM]
    assert after.engine.counts.opened == 0


def test_what_was_killed_before_it_was_durable_was_never_told() -> None:
    stage = Stage()
    stage.say(discovers())
    stage.say(requests(address("2")))
    stage.records.lose(0)
    after = stage.restart()
    assert (len(after.table), after.plane.rows, after.held) == (0, {}, 0)


def test_what_was_durable_and_not_told_is_held_until_the_client_asks_again() -> None:
    stage = Stage()
    stage.say(discovers())
    stage.say(requests(address("2")))
    stage.records.lose(1)
    after = stage.restart()
    assert after.say(requests(address("2"), B))[0].answer is Answer.REFUSE
    assert answers(after.say(requests(address("2"), A))) == [Answer.CONFIRM]


def test_a_session_whose_pool_is_gone_ends() -> None:
    stage = Stage()
    mine = stage.serve()
    after = stage.restart(pool(name="other", network="10.0.1.0/24", gateway="10.0.1.1"))
    assert not after.uses(mine)
    after.wait(SECOND)
    assert (len(after.table), after.disk.records) == (0, {})


@pytest.mark.parametrize(
    "changes",
    [{"network": "10.0.0.8/29", "gateway": "10.0.0.9"}, {"gateway": "10.0.0.2"}],
    ids=["moved", "taken by the gateway"],
)
def test_a_session_whose_address_the_pool_no_longer_has_ends(changes: dict[str, Any]) -> None:
    stage = Stage()
    mine = stage.serve()
    assert mine == address("2")
    after = stage.restart(pool(**changes))
    assert not after.uses(mine)
    after.wait(SECOND)
    assert (len(after.table), after.disk.records, after.held) == (0, {}, 0)


def test_a_session_whose_tenant_is_gone_ends() -> None:
    stage = Stage()
    stage.serve()
    after = stage.restart(tenants=("other",))
    after.wait(SECOND)
    assert (len(after.table), after.disk.records, after.held) == (0, {}, 0)


TWO = (pool(), pool(name="other", network="10.0.1.0/24", gateway="10.0.1.1"))
NO_LONGER = {
    "blocked": Subscriber(name="house", line=LINE, blocked=True),
    "of another tenant": Subscriber(name="house", line=LINE, tenant="other"),
}
MOVED = {
    "of another pool": (Subscriber(name="house", line=LINE, pool="other"), IPv4Address("10.0.1.2")),
    "with another address": (Subscriber(name="house", line=LINE, address=address("5")), address("5")),
}
ANEW = [lambda stage, **changes: stage.restart(*TWO, **changes), lambda stage, **changes: stage.reload(*TWO, **changes)]


@pytest.mark.parametrize("anew", ANEW, ids=["restart", "reload"])
@pytest.mark.parametrize("entry", NO_LONGER.values(), ids=NO_LONGER.keys())
def test_a_client_that_would_be_granted_nothing_today_ends(entry: Subscriber, anew: Callable[..., Stage]) -> None:
    stage = Stage(TWO)
    mine, others = stage.serve(A), stage.serve(B, SOMEWHERE)
    after = anew(stage, subscribers=(entry,))
    assert not after.uses(mine, A)
    assert after.uses(others, B, SOMEWHERE)
    after.wait(SECOND)
    assert after.engine.counts.closed == {"reconfigured": 1}
    assert (len(after.table), len(after.disk.records), after.held) == (1, 1, 1)


@pytest.mark.parametrize("anew", ANEW, ids=["restart", "reload"])
@pytest.mark.parametrize("how", ["asks to keep it", "looks around"])
@pytest.mark.parametrize("who", MOVED)
def test_a_client_that_would_get_another_address_today_gets_it_when_it_asks_next(
    who: str, how: str, anew: Callable[..., Stage]
) -> None:
    entry, theirs = MOVED[who]
    stage = Stage(TWO)
    mine = stage.serve(A)
    after = anew(stage, subscribers=(entry,))
    assert after.uses(mine, A), "until then it is served as before"
    if how == "asks to keep it":
        assert answers(after.say(requests(mine))) == [Answer.REFUSE]
    else:
        assert after.say(discovers()) == [], "it asks again"
    assert not after.uses(mine, A)
    after.wait(SECOND)
    assert after.engine.counts.closed == {"reconfigured": 1}
    assert after.serve(A) == theirs
    assert after.held == 1


# ---- another configuration, while it runs -----------------------------------------------


def test_a_session_goes_on_under_a_changed_pool_and_its_row_is_written_anew() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.reload(pool(network="10.0.0.0/28", promise="48h"))
    session = stage.find(A)
    assert session is not None
    assert session.lease is not None
    assert (session.lease.subnet.network.prefixlen, session.lease.horizon) == (28, 2 * DAY)
    assert stage.plane.rows[session.id].session == session
    assert stage.engine.rewritten == 1
    assert stage.engine.reviewed == {Outcome.KEPT: 1}
    assert stage.uses(mine, A)


def test_a_reload_that_changes_nothing_for_a_session_writes_nothing() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.say(requests(mine))
    stage.plane.repair(list(stage.table), stage.clock.boot())
    before = stage.find(A)
    stage.reload(pool())
    assert stage.find(A) == before
    assert stage.engine.rewritten == 0


def test_a_longer_lease_is_on_disk_before_anybody_is_told_of_it_also_after_a_reload() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.reload(pool(lease="2h"))
    session = stage.find(A)
    assert session is not None
    assert session.lease is not None
    assert (session.lease.duration, session.lease.longer) == (HOUR, 2 * HOUR)
    assert stage.say(requests(mine)) == []
    (renewed,) = stage.written()
    assert renewed.remaining == 2 * HOUR


def test_a_shorter_lease_counts_from_the_next_renewal_and_cuts_nothing_that_the_kernel_has_told() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.wait(HOUR // 2)
    assert stage.plane.renews(Client(LINE, A).key, mine, stage.clock.boot()), "for an hour, and Python does not know"
    stage.reload(pool(lease="60s"))
    stage.wait(HOUR - SECOND)
    assert stage.uses(mine, A)
    assert stage.say(requests(mine, B))[0].answer is Answer.REFUSE
    assert stage.say(requests(mine))[0].remaining == MINUTE


def test_terms_that_change_while_a_lease_is_on_its_way_to_the_disk_wait_for_it() -> None:
    stage = Stage()
    (offer,) = stage.say(discovers())
    assert offer.lease is not None
    stage.say(requests(offer.lease.address))
    stage.engine.reconfigure(*stage.terms((pool(lease="2h"),), ()))
    assert stage.engine.review(stage.clock.boot()) == 1, "it is asked again later"
    (confirmed,) = stage.written()
    assert confirmed.remaining == HOUR, "what is on disk"
    assert stage.engine.review(stage.clock.boot()) == 0
    session = stage.find(A)
    assert session is not None
    assert session.lease is not None
    assert session.lease.longer == 2 * HOUR


def test_no_session_acts_under_terms_of_before() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.engine.reconfigure(*stage.terms((pool(name="new", network="10.0.1.0/24", gateway="10.0.1.1"),), ()))
    assert stage.say(requests(mine)) == [], "its pool is gone: it has ended, and asks anew"
    assert not stage.uses(mine, A)


def test_a_pool_by_another_name_is_the_same_addresses() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.reload(pool(name="new"))
    assert stage.uses(mine, A)
    session = stage.find(A)
    assert session is not None
    assert session.lease is not None
    assert session.lease.pool == "new"
    assert stage.held == 1
    after = stage.restart(pool(name="new"))
    assert after.uses(mine, A)


def test_what_a_pool_remembers_goes_on() -> None:
    stage = Stage(clients=8)
    stage.serve(A)
    theirs = stage.serve(B)
    gone = stage.serve(C)
    stage.say(declines(gone, C))
    stage.say(releases(theirs, B))
    stage.wait(SECOND)
    stage.reload(pool(network="10.0.0.0/28"))
    assert stage.pools["home"].pool.quarantined == 1
    assert stage.serve(C) not in (gone, theirs)
    assert stage.serve(B) == theirs


@pytest.mark.parametrize(
    "changes",
    [
        {"exclude": ["10.0.0.2"]},
        {"reservations": [{"address": "10.0.0.2", "mac": str(C)}]},
        {"reservations": [{"address": "10.0.0.6", "mac": str(A)}]},
    ],
    ids=["excluded", "reserved for another", "another is reserved"],
)
def test_an_address_that_is_not_for_its_holder_any_more_is_kept_until_it_asks(changes: dict[str, Any]) -> None:
    stage = Stage()
    mine = stage.serve(A)
    assert mine == address("2")
    stage.reload(pool(**changes))
    assert stage.uses(mine, A)
    assert answers(stage.say(requests(mine))) == [Answer.REFUSE]
    stage.wait(SECOND)
    assert stage.serve(A) != mine


def test_a_move_that_is_taken_back_moves_nobody() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.reload(pool(exclude=["10.0.0.2"]))
    stage.reload(pool())
    assert answers(stage.say(requests(mine))) == [Answer.CONFIRM]


def test_an_offer_of_another_address_is_taken_back() -> None:
    stage = Stage()
    (offer,) = stage.say(discovers())
    assert offer.lease is not None
    stage.reload(pool(exclude=["10.0.0.2"]))
    assert stage.held == 0
    assert stage.serve(A) == address("3")


def test_rows_that_find_no_room_are_written_later() -> None:
    stage = Stage()
    stage.serve(A)
    stage.engine.reconfigure(*stage.terms((pool(promise="48h"),), ()))

    def full(*_: object) -> int:
        raise PlaneFull("no room")

    refresh, stage.plane.refresh = stage.plane.refresh, full  # type: ignore[method-assign]
    assert stage.engine.review(stage.clock.boot()) == 1
    stage.plane.refresh = refresh  # type: ignore[method-assign]
    assert stage.engine.review(stage.clock.boot()) == 0
    assert stage.engine.rewritten == 1
    assert +stage.engine.reviewed == {Outcome.KEPT: 1}, "once"


def test_a_client_that_keeps_its_address_at_a_restart_gets_what_goes_with_it_today() -> None:
    stage = Stage()
    mine = stage.serve()
    after = stage.restart(subscribers=(Subscriber(name="house", line=LINE, address=mine, limit=3, antispoof=False),))
    session = after.find()
    assert session is not None
    assert session.service is not None
    assert (session.service.subscriber, session.service.limit, session.service.antispoof) == ("house", 3, False)
    assert after.uses(mine)


def test_changed_terms_count_from_the_next_renewal() -> None:
    stage = Stage()
    mine = stage.serve()
    after = stage.restart(pool(lease="2h", promise="48h", network="10.0.0.0/28"))
    assert after.say(requests(mine)) == [], "a longer lease is on disk before anybody is told of it"
    (renewed,) = after.written()
    assert renewed.remaining == 2 * HOUR
    assert renewed.lease is not None
    assert renewed.lease.subnet.network.prefixlen == 28
    (record,) = after.disk.records.values()
    assert record.promise_boot == after.clock.now + 2 * DAY
    assert answers(after.say(requests(mine))) == [Answer.CONFIRM], "once"


def test_while_the_disk_fails_a_longer_lease_is_not_told() -> None:
    stage = Stage()
    mine = stage.serve()
    after = stage.restart(pool(lease="2h"))
    after.disk.failing = True
    after.say(requests(mine))
    assert after.written()[0].remaining == HOUR


def test_a_shorter_lease_does_not_cut_what_was_promised() -> None:
    stage = Stage()
    mine = stage.serve(A)
    after = stage.restart(pool(lease="60s", promise="60s"))
    after.wait(HOUR - SECOND)
    assert after.uses(mine)
    assert after.say(requests(mine, B))[0].answer is Answer.REFUSE


def test_a_lease_that_was_longer_for_a_while_is_kept_though_it_is_short_again() -> None:
    stage = Stage()
    mine = stage.serve(A)
    between = stage.restart(pool(lease="2h"))
    between.say(requests(mine))
    assert between.written()[0].remaining == 2 * HOUR
    after = between.restart()
    after.wait(2 * HOUR - SECOND)
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE


def test_after_a_restart_an_address_is_kept_for_a_lease_not_for_the_whole_promise() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.wait(HOUR // 2)
    after = stage.restart()
    after.wait(HOUR + LEASE_GRACE - 1)
    assert after.uses(mine), "its client may have renewed a moment before"
    after.wait(1 + IN_FLIGHT)
    assert after.engine.counts.closed == {"lease-expired": 1}
    assert after.held == 0


def test_a_renewal_after_a_restart_counts_from_then() -> None:
    stage = Stage()
    mine = stage.serve(A)
    after = stage.restart()
    after.wait(HOUR // 2)
    after.say(requests(mine))
    after.wait(HOUR // 2)
    assert after.plane.renews(Client(LINE, A).key, mine, after.clock.boot()) is not None
    after.wait(HOUR)
    assert after.uses(mine)
    after.wait(LEASE_GRACE + IN_FLIGHT)
    assert after.held == 0


def test_what_the_data_plane_renewed_while_the_process_was_dead_is_kept() -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.clock.wait(5 * HOUR)
    stage.plane.renews(Client(LINE, A).key, mine, stage.clock.boot())
    after = stage.restart()
    after.wait(HOUR - 1)
    assert after.uses(mine)
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE


def test_a_smaller_table_gives_out_no_id_beyond_its_end() -> None:
    stage = Stage((pool(network="10.0.0.0/24"),))
    macs = [Mac(bytes((2, 0, 0, 0, 1, number))) for number in range(6)]
    leases = [stage.serve(mac) for mac in macs[:4]]
    for mac, mine in zip(macs[:3], leases[:3], strict=True):
        stage.say(releases(mine, mac))
    stage.wait(SECOND)
    after = stage.restart(pool(network="10.0.0.0/24"), sessions=2)
    after.wait(2 * SECOND)
    after.say(*(discovers(mac) for mac in macs))
    assert sorted(session.id for session in after.table) == [0, 1, 3], "the data plane counts under fewer ids now"
    assert after.find(macs[3]) is not None
    after.say(releases(leases[3], macs[3]))
    after.wait(5 * SECOND)
    assert after.say(discovers(macs[5])) == []


def test_an_operators_word_is_final() -> None:
    stage = Stage()
    mine = stage.serve()
    session = stage.find()
    assert session is not None
    assert stage.engine.clear(session.id, CloseCause.ADMIN_RESET, stage.clock.boot())
    assert not stage.engine.clear(15, CloseCause.ADMIN_RESET, stage.clock.boot())
    assert not stage.uses(mine)
    assert stage.say(requests(mine)) == [], "not while its end is on its way"
    stage.wait(SECOND)
    stage.say(requests(mine))
    assert answers(stage.written()) == [Answer.CONFIRM], "who may come back gets back what it had"


# ---- 1970 -------------------------------------------------------------------------------


@pytest.mark.parametrize(("off", "left"), [(3 * HOUR, HOUR), (23 * HOUR + HOUR // 2, HOUR // 2 - 10 * SECOND)])
def test_after_a_reboot_a_lease_or_what_is_left_of_the_promise_counts_on_though_all_tables_are_empty(
    off: int, left: int
) -> None:
    stage = Stage()
    mine = stage.serve(A)
    stage.clock.wait(10 * SECOND)
    after = stage.reboot(off=off)
    assert after.uses(mine)
    after.wait(left - SECOND)
    assert after.uses(mine)
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE
    after.wait(SECOND + LEASE_GRACE + IN_FLIGHT)
    assert answers(after.say(requests(mine, B, SOMEWHERE)) or after.written()) == [Answer.CONFIRM]


def test_while_the_clock_says_1970_no_second_client_gets_an_address_and_its_own_gets_it_at_once() -> None:
    small = pool(network="10.0.0.0/30")
    stage = Stage((small,))
    mine = stage.serve(A)
    after = stage.reboot(small, off=100 * DAY, in_1970=True)
    after.wait(30 * DAY)
    assert after.say(discovers(B, SOMEWHERE)) == []
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE
    assert not after.uses(mine), "nobody knows whether its promise stands"
    (offer,) = after.say(discovers(A))
    assert (offer.answer, offer.remaining) == (Answer.OFFER, HOUR)
    after.say(requests(mine, A))
    assert after.written()[0].remaining == HOUR
    assert after.uses(mine)


def test_once_the_clock_is_set_what_still_stands_is_installed_and_the_rest_is_freed() -> None:
    stage = Stage((pool(),))
    gone = stage.serve(A)
    stage.wait(HOUR - SECOND)
    standing = stage.serve(B, SOMEWHERE)
    after = stage.reboot(off=23 * HOUR + MINUTE, in_1970=True)
    assert after.recovery.settle() == [], "not while it is 1970"
    after.clock.wall = UtcNs(stage.clock.wall + 23 * HOUR + MINUTE)
    after.plane.install(after.recovery.settle(), after.clock.boot())
    assert after.uses(standing, B, SOMEWHERE)
    after.wait(10 * SECOND)
    assert after.find(A) is None
    assert answers(after.say(requests(gone, C)) or after.written()) == [Answer.CONFIRM]
    after.wait(HOUR - 2 * MINUTE)
    assert after.uses(standing, B, SOMEWHERE)
    after.wait(2 * MINUTE)
    assert after.find(B, SOMEWHERE) is None


def test_when_the_clock_is_set_late_an_address_is_still_kept_for_a_lease_only() -> None:
    stage = Stage()
    mine = stage.serve(A)
    after = stage.reboot(pool(lease="10m"), in_1970=True)
    after.clock.wall = UtcNs(stage.clock.wall + HOUR)
    after.plane.install(after.recovery.settle(), after.clock.boot())
    after.wait(HOUR - 1)
    assert after.uses(mine), "it was told of an hour, whatever is told today"
    after.wait(1 + LEASE_GRACE + IN_FLIGHT)
    assert after.find(A) is None


def test_a_promise_is_settled_though_its_client_is_just_coming_back_to_a_failing_disk() -> None:
    stage = Stage()
    mine = stage.serve(A)
    after = stage.reboot(in_1970=True)
    after.disk.failing = True
    after.say(requests(mine, A))
    after.clock.wall = UtcNs(stage.clock.wall + MINUTE)
    assert after.recovery.settle() == [], "its new promise is on its way"
    assert after.written() == []
    (known,) = after.recovery.settle()
    assert known.lease is not None
    assert known.lease.promise_until - after.clock.now == DAY - MINUTE
    assert known.deadline - after.clock.now == HOUR + LEASE_GRACE
    after.plane.install([known], after.clock.boot())
    assert after.uses(mine)
    assert not after.recovery.unknown


def test_a_lease_given_in_1970_is_held_in_full_after_the_next_reboot() -> None:
    first = Stage(clock=FakeClock().reboot(in_1970=True))
    mine = first.serve(A)
    after = Stage(clock=FakeClock(), disk=first.disk)
    after.wait(HOUR - SECOND)
    assert after.say(requests(mine, B))[0].answer is Answer.REFUSE
    assert after.uses(mine, A)


def test_a_declining_client_after_a_restart_still_ends_its_session() -> None:
    stage = Stage()
    mine = stage.serve()
    after = stage.restart()
    after.say(declines(mine))
    after.wait(SECOND)
    assert (len(after.table), after.pools["home"].pool.quarantined) == (0, 1)


def test_a_line_that_declines_everything_cannot_put_a_whole_pool_into_quarantine() -> None:
    stage = Stage((pool(network="10.0.0.0/24"),))
    for _ in range(50):
        mine = stage.serve()
        stage.say(declines(mine))
        stage.wait(SECOND)
    (terms,) = stage.pools.values()
    assert terms.pool.quarantined == 4
    assert stage.engine.counts.refused["declines-too-often"] == 46
    stage.wait(601 * SECOND)
    stage.say(declines(stage.serve()))
    stage.wait(SECOND)
    assert stage.engine.counts.refused["declines-too-often"] == 46


def test_a_port_that_is_no_longer_configured_ends_its_sessions_at_a_restart() -> None:
    stage = Stage()
    stage.serve()
    after = stage.restart(ports=(2,))
    after.wait(SECOND)
    assert (len(after.table), after.disk.records, after.held) == (0, {}, 0)


def test_a_shorter_promise_does_not_cut_a_lease_whose_client_did_not_hear_the_answer() -> None:
    """Told four hours; under shorter terms its renewal is recorded, and lost with the power."""
    stage = Stage((pool(lease="4h", promise="8h"),))
    mine = stage.serve(A)
    between = stage.restart(pool(lease="10m", promise="20m"))
    between.say(requests(mine, encapsulation=b"moved"))
    between.written()
    after = between.reboot(pool(lease="10m", promise="20m"), in_1970=True)
    after.wait(21 * MINUTE)
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE, "it may use it for hours yet"


def test_a_record_made_under_shorter_terms_still_says_how_long_the_client_was_told() -> None:
    stage = Stage((pool(lease="4h", promise="4h"),))
    mine = stage.serve(A)
    between = stage.restart(pool(lease="10m", promise="8h"))
    between.wait(5 * MINUTE)
    between.say(requests(mine))
    between.written()
    after = between.restart(pool(lease="10m", promise="8h"))
    after.wait(3 * HOUR)
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE


def test_a_lease_that_was_told_before_a_reboot_outlives_a_shorter_promise_though_the_clock_says_1970() -> None:
    """Nobody knows its old promise, only for how long it may have been told: a new one is for no less."""
    stage = Stage((pool(lease="4h", promise="8h"),))
    mine = stage.serve(A)
    short = pool(lease="10m", promise="20m")
    between = stage.reboot(short, in_1970=True)
    between.say(requests(mine))
    between.written()
    after = between.reboot(short, in_1970=True)
    between.wait(21 * MINUTE)
    assert between.uses(mine), "it may not have heard the answer"
    after.wait(21 * MINUTE)
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE


def test_a_slow_start_counts_no_lease_for_longer_than_its_promise() -> None:
    stage = Stage((pool(lease="1h", promise="1h"),))
    mine = stage.serve(A)
    stage.clock.wait(50 * MINUTE)
    after = stage.restart(pool(lease="1h", promise="1h"), meanwhile=lambda: stage.clock.wait(5 * MINUTE))
    after.wait(5 * MINUTE + LEASE_GRACE + IN_FLIGHT)
    assert after.held == 0, "past its promise it is neither forwarded nor renewed"
    assert not after.uses(mine)


def test_what_the_data_plane_of_before_renews_while_a_process_starts_counts_under_the_terms_of_before() -> None:
    stage = Stage((pool(lease="1h"),))
    mine = stage.serve(A)
    begun = stage.clock.boot()
    renewed: list[object] = []

    def meanwhile() -> None:
        stage.clock.wait(5 * MINUTE)
        renewed.append(stage.plane.renews(Client(LINE, A).key, mine, stage.clock.boot()))

    after = stage.restart(pool(lease="10m"), meanwhile=meanwhile)
    assert renewed != [None]
    after.wait(begun + 5 * MINUTE + HOUR - after.clock.boot())
    assert after.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE
    after.wait(LEASE_GRACE + IN_FLIGHT)
    assert after.held == 0


def test_an_operators_word_while_keys_are_removed_keeps_a_renewal_in_flight_from_bringing_the_session_back() -> None:
    stage = Stage()
    mine = stage.serve()
    stage.say(releases(mine))
    session = stage.find()
    assert session is not None
    stage.engine.clear(session.id, CloseCause.ADMIN_RESET, stage.clock.boot())
    stage.plane._renewed[session.id] = BootNs(stage.clock.boot() + 1)
    stage.wait(SECOND)
    assert stage.held == 0
    assert stage.engine.counts.closed == {"admin-reset": 1}


def test_a_declined_address_rests_whatever_an_operator_says_meanwhile() -> None:
    stage = Stage()
    mine = stage.serve()
    stage.say(declines(mine))
    session = stage.find()
    assert session is not None
    stage.engine.clear(session.id, CloseCause.ADMIN_RESET, stage.clock.boot())
    stage.wait(SECOND)
    assert stage.say(requests(mine, B))[0].answer is Answer.REFUSE
    assert stage.engine.counts.closed["declined"] == 1


def test_a_session_that_is_brought_back_to_a_full_data_plane_keeps_its_address() -> None:
    stage = Stage(rows=1)
    mine = stage.serve()
    session = stage.find()
    assert session is not None
    stage.say(releases(mine))
    stage.plane._renewed[session.id] = BootNs(stage.clock.boot() + 1)
    stage.plane.capacity = 0
    stage.wait(SECOND)
    assert not stage.uses(mine)
    assert stage.say(requests(mine, B, SOMEWHERE))[0].answer is Answer.REFUSE, "it was told that it has it"
    stage.plane.capacity = 1
    stage.say(requests(mine))
    assert answers(stage.written()) == [Answer.CONFIRM]
    assert stage.uses(mine)
    assert stage.engine.counts.opened == 1
