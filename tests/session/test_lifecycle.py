"""The life of a session: each way up and down, and every event in every phase."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from msgspec.structs import replace

from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session import lifecycle as life
from wayleave.session.lifecycle import Answer, Reply, advance, begin
from wayleave.session.model import (
    IN_FLIGHT,
    LEASE_GRACE,
    NEVER,
    OFFER_HOLD,
    STORE_RETRY,
    Client,
    CloseCause,
    Lease,
    Line,
    Link,
    Phase,
    Service,
    Session,
    Subnet,
)
from wayleave.session.refusal import Reason, Refusal

NOW = BootNs(1_000 * SECOND)
HOUR, DAY = Ns(3600 * SECOND), Ns(86400 * SECOND)
NETWORK = IPv4Network("10.0.0.0/24")
ADDRESS, OTHER = NETWORK[50], NETWORK[51]
CLIENT = Client(Line(1, 100, 1), Mac(b"\2\0\0\0\0\1"))
SERVICE = Service(tenant="default", pool="p")
LEASE = Lease(ADDRESS, "p", Subnet(NETWORK, NETWORK[1]), HOUR, DAY)


def no(why: str) -> Refusal:
    return Refusal(Reason.BLOCKED, why)


def discovered(ask: str = "discover", **more: Any) -> life.Discovered:
    return life.Discovered(client=CLIENT, ask=ask, encapsulation=b"l2", **more)


def requested(address: IPv4Address = ADDRESS, ask: str = "request", **more: Any) -> life.Requested:
    return life.Requested(
        client=CLIENT, ask=ask, encapsulation=more.pop("encapsulation", b"l2"), address=address, **more
    )


def at(phase: Phase) -> Session:
    """A session as it stands in `phase`, brought there by its own events."""
    session, _ = begin(7, discovered(), NOW)
    for name, event in (
        (Phase.ALLOCATING, life.Granted(SERVICE)),
        (Phase.OFFERED, life.Allocated(LEASE)),
        (Phase.RECORDING, requested()),
        (Phase.INSTALLING, life.Recorded()),
        (Phase.ACTIVE, life.Installed()),
        (Phase.REMOVING, life.Released(ADDRESS)),
        (Phase.FORGETTING, life.Due()),
        (Phase.CLOSED, life.Forgotten()),
    ):
        if session.phase is phase:
            break
        session, _ = advance(session, event, _when(session))
        assert session.phase is name
    assert session.phase is phase
    return session


def _when(session: Session) -> BootNs:
    return session.deadline if session.phase is Phase.REMOVING else NOW


def effects(step: life.Step) -> list[object]:
    return list(step[1])


def test_authorization_comes_before_any_address_and_an_address_before_any_offer() -> None:
    session, first = begin(7, discovered(wanted=OTHER), NOW)
    assert first == (life.Authorize(),)
    session, second = advance(session, life.Granted(SERVICE), NOW)
    assert second == (life.Allocate(OTHER, False),)
    session, third = advance(session, life.Allocated(LEASE), NOW)
    assert third == (Reply("discover", Answer.OFFER, LEASE, HOUR),)
    assert session.deadline == NOW + OFFER_HOLD


def test_a_static_address_is_what_is_allocated_whatever_the_client_wants() -> None:
    session, _ = begin(7, discovered(wanted=OTHER), NOW)
    assert effects(advance(session, life.Granted(replace(SERVICE, address=ADDRESS)), NOW)) == [
        life.Allocate(ADDRESS, False)
    ]


def test_the_confirmation_leaves_after_the_lease_is_durable_and_the_row_installed() -> None:
    session, asked = advance(at(Phase.OFFERED), requested(), NOW)
    assert asked == (life.Record(BootNs(NOW + DAY)),), "nothing is said yet"
    assert session.lease is not None
    assert session.lease.promise_until == NEVER, "a promise stands only once it is on disk"
    session, recorded = advance(session, life.Recorded(), NOW)
    assert recorded == (life.Install(),)
    session, installed = advance(session, life.Installed(), NOW)
    assert session.lease is not None
    assert session.lease.promise_until == NOW + DAY
    assert installed == (Reply("request", Answer.CONFIRM, session.lease, HOUR),)
    assert session.deadline == NOW + HOUR + LEASE_GRACE


def test_a_renewal_within_the_promise_touches_neither_disk_nor_maps() -> None:
    later = BootNs(NOW + HOUR // 2)
    session, said = advance(at(Phase.ACTIVE), requested(ask="renew"), later)
    assert said == (Reply("renew", Answer.CONFIRM, session.lease, HOUR),)
    assert session.leased_until == later + HOUR


def test_a_renewal_past_the_promise_is_recorded_first() -> None:
    later = BootNs(NOW + DAY - HOUR + 1)
    session = replace(at(Phase.ACTIVE), leased_until=BootNs(later + 1))
    session, said = advance(session, requested(), later)
    assert said == (life.Record(BootNs(later + DAY)),)
    session, said = advance(session, life.RecordFailed(no("disk full")), later)
    assert said == (life.Install(),), "the row is written all the same: it may look different"
    session, _ = advance(session, life.Installed(), later)
    assert session.phase is Phase.ACTIVE, "who is served keeps what the last promise covers"
    assert session.leased_until == later + HOUR - 1


def test_a_newcomer_whose_lease_cannot_be_recorded_is_turned_away_and_its_address_freed_later() -> None:
    session, said = advance(at(Phase.RECORDING), life.RecordFailed(no("disk full")), NOW)
    assert (session.phase, session.cause, said) == (Phase.FORGETTING, CloseCause.STORE_FAILED, (life.Forget(),))
    session, said = advance(session, life.Forgotten(durable=False), NOW)
    assert (session.deadline, said) == (NOW + STORE_RETRY, ())
    session, said = advance(session, life.Due(), BootNs(NOW + STORE_RETRY))
    assert said == (life.Forget(),)
    assert effects(advance(session, life.Forgotten(), NOW)) == [life.Free(LEASE)]


def test_closing_removes_keys_waits_records_and_only_then_frees_the_address() -> None:
    session, said = advance(at(Phase.ACTIVE), life.Released(ADDRESS), NOW)
    assert (session.phase, said, session.deadline) == (Phase.REMOVING, (life.Uninstall(),), NOW + IN_FLIGHT)
    assert advance(session, life.Due(), BootNs(NOW + IN_FLIGHT - 1)) == (session, ())
    session, said = advance(session, life.Due(), BootNs(NOW + IN_FLIGHT))
    assert (session.phase, said) == (Phase.FORGETTING, (life.Forget(),))
    session, said = advance(session, life.Forgotten(), NOW)
    assert session.phase is Phase.CLOSED
    assert [type(effect) for effect in said] == [life.Free]


def test_a_declined_address_is_freed_into_quarantine() -> None:
    session, _ = advance(at(Phase.ACTIVE), life.Declined(ADDRESS), NOW)
    session, _ = advance(session, life.Due(), session.deadline)
    (free,) = effects(advance(session, life.Forgotten(), NOW))
    assert isinstance(free, life.Free)
    assert free.quarantine


@pytest.mark.parametrize("event", [life.Released(OTHER), life.Declined(OTHER)])
def test_what_somebody_says_of_another_address_changes_nothing(event: life.Event) -> None:
    for phase in (Phase.OFFERED, Phase.ACTIVE):
        assert advance(at(phase), event, NOW) == (at(phase), ())


def test_an_offer_lapses_and_was_never_on_disk() -> None:
    offered = at(Phase.OFFERED)
    assert advance(offered, life.Due(), BootNs(offered.deadline - 1)) == (offered, ())
    session, said = advance(offered, life.Due(), offered.deadline)
    assert (session.phase, session.cause, said) == (Phase.CLOSED, CloseCause.OFFER_LAPSED, (life.Free(LEASE),))


def test_a_lease_ends_unless_the_data_plane_has_renewed_it() -> None:
    active = at(Phase.ACTIVE)
    renewed = BootNs(active.deadline - 10)
    session, said = advance(active, life.Due(renewed), active.deadline)
    assert (session.phase, session.leased_until, said) == (Phase.ACTIVE, renewed + HOUR, ())
    session, said = advance(active, life.Due(), active.deadline)
    assert (session.phase, session.cause, said) == (Phase.REMOVING, CloseCause.LEASE_EXPIRED, (life.Uninstall(),))


def removing(cause: CloseCause) -> Session:
    """A session whose keys are just gone, for `cause`."""
    active = at(Phase.ACTIVE)
    event = life.Due() if cause is CloseCause.LEASE_EXPIRED else life.Cleared(cause)
    session, said = advance(active, event, active.deadline)
    assert (session.phase, session.cause, said) == (Phase.REMOVING, cause, (life.Uninstall(),))
    return session


def confirmed(event: life.Requested) -> Session:
    """Who is served already, and asks in another way."""
    session, _ = advance(at(Phase.ACTIVE), event, NOW)
    session, _ = advance(session, life.Recorded(), NOW)
    return advance(session, life.Installed(), NOW)[0]


@pytest.mark.parametrize("more", [{"agent": b"\1\1b"}, {"form": b"\x37\1\6"}, {"encapsulation": b"other"}])
def test_what_the_rows_say_of_a_request_is_recorded_and_put_there_before_it_is_answered(more: dict[str, bytes]) -> None:
    first = {"agent": b"\1\1a", "form": b"\x37\1\3"}
    session = confirmed(requested(**first))
    assert isinstance(advance(session, requested(**first), NOW)[1][0], Reply), "nothing has changed"
    session, said = advance(session, requested(**first | more), NOW)
    assert (session.phase, said) == (Phase.RECORDING, (life.Record(session.promising),))
    session, said = advance(session, life.Recorded(), NOW)
    assert (session.phase, said) == (Phase.INSTALLING, (life.Install(),))
    name, value = next(iter(more.items()))
    assert getattr(session, name) == value


def test_an_access_node_that_says_nothing_of_a_renewal_takes_nothing_back() -> None:
    session, said = advance(confirmed(requested(agent=b"\1\1a")), requested(), NOW)
    assert session.agent == b"\1\1a"
    assert isinstance(said[0], Reply)


def test_a_lease_that_was_renewed_while_its_keys_were_taken_away_comes_back() -> None:
    session = removing(CloseCause.LEASE_EXPIRED)
    renewed = BootNs(session.deadline - 1)
    session, said = advance(session, life.Due(renewed), session.deadline)
    assert said == (life.Install(),), "its end must not become durable"
    assert (session.phase, session.cause) == (Phase.INSTALLING, None)
    session, said = advance(session, life.Installed(), BootNs(renewed + SECOND))
    assert said == (), "the data plane has told the client already"
    assert session.phase is Phase.ACTIVE
    assert (session.leased_until, session.deadline) == (renewed + HOUR, renewed + HOUR + LEASE_GRACE)


def test_a_lease_that_comes_back_to_full_tables_keeps_its_address() -> None:
    session = removing(CloseCause.LEASE_EXPIRED)
    session, _ = advance(session, life.Due(BootNs(session.deadline - 1)), session.deadline)
    session, said = advance(session, life.InstallFailed(no("full")), NOW)
    assert (session.phase, said) == (Phase.ACTIVE, ())
    session, said = advance(session, requested(), NOW)
    assert isinstance(said[0], life.Record), "its next request tries again"
    assert advance(session, life.Recorded(), NOW)[1] == (life.Install(),)


@pytest.mark.parametrize(
    ("cause", "ago"),
    [(CloseCause.LEASE_EXPIRED, HOUR), (CloseCause.ADMIN_RESET, 1), (CloseCause.DISPLACED, 1)],
    ids=["the renewed lease is over too", "an operator ended it", "it made room"],
)
def test_otherwise_a_session_whose_keys_are_gone_ends_though_it_was_renewed(cause: CloseCause, ago: int) -> None:
    session = removing(cause)
    session, said = advance(session, life.Due(BootNs(session.deadline - ago)), session.deadline)
    assert (session.phase, said) == (Phase.FORGETTING, (life.Forget(),))


def test_asking_for_another_address_than_the_offered_one_is_refused_and_ends_the_offer() -> None:
    session, said = advance(at(Phase.OFFERED), requested(OTHER), NOW)
    assert isinstance(said[0], Reply)
    assert said[0].answer is Answer.REFUSE
    assert said[1:] == (life.Free(LEASE),)
    assert session.phase is Phase.CLOSED


def test_asking_for_another_address_than_the_leased_one_is_refused_and_the_lease_stays() -> None:
    session, said = advance(at(Phase.ACTIVE), requested(OTHER), NOW)
    assert [effect.answer for effect in said if isinstance(effect, Reply)] == [Answer.REFUSE]
    assert session.phase is Phase.ACTIVE


def test_a_client_that_claims_an_address_gets_just_that_or_no() -> None:
    session, _ = begin(7, requested(OTHER), NOW)
    session, said = advance(session, life.Granted(SERVICE), NOW)
    assert said == (life.Allocate(OTHER, True),)
    refused, said = advance(session, life.Exhausted(no("held by another")), NOW)
    assert refused.phase is Phase.CLOSED
    assert [effect.answer for effect in said if isinstance(effect, Reply)] == [Answer.REFUSE]
    taken, said = advance(session, life.Allocated(replace(LEASE, address=OTHER)), NOW)
    assert (taken.phase, said) == (Phase.RECORDING, (life.Record(BootNs(NOW + DAY)),))


def test_a_client_that_only_looks_around_is_refused_in_silence() -> None:
    session, _ = begin(7, discovered(), NOW)
    assert advance(session, life.Denied(no("unknown")), NOW)[1] == ()


def test_the_newest_of_several_requests_is_the_one_that_is_answered() -> None:
    session, said = advance(at(Phase.RECORDING), requested(ask="again"), NOW)
    assert said == ()
    session, _ = advance(session, life.Recorded(), NOW)
    (reply,) = effects(advance(session, life.Installed(), NOW))
    assert isinstance(reply, Reply)
    assert reply.ask == "again"


def test_a_client_that_moved_behind_other_tags_gets_a_fresh_row_before_its_answer() -> None:
    session, _ = advance(at(Phase.ACTIVE), requested(encapsulation=b"elsewhere"), NOW)
    session, said = advance(session, life.Recorded(), NOW)
    assert (session.phase, said) == (Phase.INSTALLING, (life.Install(),))
    assert session.encapsulation == b"elsewhere"


EVENTS: list[life.Event] = [
    discovered(),
    requested(),
    requested(OTHER),
    life.Queried("inform"),
    life.Released(ADDRESS),
    life.Released(OTHER),
    life.Declined(ADDRESS),
    life.Withdrawn(),
    life.Negotiated(Link("alice")),
    life.HungUp(CloseCause.LOST_CARRIER, "silent"),
    life.Changed(SERVICE),
    life.Cleared(CloseCause.ADMIN_RESET),
    life.Due(),
    life.Granted(SERVICE),
    life.Denied(no("no")),
    life.Allocated(LEASE),
    life.Exhausted(no("none")),
    life.Recorded(),
    life.RecordFailed(no("disk")),
    life.Installed(),
    life.InstallFailed(no("full")),
    life.Forgotten(),
    life.Forgotten(durable=False),
]
OUTCOMES = {
    life.Granted: Phase.AUTHORIZING,
    life.Denied: Phase.AUTHORIZING,
    life.Allocated: Phase.ALLOCATING,
    life.Exhausted: Phase.ALLOCATING,
    life.Recorded: Phase.RECORDING,
    life.RecordFailed: Phase.RECORDING,
    life.Installed: Phase.INSTALLING,
    life.InstallFailed: Phase.INSTALLING,
    life.Forgotten: Phase.FORGETTING,
}
LATE = (Phase.REMOVING, Phase.FORGETTING, Phase.CLOSED)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("phase", list(Phase), ids=lambda phase: phase.value)
def test_every_event_in_every_phase_has_a_meaning(phase: Phase, event: life.Event) -> None:
    session = at(phase)
    after, said = advance(session, event, BootNs(NOW + 2 * DAY))
    assert after.id == session.id
    assert after.client == session.client
    belongs = OUTCOMES.get(type(event))
    unexpected = any(isinstance(effect, life.Unexpected) for effect in said)
    assert unexpected == (belongs is not None and phase is not belongs and phase not in LATE)
    if any(isinstance(effect, life.Free) for effect in said):
        assert after.phase is Phase.CLOSED, "an address is free only when the session is gone"
        assert not session.installed or session.phase is Phase.FORGETTING


# ---- a session's own time ---------------------------------------------------------------


def served(**service: Any) -> Session:
    """A session that is served, under a service."""
    session, _ = begin(7, discovered(), NOW)
    granted = replace(SERVICE, **service)
    for event in (life.Granted(granted), life.Allocated(LEASE), requested(), life.Recorded(), life.Installed()):
        session, said = advance(session, event, NOW)
    assert session.phase is Phase.ACTIVE
    assert [type(item) for item in said] == [Reply]
    return session


def test_a_lease_is_never_told_for_longer_than_the_session_has() -> None:
    session = served(session_timeout=Ns(600 * SECOND))
    assert session.ends_at == NOW + 600 * SECOND
    assert session.leased_until == NOW + 600 * SECOND
    later = BootNs(NOW + 400 * SECOND)
    session, (reply,) = advance(session, requested(), later)
    assert isinstance(reply, Reply)
    assert (reply.answer, reply.remaining) == (Answer.CONFIRM, 200 * SECOND)
    assert session.ends_at == NOW + 600 * SECOND, "a renewal begins no new time"
    session, said = advance(session, life.Due(), session.deadline)
    assert (session.cause, said) == (CloseCause.SESSION_TIMEOUT, (life.Uninstall(),))


def test_a_silent_client_is_let_go_after_its_idle_timeout_and_not_before() -> None:
    session = served(idle_timeout=Ns(600 * SECOND))
    assert session.deadline == NOW + 600 * SECOND
    session, said = advance(session, life.Due(seen=BootNs(NOW + 500 * SECOND)), session.deadline)
    assert (session.phase, said) == (Phase.ACTIVE, ())
    assert session.deadline == NOW + 1100 * SECOND
    session, _ = advance(session, requested(), BootNs(NOW + 900 * SECOND))
    assert session.deadline == NOW + 1100 * SECOND, "who renews and sends nothing is idle"
    session, said = advance(session, life.Due(renewed=BootNs(NOW + 1000 * SECOND)), session.deadline)
    assert (session.cause, said) == (CloseCause.IDLE_TIMEOUT, (life.Uninstall(),))


def test_another_service_counts_in_place_and_is_kept() -> None:
    session = served()
    faster = replace(SERVICE, name="gold", session_timeout=Ns(60 * SECOND))
    later = BootNs(NOW + 10 * SECOND)
    changed, said = advance(session, life.Changed(faster), later)
    assert said == (life.Keep(),)
    assert (changed.service, changed.phase, changed.lease) == (faster, Phase.ACTIVE, session.lease)
    assert changed.ends_at == changed.deadline == later + 60 * SECOND, "a new time counts from now"
    again, _ = advance(changed, life.Changed(replace(faster, name="silver")), BootNs(later + SECOND))
    assert again.ends_at == changed.ends_at, "the same time goes on"
    free, _ = advance(again, life.Changed(SERVICE), later)
    assert free.ends_at == NEVER
    longer, _ = advance(again, life.Changed(replace(faster, name="silver"), anew=True), BootNs(later + 30 * SECOND))
    assert longer.ends_at == later + 90 * SECOND, "said once more, it counts anew"
    back = life.taken_back(longer, session)
    assert (back.service, back.ends_at, back.deadline) == (session.service, NEVER, session.deadline)


def test_who_is_to_be_asked_about_again_goes_on_until_somebody_says_otherwise() -> None:
    granted: dict[str, Any] = {"session_timeout": Ns(600 * SECOND), "reauthorize": True}
    session = served(**granted)
    assert (session.ends_at, session.asks_at) == (NEVER, NOW + 600 * SECOND)
    assert session.leased_until == NOW + HOUR, "its lease is as long as everybody's"
    over = session.deadline
    assert over == NOW + 600 * SECOND
    asked, said = advance(session, life.Due(), over)
    assert said == (life.Keep(), life.Reauthorize())
    assert asked.service == replace(SERVICE, provisional=True, **granted)
    assert (asked.phase, asked.asks_at) == (Phase.ACTIVE, NEVER), "it is served on, and asked about once"
    again, _ = advance(asked, life.Changed(replace(SERVICE, **granted), anew=True), BootNs(over + SECOND))
    assert again.asks_at == again.deadline == over + 601 * SECOND, "the same time, anew"
    ended, _ = advance(asked, life.Changed(replace(SERVICE, session_timeout=Ns(SECOND))), over)
    assert (ended.ends_at, ended.asks_at) == (over + SECOND, NEVER)
    changed, _ = advance(session, life.Changed(replace(SERVICE, name="gold", **granted)), BootNs(NOW + SECOND))
    assert changed.asks_at == session.asks_at, "a change in between leaves its time as it was"


@pytest.mark.parametrize(("name", "ends"), [("alice", True), ("", False)])
def test_who_proved_who_it_is_cannot_be_asked_about_again_and_ends_with_its_time(name: str, ends: bool) -> None:
    """RFC 2865 5.29: a server that says RADIUS-Request leaves it to the gateway."""
    service = replace(SERVICE, session_timeout=Ns(600 * SECOND), reauthorize=True)
    dialed = life.Dialed(client=replace(CLIENT, pppoe=7), ask="dialed", encapsulation=b"l2", link=Link(name=name))
    session, _ = begin(7, dialed, NOW)
    for event in (life.Granted(service), life.Allocated(LEASE), life.Recorded(), life.Installed()):
        session, _ = advance(session, event, NOW)
    over = BootNs(NOW + 600 * SECOND)
    assert (session.ends_at, session.asks_at) == ((over, NEVER) if ends else (NEVER, over))
    later, _ = advance(session, life.Changed(replace(service, name="gold"), anew=True), BootNs(NOW + SECOND))
    assert (later.ends_at != NEVER) is ends, "whatever a change says"
    done, _ = advance(session, life.Due(), over)
    assert (done.cause is CloseCause.SESSION_TIMEOUT) is ends


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.ACTIVE])
def test_only_who_is_served_can_be_changed(phase: Phase) -> None:
    session = at(phase)
    assert advance(session, life.Changed(SERVICE), NOW) == (session, ())


def test_a_client_that_asks_for_its_address_hears_nothing_while_nobody_can_be_asked() -> None:
    for reason, said in ((Reason.RADIUS_UNREACHABLE, 0), (Reason.RADIUS_BUSY, 0), (Reason.RADIUS_REJECTED, 1)):
        session, _ = begin(7, requested(), NOW)
        closed, replies = advance(session, life.Denied(Refusal(reason, "")), NOW)
        assert (closed.phase, len(replies)) == (Phase.CLOSED, said)


# ---- a client of PPP --------------------------------------------------------------------

DIALED = life.Dialed(
    client=replace(CLIENT, pppoe=9), ask="chap", encapsulation=b"l2", link=Link("alice", mru=1480), credentials="secret"
)


def dialed(*events: life.Event) -> life.Step:
    """A client that dialed, and what happened to it then."""
    step = begin(7, DIALED, NOW)
    for event in events:
        step = advance(step[0], event, NOW)
    return step


UP = (life.Granted(SERVICE, b"S=proof"), life.Allocated(LEASE), life.Recorded(), life.Installed())


def test_a_client_that_dials_is_offered_nothing_and_told_once_all_stands() -> None:
    said = [effects(dialed(*UP[:number])) for number in range(5)]
    assert said == [
        [life.Authorize()],
        [life.Allocate(None, False)],
        [life.Record(BootNs(NOW + DAY))],
        [life.Install()],
        [Reply("chap", Answer.ADMIT, replace(LEASE, promise_until=BootNs(NOW + DAY)), HOUR, proof=b"S=proof")],
    ]
    session, _ = dialed(*UP)
    assert (session.credentials, session.proof) == (None, b""), "nothing of what it proved itself with is kept"
    assert session.mtu == 1480


@pytest.mark.parametrize("reason", [Reason.BLOCKED, Reason.RADIUS_UNREACHABLE])
def test_a_client_that_dials_is_told_no_whatever_the_reason(reason: Reason) -> None:
    refusal = Refusal(reason, "no")
    session, said = dialed(life.Denied(refusal))
    assert said == (Reply("chap", Answer.REFUSE, refusal=refusal),)
    assert (session.phase, session.credentials) == (Phase.CLOSED, None)


def test_its_address_is_promised_anew_while_a_lease_of_it_is_left() -> None:
    session, _ = dialed(*UP)
    assert session.deadline == NOW + DAY - HOUR
    session, said = advance(session, life.Due(), session.deadline)
    assert said == (life.Record(BootNs(NOW + DAY - HOUR + DAY)),)
    later = session.promising
    session, _ = advance(session, life.Recorded(), BootNs(NOW + DAY))
    session, said = advance(session, life.Installed(), BootNs(NOW + DAY))
    assert (session.phase, said, session.deadline) == (Phase.ACTIVE, (), later - HOUR)


def test_where_that_cannot_be_recorded_it_is_tried_again_and_ends_with_the_promise() -> None:
    session, _ = dialed(*UP)
    session, _ = advance(session, life.Due(), session.deadline)
    now = BootNs(NOW + DAY - HOUR)
    session, said = advance(session, life.RecordFailed(no("disk")), now)
    assert (session.phase, said, session.deadline) == (Phase.ACTIVE, (), now + STORE_RETRY)
    session, said = advance(session, life.Due(), session.deadline)
    assert session.phase is Phase.RECORDING
    session, _ = advance(session, life.RecordFailed(no("disk")), BootNs(NOW + DAY - SECOND))
    session, said = advance(session, life.Due(), session.deadline)
    assert (session.cause, said) == (CloseCause.LEASE_EXPIRED, (life.Uninstall(),))


def test_a_client_that_hangs_up_does_not_come_back() -> None:
    session, _ = dialed(*UP)
    session, said = advance(session, life.HungUp(CloseCause.USER_REQUEST), NOW)
    assert said == (life.Uninstall(),)
    session, said = advance(session, life.Due(renewed=session.deadline), session.deadline)
    assert (session.phase, said) == (Phase.FORGETTING, (life.Forget(),))


def test_what_is_agreed_on_later_is_kept_and_a_second_call_changes_nothing() -> None:
    session, _ = dialed(*UP)
    link = Link("alice", mru=1480, identifiers=(b"12345678", b"87654321"))
    session, said = advance(session, life.Negotiated(link), NOW)
    assert (session.link, said) == (link, (life.Keep(),))
    assert advance(session, DIALED, NOW) == (session, ())
