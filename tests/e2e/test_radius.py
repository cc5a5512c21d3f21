"""Subscribers by RADIUS: a real server decides, before any address is offered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.radius import SECRET, RadiusServer
from wayleave.lab.radius_claims import forwarded
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

FIRST, SECOND = "02:c0:00:00:00:00", "02:c0:00:00:00:01"
USERS = f"""
{FIRST} Cleartext-Password := "{FIRST}"
\tFramed-Pool = "residential", Filter-Id = "gold", Class = 0xff00ff, Session-Timeout = 7200,
\tMS-Primary-DNS-Server = 192.0.2.53

DEFAULT Auth-Type := Reject
\tReply-Message = "not a customer of ours"
"""


def section(folder: Path, group: str = "", server: str = "", more: str = "") -> str:
    """The gateway's configuration of one server at the router, with its secret."""
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    return f"""
[[services]]
name = "gold"
up = "20M"
down = "100M"

[[radius.servers]]
name = "r1"
address = "192.0.2.2"
secret = "{secret}"
{server}

[[radius.groups]]
name = "isp"
servers = ["r1"]
{group}

[[radius.controllers]]
address = "192.0.2.2"
secret = "{secret}"
{more}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        yield lab


def start(lab: Lab, **how: str) -> None:
    lab.gateway.start(lab.config(tenant={"radius": "isp"}, more=section(lab.folder, **how)))


def test_accepted_with_a_service_and_rejected(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab)
    first, second = lab.customers
    lease = first.dhcp("udhcpc")
    assert lease.address in lab.pools[0]
    assert first.ping(lab.server_address)
    (session,) = lab.gateway.get("/sessions")["sessions"]
    assert (session["subscriber"], session["service"]) == (FIRST, "gold")
    asked = server.asked()[0]
    assert asked["User-Name"] == [FIRST]
    assert asked["NAS-Port-Id"] == ["1:100.1"]
    assert asked["Calling-Station-Id"] == [FIRST.upper().replace(":", "-")]
    assert asked["NAS-Identifier"] == [lab.instance]
    with pytest.raises(TimeoutError):
        second.dhcp("udhcpc", timeout=4)
    wait_until(lambda: len(server.asked()) >= 2, "the question about the second client")
    told = lab.gateway.bng("diagnose", SECOND, "--config", str(lab.gateway.config_file), check=False)
    assert "not a customer of ours" in told


def test_accounted_for_what_was_sent(lab: Lab) -> None:
    """The server is told of just the octets that were on the wire, DHCP apart, and why the session ended."""
    server = RadiusServer(lab.router, USERS)
    start(lab)
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    with customer.capture() as wire:
        assert customer.ping(lab.server_address, count=10, size=1000)
        customer.release()
    sent, got = forwarded(wire.frames, customer.mac)
    assert sent[0] >= 10
    wait_until(lambda: len(server.accounted()) == 3, lambda: f"three records: {server.accounted()}")
    on, begun, ended = server.accounted()
    assert on["Acct-Status-Type"] == ["Accounting-On"]
    assert begun["Acct-Status-Type"] == ["Start"]
    assert ended["Acct-Status-Type"] == ["Stop"]
    assert begun["Acct-Session-Id"] == ended["Acct-Session-Id"]
    assert begun["Class"] == ended["Class"] == ["0xff00ff"]
    assert (ended["Acct-Input-Packets"], ended["Acct-Input-Octets"]) == ([str(sent[0])], [str(sent[1])])
    assert (ended["Acct-Output-Packets"], ended["Acct-Output-Octets"]) == ([str(got[0])], [str(got[1])])
    assert ended["Acct-Terminate-Cause"] == ["User-Request"]
    assert begun["User-Name"] == [FIRST]


def test_changed_and_ended_while_it_lives(lab: Lab) -> None:
    """radclient changes a session's service in place, and ends it; what cannot be done changes nothing."""
    server = RadiusServer(lab.router, USERS)
    start(lab)
    customer = lab.customers[0]
    lease = customer.dhcp("udhcpc")
    with customer.pinging(lab.server_address) as pings:
        pings.wait_for(5)
        (before,) = lab.gateway.get("/sessions")["sessions"]
        whom = f"Acct-Session-Id = {before['accounting']}"
        told = server.radclient(lab.core.ip, "coa", f"{whom}\nWayleave-Rate-Up = 5000\nMikrotik-Rate-Limit = 5M/7M")
        assert "CoA-ACK" in told, told
        (after,) = lab.gateway.get("/sessions")["sessions"]
        assert (after["up_bps"], after["down_bps"]) == (5_000_000, 7_000_000)
        assert after["accounting"] == before["accounting"]
        refused = server.radclient(lab.core.ip, "coa", f"{whom}\nWayleave-Rate-Up = 9000\nFilter-Id = nothing")
        assert "CoA-NAK" in refused
        assert "Error-Cause = Invalid-Attribute-Value" in refused
        assert lab.gateway.get("/sessions")["sessions"][0]["up_bps"] == 5_000_000, "all or nothing"
        unknown = server.radclient(lab.core.ip, "coa", "Framed-IP-Address = 203.0.113.9\nFilter-Id = gold")
        assert "Error-Cause = Session-Context-Not-Found" in unknown
        pings.wait_for(5)
        assert pings.stop().lost == ()
    lab.gateway.kill9()
    lab.gateway.restart()
    (kept,) = lab.gateway.get("/sessions")["sessions"]
    assert (kept["up_bps"], kept["accounting"]) == (5_000_000, before["accounting"]), "it was on disk before the ACK"
    gone = server.radclient(lab.core.ip, "disconnect", f"Framed-IP-Address = {lease.address}")
    assert "Disconnect-ACK" in gone, gone
    wait_until(lambda: lab.gateway.get("/sessions")["sessions"] == [], "the session's end")
    wait_until(lambda: server.accounted()[-1]["Acct-Status-Type"] == ["Stop"], "its Stop")
    stop = server.accounted()[-1]
    assert stop["Acct-Terminate-Cause"] == ["Admin-Reset"]
    assert int(stop["Acct-Input-Packets"][0]) >= 10, "counted over the restart"


def test_strangers_and_forgers_change_nothing(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab)
    lab.customers[0].dhcp("udhcpc")
    whom = f"User-Name = {FIRST}"
    assert "No reply" in server.radclient(lab.core.ip, "disconnect", whom, secret="a guess")
    assert len(lab.gateway.get("/sessions")["sessions"]) == 1


QUICK = 'timeout = "1s"\ntries = 1'


def test_while_no_server_lives_who_is_served_stays_and_who_was_known_is_let_on(lab: Lab) -> None:
    """The server dies: no echo is lost, a known client comes back by its last answer, a stranger waits in silence."""
    both = USERS.replace(
        "DEFAULT", f'{SECOND} Cleartext-Password := "{SECOND}"\n\tFramed-Pool = residential\n\nDEFAULT'
    )
    server = RadiusServer(lab.router, both)
    start(lab, server=QUICK, group='when_down = "last-known"')
    first, second = lab.customers
    first.dhcp("udhcpc")
    with first.pinging(lab.server_address) as pings:
        pings.wait_for(3)
        server.stop()
        with pytest.raises(TimeoutError):
            second.dhcp("udhcpc", timeout=6)
        assert pings.stop().lost == ()
    first.release()
    wait_until(lambda: lab.gateway.get("/sessions")["sessions"] == [], "the end of the first session")
    lab.gateway.kill9()
    lab.gateway.restart()
    first.dhcp("udhcpc", timeout=15)
    (session,) = [item for item in lab.gateway.get("/sessions")["sessions"] if item["phase"] == "active"]
    assert (session["service"], session["provisional"]) == ("gold", True)
    server.users(both.replace("Session-Timeout = 7200", "Session-Timeout = 3600"))
    assert "radius-server-silent" in lab.gateway.log
    server.start()
    wait_until(lambda: not lab.gateway.get("/sessions")["sessions"][0]["provisional"], "the server's word", 30)
    assert "radius-server-back" in lab.gateway.log
    assert lab.gateway.get("/sessions")["sessions"][0]["ends_s"] in range(3500, 3601)
    assert second.dhcp("udhcpc", timeout=20)
    wait_until(lambda: len(server.accounted()) == 5, lambda: f"what was accounted meanwhile: {server.accounted()}", 40)
    of_session: dict[str, list[str]] = {}
    for record in server.accounted()[1:]:
        of_session.setdefault(record["Acct-Session-Id"][0], []).append(record["Acct-Status-Type"][0])
    assert next(iter(of_session.values())) == ["Start", "Stop"], "in order within a session; others go beside it"
    assert list(of_session.values())[1:] == [["Start"], ["Start"]]


def test_time_is_up(lab: Lab) -> None:
    """A session ends at its Session-Timeout though its lease is longer, and its Stop says so."""
    server = RadiusServer(lab.router, USERS.replace("Session-Timeout = 7200", "Session-Timeout = 6"))
    start(lab)
    customer = lab.customers[0]
    lease = customer.dhcp("udhcpc")
    assert lease.seconds <= 6
    customer.stop_client()
    wait_until(lambda: lab.gateway.get("/sessions")["sessions"] == [], "the session's end", 15)
    wait_until(lambda: len(server.accounted()) == 3, "its Stop")
    stop = server.accounted()[-1]
    assert stop["Acct-Terminate-Cause"] == ["Session-Timeout"]
    assert int(stop["Acct-Session-Time"][0]) in (6, 7)


def test_who_is_asked_about_again_goes_on_with_what_is_said_then(lab: Lab) -> None:
    """Termination-Action = RADIUS-Request: no echo is lost at the new answer; a rejection ends the session."""
    timed = "Session-Timeout = 3, Termination-Action = RADIUS-Request, State = 0x7374"
    server = RadiusServer(lab.router, USERS.replace("Session-Timeout = 7200", timed))
    start(lab, group='hold_rejects = "60s"')
    customer = lab.customers[0]
    lease = customer.dhcp("udhcpc")
    assert lease.seconds > 3, "the lease is as long as everybody's"
    with customer.pinging(lab.server_address) as pings:
        wait_until(lambda: len(server.asked()) >= 3, "two more questions", 15)
        assert "State" not in server.asked()[0]
        assert server.asked()[1]["State"] == ["0x7374"]
        assert pings.stop().lost == ()
    assert len(lab.gateway.get("/sessions")["sessions"]) == 1
    server.stop()
    server.users("DEFAULT Auth-Type := Reject\n")
    server.start()
    wait_until(lambda: lab.gateway.get("/sessions")["sessions"] == [], "the session's end", 60)
    wait_until(lambda: server.accounted()[-1]["Acct-Status-Type"] == ["Stop"], "its Stop", 40)
    assert server.accounted()[-1]["Acct-Terminate-Cause"] == ["Service-Unavailable"]


def test_a_dictionary_of_the_operators_own(lab: Lab) -> None:
    """What its server calls differently is understood, once a dictionary names it and the group says what it means."""
    folder = lab.folder / "dictionaries"
    folder.mkdir()
    (folder / "wayside").write_text(
        "VENDOR Wayside 63999\nBEGIN-VENDOR Wayside\nATTRIBUTE Wayside-Plan 7 string\nEND-VENDOR Wayside\n"
    )
    server = RadiusServer(
        lab.router, USERS.replace('Filter-Id = "gold"', 'Wayside-Plan = "gold"'), more=folder / "wayside"
    )
    lab.gateway.start(
        lab.config(
            tenant={"radius": "isp"},
            more=f'[radius]\ndictionary = "{folder}"\n'
            + section(lab.folder, group='aliases = { "Wayside-Plan" = "Filter-Id" }'),
        )
    )
    lab.customers[0].dhcp("udhcpc")
    assert lab.gateway.get("/sessions")["sessions"][0]["service"] == "gold"
    assert server.asked()


def test_a_planned_stop_ends_sessions_and_says_so(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab)
    lab.customers[0].dhcp("udhcpc")
    said = lab.gateway.bng("stop", "--end-sessions", "--config", str(lab.gateway.config_file))
    assert said.startswith("1 session ended, 0 left, 0 records of accounting not acknowledged")
    on, begun, ended, off = server.accounted()
    assert [record["Acct-Status-Type"][0] for record in (on, begun, ended, off)] == [
        "Accounting-On",
        "Start",
        "Stop",
        "Accounting-Off",
    ]
    assert ended["Acct-Terminate-Cause"] == ["Admin-Reboot"]


def test_a_planned_stop_waits_for_a_dead_server_only_for_a_while(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab, server=QUICK)
    lab.customers[0].dhcp("udhcpc")
    wait_until(lambda: len(server.accounted()) == 2, "On and Start")
    server.stop()
    said = lab.gateway.bng("stop", "--end-sessions", "--config", str(lab.gateway.config_file))
    assert said.splitlines() == [
        "1 session ended, 0 left, 2 records of accounting not acknowledged",
        "stopped",
        "detached",
    ]
