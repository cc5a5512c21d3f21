"""PPPoE on a line: frames in, frames and events out, with a domain that decides at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.fakes.caller import Caller
from wayleave.access.calls import VERDICT
from wayleave.access.ipoe import Delivery
from wayleave.access.pppoe import MOST_DELAYED, OPENING, Pppoe
from wayleave.access.settings import PortSettings, PppoeSettings
from wayleave.net import frame
from wayleave.net.frame import ETHERTYPE_PPPOE_DISCOVERY, ETHERTYPE_PPPOE_SESSION
from wayleave.net.mac import Mac
from wayleave.net.units import MILLISECOND, SECOND, BootNs, Ns
from wayleave.proto.ppp.account import Account
from wayleave.proto.ppp.auth import Authentication, ChapMd5, Pap
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe import line as pppoe_line
from wayleave.proto.pppoe import packet
from wayleave.proto.pppoe.line import LineInfo
from wayleave.proto.pppoe.packet import (
    AC_NAME,
    AC_SYSTEM_ERROR,
    PPP_MAX_PAYLOAD,
    SERVICE_NAME,
    SERVICE_NAME_ERROR,
    Code,
)
from wayleave.session import lifecycle as life
from wayleave.session.lifecycle import Answer, Reply
from wayleave.session.model import Client, CloseCause, Lease, Line, Phase, Service, Session, Subnet
from wayleave.session.refusal import Reason, Refusal

GATEWAY_MAC = Mac(b"\x02\xff\0\0\0\1")
MAC = Mac(b"\2\0\0\0\0\1")
NETWORK, GATEWAY, ADDRESS = IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
DNS = (IPv4Address("10.0.0.53"), IPv4Address("10.0.0.54"))
HOUR = Ns(3600 * SECOND)
LEASE = Lease(ADDRESS, "home", Subnet(NETWORK, GATEWAY), HOUR, HOUR)
LINE = Line(1, 100, 7)
NOON = BootNs(1000 * SECOND)
HOME = Service(tenant="default", pool="home")
BASE = PppoeSettings()
NO_PROOF = PppoeSettings(authentication=())


def ports(**settings: object) -> dict[int, PortSettings]:
    plain = {"number": 1, "device": "olt0", "role": "subscriber", "protocols": ("pppoe",), **settings}
    shared = {**plain, "number": 2, "device": "olt1", "trusted": True, "line": "circuit"}
    return {port["number"]: PortSettings.model_validate(port) for port in (plain, shared)}  # type: ignore[misc]


@dataclass
class Street:
    """A `Pppoe`, its callers on a wire that loses nothing, and a domain that grants or refuses at once."""

    settings: PppoeSettings = BASE
    ports: dict[int, PortSettings] = field(default_factory=ports)
    refusal: Refusal | None = None
    decides: bool = True
    service: Service = HOME
    most: int = 1000
    now: BootNs = NOON

    def __post_init__(self) -> None:
        self.chance = Random(7)
        self.sessions: dict[Client, Session] = {}
        self.seen: dict[int, BootNs] = {}
        self.events: list[life.Event] = []
        self.frames: list[bytes] = []
        self.lost: list[str] = []
        self.turned_away: list[Reason] = []
        self.callers: list[Caller] = []
        self._ids = iter(range(1000))
        self.pppoe = self.start()

    def start(self) -> Pppoe:
        """A process."""
        return Pppoe(
            self.settings,
            "bng1",
            self.ports,
            dict.fromkeys(self.ports, GATEWAY_MAC),
            {"home": Delivery(NETWORK, GATEWAY, dns=DNS)},
            self.sessions.get,
            lambda id_: self.seen.get(id_, BootNs(0)),
            self.chance.randbytes,
            lambda _client, data: self.frames.append(data),
            lambda _port, _data, why: self.lost.append(why),
            lambda _client, refusal: self.turned_away.append(refusal.reason),
            most=self.most,
        )

    def caller(self, mac: Mac = MAC, line: Line = LINE, **more: object) -> Caller:
        caller = Caller(line, mac, self.chance, **more)  # type: ignore[arg-type]
        self.callers.append(caller)
        return caller

    # ---- the wire -----------------------------------------------------------------------

    def settle(self) -> list[bytes]:
        """Let everybody speak until nobody has anything to say; returns what the gateway sent."""
        said: list[bytes] = []
        for _ in range(1000):
            sent = [(caller, data) for caller in self.callers for data in caller.take()]
            for caller, data in sent:
                self.hear(caller.line.port, data)
            self._decide()
            said += (frames := self.frames)
            self.frames = []
            for data in frames:
                for caller in self.callers:
                    caller.receive(data, self.now)
            if not sent and not frames:
                return said
        raise AssertionError("they never come to an end")

    def hear(self, port: int, data: bytes) -> None:
        """A frame comes up, as the data plane tells them apart."""
        outer = frame.decode(data)
        if outer.ethertype == ETHERTYPE_PPPOE_DISCOVERY:
            self.pppoe.discover(port, data, self.now)
        else:
            session_id = int.from_bytes(outer.payload[2:4])
            self.pppoe.receive((port, *frame.vids(outer), outer.source, session_id), outer.offset, data, self.now)

    def wait(self, length: int) -> list[bytes]:
        """Let time pass, with everybody's deadlines on the way; returns what the gateway sent."""
        end, said = self.now + length, []
        while True:
            said += self.settle()
            moments = [self.pppoe.next_deadline, *(caller.deadline for caller in self.callers)]
            due = min((moment for moment in moments if moment and moment <= end), default=None)
            if due is None:
                break
            self.now = BootNs(max(self.now, due))
            self.pppoe.due(self.now, 100)
            for caller in self.callers:
                caller.expire(self.now)
        self.now = BootNs(end)
        return said

    # ---- the domain ---------------------------------------------------------------------

    def _decide(self) -> None:
        while told := self.pppoe.told():
            for client, event in told:
                self.events.append(event)
                if isinstance(event, life.Dialed):
                    self._dialed(client, event)
                elif isinstance(event, life.HungUp) and client in self.sessions:
                    self.end(client, event.cause)

    def _dialed(self, client: Client, event: life.Dialed) -> None:
        session = Session(
            id=next(self._ids),
            client=client,
            phase=Phase.AUTHORIZING,
            since=self.now,
            ask=event.ask,
            encapsulation=event.encapsulation,
            link=event.link,
            service=self.service,
        )
        self.sessions[client] = session
        if self.decides:
            self.answer(client)

    def answer(self, client: Client) -> None:
        """Grant, or refuse."""
        session = self.sessions[client]
        if self.refusal is not None:
            del self.sessions[client]
            closed = replace(session, phase=Phase.CLOSED, cause=CloseCause.REFUSED)
            self.pppoe.follow(closed, session, self.now)
            self.pppoe.reply(closed, Reply(session.ask, Answer.REFUSE, refusal=self.refusal), self.now)
            return
        served = replace(session, phase=Phase.ACTIVE, lease=LEASE, installed=True, ask=None)
        self.sessions[client] = served
        self.pppoe.follow(served, session, self.now)
        self.pppoe.reply(served, Reply(session.ask, Answer.ADMIT, LEASE, HOUR), self.now)

    def end(self, client: Client, cause: CloseCause) -> None:
        """A session ends: first it is on its way out, then gone."""
        session = self.sessions[client]
        going = replace(session, phase=Phase.REMOVING, cause=cause)
        self.sessions[client] = going
        self.pppoe.follow(going, session, self.now)
        del self.sessions[client]
        self.pppoe.follow(replace(going, phase=Phase.CLOSED), going, self.now)

    def dialed(self) -> list[life.Dialed]:
        return [event for event in self.events if isinstance(event, life.Dialed)]

    def hung_up(self) -> list[tuple[CloseCause, str]]:
        return [(event.cause, event.says) for event in self.events if isinstance(event, life.HungUp)]


def discovered(frames: list[bytes]) -> list[packet.Packet]:
    """The packets of discovery among frames."""
    outer = [frame.decode(data) for data in frames]
    return [packet.decode(item.payload) for item in outer if item.ethertype == ETHERTYPE_PPPOE_DISCOVERY]


def codes(frames: list[bytes]) -> list[int]:
    return [item.code for item in discovered(frames)]


def protocols(frames: list[bytes]) -> list[int]:
    """What PPP said in frames."""
    outer = [frame.decode(data) for data in frames]
    return [packet.decode_session(item.payload).protocol for item in outer if item.ethertype == ETHERTYPE_PPPOE_SESSION]


def up(street: Street, **more: object) -> Caller:
    """A caller that has its address."""
    caller = street.caller(**more)  # type: ignore[arg-type]
    caller.dial(street.now)
    street.settle()
    assert caller.addresses is not None, (street.lost, caller.heard)
    return caller


def padr_of(street: Street, caller: Caller) -> bytes:
    """Have a caller dial as far as its PADR, which is on its way then."""
    caller.dial(street.now)
    (padi,) = caller.take()
    street.hear(caller.line.port, padi)
    caller.receive(street.frames.pop(), street.now)
    (padr,) = caller.take()
    return padr


# ---- up ---------------------------------------------------------------------------------


def test_a_client_dials_says_who_it_is_and_is_told_its_addresses() -> None:
    street = Street()
    caller = up(street)
    (dialed,) = street.dialed()
    assert caller.addresses is not None
    assert (caller.addresses.own, caller.addresses.peer, caller.addresses.dns) == (ADDRESS, GATEWAY, DNS)
    assert isinstance(dialed.credentials, ChapMd5)
    assert (dialed.link.name, dialed.link.mru, len(dialed.link.magic)) == ("alice", 1492, 4)
    assert dialed.client == caller.client
    header = frame.decode(dialed.encapsulation)
    assert (header.destination, header.source, header.ethertype) == (MAC, GATEWAY_MAC, ETHERTYPE_PPPOE_SESSION)
    assert frame.vids(header) == (100, 7)
    (negotiated,) = [event for event in street.events if isinstance(event, life.Negotiated)]
    assert negotiated.link.identifiers is not None
    assert len(street.pppoe.calls) == 1


def test_the_gateways_interface_identifiers_say_that_they_are_local() -> None:
    """RFC 5072 4.1: the u bit of one that is made up is zero."""
    street = Street(NO_PROOF)
    for number in range(20):
        up(street, mac=Mac(b"\2\0\0\0\1" + bytes((number,))))
    links = [event.link.identifiers for event in street.events if isinstance(event, life.Negotiated)]
    assert len({own for own, _ in filter(None, links)}) == 20
    assert not any(own[0] & 0x02 for own, _ in filter(None, links))


def test_where_nobody_is_asked_the_line_decides_and_no_second_is_lost() -> None:
    street = Street(NO_PROOF)
    up(street)
    (dialed,) = street.dialed()
    assert (dialed.credentials, dialed.link.name) == (None, "")


def test_resolvers_of_its_service_go_before_those_of_the_pool() -> None:
    street = Street(service=Service(tenant="default", pool="home", dns=DNS[1:]))
    caller = up(street)
    assert caller.addresses is not None
    assert caller.addresses.dns == DNS[1:]


def test_lcp_waits_a_moment_for_the_client_to_begin_and_no_longer() -> None:
    """What leaves right behind the PADS many clients lose."""
    street = Street()
    caller = street.caller()
    padr = padr_of(street, caller)
    street.hear(1, padr)
    assert protocols(street.frames) == []
    caller.receive(street.frames.pop(), street.now)
    caller.out.clear()  # what it says first is lost
    assert protocols(street.wait(OPENING - 1)) == []
    assert protocols(street.wait(1))[0] == Protocol.LCP
    street.wait(3 * SECOND)
    assert caller.addresses is not None


def test_a_client_that_knows_only_pap_says_so_and_is_asked_for_that() -> None:

    street = Street()
    up(street, account=Account(name=b"bob", password=b"x", accepts=(Authentication.PAP,)))
    assert street.dialed()[0].credentials == Pap(b"bob", b"x")


@pytest.mark.parametrize(("reason", "said"), [(Reason.BLOCKED, True), (Reason.RADIUS_UNREACHABLE, False)])
def test_a_refused_client_is_told_so_unless_it_is_not_its_fault(reason: Reason, said: bool) -> None:
    street = Street(refusal=Refusal(reason, "no"))
    caller = street.caller()
    caller.dial(street.now)
    frames = street.wait(20 * SECOND)
    chap = [
        packet.decode_session(frame.decode(data).payload).information[0]
        for data in frames
        if protocols([data]) == [Protocol.CHAP]
    ]
    assert (4 in chap) is said
    assert codes(frames)[-1] == Code.PADT
    assert caller.over
    assert len(street.pppoe.calls) == 0


def test_who_never_says_who_it_is_is_told_of_and_who_is_refused_was_told_of() -> None:
    street = Street(refusal=Refusal(Reason.WRONG_PASSWORD, "no"))
    street.caller().dial(street.now)
    street.wait(20 * SECOND)
    assert street.turned_away == []
    street = Street(PppoeSettings(authentication=("pap",)))
    street.caller(account=Account(name=b"bob", password=b"x", accepts=(Authentication.CHAP_MD5,))).dial(street.now)
    street.wait(60 * SECOND)
    assert set(street.turned_away) == {Reason.NO_AGREEMENT}


def test_a_service_that_is_not_on_offer_is_refused_in_the_pads_too() -> None:
    street = Street()
    caller = street.caller(service="television")
    padr = padr_of(street, caller)
    street.pppoe.reconfigure(PppoeSettings(services=("internet",)), "bng1", street.ports, {})
    street.hear(1, padr)
    (pads,) = discovered(street.frames)
    assert pads.first(SERVICE_NAME_ERROR) is not None
    assert street.lost == ["other-service"]


def test_a_client_that_nobody_decides_about_is_told_to_dial_again() -> None:
    street = Street(decides=False)
    caller = street.caller()
    caller.dial(street.now)
    street.settle()
    caller.switch_off()
    assert codes(street.wait(VERDICT - SECOND)) == []
    assert codes(street.wait(2 * SECOND)) == [Code.PADT]
    assert street.hung_up() == [(CloseCause.NOT_NEGOTIATED, "no verdict")]


# ---- discovery --------------------------------------------------------------------------


def test_the_concentrator_says_its_name_and_its_services() -> None:
    street = Street(PppoeSettings(name="edge", services=("gold", "silver")))
    caller = street.caller(service="gold")
    caller.dial(street.now)
    for data in caller.take():
        street.hear(1, data)
    (pado,) = discovered(street.frames)
    assert (pado.all(AC_NAME), pado.all(SERVICE_NAME)) == ([b"edge"], [b"gold", b"silver"])
    street.frames.clear()
    other = street.caller(Mac(b"\2\0\0\0\0\2"), service="bronze")
    other.dial(street.now)
    assert street.settle() == []
    assert street.lost == ["other-service"]


def test_a_pado_waits_where_another_gateway_is_to_be_first() -> None:
    street = Street(ports=ports(pado_delay_ms=200))
    caller = street.caller()
    caller.dial(street.now)
    assert street.wait(199 * MILLISECOND) == []
    assert codes(street.wait(MILLISECOND))[0] == Code.PADO
    assert caller.addresses is not None


def test_of_those_that_would_wait_beyond_a_bound_the_pado_leaves_at_once() -> None:
    street = Street(ports=ports(pado_delay_ms=10_000))
    caller = street.caller()
    caller.dial(street.now)
    (padi,) = caller.take()
    for number in range(MOST_DELAYED + 3):
        street.hear(1, padi[:6] + number.to_bytes(6, "big") + padi[12:])
    assert codes(street.frames) == [Code.PADO] * 3


def test_more_than_1492_octets_are_for_who_asks_for_them() -> None:
    street = Street(PppoeSettings(mru=1500))
    caller = up(street, most=1500)
    assert caller.host.max_payload == 1500
    assert street.dialed()[0].link.mru == 1500
    plain = up(street, mac=Mac(b"\2\0\0\0\0\2"))
    assert plain.host.max_payload == 1492
    assert street.dialed()[1].link.mru == 1492


def test_without_the_setting_nobody_has_more_than_1492() -> None:
    street = Street()
    caller = up(street, most=1500)
    assert caller.host.max_payload == 1492
    assert all(item.first(PPP_MAX_PAYLOAD) is None for item in discovered(street.frames))


def test_a_padr_with_a_made_up_cookie_is_not_answered() -> None:
    street = Street()
    caller = street.caller()
    tags = [(SERVICE_NAME.number, b""), (packet.AC_COOKIE.number, bytes(20))]
    head = frame.encode_l2(GATEWAY_MAC, MAC, (frame.Tag(0x88A8, 100), frame.Tag(0x8100, 7)), 0x8863)
    caller.out.append(head + packet.encode(Code.PADR, 0, tags))
    assert street.settle() == []
    assert street.lost == ["bad-cookie"]
    assert len(street.pppoe.calls) == 0


def test_a_cookie_of_another_line_is_not_taken() -> None:
    street = Street()
    caller = street.caller()
    padr = padr_of(street, caller)
    street.hear(1, padr[:14] + (101).to_bytes(2) + padr[16:])
    assert street.lost == ["bad-cookie"]


def test_a_repeated_padr_gets_the_same_session_and_no_second_call() -> None:
    street = Street()
    caller = street.caller()
    padr = padr_of(street, caller)
    street.hear(1, padr)
    street.hear(1, padr)
    first, again = [item for item in discovered(street.frames) if item.code == Code.PADS]
    assert first == again
    assert len(street.pppoe.calls) == 1


def test_a_padr_of_an_earlier_dial_that_comes_late_replaces_nothing() -> None:
    street = Street()
    caller = street.caller()
    late = padr_of(street, caller)
    street.wait(MILLISECOND)
    caller.dial(street.now)
    street.settle()
    before = caller.client
    street.hear(1, late)
    street.settle()
    assert (caller.client, caller.over) == (before, False)
    assert len(street.pppoe.calls) == 1
    assert street.pppoe.ignored["overtaken"] == 1


def test_a_client_that_dials_anew_replaces_its_old_session_and_gets_another_number() -> None:
    street = Street()
    caller = up(street)
    before = caller.client
    caller.switch_off()
    caller.dial(street.now)
    frames = street.settle()
    assert caller.addresses is not None
    assert caller.client.pppoe != before.pppoe
    assert street.hung_up() == [(CloseCause.USER_REQUEST, "it dials anew")]
    assert list(street.sessions) == [caller.client]
    assert [item.session_id for item in discovered(frames) if item.code == Code.PADT] == [before.pppoe]
    assert len(street.pppoe.calls) == 1


def test_a_mac_may_have_as_many_sessions_as_the_setting_says() -> None:
    street = Street(PppoeSettings(per_client=2))
    first, second = up(street), up(street)
    assert first.addresses is not None
    assert len(street.pppoe.calls) == 2
    third = up(street)
    assert (first.over, second.over, third.over) == (True, False, False)
    assert len(street.pppoe.calls) == 2


def refused(street: Street, mac: Mac = MAC) -> bool:
    """Whether a newcomer is told that there is no room."""
    caller = street.caller(mac)
    caller.dial(street.now)
    pads = [item for item in discovered(street.settle()) if item.code == Code.PADS]
    return bool(pads) and all(item.first(AC_SYSTEM_ERROR) is not None and not item.session_id for item in pads)


def test_a_full_port_a_full_gateway_and_a_line_where_all_dial_take_no_more() -> None:
    other = Mac(b"\2\0\0\0\0\2")
    for street, why in (
        (Street(ports=ports(pppoe_sessions=1)), Reason.PORT_FULL),
        (Street(most=1), Reason.TABLE_FULL),
        (Street(ports=ports(clients=1), decides=False), Reason.LINE_FULL),
    ):
        caller = street.caller()
        caller.dial(street.now)
        street.settle()
        assert refused(street, other), street
        assert set(street.turned_away) == {why}
        assert street.pppoe.ignored[why.spoken] == len(street.turned_away)


def test_a_port_that_was_full_has_room_again_for_each_that_is_gone() -> None:
    street = Street(ports=ports(pppoe_sessions=1))
    for _ in range(3):
        caller = up(street)
        assert refused(street, Mac(b"\2\0\0\0\0\2"))
        caller.hang_up()
        street.settle()


def test_those_that_are_up_do_not_count_among_those_that_dial() -> None:
    street = Street(ports=ports(clients=1))
    up(street)
    assert not refused(street, Mac(b"\2\0\0\0\0\2"))


def test_a_session_number_rests_before_it_is_given_again() -> None:
    street = Street(NO_PROOF)
    numbers = []
    for _ in range(50):
        caller = up(street)
        numbers.append(caller.client.pppoe)
        caller.hang_up()
        street.settle()
    assert len(set(numbers)) == 50


# ---- lines ------------------------------------------------------------------------------

TOLD = pppoe_line.encode(LineInfo(b"door-1", b"node", {pppoe_line.Figure.ACTUAL_UPSTREAM: 10_000}))


def test_a_trusted_access_node_names_the_line_and_says_what_it_is_like() -> None:
    street = Street()
    up(street, line=Line(2, 100, 7, b"door-1"), tags=(TOLD,))
    (dialed,) = street.dialed()
    assert dialed.client.line.circuit == b"door-1"
    assert pppoe_line.decode(dialed.agent).figures[pppoe_line.Figure.ACTUAL_UPSTREAM] == 10_000


def test_elsewhere_nothing_of_that_is_believed() -> None:
    street = Street()
    up(street, tags=(TOLD,))
    assert (street.dialed()[0].client.line.circuit, street.dialed()[0].agent) == (b"", b"")


@pytest.mark.parametrize(("tags", "why"), [((), "no-circuit-id"), ((TOLD, TOLD), "malformed-line-tag")])
def test_where_circuits_tell_lines_apart_one_is_needed_and_no_more(tags: tuple[packet.Tag, ...], why: str) -> None:
    street = Street()
    caller = street.caller(line=Line(2, 100, 7), tags=tags)
    caller.dial(street.now)
    assert street.settle() == []
    assert street.lost == [why]


def test_a_mac_that_another_circuit_has_too_ends_nothing_there() -> None:
    """Whoever knows a neighbour's MAC is on a line of its own, by its access node's word."""
    street = Street()
    other = pppoe_line.encode(LineInfo(b"door-2"))
    victim = up(street, line=Line(2, 100, 7, b"door-1"), tags=(TOLD,))
    thief = street.caller(line=Line(2, 100, 7, b"door-2"), tags=(other,))
    thief.dial(street.now)
    street.settle()
    assert (victim.addresses is not None, street.hung_up()) == (True, [])
    assert len({call.client.pppoe for call in street.pppoe.calls}) == 2
    thief.out.append(padt_of(victim, other))
    street.settle()
    assert (victim.over, street.hung_up()) == (False, [])
    assert street.lost[-1] == "unknown-pppoe-session"


def test_a_padt_is_believed_with_the_word_of_its_own_circuit_and_without_any() -> None:
    for tags in ((TOLD,), ()):
        street = Street()
        caller = up(street, line=Line(2, 100, 7, b"door-1"), tags=(TOLD,))
        caller.out.append(padt_of(caller, *tags))
        street.settle()
        assert street.hung_up() == [(CloseCause.USER_REQUEST, "PADT")]


def padt_of(caller: Caller, *tags: packet.Tag) -> bytes:
    """A PADT of a caller's session, with what an access node adds."""
    head = frame.encode_l2(GATEWAY_MAC, caller.mac, (frame.Tag(0x88A8, 100), frame.Tag(0x8100, 7)), 0x8863)
    return (head + packet.encode(Code.PADT, caller.host.session_id, tags)).ljust(60, b"\0")


# ---- down -------------------------------------------------------------------------------


def test_padt_ends_a_session_and_is_not_answered() -> None:
    street = Street()
    caller = up(street)
    caller.hang_up()
    assert street.settle() == []
    assert street.hung_up() == [(CloseCause.USER_REQUEST, "PADT")]
    assert (len(street.pppoe.calls), street.sessions) == (0, {})


def test_a_padt_from_elsewhere_ends_nothing() -> None:
    street = Street()
    caller = up(street)
    caller.hang_up()
    (padt,) = caller.take()
    street.hear(1, padt[:6] + bytes(6) + padt[12:])
    street.hear(1, padt[:14] + (101).to_bytes(2) + padt[16:])
    street.hear(2, padt)
    assert street.settle() == []
    assert street.lost == ["unknown-pppoe-session"] * 3
    assert len(street.pppoe.calls) == 1


def test_a_client_that_takes_its_leave_is_answered() -> None:
    street = Street()
    caller = up(street)
    caller.close(street.now)
    frames = street.wait(5 * SECOND)
    assert protocols(frames)[0] == Protocol.LCP
    assert codes(frames) == [Code.PADT]
    assert street.hung_up() == [(CloseCause.USER_REQUEST, "peer-terminated")]
    assert len(street.pppoe.calls) == 0


@pytest.mark.parametrize("cause", [CloseCause.DISCONNECTED, CloseCause.REFUSED])
def test_a_session_that_ends_here_takes_its_call_along(cause: CloseCause) -> None:
    """Also where a server that is asked again refuses it by now."""
    street = Street()
    caller = up(street)
    street.end(caller.client, cause)
    frames = street.settle()
    assert protocols(frames) == [Protocol.LCP]
    assert codes(frames) == [Code.PADT], "its last word is not one of a stranger"
    assert caller.over
    assert len(street.pppoe.calls) == 0


def test_a_silent_client_is_asked_and_then_gone() -> None:
    street = Street()
    caller = up(street)
    caller.switch_off()
    frames = street.wait(29 * SECOND)
    assert frames == []
    frames = street.wait(120 * SECOND)
    assert protocols(frames) == [Protocol.LCP] * len(protocols(frames))
    assert street.hung_up() == [(CloseCause.LOST_CARRIER, "silent")]
    assert codes(frames) == [Code.PADT]


def test_whom_the_data_plane_hears_is_not_asked() -> None:
    street = Street()
    caller = up(street)
    (session,) = street.sessions.values()
    caller.switch_off()
    for _ in range(10):
        street.seen[session.id] = street.now
        assert street.wait(25 * SECOND) == []
    assert len(street.pppoe.calls) == 1


def test_who_negotiates_anew_begins_a_new_session_on_the_same_call() -> None:
    street = Street()
    caller = up(street)
    number = caller.client.pppoe
    caller.renegotiate(street.now)
    street.wait(10 * SECOND)
    assert caller.addresses is not None
    assert caller.client.pppoe == number
    assert street.hung_up() == [(CloseCause.USER_REQUEST, "it negotiates anew")]
    assert len(street.dialed()) == 2
    (session,) = street.sessions.values()
    assert session.id == 1
    street.end(caller.client, CloseCause.ADMIN_RESET)
    street.settle()
    assert caller.over


def test_a_session_that_nobody_knows_is_told_so() -> None:
    street = Street()
    caller = up(street)
    street.pppoe = street.start()
    caller.close(street.now)
    frames = street.settle()
    assert [(item.code, item.session_id) for item in discovered(frames)] == [(Code.PADT, caller.host.session_id)]
    assert caller.over


# ---- another process --------------------------------------------------------------------


def test_another_process_gives_no_number_that_a_mac_has_from_before() -> None:
    street = Street(PppoeSettings(per_client=2))
    before = up(street).client
    (session,) = street.sessions.values()
    street.pppoe = street.start()
    street.pppoe.resume(replace(session, link=street.dialed()[0].link), street.now)
    street.pppoe.calls._next_id[1] = before.pppoe  # as chance may have it
    after = up(street).client
    assert after.pppoe != before.pppoe
    assert {call.client for call in street.pppoe.calls} == {before, after}


def test_another_process_goes_on_and_nobody_notices() -> None:
    street = Street()
    caller = up(street)
    (session,) = street.sessions.values()
    link = next(event.link for event in street.events if isinstance(event, life.Negotiated))
    kept = replace(session, link=link)
    street.sessions[caller.client] = kept
    street.pppoe = street.start()
    street.pppoe.resume(kept, street.now)
    frames = street.wait(300 * SECOND)
    assert set(protocols(frames)) == {Protocol.LCP}, "echoes, and nothing else"
    assert (caller.addresses is not None, caller.over) == (True, False)
    assert street.hung_up() == []
    street.end(caller.client, CloseCause.STOPPED)
    street.settle()
    assert caller.over


# ---- bad input --------------------------------------------------------------------------


@given(st.binary(max_size=80), st.booleans(), st.integers(0, 200))
def test_nothing_that_a_peer_sends_raises(data: bytes, session: bool, at: int) -> None:
    street = Street()
    caller = up(street)
    head = frame.encode_l2(GATEWAY_MAC, MAC, (frame.Tag(0x88A8, 100), frame.Tag(0x8100, 7)), 0x8863)
    if session:
        number = caller.client.pppoe
        body = b"\x11\x00" + number.to_bytes(2) + len(data).to_bytes(2) + data
        street.pppoe.receive(caller.client.key, 22, head + body, street.now)
    else:
        street.pppoe.discover(1, (head + data)[: 22 + at], street.now)
    street.settle()
