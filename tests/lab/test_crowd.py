"""The crowd in virtual time, against a server that scapy speaks for; and on a trunk, against real frames."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet

from wayleave.lab.access_node import Line
from wayleave.lab.crowd import DELAYS_S, REBOOT_TRIES, REQUEST_TRIES, Crowd, State, run
from wayleave.lab.dhcp_client import (
    DHCLIENT,
    OLD_ROUTER,
    OPENWRT,
    PROFILES,
    UDHCPC,
    WINDOWS,
    Kind,
    Member,
    Profile,
    Server,
)
from wayleave.lab.packet import Frame, Tag, dhcp_options, ethernet
from wayleave.lab.topology import Lab
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND

SERVER = Server(Mac.parse("02:77:00:00:00:01"), IPv4Address("100.64.0.1"))
HAD = IPv4Address("100.64.0.77")


def member(number: int = 0, profile: Profile = UDHCPC, **more: object) -> Member:
    return Member(Mac(b"\x02\xaa\0\0\0" + bytes((number,))), Line(100, 1 + number), profile, **more)  # type: ignore[arg-type]


# ---- what clients say -----------------------------------------------------------------------


def heard(data: bytes) -> tuple[Packet, dict[str, object]]:
    """A frame as scapy reads it, and its options by scapy's names, once its checksums are found right."""
    packet = Ether(data)
    again = Ether(data)
    del again[IP].chksum, again[UDP].chksum
    again = Ether(bytes(again))
    assert (packet[IP].chksum, packet[UDP].chksum) == (again[IP].chksum, again[UDP].chksum)
    options = [option for option in packet[DHCP].options if isinstance(option, tuple)]
    return packet, {name: value for name, value, *_ in options}


def codes(data: bytes) -> list[int]:
    return [code for code, _ in dhcp_options(Frame(data).udp_payload)]


def first_words(one: Member) -> bytes:
    crowd = Crowd([one], SERVER, random.Random(1), 0)
    crowd.expire(0)
    (data,) = crowd.take()
    return data


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_new_client_says_discover(profile: Profile) -> None:
    new = member(3, profile)
    packet, options = heard(first_words(new))
    assert (packet.src, packet.dst) == ("02:aa:00:00:00:03", "ff:ff:ff:ff:ff:ff")
    assert (packet[Dot1AD].vlan, packet[Dot1Q].vlan) == (100, 4)
    assert (packet[IP].src, packet[IP].dst, packet[UDP].sport, packet[UDP].dport) == (
        "0.0.0.0",
        "255.255.255.255",
        68,
        67,
    )
    assert options["message-type"] == Kind.DISCOVER
    assert tuple(options["param_req_list"]) == profile.wants  # type: ignore[arg-type]
    assert options.get("requested_addr") is None
    assert options.get("client_id") == (b"\x01" + new.mac if profile.identified else None)
    assert packet[BOOTP].chaddr == new.mac.ljust(16, b"\0")
    assert packet[BOOTP].flags == (0x8000 if profile.broadcast else 0)
    assert len(packet[BOOTP]) >= 300


@pytest.mark.parametrize(
    ("profile", "order"),
    [
        (UDHCPC, [53, 57, 55, 60, 61]),
        (DHCLIENT, [53, 50, 12, 55]),
        (WINDOWS, [53, 61, 50, 12, 81, 60, 55]),
        (OPENWRT, [53, 57, 55, 12, 60]),
        (OLD_ROUTER, [53, 61, 60, 57, 55]),
    ],
    ids=lambda item: item.name if isinstance(item, Profile) else "",
)
def test_options_come_in_the_order_of_the_make(profile: Profile, order: list[int]) -> None:
    assert codes(first_words(member(profile=profile, address=HAD))) == order


@pytest.mark.parametrize("profile", [WINDOWS, DHCLIENT], ids=lambda profile: profile.name)
def test_who_remembers_asks_for_what_it_had(profile: Profile) -> None:
    packet, options = heard(first_words(member(profile=profile, address=HAD)))
    assert (options["message-type"], options["requested_addr"]) == (Kind.REQUEST, str(HAD))
    assert "server_id" not in options
    assert packet[BOOTP].ciaddr == "0.0.0.0"


def test_a_renewal_goes_to_the_gateway_alone() -> None:
    packet, options = heard(first_words(member(address=HAD, renews=True)))
    assert (packet.dst, packet[IP].src, packet[IP].dst) == (str(SERVER.mac), str(HAD), str(SERVER.address))
    assert (options["message-type"], packet[BOOTP].ciaddr) == (Kind.REQUEST, str(HAD))
    assert not {"requested_addr", "server_id"} & set(options)


def test_the_access_node_puts_option_82_last() -> None:
    data = first_words(replace(member(), line=Line(100, 1, circuit=b"olt1/1/2")))
    assert dhcp_options(Frame(data).udp_payload)[-1] == (82, b"\x01\x08olt1/1/2")


# ---- a server -------------------------------------------------------------------------------

Bend = Callable[[Packet, dict[int, bytes]], None]
"""What makes an answer wrong: changes the frame, or its options before they go into it."""


def answer(asked: Frame, kind: int, yiaddr: IPv4Address, bend: Bend = lambda *_: None) -> bytes:
    """What RFC 2131 table 3 says, as scapy writes it."""
    message = asked.udp_payload
    theirs = dict(dhcp_options(message))
    ciaddr, flags = IPv4Address(message[12:16]), int.from_bytes(message[10:12], "big")
    everyone = kind == Kind.NAK or (flags & 0x8000 and int(ciaddr) == 0)
    options = {53: bytes((kind,)), 54: SERVER.address.packed}
    if kind != Kind.NAK:
        options |= {51: b"\0\0\x0e\x10", 1: b"\xff\xff\xfc\0", 3: SERVER.address.packed}
    options |= {code: theirs[code] for code in (61, 82) if code in theirs}
    packet = Ether(src=str(SERVER.mac), dst="ff:ff:ff:ff:ff:ff" if everyone else asked.source.hex(":"))
    for tag in asked.tags:
        layer = Dot1AD if tag.tpid == 0x88A8 else Dot1Q
        packet /= layer(vlan=tag.vid)
    packet /= IP(src=str(SERVER.address), dst="255.255.255.255" if everyone else str(yiaddr)) / UDP(sport=67, dport=68)
    packet /= BOOTP(op=2, xid=int.from_bytes(message[4:8], "big"), flags=flags, chaddr=message[28:44])
    packet[BOOTP].ciaddr = str(ciaddr if kind == Kind.ACK else IPv4Address(0))
    packet[BOOTP].yiaddr = str(yiaddr if kind != Kind.NAK else IPv4Address(0))
    bend(packet, options)
    field = b"".join(bytes((code, len(value))) + value for code, value in options.items()) + b"\xff"
    return bytes(packet / (b"\x63\x82\x53\x63" + field))


@dataclass
class World:
    """A crowd, its server, and virtual time. `deaf` to kinds: messages that get lost; `bend`s answers of a kind."""

    crowd: Crowd
    deaf: set[int] = field(default_factory=set)
    refuses: bool = False
    bends: Mapping[int, Bend] = field(default_factory=dict)
    twice: bool = False
    same: bool = False
    now: int = 0
    log: list[tuple[float, int, int]] = field(default_factory=list)
    given: dict[bytes, IPv4Address] = field(default_factory=dict)

    def run(self, seconds: float) -> World:
        """Let time pass, from timer to timer."""
        end = self.now + round(seconds * SECOND)
        while self.crowd.waiting and (due := self.crowd.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.crowd.expire(self.now)
            while frames := self.crowd.take():
                for data in frames:
                    self._serve(Frame(data))
        return self

    def said(self, kind: int) -> list[float]:
        """When messages of a kind were sent."""
        return [at for at, found, _ in self.log if found == kind]

    def _serve(self, asked: Frame) -> None:
        message = asked.udp_payload
        options = dict(dhcp_options(message))
        kind = options[53][0]
        self.log.append((self.now / SECOND, kind, int.from_bytes(message[8:10], "big")))
        if kind in self.deaf:
            return
        mine = self._address(asked, options)
        refused = kind == Kind.REQUEST and self.refuses and 54 not in options
        back = Kind.OFFER if kind == Kind.DISCOVER else Kind.NAK if refused else Kind.ACK
        for _ in range(1 + self.twice):
            self.crowd.receive(answer(asked, back, mine, self.bends.get(back, lambda *_: None)), self.now)

    def _address(self, asked: Frame, options: dict[int, bytes]) -> IPv4Address:
        ciaddr = asked.udp_payload[12:16]
        if self.same:
            return SERVER.address + 9
        if ciaddr != bytes(4) or 50 in options:
            return IPv4Address(options.get(50, ciaddr))
        return self.given.setdefault(asked.source, SERVER.address + 9 + len(self.given))


def world(*members: Member, **more: object) -> World:
    return World(Crowd(members, SERVER, random.Random(1), 0), **more)  # type: ignore[arg-type]


# ---- the machine ----------------------------------------------------------------------------


def test_everybody_gets_an_address_of_its_own() -> None:
    members = [member(number, PROFILES[number % len(PROFILES)]) for number in range(40)]
    crowd = world(*members).run(1).crowd
    assert (crowd.waiting, crowd.faults) == (0, Counter())
    assert len({client.address for client in crowd.clients}) == 40
    assert {client.waited_s for client in crowd.clients} == {0}
    assert crowd.sent == {"selecting": 40, "requesting": 40}


def test_who_comes_back_gets_what_it_had() -> None:
    before = world(*[member(number, PROFILES[number % len(PROFILES)]) for number in range(10)]).run(1)
    back = before.crowd.rebooted()
    assert [item.address for item in back] == list(before.given.values())
    again = World(Crowd(back, SERVER, random.Random(2), 0), given=before.given).run(1)
    assert (again.crowd.waiting, again.crowd.faults) == (0, Counter())
    assert again.crowd.sent == {"rebooting": 4, "selecting": 6, "requesting": 6}
    assert [client.address for client in again.crowd.clients] == [client.address for client in before.crowd.clients]


def test_a_renewal_is_one_message_each_way() -> None:
    crowd = world(member(address=HAD, renews=True), member(1, OLD_ROUTER, address=HAD + 1, renews=True)).run(1).crowd
    assert (crowd.waiting, crowd.faults, crowd.sent) == (0, Counter(), {"renewing": 2})


def test_they_begin_when_they_are_told_to() -> None:
    found = world(member(0), member(1, after_s=2.5)).run(3)
    assert found.said(Kind.DISCOVER) == [0, 2.5]
    assert [client.waited_s for client in found.crowd.clients] == [0, 0]


def test_what_is_lost_is_said_again_later_and_later() -> None:
    found = world(member(), deaf={Kind.DISCOVER}).run(300)
    gaps = [b - a for a, b in zip(found.said(Kind.DISCOVER), found.said(Kind.DISCOVER)[1:], strict=False)]
    for gap, delay in zip(gaps, [*DELAYS_S, DELAYS_S[-1], DELAYS_S[-1]], strict=True):
        assert delay - 1 <= gap <= delay + 1
    assert len({gap % 1 for gap in gaps}) > 1, "without chance all come back at once"
    assert [secs for _, _, secs in found.log] == [int(at) for at in found.said(Kind.DISCOVER)]


def test_the_wait_counts_from_the_first_word() -> None:
    found = world(member(), deaf={Kind.DISCOVER}).run(2)
    found.deaf.clear()
    (client,) = found.run(10).crowd.clients
    assert client.waited_s is not None
    assert 3 <= client.waited_s <= 5
    assert client.most_tries == 2


def test_init_reboot_gives_way_to_discover() -> None:
    found = world(member(profile=DHCLIENT, address=HAD), deaf={Kind.REQUEST}).run(60)
    assert len([at for at in found.said(Kind.REQUEST) if at < found.said(Kind.DISCOVER)[0]]) == REBOOT_TRIES
    assert 10 <= found.said(Kind.DISCOVER)[0] <= 14
    found.deaf.clear()
    assert found.run(60).crowd.clients[0].address == HAD.packed
    assert not found.crowd.faults


def test_a_no_in_init_reboot_leads_to_discover_at_once_and_to_any_address() -> None:
    found = world(member(profile=WINDOWS, address=HAD), refuses=True).run(1)
    (client,) = found.crowd.clients
    assert (client.naks, client.state, found.crowd.faults) == (1, State.BOUND, Counter())
    assert client.address == (SERVER.address + 9).packed
    assert found.log == [(0, Kind.REQUEST, 0), (0, Kind.DISCOVER, 0), (0, Kind.REQUEST, 0)]


def test_an_offer_nobody_confirms_is_given_up() -> None:
    found = world(member(), deaf={Kind.REQUEST}).run(70)
    assert len(found.said(Kind.REQUEST)) >= REQUEST_TRIES
    assert len(found.said(Kind.DISCOVER)) == 2
    found.deaf.clear()
    assert not found.run(60).crowd.waiting


def test_the_request_repeats_the_seconds_of_its_discover() -> None:
    found = world(member(), deaf={Kind.DISCOVER}).run(2)
    found.deaf.clear()
    found.run(10)
    _, (_, _, discover), (_, kind, request) = found.log
    assert kind == Kind.REQUEST
    assert discover == request > 0


# ---- the judge ------------------------------------------------------------------------------


def put(layer: type[Packet], name: str, value: object) -> Bend:
    """Set a field."""
    return lambda packet, _: setattr(packet[layer], name, value)


def option(code: int, value: bytes | None) -> Bend:
    """Set an option, or leave it out."""

    def bend(_: Packet, options: dict[int, bytes]) -> None:
        if value is None:
            options.pop(code, None)
        else:
            options[code] = value

    return bend


BENT: dict[str, tuple[Bend, set[str]]] = {
    "another line": (put(Dot1Q, "vlan", 9), {"tags"}),
    "another TPID": (put(Ether, "type", 0x8100), {"tags"}),
    "another client's MAC": (put(Ether, "dst", "02:aa:00:00:00:09"), {"destination"}),
    "broadcast, unasked": (put(Ether, "dst", "ff:ff:ff:ff:ff:ff"), {"destination"}),
    "from nobody's MAC": (put(Ether, "src", "02:77:00:00:00:09"), {"source"}),
    "from nobody's address": (put(IP, "src", "100.64.0.2"), {"from-address"}),
    "to the wrong address": (put(IP, "dst", "255.255.255.255"), {"to-address"}),
    "a bad IP checksum": (put(IP, "chksum", 1), {"ip-checksum"}),
    "a bad UDP checksum": (put(UDP, "chksum", 1), {"udp-checksum"}),
    "a fragment": (put(IP, "flags", "MF"), {"fragment"}),
    "from another port": (put(UDP, "sport", 68), {"ports"}),
    "a request": (put(BOOTP, "op", 1), {"op"}),
    "flags": (put(BOOTP, "flags", 0x8000), {"flags"}),
    "a relay agent": (put(BOOTP, "giaddr", "100.64.0.5"), {"giaddr"}),
    "another client's hardware": (put(BOOTP, "chaddr", b"\x02\xaa\0\0\0\x09"), {"chaddr"}),
    "long hardware": (put(BOOTP, "hlen", 16), {"hardware"}),
    "another client's xid": (put(BOOTP, "xid", 0), {"xid"}),
    "ciaddr out of nowhere": (put(BOOTP, "ciaddr", "100.64.0.5"), {"ciaddr"}),
    "no address": (put(BOOTP, "yiaddr", "0.0.0.0"), {"yiaddr"}),
    "no message type": (option(53, None), {"message-type"}),
    "a message type of clients": (option(53, b"\x01"), {"message-type"}),
    "no server": (option(54, None), {"server-id"}),
    "another server": (option(54, bytes(4)), {"server-id"}),
    "no lease time": (option(51, None), {"lease-time"}),
    "no time at all": (option(51, bytes(4)), {"lease-time"}),
    "no netmask": (option(1, None), {"netmask"}),
    "no router": (option(3, None), {"router"}),
    "no client-id": (option(61, None), {"client-id"}),
    "another's client-id": (option(61, b"\x01\x02\xaa\0\0\0\x09"), {"client-id"}),
    "another's circuit": (option(82, b"\x01\x01x"), {"relay-information"}),
    "no circuit": (option(82, None), {"relay-information"}),
    "more behind the circuit": (option(6, bytes(4)), {"relay-information"}),
}


@pytest.mark.parametrize("kind", [Kind.OFFER, Kind.ACK])
@pytest.mark.parametrize("name", BENT)
def test_each_wrong_is_called_by_its_name_and_not_believed(kind: int, name: str) -> None:
    bend, faults = BENT[name]
    on_circuit = replace(member(), line=Line(100, 1, circuit=b"olt1/1/2"))
    found = world(on_circuit, bends={kind: bend}).run(1)
    extra = {"to-address"} if name == "no address" and kind == Kind.OFFER else set()
    assert set(found.crowd.faults) - extra == faults
    assert found.crowd.clients[0].state is (State.SELECTING if kind == Kind.OFFER else State.REQUESTING)
    assert found.crowd.waiting == 1
    (example,) = found.crowd.examples
    assert next(iter(faults)) in example


def test_a_right_answer_with_a_circuit_is_right() -> None:
    found = world(replace(member(), line=Line(100, 1, circuit=b"olt1/1/2"))).run(1)
    assert (found.crowd.waiting, found.crowd.faults) == (0, Counter())


def test_no_udp_checksum_is_no_wrong_one() -> None:
    found = world(member(), bends={Kind.OFFER: put(UDP, "chksum", 0), Kind.ACK: put(UDP, "chksum", 0)}).run(1)
    assert (found.crowd.waiting, found.crowd.faults) == (0, Counter())


def test_padding_behind_the_packet_is_none_of_it() -> None:
    crowd = Crowd([member()], SERVER, random.Random(1), 0)
    crowd.expire(0)
    (data,) = crowd.take()
    crowd.receive(answer(Frame(data), Kind.OFFER, HAD) + bytes(9), 1)
    assert crowd.clients[0].state is State.REQUESTING


def test_a_confirmation_of_another_address_is_wrong() -> None:
    def other(packet: Packet, _: object) -> None:
        packet[BOOTP].yiaddr = packet[IP].dst = "100.64.0.200"

    found = world(member(), bends={Kind.ACK: other}).run(1)
    assert set(found.crowd.faults) == {"yiaddr", "to-address"}


def test_who_had_an_address_has_to_be_offered_that() -> None:
    found = world(member(address=HAD)).run(1)
    assert "yiaddr" in found.crowd.faults


def test_who_is_told_no_has_nothing_any_more() -> None:
    """Its address may go to somebody else."""
    refused, other = member(0, WINDOWS, address=SERVER.address + 9), member(1, after_s=2)
    found = world(refused, other, refuses=True)
    found.given[refused.mac] = SERVER.address + 10
    found.given[other.mac] = SERVER.address + 9
    found.run(3)
    assert (found.crowd.waiting, found.crowd.faults) == (0, Counter())


def test_no_address_goes_to_two() -> None:
    found = world(member(0), member(1), same=True).run(1)
    assert found.crowd.faults == {"address-of-another": 1}
    assert found.crowd.waiting == 1


def test_nobody_gets_what_belongs_to_one_who_has_not_asked_yet() -> None:
    theirs = member(1, address=SERVER.address + 9, after_s=5)
    found = world(member(0), theirs).run(1)
    assert found.crowd.faults == {"address-of-another": 1}


def test_an_answer_too_many_is_wrong() -> None:
    found = world(member(), twice=True).run(1)
    assert found.crowd.faults == {"answered-twice": 2}


def test_two_answers_to_two_questions_are_right() -> None:
    found = world(member(), deaf={Kind.DISCOVER}).run(6)
    (first, *_) = found.said(Kind.DISCOVER)
    assert len(found.said(Kind.DISCOVER)) == 2
    assert first == 0
    crowd = found.crowd
    asked = Frame(first_words(member()))
    for _ in range(2):
        crowd.receive(answer(asked, Kind.OFFER, HAD), found.now)
    assert not crowd.faults
    crowd.receive(answer(asked, Kind.OFFER, HAD), found.now)
    assert crowd.faults == Counter(), "three questions: the Kind.REQUEST is still open"
    crowd.receive(answer(asked, Kind.OFFER, HAD), found.now)
    assert crowd.faults == {"answered-twice": 1}


def test_what_is_no_answer_to_a_client_is_none_of_its_business() -> None:
    crowd = Crowd([member()], SERVER, random.Random(1), 0)
    for data in (b"", bytes(60), first_words(member()), ethernet(b"\xff" * 6, SERVER.mac, 0x0806, bytes(46))):
        crowd.receive(data, 0)
    assert (crowd.answers, crowd.faults) == (0, Counter())


# ---- on a wire ------------------------------------------------------------------------------


@pytest.fixture
def trunk() -> Iterator[Lab]:
    with Lab([Line(100, 1)]) as lab:
        lab.access_node.attach("pass", lab.gateway.namespace, "acc0")
        yield lab


def test_a_crowd_speaks_on_the_trunk_beside_customers(trunk: Lab) -> None:
    """Beside line 100.1 of a real customer, which the access node goes on serving."""
    members = [member(number, PROFILES[number % len(PROFILES)]) for number in range(1, 30)]
    crowd = Crowd(members, SERVER, random.Random(1), time.monotonic_ns())
    given: dict[bytes, IPv4Address] = {}
    with trunk.gateway.capture("acc0") as acc0, trunk.customers[0].capture() as customer:
        add = acc0.add

        def hear(asked: Frame) -> None:
            add(asked)
            if asked.udp_ports == (68, 67):
                kind = dict(dhcp_options(asked.udp_payload))[53][0]
                mine = given.setdefault(asked.source, SERVER.address + 9 + len(given))
                trunk.gateway.send_raw(answer(asked, Kind.OFFER if kind == Kind.DISCOVER else Kind.ACK, mine), "acc0")

        acc0.add = hear  # type: ignore[method-assign, assignment]
        with trunk.access_node.trunk.wire() as wire:
            run(crowd, wire, 10, linger_s=0.1)
            assert (wire.lost, wire.refused) == (0, 0)
        assert (crowd.waiting, crowd.faults) == (0, Counter())
        trunk.gateway.send_raw(
            ethernet(b"\xff" * 6, SERVER.mac, 0x88B5, b"x" * 50, (Tag(0x88A8, 100), Tag(0x8100, 1))), "acc0"
        )
        customer.wait_for(lambda frame: frame.ethertype == 0x88B5)
        assert not customer.matching(lambda frame: frame.is_dhcp)


def test_it_stops_when_its_time_is_up(trunk: Lab) -> None:
    crowd = Crowd([member(1)], SERVER, random.Random(1), time.monotonic_ns())
    began = time.monotonic()
    with trunk.access_node.trunk.wire() as wire:
        run(crowd, wire, 0.3, linger_s=0.1)
    assert 0.4 <= time.monotonic() - began < 10
    assert crowd.waiting == 1
