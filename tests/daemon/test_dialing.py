"""The engine and clients of PPP: who they are, which address they come back to, and how many they may be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.daemon.test_engine import LINE, SOMEWHERE, A, B, Stage, discovers, pool
from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization, Subscriber
from wayleave.daemon.engine import Told
from wayleave.net.mac import Mac
from wayleave.net.secret import Secret
from wayleave.net.units import BootNs
from wayleave.proto.ppp.auth import Pap
from wayleave.session import lifecycle as life
from wayleave.session.lifecycle import Answer
from wayleave.session.model import IN_FLIGHT, Client, CloseCause, Line, Link, Service, Session
from wayleave.session.refusal import Reason, Refusal

USERS = (
    Subscriber.model_validate({"name": "a", "user": "alice"}),
    Subscriber.model_validate({"name": "b", "user": "bob"}),
)
PASSWORDS = {"alice": Secret(b"sesame"), "bob": Secret(b"sesame")}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


class Dialing(Stage):
    """Its users are in the subscribers file, and have passwords."""

    def terms(self, pools, subscribers):  # type: ignore[no-untyped-def]
        terms, _, admission = super().terms(pools, subscribers)
        default = AuthorizationSettings(default=pools[0].name)
        users = LocalAuthorization(default, subscribers or USERS, {1: "default", 2: "default"}, {}, {}, PASSWORDS)
        return terms, users, admission

    def dial(
        self, call: int, name: str = "alice", mac: Mac = A, line: Line = LINE, password: bytes = b"sesame"
    ) -> life.Reply | None:
        """Have a client dial; returns what it is told once the disk has written."""
        said = self.say(dials(call, name, mac, line, password))
        return next(iter([*said, *self.written()]), None)

    def on(self, call: int, **how: object) -> int:
        """Have a client dial that gets on; returns the last octet of its address."""
        reply = self.dial(call, **how)  # type: ignore[arg-type]
        assert reply is not None
        assert (reply.answer, reply.lease is not None) == (Answer.ADMIT, True)
        return last(reply)

    def hang_up(self, call: int, mac: Mac = A) -> None:
        self.say((Client(LINE, mac, call), life.HungUp(CloseCause.USER_REQUEST)))

    def call(self, call: int, mac: Mac = A) -> Session | None:
        return self.table.find(Client(LINE, mac, call))


def dials(call: int, name: str = "alice", mac: Mac = A, line: Line = LINE, password: bytes = b"sesame") -> Told:
    client = Client(line, mac, call)
    credentials = Pap(name.encode(), password) if name else None
    link = Link(name=name, magic=b"m")
    return client, life.Dialed(client=client, ask=call, encapsulation=b"l2", link=link, credentials=credentials)


def last(reply: life.Reply) -> int:
    assert reply.lease is not None
    return reply.lease.address.packed[-1]


def test_a_user_gets_on_and_its_password_is_kept_nowhere() -> None:
    stage = Dialing()
    assert stage.on(1) == 2
    session = stage.call(1)
    assert session is not None
    assert (session.credentials, session.link and session.link.name) == (None, "alice")
    assert not any("sesame" in record.body for record in stage.disk.records.values())


def test_a_user_that_does_not_prove_itself_is_refused_and_leaves_nothing() -> None:
    stage = Dialing()
    reply = stage.dial(1, password=b"open")
    assert reply is not None
    assert (reply.answer, reply.refusal) == (
        Answer.REFUSE,
        Refusal(Reason.WRONG_PASSWORD, "user alice does not know its password"),
    )
    assert stage.engine.counts.refused["wrong-password"] == 1
    assert (len(stage.table), stage.held) == (0, 0)


def test_a_user_comes_back_to_its_address_whatever_call_it_is() -> None:
    stage = Dialing()
    assert stage.on(1) == 2
    stage.hang_up(1)
    stage.wait(IN_FLIGHT)
    assert stage.on(2, name="bob", mac=B) == 3, "an address that somebody had is not the first to go"
    assert stage.on(3) == 2


def test_who_hangs_up_in_the_moment_that_it_dials_takes_no_address_along() -> None:
    stage = Dialing()
    for call in range(1, 10):
        assert stage.say(dials(call), (Client(LINE, A, call), life.HungUp(CloseCause.USER_REQUEST))) == []
    assert (len(stage.table), stage.held) == (0, 0)
    assert stage.on(10) == 2


def test_an_address_that_is_on_its_way_back_is_nobodys_yet() -> None:
    """Access has who dials again wait until that is over: here it is only seen to that no two ever have one."""
    stage = Dialing()
    assert stage.on(1) == 2
    stage.hang_up(1)
    assert stage.on(2) == 3
    stage.wait(IN_FLIGHT)
    assert stage.held == 1


def test_a_static_address_is_one_sessions_at_a_time() -> None:
    entry = Subscriber.model_validate({"name": "a", "user": "alice", "address": "10.0.0.5"})
    stage = Dialing(subscribers=(entry,))
    assert stage.on(1) == 5
    beside = stage.dial(2)
    assert beside is not None
    assert beside.refusal == Refusal(Reason.ADDRESS_NOT_FREE, "10.0.0.5 is held by another client")
    stage.hang_up(1)
    stage.wait(IN_FLIGHT)
    assert stage.on(3) == 5


def test_two_sessions_of_a_user_on_one_mac_never_share_an_address() -> None:
    stage = Dialing()
    assert (stage.on(1), stage.on(2)) == (2, 3)
    stage.hang_up(1)
    stage.wait(IN_FLIGHT)
    assert (stage.on(3), stage.on(4)) == (2, 4)
    assert stage.held == 3


def test_another_user_of_a_mac_and_one_that_asks_by_dhcp_are_somebody_else() -> None:
    stage = Dialing(clients=9)
    assert stage.on(1) == 2
    assert stage.on(2, name="bob") == 3
    assert stage.on(3, name="") == 4
    (offer,) = stage.say(discovers())
    assert last(offer) == 5
    for call in (1, 2, 3):
        stage.hang_up(call)
    stage.wait(IN_FLIGHT)
    assert (stage.on(4, name="bob"), stage.on(5, name=""), stage.on(6)) == (3, 4, 2)


def test_what_a_session_is_known_as_survives_a_restart() -> None:
    stage = Dialing()
    assert (stage.on(1), stage.on(2)) == (2, 3)
    again = Dialing(clock=stage.clock, disk=stage.disk, plane=stage.plane)
    assert again.held == 2
    again.hang_up(2)
    again.wait(IN_FLIGHT)
    assert again.on(3, name="bob", mac=B) == 4
    assert again.on(4) == 3


def test_a_reload_ends_whom_it_does_not_know_any_more_and_asks_nobody_for_a_password() -> None:
    stage = Dialing()
    stage.on(1)
    stage.on(2, name="bob", mac=B)
    stage.reload(pool(), subscribers=(USERS[0], USERS[1].model_copy(update={"blocked": True})))
    stage.wait(IN_FLIGHT)
    assert [session.link and session.link.name for session in stage.table] == ["alice"]
    stage.reload(pool(), subscribers=(USERS[1],))
    stage.wait(IN_FLIGHT)
    assert len(stage.table) == 0


def test_two_providers_may_call_their_subscribers_the_same() -> None:
    class Granting(Dialing):
        def terms(self, pools, subscribers):  # type: ignore[no-untyped-def]
            terms, _, admission = super().terms(pools, subscribers)
            return terms, Servers(), admission

    stage = Granting()
    assert stage.on(1, name="x@isp-a") == 2
    assert stage.on(2, name="x@isp-b", line=SOMEWHERE) == 3
    reply = stage.dial(3, name="x@isp-b", mac=B)
    assert reply is not None
    assert reply.refusal is not None
    assert reply.refusal.why == "x has 1 sessions, and may have 1"


def test_a_port_that_goes_while_a_server_is_asked_leaves_nobody_behind() -> None:
    asked = Stage()
    asked.engine._authorization.decide = lambda *_: None  # type: ignore[method-assign]
    asked.say(discovers(A))
    (session,) = asked.table
    asked.ports = (2,)
    asked.reload()
    asked.engine.decided(session.id, session.since, Service(tenant="default", pool="home"), asked.clock.boot())
    assert (len(asked.table), asked.engine.counts.refused) == (0, {"port-not-configured": 1})


class Servers:
    """Those of a realm's provider each, which calls its subscribers without it."""

    def decide(self, session: Session, now: BootNs) -> Service:  # noqa: ARG002
        assert session.link is not None
        name, _, realm = session.link.name.partition("@")
        return Service(tenant="default", pool="home", subscriber=name, authority=realm, sessions=1)

    review = reauthorize = forget = lambda *_: None
