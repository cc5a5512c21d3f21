"""Who decides about a client, and what is made of the answer."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

import pytest
from msgspec.structs import replace

from tests.aaa.clients import (
    CHALLENGE,
    GOLD,
    NT_RESPONSE,
    PEER_CHALLENGE,
    PROOF,
    chap,
    deciders,
    dialing,
    session,
    terms,
)
from tests.proto.radius.world import World
from wayleave.aaa.radius import Authorizer, Ticket
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.auth import MsChap2, Pap
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.proto.radius.packet import STATE, Code, reveal
from wayleave.session.model import Line, Link, Phase, Service, Session
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.table import Table

Realms = Iterable[str]


class Asked:
    """An authorizer whose one group asks one server in virtual time."""

    def __init__(self, password: bytes | None = None, queue: int = 100, realms: Realms = (), **how: Any) -> None:
        self.world = World(queue=queue, tries=1)
        passwords = {"group": Secret(password)} if password is not None else {}
        group = terms(**how)
        self.authorizer = Authorizer(deciders(group, realms), {"group": self.world.exchange}, passwords)
        self.says(Code.ACCESS_ACCEPT)

    def says(self, code: Code, *said: tuple[str, Any]) -> None:
        avps = [STANDARD[name].encode(value) for name, value in said]
        self.world.servers[0].answer = lambda _: (code, avps)

    def decide(self, newcomer: Session) -> Service | Refusal:
        """Ask, and wait for what is decided."""
        found = self.authorizer.decide(newcomer, self.world.now)
        if found is not None:
            return found
        for _ in range(100):
            self.world.run(seconds=0.05)
            self.world.exchange._outcomes[:0] = self.world.outcomes
            self.world.outcomes.clear()
            decisions = self.authorizer.decisions(self.world.now)
            if decisions:
                (decision,) = decisions
                assert decision.ticket == Ticket(newcomer.id, newcomer.since)
                self.told, self.proof = decision.says, decision.proof
                return decision.outcome
        raise AssertionError("nothing was decided")


def newcomer(number: int = 1, **how: Any) -> Session:
    return session(number, phase=Phase.AUTHORIZING, service=None, lease=None, **how)


def test_accepted_with_what_the_server_says() -> None:
    asked = Asked(interim=Ns(600 * SECOND))
    asked.says(Code.ACCESS_ACCEPT, ("Filter-Id", "gold"), ("Class", b"c"))
    service = asked.decide(newcomer())
    assert isinstance(service, Service)
    assert (service.tenant, service.pool, service.subscriber) == ("isp", "residential", "02:00:00:00:00:01")
    assert (service.name, service.up, service.classes) == ("gold", GOLD.up, (b"c",))
    assert (service.authority, service.interim) == ("group", 600 * SECOND)


def test_what_a_server_is_told() -> None:
    asked = Asked()
    asked.decide(newcomer())
    (packet,) = asked.world.servers[0].asked()
    said = {row.name: row.decode(octets) for row, octets in STANDARD.explode(packet.attributes)}
    assert said["User-Name"] == "02:00:00:00:00:01"
    assert reveal(said["User-Password"], packet.authenticator, b"secret 0") == b"02:00:00:00:00:01"
    assert (said["NAS-Identifier"], said["NAS-IP-Address"]) == ("nas-1", IPv4Address("192.0.2.1"))
    assert (said["NAS-Port-Id"], said["NAS-Port"]) == ("1:100.7", 1 << 24 | 100 << 12 | 7)
    assert (said["Calling-Station-Id"], said["Called-Station-Id"]) == ("02-00-00-00-00-01", "bng1")
    assert said["Acct-Session-Id"] == "0000000100000001"
    assert packet.attributes[0][0] == 80, "Message-Authenticator stands first (CVE-2024-3596)"


def test_a_password_of_the_groups_own() -> None:
    asked = Asked(password=b"for all")
    asked.decide(newcomer())
    (packet,) = asked.world.servers[0].asked()
    hidden = packet.first(2)
    assert hidden is not None
    assert reveal(hidden, packet.authenticator, b"secret 0") == b"for all"


def test_rejected_and_not_asked_about_again_for_a_while() -> None:
    asked = Asked()
    asked.says(Code.ACCESS_REJECT, ("Reply-Message", "pay\n first"))
    refusal = Refusal(Reason.RADIUS_REJECTED, "rejected by r0: pay first")
    assert asked.decide(newcomer()) == refusal
    assert asked.authorizer.decide(newcomer(), asked.world.now) == refusal
    asked.says(Code.ACCESS_ACCEPT)
    assert isinstance(asked.decide(newcomer(2)), Service), "others are asked about"
    asked.world.run(seconds=31)
    assert isinstance(asked.decide(newcomer()), Service)


@pytest.mark.parametrize(
    ("code", "said", "reason", "why"),
    [
        (Code.ACCESS_ACCEPT, [("Framed-Pool", "none")], Reason.RADIUS_UNUSABLE, "Framed-Pool: there is no pool none"),
        (Code.ACCESS_CHALLENGE, [], Reason.RADIUS_CHALLENGED, "r0 sends a challenge"),
        (Code.ACCESS_REJECT, [], Reason.RADIUS_REJECTED, "rejected by r0"),
    ],
)
def test_what_else_a_server_may_say(code: Code, said: list[tuple[str, Any]], reason: Reason, why: str) -> None:
    asked = Asked()
    asked.says(code, *said)
    refusal = asked.decide(newcomer())
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert refusal.why.startswith(why)


def test_no_server_answers() -> None:
    asked = Asked()
    asked.world.servers[0].up = False
    refusal = asked.decide(newcomer())
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.RADIUS_UNREACHABLE
    assert refusal.why == "no server lives: r0"


@pytest.mark.parametrize(
    ("secret", "signs", "reason"),
    [(b"another", True, Reason.RADIUS_DOUBTED), (b"secret 0", False, Reason.RADIUS_UNSIGNED)],
)
def test_an_answer_that_is_not_believed_is_told_apart(secret: bytes, signs: bool, reason: Reason) -> None:
    asked = Asked()
    asked.world.servers[0].secret, asked.world.servers[0].signs = secret, signs
    refusal = asked.decide(newcomer())
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert refusal.why.startswith("answers that are not believed: r0: ")


def test_who_is_rejected_and_not_asked_about_is_counted() -> None:
    asked = Asked()
    asked.says(Code.ACCESS_REJECT)
    asked.decide(newcomer(1))
    asked.decide(newcomer(2))
    assert asked.authorizer.held(asked.world.now) == 2
    asked.world.run(seconds=31)
    assert asked.authorizer.held(asked.world.now) == 0


def test_who_grants_what_is_told() -> None:
    asked = Asked(last_known=Ns(3600 * SECOND))
    asked.says(Code.ACCESS_ACCEPT, ("Filter-Id", "gold"))
    asked.decide(newcomer())
    assert asked.told == "by r0: gold, up 20 Mbit/s, down 100 Mbit/s, pool residential"
    asked.world.servers[0].up = False
    asked.decide(newcomer(accounting="another"))
    assert asked.told == "as last, no server lives: r0: gold, up 20 Mbit/s, down 100 Mbit/s, pool residential"
    asked.decide(newcomer(2))
    assert asked.told == ""


def test_the_last_answer_is_believed_for_a_while_where_that_is_configured() -> None:
    asked = Asked(last_known=Ns(3600 * SECOND))
    asked.says(Code.ACCESS_ACCEPT, ("Filter-Id", "gold"))
    known = asked.decide(newcomer())
    asked.world.servers[0].up = False
    again = newcomer(1, accounting="another")
    assert isinstance(known, Service)
    assert asked.decide(again) == replace(known, provisional=True)
    stranger = asked.decide(newcomer(2))
    assert isinstance(stranger, Refusal)
    moved = asked.decide(newcomer(1, line=Line(1, 100, 9)))
    assert isinstance(moved, Refusal), "the same MAC on another line is not the same client"
    asked.world.now = BootNs(asked.world.now + 3600 * SECOND)
    assert isinstance(asked.decide(again), Refusal)


def test_who_was_rejected_since_is_not_let_on_by_an_older_answer() -> None:
    asked = Asked(last_known=Ns(3600 * SECOND), hold_rejects=Ns(0))
    asked.decide(newcomer())
    asked.says(Code.ACCESS_REJECT)
    asked.decide(newcomer())
    asked.world.servers[0].up = False
    assert isinstance(asked.decide(newcomer()), Refusal)


def test_who_is_doubted_is_asked_about_once_at_a_time_with_what_the_server_wants_to_hear() -> None:
    asked = Asked()
    table = Table(8)
    served = session(3)
    assert served.service is not None
    table.put(replace(served, service=replace(served.service, provisional=True, state=b"s")), asked.world.now)
    asked.authorizer.reauthorize(served)
    for _ in range(3):
        asked.authorizer.ask_again(table, asked.world.now)
        asked.world.run(seconds=0.3)
    (packet,) = asked.world.servers[0].asked()
    assert packet.first(STATE) == b"s"
    assert asked.authorizer.doubted == 1
    asked.world.exchange._outcomes[:0] = asked.world.outcomes
    (decision,) = asked.authorizer.decisions(asked.world.now)
    assert (decision.ticket, type(decision.outcome)) == (Ticket(3, served.since, again=True), Service)
    table.put(served, asked.world.now)
    asked.authorizer.ask_again(table, asked.world.now)
    assert asked.authorizer.doubted == 0


def test_a_tenant_without_a_group_is_decided_here() -> None:
    asked = Asked()
    local = newcomer(1, line=Line(2, 5))
    assert isinstance(asked.authorizer.decide(local, asked.world.now), Service)
    assert not asked.world.servers[0].heard


def test_a_line_that_makes_no_name_is_refused_without_a_question() -> None:
    asked = Asked(caller=terms().caller.__class__(identifier="n", gateway="b", username="{circuit}"))
    refusal = asked.decide(newcomer())
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.NO_USERNAME


def test_a_name_of_which_a_part_is_missing_is_none() -> None:
    asked = Asked(caller=terms().caller.__class__(identifier="n", gateway="b", username="{circuit}@isp"))
    refusal = asked.decide(newcomer())
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.NO_USERNAME


def test_a_circuit_that_is_no_text_is_spelt_out() -> None:
    asked = Asked(caller=terms().caller.__class__(identifier="n", gateway="b", username="{circuit}"))
    service = asked.decide(newcomer(line=Line(1, 100, 0, b"slot \xff")))
    assert isinstance(service, Service)
    assert service.subscriber == "slot \\xff"
    (packet,) = asked.world.servers[0].asked()
    assert packet.first(1) == b"slot \\xff"
    assert service.subscriber.encode(), "it can be written to a log, a disk and a terminal"


def test_on_another_circuit_of_the_same_vlan_it_is_somebody_else() -> None:
    """A MAC is copied easily: neither the last answer nor a rejection counts behind another door."""
    asked = Asked(last_known=Ns(3600 * SECOND))
    here, there = Line(1, 100, 0, b"here"), Line(1, 100, 0, b"there")
    assert isinstance(asked.decide(newcomer(line=here)), Service)
    asked.world.servers[0].up = False
    assert isinstance(asked.decide(newcomer(line=there)), Refusal)
    assert isinstance(asked.decide(newcomer(line=here)), Service)
    asked.world.servers[0].up = True
    asked.world.run(lambda: asked.world.exchange.alive, seconds=10)
    asked.says(Code.ACCESS_REJECT)
    assert isinstance(asked.decide(newcomer(line=here)), Refusal)
    asked.says(Code.ACCESS_ACCEPT)
    assert isinstance(asked.decide(newcomer(line=there)), Service), "the other one is not held by that"


def test_more_than_may_wait_are_refused() -> None:
    asked = Asked(queue=10)
    outcomes = [
        asked.authorizer.decide(newcomer(number % 200, since=BootNs(number + 1)), asked.world.now)
        for number in range(256 + 30)
    ]
    refused = [item for item in outcomes if isinstance(item, Refusal)]
    assert {item.reason for item in refused} == {Reason.RADIUS_BUSY}
    assert len(refused) == 20


def test_a_session_that_is_gone_is_not_decided_about() -> None:
    asked = Asked()
    gone = newcomer()
    asked.authorizer.decide(gone, asked.world.now)
    asked.authorizer.forget(gone)
    asked.world.run(seconds=5)
    assert asked.authorizer.decisions(asked.world.now) == []
    assert asked.world.exchange.peers[0].in_flight == 0


def test_what_a_server_decided_stands_at_a_review() -> None:
    chosen = deciders()
    served = session()
    assert chosen.review(served) is served.service
    local = session(2, line=Line(2, 5), authority="")
    assert isinstance(chosen.review(local), Service)
    elsewhere = session(3, line=Line(9, 5))
    refusal = chosen.review(elsewhere)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.PORT_NOT_CONFIGURED
    before_radius = chosen.review(session(4, authority=""))
    assert isinstance(before_radius, Refusal)
    assert before_radius.reason is Reason.RADIUS_DECIDES


@pytest.mark.parametrize(("served", "still"), [("pppoe", "ipoe"), ("ipoe", "pppoe")])
def test_a_session_of_a_protocol_that_its_port_serves_no_longer_does_not_go_on(served: str, still: str) -> None:
    of = session() if served == "ipoe" else replace(session(), link=Link(name="alice"))
    assert of.service is not None
    by_server = replace(deciders(), protocols={1: (still,)})
    for chosen, item in (
        (by_server, of),
        (replace(by_server, groups={}), replace(of, service=replace(of.service, authority=""))),
    ):
        spoken = {"ipoe": "IPoE", "pppoe": "PPPoE"}[served]
        assert chosen.review(item) == Refusal(Reason.PORT_NOT_CONFIGURED, f"port 1 does not serve {spoken} any more")


# ---- clients that say who they are --------------------------------------------------------------

ALICE = Pap(b"alice", b"sesame")
MICROSOFT = MsChap2(b"User", 7, CHALLENGE, PEER_CHALLENGE, NT_RESPONSE, 0)
SUCCESS = ("MS-CHAP2-Success", b"\7" + PROOF)


def test_a_user_is_asked_about_by_its_name_and_its_proof() -> None:
    asked = Asked()
    asked.says(Code.ACCESS_ACCEPT, ("Filter-Id", "gold"), ("Framed-Protocol", 1), ("Service-Type", 2))
    service = asked.decide(dialing(ALICE))
    assert isinstance(service, Service)
    assert (service.subscriber, service.name, service.authority) == ("alice", "gold", "group")
    assert asked.proof == b""
    (packet,) = asked.world.servers[0].asked()
    assert packet.first(1) == b"alice"
    hidden = packet.first(2)
    assert hidden is not None
    assert reveal(hidden, packet.authenticator, b"secret 0") == b"sesame"


def test_chap_goes_on_as_it_was_said() -> None:
    asked, said = Asked(), chap(b"alice", b"sesame")
    assert isinstance(asked.decide(dialing(said)), Service)
    (packet,) = asked.world.servers[0].asked()
    assert (packet.first(2), packet.first(3), packet.first(60)) == (None, b"\7" + said.response, CHALLENGE)


def test_ms_chap_2_hears_the_servers_proof_and_gets_nothing_without() -> None:
    asked = Asked(hold_rejects=Ns(0))
    asked.says(Code.ACCESS_ACCEPT, SUCCESS)
    assert isinstance(asked.decide(dialing(MICROSOFT)), Service)
    assert asked.proof == PROOF
    asked.says(Code.ACCESS_ACCEPT)
    refusal = asked.decide(dialing(MICROSOFT))
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.why[:26]) == (Reason.RADIUS_UNUSABLE, "MS-CHAP2-Success is absent")
    assert asked.proof == b""
    asked.says(Code.ACCESS_REJECT, ("MS-CHAP-Error", b"\7E=691 R=0"))
    refusal = asked.decide(dialing(MICROSOFT))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.RADIUS_REJECTED


@pytest.mark.parametrize("said", [Pap(b"", b""), Pap(b"\xff", b""), Pap(b"x" * 254, b""), Pap(b"alice", b"x" * 129)])
def test_what_no_server_can_be_told_is_refused_without_a_question(said: Pap) -> None:
    asked = Asked()
    refusal = asked.decide(dialing(said))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.CREDENTIALS_UNUSABLE
    assert not asked.world.servers[0].heard


def questions(asked: Asked) -> int:
    return len(asked.world.servers[0].asked())


def test_a_rejection_holds_for_the_same_password_over_calls_and_not_for_another() -> None:
    asked = Asked()
    asked.says(Code.ACCESS_REJECT)
    refusal = asked.decide(dialing(ALICE, pppoe=1))
    assert asked.authorizer.decide(dialing(ALICE, pppoe=2), asked.world.now) == refusal
    assert questions(asked) == 1
    asked.says(Code.ACCESS_ACCEPT)
    assert isinstance(asked.decide(dialing(Pap(b"bob", b"sesame"), pppoe=3)), Service), "it may be somebody else"
    assert isinstance(asked.decide(newcomer()), Service), "and is, where it asks for an address by DHCP"
    assert asked.authorizer.decide(dialing(ALICE, pppoe=4), asked.world.now) == refusal
    assert isinstance(asked.decide(dialing(Pap(b"alice", b"mended"), pppoe=5)), Service)
    assert isinstance(asked.decide(dialing(ALICE, pppoe=6)), Service), "whoever got on is held by nothing"


def test_a_rejection_by_chap_holds_for_a_moment_as_nobody_sees_whether_the_password_is_another() -> None:
    asked = Asked()
    asked.says(Code.ACCESS_REJECT)
    refusal = asked.decide(dialing(chap(b"alice", b"open"), pppoe=1))
    asked.says(Code.ACCESS_ACCEPT)
    mended = dialing(chap(b"alice", b"sesame", identifier=9), pppoe=2)
    assert asked.authorizer.decide(mended, asked.world.now) == refusal
    asked.world.run(seconds=5.1)
    assert isinstance(asked.decide(mended), Service)


def test_no_password_goes_unproven_while_no_server_lives() -> None:
    asked = Asked(last_known=Ns(3600 * SECOND))
    assert isinstance(asked.decide(dialing(ALICE, pppoe=1)), Service)
    assert asked.authorizer.learned() == {}
    known = asked.decide(dialing(None, pppoe=2))
    assert isinstance(known, Service)
    asked.world.servers[0].up = False
    for said in (ALICE, Pap(b"alice", b"open"), chap(b"alice", b"sesame")):
        refusal = asked.decide(dialing(said, pppoe=3))
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.RADIUS_UNREACHABLE
    assert asked.decide(dialing(None, pppoe=4)) == replace(known, provisional=True), "nobody asked for a proof"


def test_a_users_rejection_is_no_word_about_its_line() -> None:
    asked = Asked(last_known=Ns(3600 * SECOND))
    assert isinstance(asked.decide(newcomer()), Service)
    asked.says(Code.ACCESS_REJECT)
    assert isinstance(asked.decide(dialing(ALICE)), Refusal)
    asked.world.servers[0].up = False
    assert isinstance(asked.decide(newcomer()), Service)


def test_a_realm_has_its_group_wherever_its_users_are() -> None:
    asked = Asked(
        realms=["isp-b.example"], tenant="isp", caller=replace(terms().caller, stripped=frozenset(["isp-b.example"]))
    )
    bob = Pap(b"bob@ISP-b.example", b"sesame")
    elsewhere = dialing(bob, line=Line(2, 5))
    service = asked.decide(elsewhere)
    assert isinstance(service, Service)
    assert (service.tenant, service.subscriber, service.authority) == ("isp", "bob", "group")
    (packet,) = asked.world.servers[0].asked()
    assert packet.first(1) == b"bob"
    served = replace(elsewhere, service=service, credentials=None)
    assert asked.authorizer.review(served) is service
    refusal = asked.decide(dialing(Pap(b"@isp-b.example", b"")))
    assert isinstance(refusal, Refusal)
    assert refusal.why == "nothing is left of @isp-b.example without its realm"
    refusal = asked.decide(dialing(Pap(b"bob@isp-c.example", b""), line=Line(2, 5)))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.UNKNOWN_CLIENT, "the tenant of port 2 has no servers"


def test_a_realm_that_becomes_a_groups_is_a_change_of_who_decides() -> None:
    local = replace(
        dialing(Pap(b"bob@isp-b.example", b""), line=Line(2, 5)), service=Service(tenant="other", pool="homes")
    )
    refusal = deciders(realms=["isp-b.example"]).review(local)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.RADIUS_DECIDES


def test_a_group_that_has_realms_alone_is_known_by_its_name() -> None:
    only = replace(deciders(realms=["isp-b.example"]), groups={})
    assert only.terms("group") is not None
    assert only.terms("another") is None
