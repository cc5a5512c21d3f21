"""The lab's PPPoE customer against a concentrator of our machines: how it comes up, carries packets and ends."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.layers.ppp import PPP, PPPoE

from tests.proto.ppp.world import NAME, PASSWORD
from wayleave.lab.access_node import Line
from wayleave.lab.capture import Collected
from wayleave.lab.customer import Customer
from wayleave.lab.host import Ping
from wayleave.lab.pppoe import NoConnection
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.units import MILLISECOND, Ns
from wayleave.proto.ppp.auth import Authentication, ChapMd5, MsChap2, Pap
from wayleave.proto.ppp.news import Authenticate, Down
from wayleave.proto.pppoe.line import LineInfo, encode, of
from wayleave.proto.pppoe.packet import AC_NAME, HOST_UNIQ, SERVICE_NAME, Code

from .fake_concentrator import DNS, OWN, PEER, FakeConcentrator

USER, SECRET = NAME.decode(), PASSWORD.decode()
CHAP, PAP, MS = Authentication.CHAP_MD5, Authentication.PAP, Authentication.MS_CHAP_2
LCP, ECHO_REQUEST, ECHO_REPLY, TERMINATE_REQUEST = 0xC021, 9, 10, 5
QUICK = Ns(200 * MILLISECOND)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line()]) as lab:
        yield lab


@pytest.fixture
def customer(lab: Lab) -> Iterator[Customer]:
    yield lab.customers[0]
    lab.customers[0].reboot()


def codes(seen: Collected, outgoing: bool) -> list[int]:
    """Discovery's, in the order they crossed one way."""
    return [frame.discovery.code for frame in seen.frames if frame.discovery and frame.outgoing == outgoing]


def said(code: int, outgoing: bool = True, protocol: int = LCP):
    """A control packet of a code, one way."""
    return lambda frame: frame.outgoing == outgoing and frame.control == (protocol, code)


def reaches(customer: Customer, address: IPv4Address) -> Ping:
    """Ping until all is answered: the first packet after a dial may be early."""
    return wait_until(lambda: customer.ping(address), f"answers of {address}")


# ---- coming up --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "name", "credentials", "message"),
    [(PAP, "pap", Pap, "pap"), (CHAP, "chap", ChapMd5, "chap"), (MS, "ms-chap-2", MsChap2, "S=")],
)
def test_a_customer_dials(lab, customer, method, name, credentials, message):
    with FakeConcentrator(lab, method) as concentrator, lab.access_node.trunk.capture() as trunk:
        told = customer.pppoe(USER, SECRET)
        trunk.settle()
        assert (told.address, told.peer, told.dns) == (PEER, OWN, DNS)
        assert (told.mru, told.session_id, told.concentrator, told.name) == (1492, 1, GATEWAY_ACCESS_MAC, "bng-1")
        assert told.method == name
        assert told.message.startswith(message)
        (asked,) = (news for news in concentrator.news if isinstance(news, Authenticate))
        assert isinstance(asked.credentials, credentials)
        assert codes(trunk, outgoing=True) == [Code.PADI, Code.PADR]
        assert codes(trunk, outgoing=False) == [Code.PADO, Code.PADS]
        link = customer.run("ip", "address", "show", "dev", "ppp0")
        assert "mtu 1492" in link
        assert f"inet {PEER} peer {OWN}/32" in link
        assert "default dev ppp0" in customer.run("ip", "route")
        assert reaches(customer, lab.server_address)


def test_nobody_wants_to_know_who_it_is(lab, customer):
    with FakeConcentrator(lab):
        assert customer.pppoe("", "").method == ""
        assert reaches(customer, OWN)


@pytest.mark.parametrize(
    ("method", "message"), [(PAP, "pap"), (CHAP, "chap"), (MS, "E=691")], ids=["pap", "chap", "ms-chap-2"]
)
def test_a_wrong_secret(lab, customer, method, message):
    with FakeConcentrator(lab, method) as concentrator:
        with pytest.raises(NoConnection) as failed:
            customer.pppoe(USER, "guess")
        assert failed.value.reason in ("refused", "peer-terminated")
        assert failed.value.message.startswith(message)
        (judged,) = customer.dialled.named("judged")
        assert not judged["accepted"]
        assert customer.dialled.process.wait() == 1
        concentrator.wait_down("refused")


def test_it_accepts_what_it_was_told_to(lab, customer):
    with FakeConcentrator(lab, MS, CHAP, PAP):
        assert customer.pppoe(USER, SECRET, "--accept", "pap").method == "pap"
        assert customer.pppoe(USER, SECRET, "--accept", "pap,chap").method == "pap"
        assert customer.pppoe(USER, SECRET).method == "ms-chap-2"


def test_what_it_says_in_discovery(lab, customer):
    info = LineInfo(circuit_id=b"olt1/1/1", remote_id=b"alice")
    options = ("--service", "gold", "--ac-name", "bng-1", "--host-uniq", "c0ffee")
    with FakeConcentrator(lab, services=("gold",)), lab.access_node.trunk.capture() as trunk:
        customer.pppoe("", "", *options, "--vendor-tag", encode(info)[1].hex())
        trunk.settle()
    asked = [frame.discovery for frame in trunk.frames if frame.discovery and frame.outgoing]
    assert [packet.code for packet in asked] == [Code.PADI, Code.PADR]
    for packet in asked:
        assert (packet.first(SERVICE_NAME), packet.first(HOST_UNIQ)) == (b"gold", b"\xc0\xff\xee")
        assert packet.first(AC_NAME) is None
        assert of(packet) == info


def test_a_concentrator_of_another_name_is_not_asked(lab, customer):
    with FakeConcentrator(lab), lab.access_node.trunk.capture() as trunk:
        dialled = customer.pppoe_start("", "", "--ac-name", "bng-2")
        trunk.wait_for(lambda frame: frame.discovery and frame.discovery.code == Code.PADI, count=2)
        assert Code.PADR not in codes(trunk, outgoing=True)
        dialled.hang_up()
        assert dialled.named("down")[0]["reason"] == "closed"


def test_ipv6_beside_ipv4(lab, customer):
    with FakeConcentrator(lab):
        customer.pppoe("", "", "--ipv6")
        up6 = customer.dialled.wait_event("up6")
        assert up6["address"] == "fe80::c0:ff:fe00:0", "of the MAC (RFC 5072 4.1)"
        assert up6["peer"] == "fe80::1"
        text = customer.run("ping", "-6", "-n", "-c", "2", "-i", "0.1", "-W", "2", "fe80::1%ppp0")
        assert " 0% packet loss" in text
        assert reaches(customer, OWN)


# ---- packets ----------------------------------------------------------------------------


def test_a_full_packet_on_the_wire(lab, customer):
    """As scapy would have written it, both ways."""
    with FakeConcentrator(lab):
        told = customer.pppoe("", "")
        with lab.access_node.trunk.capture() as trunk:
            assert customer.ping(lab.server_address, count=1, size=1464, df=True)
            (request,) = trunk.wait_for(lambda frame: frame.icmp == (8, 0))
            (reply,) = trunk.wait_for(lambda frame: frame.icmp == (0, 0))
    for frame, source, destination in (
        (request, customer.mac, GATEWAY_ACCESS_MAC),
        (reply, GATEWAY_ACCESS_MAC, customer.mac),
    ):
        packet = Ether(frame.data)
        head = Ether(src=str(source), dst=str(destination)) / PPPoE(sessionid=told.session_id) / PPP(proto=0x21)
        assert bytes(head / packet[IP]) == frame.data
        assert (len(frame.data), packet[PPPoE].len, packet[IP].len) == (1514, 1494, 1492)
        assert packet[ICMP].id == Ether(request.data)[ICMP].id


def test_what_is_more_than_the_mru_does_not_leave(lab, customer):
    with FakeConcentrator(lab), lab.access_node.trunk.capture() as trunk:
        customer.pppoe("", "")
        assert not customer.ping(OWN, count=1, size=1465, df=True, timeout=0.3)
        trunk.settle()
        assert not trunk.matching(lambda frame: frame.icmp)
        customer.pppoe("", "", mru=1400)
        wait_until(lambda: customer.ping(OWN, count=1, size=1372, df=True), "an answer: who dialed anew is just on")
        assert not customer.ping(OWN, count=1, size=1373, df=True, timeout=0.3)


def test_1500_octets_where_the_carrier_has_room(lab, customer):
    """RFC 4638."""
    with FakeConcentrator(lab, most_payload=1500):
        assert customer.pppoe("", "", mru=1500).mru == 1500
        with lab.access_node.trunk.capture() as trunk:
            assert customer.ping(OWN, size=1472, df=True)
            assert {len(frame.data) for frame in trunk.matching(lambda frame: frame.icmp)} == {1522}


def test_what_is_sent_arrives_as_it_was_both_ways(lab, customer):
    """Over TCP, in segments that fill the frames."""
    data = os.urandom(4 << 20)
    with FakeConcentrator(lab):
        customer.pppoe("", "")
        listener = lab.server.socket(socket.SOCK_STREAM, port=5001)
        listener.listen()
        mine = customer.socket(socket.SOCK_STREAM)
        with lab.access_node.trunk.capture() as trunk:
            mine.connect((str(lab.server_address), 5001))
            theirs, source = listener.accept()
            with theirs:
                assert source[0] == str(PEER)
                for sender, receiver in ((mine, theirs), (theirs, mine)):
                    thread = threading.Thread(target=sender.sendall, args=(data,))
                    thread.start()
                    assert hashlib.sha256(read(receiver, len(data))).digest() == hashlib.sha256(data).digest()
                    thread.join()
            trunk.settle()
    largest = {way: max(size for out, size in sizes(trunk) if out == way) for way in (True, False)}
    assert largest == {True: 1492, False: 1492}


def read(sock: socket.socket, count: int) -> bytes:
    """Exactly so many octets."""
    sock.settimeout(5)
    found = bytearray()
    while len(found) < count:
        found += sock.recv(1 << 20)
    return bytes(found)


def sizes(seen: Collected) -> Iterator[tuple[bool, int]]:
    """Which way IPv4 packets went, and their octets; what PPPoE says of them is true."""
    for frame in seen.frames:
        if frame.ip:
            assert len(frame.ppp.information) == frame.ip.length
            yield frame.outgoing, frame.ip.length


def test_iperf3_runs_over_it(lab, customer):
    with FakeConcentrator(lab):
        customer.pppoe("", "")
        lab.server.iperf3_server()
        for options in ((), ("-R",)):
            assert customer.iperf3(lab.server_address, *options, seconds=1).bits_per_second > 50e6


def test_what_is_not_of_the_session_is_eth0_s(lab, customer):
    with FakeConcentrator(lab):
        customer.pppoe("", "")
        customer.namespace.ip("addr add 100.64.1.2/24 dev eth0")
        lab.gateway.namespace.ip("addr add 100.64.1.1/24 dev acc0")
        assert lab.gateway.ping("100.64.1.2")
        assert reaches(customer, OWN)
        lab.gateway.namespace.ip("addr del 100.64.1.1/24 dev acc0")


def test_a_session_that_is_negotiated_anew(lab, customer):
    with FakeConcentrator(lab, PAP) as concentrator:
        first = customer.pppoe(USER, SECRET)
        before = len(customer.dialled.events)
        concentrator.begin_anew()
        assert customer.dialled.wait_up(after=before) == first
        assert customer.dialled.named("network-down") == [{"event": "network-down", "protocol": "IPCP"}]
        assert reaches(customer, lab.server_address)


# ---- the end ----------------------------------------------------------------------------


def down(customer: Customer) -> dict:
    """Wait for the end; returns its event."""
    event = customer.dialled.wait_event("down")
    assert customer.dialled.process.wait() == 1
    assert "ppp0" not in customer.run("ip", "link")
    assert "default" not in customer.run("ip", "route")
    return event


def test_a_padt_ends_it(lab, customer):
    with FakeConcentrator(lab) as concentrator:
        customer.pppoe("", "")
        concentrator.padt("maintenance")
        event = down(customer)
    assert (event["reason"], event["error"]) == ("padt", "maintenance")


def test_a_terminate_request_ends_it(lab, customer):
    with FakeConcentrator(lab) as concentrator, lab.access_node.trunk.capture() as trunk:
        customer.pppoe("", "")
        concentrator.terminate()
        assert down(customer)["reason"] == "peer-terminated"
        trunk.settle()
        assert codes(trunk, outgoing=True)[-1] == Code.PADT


def test_it_dials_again(lab, customer):
    with FakeConcentrator(lab) as concentrator:
        first = customer.pppoe("", "", "--persist")
        for end in (concentrator.terminate, lambda: concentrator.padt("again")):
            before = len(customer.dialled.events)
            end()
            again = customer.dialled.wait_up(after=before)
            assert again.session_id == first.session_id + 1
            assert reaches(customer, lab.server_address)
            first = again
        assert [event["reason"] for event in customer.dialled.named("down")] == ["peer-terminated", "padt"]


def test_it_hangs_up(lab, customer):
    with FakeConcentrator(lab) as concentrator, lab.access_node.trunk.capture() as trunk:
        told = customer.pppoe("", "", "--persist")
        customer.dialled.hang_up()
        assert customer.dialled.process.status == 0
        concentrator.wait_down("peer-terminated")
        trunk.wait_for(said(TERMINATE_REQUEST))
        (padt,) = trunk.wait_for(lambda frame: frame.outgoing and frame.discovery and frame.discovery.code == Code.PADT)
        assert padt.discovery.session_id == told.session_id
        assert customer.dialled.named("down")[0]["reason"] == "closed"
        assert "ppp0" not in customer.run("ip", "link")


def test_it_hangs_up_before_it_has_a_session(lab, customer):
    dialled = customer.pppoe_start("", "", "--persist")
    with lab.access_node.trunk.capture() as trunk:
        trunk.wait_for(lambda frame: frame.discovery is not None)
        dialled.hang_up()
        assert dialled.process.status == 0


def test_a_power_cut_says_nothing(lab, customer):
    with FakeConcentrator(lab) as concentrator:
        customer.pppoe("", "", "--persist")
        process = customer.dialled.process
        with customer.pinging(OWN) as pinging, lab.access_node.trunk.capture() as trunk:
            pinging.wait_for(3)
            customer.reboot()
            assert process.status == -signal.SIGKILL
            trunk.settle()
            frames = trunk.frames
            lab.gateway.ping(PEER, count=2, timeout=0.2)
            trunk.settle()
            later = trunk.frames[len(frames) :]
        assert all(frame.icmp for frame in frames), "pings, and no word of PPP or discovery"
        assert any(frame.icmp == (8, 0) and not frame.outgoing for frame in later)
        assert not any(frame.outgoing for frame in later)
        assert not any(isinstance(news, Down) for news in concentrator.news)
        assert customer.pppoe("", "").session_id == 2
        assert reaches(customer, OWN)


# ---- echoes -----------------------------------------------------------------------------


def test_a_box_that_hangs(lab, customer):
    with FakeConcentrator(lab, every=QUICK) as concentrator, lab.access_node.trunk.capture() as trunk:
        customer.pppoe("", "")
        trunk.wait_for(said(ECHO_REPLY), count=6)
        customer.dialled.mute()
        concentrator.wait_down("silent")
        assert down(customer)["reason"] == "peer-terminated"
        trunk.settle()
        asked = trunk.matching(said(ECHO_REQUEST, outgoing=False))
        assert len(asked) - len(trunk.matching(said(ECHO_REPLY))) == 3


def test_a_box_that_comes_to_itself(lab, customer):
    with FakeConcentrator(lab, every=QUICK) as concentrator, lab.access_node.trunk.capture() as trunk:
        customer.pppoe("", "")
        customer.dialled.mute()
        trunk.wait_for(said(ECHO_REQUEST, outgoing=False), count=2)
        customer.dialled.unmute()
        trunk.wait_for(said(ECHO_REPLY), count=6)
        assert not any(isinstance(news, Down) for news in concentrator.news)


def test_keepalive_notices_a_concentrator_that_is_gone(lab, customer):
    with FakeConcentrator(lab) as concentrator, lab.access_node.trunk.capture() as trunk:
        customer.pppoe("", "", "--keepalive", "0.2")
        trunk.wait_for(said(ECHO_REPLY, outgoing=False), count=5)
        concentrator.deaf = True
        trunk.wait_for(said(TERMINATE_REQUEST))
        concentrator.deaf = False
        assert down(customer)["reason"] == "silent"


def test_without_keepalive_it_asks_nothing(lab, customer):
    with FakeConcentrator(lab, every=QUICK), lab.access_node.trunk.capture() as trunk:
        customer.pppoe("", "")
        trunk.wait_for(said(ECHO_REPLY), count=6)
        assert not trunk.matching(said(ECHO_REQUEST))
