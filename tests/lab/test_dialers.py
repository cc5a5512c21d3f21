"""The crowd that dials, in virtual time, against the pure machines of an access concentrator."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.dialers import DISCOVERY_S, Dialers, Member, Stage
from wayleave.lab.packet import PPPOE_DISCOVERY, PPPOE_SESSION, Frame, ethernet
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.ppp.account import Account
from wayleave.proto.ppp.auth import Authentication, ChapMd5, Credentials, Pap
from wayleave.proto.ppp.automaton import Timers
from wayleave.proto.ppp.ipcp import IpcpServer
from wayleave.proto.ppp.ipv6cp import Ipv6cpServer
from wayleave.proto.ppp.lcp import Keepalive
from wayleave.proto.ppp.news import Authenticate, Output, Send
from wayleave.proto.ppp.packet import Code as PppCode
from wayleave.proto.ppp.packet import Protocol, encode
from wayleave.proto.ppp.session import Session, Settings
from wayleave.proto.pppoe import discovery
from wayleave.proto.pppoe.packet import Code, encode_session

NOW = BootNs(1000 * SECOND)
MAC = Mac.parse("02:77:00:00:00:01")
OWN, FIRST = IPv4Address("100.64.0.1"), IPv4Address("100.64.0.2")
RESOLVERS = (IPv4Address("198.51.100.10"), IPv4Address("198.51.100.11"))
CLIENTS = 5


def member(number: int) -> Member:
    account = Account(name=b"c%d" % number, password=b"sesame%d" % number)
    return Member(Mac(b"\x02\xaa\0\0\0" + bytes((number,))), Line(100, 1 + number), account)


@dataclass
class Concentrator:
    """Serves everybody who proves a password; `sessions` by their numbers, which are the clients' from 1."""

    dialers: Dialers
    demands: tuple[Authentication, ...] = ()
    sessions: dict[int, tuple[Frame, Session]] = field(default_factory=dict)
    proven: list[bytes] = field(default_factory=list)

    def serve(self) -> None:
        """Until nobody has anything to say."""
        self.dialers.expire(NOW)
        while frames := self.dialers.take():
            for data in frames:
                self._hear(Frame(data))

    def tell(self, to: Frame, ethertype: int, packet: bytes) -> None:
        self.dialers.receive(ethernet(to.source, MAC, ethertype, packet, to.tags), NOW)

    def heed(self, number: int, outputs: list[Output]) -> None:
        to, session = self.sessions[number]
        for said in outputs:
            match said:
                case Send(protocol, information):
                    self.tell(to, PPPOE_SESSION, encode_session(number, protocol, information))
                case Authenticate(attempt, credentials):
                    networks = (
                        IpcpServer(Timers(), own=OWN, peer=FIRST + number, dns=RESOLVERS),
                        Ipv6cpServer(Timers(), own=bytes(7) + b"\1", suggested=bytes(7) + b"\2"),
                    )
                    self.heed(number, session.decide(attempt, self._holds(credentials), b"", networks, NOW))

    def _holds(self, credentials: Credentials | None) -> bool:
        if credentials is None:
            return True
        self.proven.append(credentials.name)
        password = b"sesame" + credentials.name[1:]
        if isinstance(credentials, Pap):
            return credentials.password == password
        assert isinstance(credentials, ChapMd5)
        said = bytes((credentials.identifier,)) + password + credentials.challenge
        return credentials.response == hashlib.md5(said).digest()

    def _hear(self, frame: Frame) -> None:
        if frame.ppp is not None:
            session = self.sessions[frame.ppp.session_id][1]
            self.heed(frame.ppp.session_id, session.receive(frame.ppp.protocol, frame.ppp.information, NOW))
        elif frame.discovery is not None and frame.discovery.code == Code.PADI:
            pado = discovery.offer(frame.discovery, discovery.Concentrator(name="ac"), b"cookie")
            assert isinstance(pado, bytes)
            self.tell(frame, PPPOE_DISCOVERY, pado)
        elif frame.discovery is not None:
            number = frame.source[5] + 1
            self.sessions[number] = (frame, Session(Settings(demands=self.demands, keepalive=Keepalive()), bytes, 1492))
            confirmed = discovery.Confirmed(b"", 1492, b"cookie", ())
            self.tell(frame, PPPOE_DISCOVERY, discovery.established(confirmed, number))
            self.heed(number, self.sessions[number][1].open(NOW))


def street(demands: tuple[Authentication, ...] = (), **more: float) -> Concentrator:
    """Everybody has dialed."""
    concentrator = Concentrator(Dialers([member(number) for number in range(CLIENTS)], **more), demands)
    concentrator.dialers.dial(NOW)
    concentrator.serve()
    return concentrator


@pytest.mark.parametrize("demands", [(), (Authentication.PAP,), (Authentication.CHAP_MD5,)])
def test_everybody_comes_online_as_it_is_asked_to(demands: tuple[Authentication, ...]) -> None:
    found = street(demands)
    assert (found.dialers.waiting, found.dialers.faults) == (0, {}), found.dialers.examples
    assert [item.address for item in found.dialers.all] == [(FIRST + n).packed for n in range(1, CLIENTS + 1)]
    assert found.proven == ([b"c%d" % number for number in range(CLIENTS)] if demands else [])


def test_so_many_are_under_way_and_no_more() -> None:
    dialers = Dialers([member(number) for number in range(CLIENTS)])
    dialers.dial(NOW, under_way=2)
    assert len(dialers.take()) == 2
    assert [item.stage for item in dialers.all].count(Stage.OFF) == CLIENTS - 2
    dialers.dial(NOW, under_way=2)
    Concentrator(dialers).serve()
    assert dialers.waiting == 0


def test_a_padi_is_repeated_and_its_clients_begin_again() -> None:
    dialers = Dialers([member(0)])
    dialers.dial(NOW)
    said = []
    for second in range(sum(DISCOVERY_S) + 1):
        dialers.expire(NOW + second * SECOND)
        said += [(second, Frame(data).discovery.code) for data in dialers.take()]  # type: ignore[union-attr]
    assert said == [(0, Code.PADI), (5, Code.PADI), (15, Code.PADI), (35, Code.PADI)]
    assert dialers.repeated == {"SEEKING": 3}


def test_who_is_cut_off_is_told_and_dials_anew() -> None:
    found = street()
    to, _ = found.sessions[1]
    found.tell(to, PPPOE_DISCOVERY, discovery.ended(1))
    assert (found.dialers.waiting, found.dialers.faults) == (1, {"cut off": 1})
    found.serve()
    assert found.dialers.waiting == 0


def test_a_session_of_before_is_none_of_theirs() -> None:
    found = street()
    to, _ = found.sessions[1]
    found.tell(to, PPPOE_DISCOVERY, discovery.ended(77))
    assert (found.dialers.waiting, found.dialers.faults) == (0, {})


def test_what_nobody_expects_is_a_fault() -> None:
    found = street()
    to, _ = found.sessions[1]
    found.tell(to, PPPOE_SESSION, encode_session(1, Protocol.LCP, encode(PppCode.TERMINATE_REQUEST, 1)))
    assert sum(found.dialers.faults.values()) == 1


def test_an_echo_is_answered_and_asked_for() -> None:
    found = street(keepalive_s=30)
    (_, session) = found.sessions[1]
    link = session.link
    assert link is not None
    found.heed(1, session.expire(link.deadline))
    (answer,) = found.dialers.take()
    assert Frame(answer).control == (Protocol.LCP, PppCode.ECHO_REPLY)
    found.dialers.expire(NOW + 29 * SECOND)
    assert found.dialers.take() == []
    found.dialers.expire(NOW + 30 * SECOND)
    assert {Frame(data).control for data in found.dialers.take()} == {(Protocol.LCP, PppCode.ECHO_REQUEST)}
