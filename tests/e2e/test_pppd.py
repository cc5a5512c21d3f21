"""Linux's own PPPoE client against the gateway and FreeRADIUS behind it: all that a household's router does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.packet import Frame
from wayleave.lab.pppd import BY_SIGNAL, CUT, REFUSED, PppoeCustomer
from wayleave.lab.radius import RadiusServer, radius_sections
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac
from wayleave.proto.ppp.packet import Code as Ppp
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe.packet import Code

from .watch import sessions

LINE = Line(100, 9)
PPPOE = '[pppoe]\nauthentication = ["chap", "pap"]\necho_interval = "1s"\nmru = 1500\n'
USERS = 'alice Cleartext-Password := "sesame"\n'


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Its trunk has room for 1,500 octets of IP in a session inside two tags (RFC 4638)."""
    with Lab([], access_mtu=1516) as lab:
        servers = radius_sections(lab.folder, lab.router_address, {"hold_rejects": "0s"})
        lab.gateway.start(
            lab.config(subscriber={"protocols": ["pppoe"]}, tenant={"radius": "isp"}, more=servers + PPPOE)
        )
        yield lab


@pytest.fixture(scope="module", autouse=True)
def server(lab: Lab) -> RadiusServer:
    return RadiusServer(lab.router, USERS)


@pytest.fixture(scope="module")
def router(lab: Lab) -> Iterator[PppoeCustomer]:
    with PppoeCustomer(lab, LINE) as router:
        yield router


@pytest.fixture
def customer(lab: Lab, router: PppoeCustomer) -> Iterator[PppoeCustomer]:
    """The router, that dials no more when a test ends, also when that fails."""
    yield router
    if router.ended is None:
        router.hang_up()
    wait_until(lambda: not sessions(lab.gateway), "the end of its session")


def bng(lab: Lab, *words: str) -> str:
    return lab.gateway.bng(*words, "--config", str(lab.gateway.config_file))


def last_end(lab: Lab, customer: PppoeCustomer) -> str:
    """Why its last session ended, as its journal tells."""
    (told,) = json.loads(bng(lab, "show", "journal", str(customer.mac), "--json"))
    entries: list[dict[str, Any]] = told["entries"]
    return next(str(entry["says"]) for entry in reversed(entries) if entry["what"] == "ending")


def said(frames: list[Frame], outgoing: bool = True) -> list[Code | Ppp]:
    """What discovery and LCP said toward the gateway, or from there."""
    found: list[Code | Ppp] = []
    for frame in frames:
        if frame.outgoing is not outgoing:
            continue
        if frame.discovery is not None:
            found.append(Code(frame.discovery.code))
        elif frame.control is not None and frame.control[0] == Protocol.LCP:
            found.append(Ppp(frame.control[1]))
    return found


def test_it_dials_surfs_and_hangs_up(lab: Lab, customer: PppoeCustomer) -> None:
    page = os.urandom(1 << 20)
    (lab.folder / "page").write_bytes(page)
    lab.server.http_server(lab.folder)
    with lab.access_node.trunk.capture() as trunk:
        link = customer.dial("alice", "sesame")
        assert (link.peer, link.dns) == (lab.pool_gateway, (lab.server_address,))
        assert customer.ping(lab.server_address, size=1472, df=True), "1,500 octets of IP"
        assert customer.download(f"http://{lab.server_address}/page") == hashlib.sha256(page).hexdigest()
        (session,) = sessions(lab.gateway)
        assert (session["address"], session["mtu"]) == (str(link.address), 1500)
        trunk.wait_for(lambda frame: Ppp.ECHO_REPLY in said([frame]), timeout=20, what="its answer to an echo request")
        assert customer.hang_up() == BY_SIGNAL
        wait_until(lambda: not sessions(lab.gateway), "the end of its session")
        trunk.settle()
    up = trunk.matching(lambda frame: frame.outgoing)
    assert {(Mac(frame.source), frame.tags) for frame in up} == {(customer.mac, LINE.tags)}
    assert list(dict.fromkeys(said(up)))[:2] == [Code.PADI, Code.PADR]
    assert said(up)[-1] is Ppp.TERMINATE_REQUEST
    assert said(trunk.frames, outgoing=False)[-2:] == [Ppp.TERMINATE_ACK, Code.PADT]
    assert last_end(lab, customer).startswith("user-request")


def test_ipv6cp_agrees_on_both_interface_identifiers(customer: PppoeCustomer) -> None:
    customer.dial("alice", "sesame")
    wait_until(lambda: customer.link is not None and customer.link.address6, "IPv6 of the link")
    link = customer.link
    assert link is not None
    assert link.address6 is not None
    assert link.peer6 is not None
    assert link.address6 != link.peer6
    assert link.address6.is_link_local
    assert link.peer6.is_link_local


def test_1492_octets_where_it_asks_for_no_more(lab: Lab, customer: PppoeCustomer) -> None:
    customer.dial("alice", "sesame", "mru", "1492", "mtu", "1492")
    assert customer.ping(lab.server_address, size=1464, df=True), "1,492 octets of IP"
    assert not customer.ping(lab.server_address, count=1, size=1465, df=True)
    (session,) = sessions(lab.gateway)
    assert session["mtu"] == 1492


def test_who_is_cut_off_hears_it_and_dials_again(lab: Lab, customer: PppoeCustomer) -> None:
    customer.dial("alice", "sesame")
    (session,) = sessions(lab.gateway)
    bng(lab, "clear", "session", str(session["id"]))
    assert customer.wait_ended() == CUT
    assert "LCP terminated by peer" in customer.log
    wait_until(lambda: not sessions(lab.gateway), "the end of its session")
    assert last_end(lab, customer).startswith("admin-reset")
    again = customer.dial("alice", "sesame")
    assert customer.ping(lab.server_address)
    assert [item["address"] for item in sessions(lab.gateway)] == [str(again.address)]


@pytest.mark.parametrize("method", ["chap", "pap"])
def test_a_wrong_password_is_refused_by_either_method(
    lab: Lab, server: RadiusServer, customer: PppoeCustomer, method: str
) -> None:
    other = {"chap": "refuse-pap", "pap": "refuse-chap"}[method]
    customer.dial_start("alice", "guessed", other)
    assert customer.wait_ended() == REFUSED
    assert customer.link is None
    assert not sessions(lab.gateway)
    assert ("CHAP-Password" in server.asked()[-1]) is (method == "chap")
    said = lab.gateway.bng("diagnose", str(customer.mac), "--config", str(lab.gateway.config_file), check=False)
    assert "radius-rejected" in said


def test_a_disconnect_cuts_it_off_and_the_server_is_accounted_both_sessions(
    lab: Lab, server: RadiusServer, customer: PppoeCustomer
) -> None:
    customer.dial("alice", "sesame")
    assert customer.ping(lab.server_address)
    (session,) = sessions(lab.gateway)
    with lab.access_node.trunk.capture() as trunk:
        answer = server.radclient(lab.core.ip, "disconnect", "User-Name = alice")
        assert "Disconnect-ACK" in answer
        assert customer.wait_ended() == CUT
        trunk.settle()
    assert [code for code in said(trunk.frames, outgoing=False) if code is not Ppp.ECHO_REQUEST][:2] == [
        Ppp.TERMINATE_REQUEST,
        Code.PADT,
    ]
    again = customer.dial("alice", "sesame")
    assert customer.ping(lab.server_address)
    (anew,) = sessions(lab.gateway)
    assert anew["address"] == str(again.address)
    customer.hang_up()

    def causes() -> list[tuple[str, str]]:
        names = [session["accounting"], anew["accounting"]]
        return [
            (record["Acct-Status-Type"][0], record.get("Acct-Terminate-Cause", [""])[0])
            for name in names
            for record in server.accounted()
            if record.get("Acct-Session-Id") == [name]
        ]

    wait_until(lambda: len(causes()) == 4, lambda: f"two Starts and two Stops: {causes()}")
    assert causes() == [("Start", ""), ("Stop", "Admin-Reset"), ("Start", ""), ("Stop", "User-Request")]
    stops = [record for record in server.accounted() if record["Acct-Status-Type"] == ["Stop"]]
    assert all(int(record["Acct-Input-Packets"][0]) >= 3 for record in stops[-2:])
