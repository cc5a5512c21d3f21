"""Linux's own PPPoE client dials behind the access node, carries traffic, and tells how it ended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.packet import Frame
from wayleave.lab.pppd import BY_SIGNAL, CUT, REFUSED, NotConnected, PppoeCustomer
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac
from wayleave.proto.ppp.auth import Authentication
from wayleave.proto.ppp.ipv6cp import Identifiers
from wayleave.proto.ppp.news import NetworkUp, Up
from wayleave.proto.ppp.packet import Code, Protocol
from wayleave.proto.pppoe.packet import Code as Stage
from wayleave.proto.pppoe.packet import decode, decode_session

from .concentrator import DISCOVERY, OWN, OWN6, RESOLVERS, SESSION, Concentrator

LINE = Line(100, 9)
LINK_LOCAL = bytes((0xFE, 0x80)) + bytes(6)
USER, SECRET = "alice@isp.example", "open sesame"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Its trunk has room for 1,500 octets of IP in a session inside two tags (RFC 4638)."""
    with Lab([], access_mtu=1516) as lab:
        yield lab


@pytest.fixture(scope="module")
def concentrator(lab: Lab) -> Iterator[Concentrator]:
    with Concentrator(lab, {USER.encode(): SECRET.encode()}) as concentrator:
        yield concentrator


@pytest.fixture(scope="module")
def router(lab: Lab) -> Iterator[PppoeCustomer]:
    with PppoeCustomer(lab, LINE) as router:
        yield router


@pytest.fixture
def customer(router: PppoeCustomer) -> Iterator[PppoeCustomer]:
    """The router, that dials no more when a test ends, also when that fails."""
    yield router
    if router.ended is None:
        router.hang_up()


def said(frames: list[Frame], outgoing: bool = True) -> list[tuple[Stage | Code, int]]:
    """What discovery and LCP said toward the gateway, or from there, each with its session-id."""
    found: list[tuple[Stage | Code, int]] = []
    for frame in frames:
        if frame.outgoing is outgoing and frame.ethertype == DISCOVERY:
            packet = decode(frame.payload)
            found.append((Stage(packet.code), packet.session_id))
        elif frame.outgoing is outgoing and frame.ethertype == SESSION:
            session = decode_session(frame.payload)
            if session.protocol == Protocol.LCP:
                found.append((Code(session.information[0]), session.session_id))
    return found


def test_it_dials_carries_traffic_and_hangs_up(lab: Lab, concentrator: Concentrator, customer: PppoeCustomer) -> None:
    with lab.access_node.trunk.capture() as trunk:
        link = customer.dial(USER, SECRET)
        assert (link.address, link.peer, link.dns) == (OWN + 1, OWN, RESOLVERS)
        assert Up(1500, Authentication.CHAP_MD5) in concentrator.news
        assert customer.ping(lab.server_address, size=1472, df=True), "1,500 octets of IP in PPPoE inside two tags"
        page = os.urandom(1 << 20)
        (lab.folder / "page").write_bytes(page)
        lab.server.http_server(lab.folder)
        assert customer.download(f"http://{lab.server_address}/page") == hashlib.sha256(page).hexdigest()
        here6, there6 = wait_until(lambda: six(customer), "IPv6 of the link")
        assert NetworkUp(Protocol.IPV6CP, Identifiers(OWN6, here6.packed[8:])) in concentrator.news
        assert there6.packed == LINK_LOCAL + OWN6
        trunk.wait_for(lambda frame: (Code.ECHO_REPLY, 1) in said([frame]), timeout=20, what="LCP Echo-Reply")
        assert customer.hang_up() == BY_SIGNAL
        trunk.settle()
    up = trunk.matching(lambda frame: frame.outgoing)
    assert {(Mac(frame.source), frame.tags) for frame in up} == {(customer.mac, LINE.tags)}
    assert {frame.ethertype for frame in up} == {DISCOVERY, SESSION}, "its card has no IP of its own"
    assert list(dict.fromkeys(said(up)))[:2] == [(Stage.PADI, 0), (Stage.PADR, 0)]
    assert said(up)[-1] == (Code.TERMINATE_REQUEST, 1)
    assert said(trunk.frames, outgoing=False)[-2:] == [(Code.TERMINATE_ACK, 1), (Stage.PADT, 1)]


def six(customer: PppoeCustomer) -> tuple[IPv6Address, IPv6Address] | None:
    """The addresses of both sides, once they have some."""
    link = customer.link
    return (link.address6, link.peer6) if link and link.address6 and link.peer6 else None


@pytest.mark.usefixtures("concentrator")
def test_a_wrong_secret_is_refused(customer: PppoeCustomer) -> None:
    with pytest.raises(NotConnected, match="CHAP authentication failed"):
        customer.dial(USER, "guess")
    assert (customer.ended, customer.link) == (REFUSED, None)


def test_it_tells_that_it_was_cut_off(customer: PppoeCustomer, concentrator: Concentrator) -> None:
    customer.dial(USER, SECRET)
    concentrator.cut()
    assert customer.wait_ended() == CUT
    assert "LCP terminated by peer" in customer.log
