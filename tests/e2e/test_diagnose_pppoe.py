"""The drill for who dials: faults put in by hand, and each must be called by its name; mended, all is well."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_diagnose import asks, diagnose, says, sent
from tests.e2e.watch import Meter, dropped, ignored, sessions
from wayleave.lab.access_node import Line
from wayleave.lab.customer import Customer
from wayleave.lab.packet import PPPOE_DISCOVERY, PPPOE_SESSION, UDP, ethernet, ipv4, udp
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import BROADCAST
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe.line import LineInfo, encode
from wayleave.proto.pppoe.packet import SERVICE_NAME, Code, encode_session
from wayleave.proto.pppoe.packet import encode as discovery

ALICE, BOB, SCRATCH, FLOOD = range(4)
PPPOE = '[pppoe]\nauthentication = ["chap"]\nservices = ["internet"]\necho_interval = "1s"\necho_failures = 2\n'
USERS = {"alice": "sesame", "bob": "open"}


def known(folder: Path) -> dict[str, str]:
    """Write who may dial, and with what; returns what the configuration says of it."""
    entries = [f'{{ name = "{user}", user = "{user}", pool = "residential" }}' for user in USERS]
    (folder / "subscribers.toml").write_text(f"subscribers = [{', '.join(entries)}]\n")
    descriptor = os.open(folder / "secrets.toml", os.O_CREAT | os.O_WRONLY, 0o600)
    with open(descriptor, "w") as file:
        file.writelines(f'{user} = "{secret}"\n' for user, secret in USERS.items())
    return {"subscribers": str(folder / "subscribers.toml"), "secrets": str(folder / "secrets.toml")}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2), Line(100, 3), Line(100, 4)]) as lab:
        lab.gateway.start(lab.config(subscriber={"protocols": ["pppoe"]}, authorization=known(lab.folder), more=PPPOE))
        yield lab


def dials(customer: Customer, *options: str, user: str = "bob", secret: str = "open", end: str = "down") -> str:
    """Have it dial in vain; returns why it says that it came to nothing."""
    down = customer.pppoe_start(user, secret, *options).wait_event(end, 20)
    return str(down["reason"])


def gone(lab: Lab) -> None:
    wait_until(lambda: not sessions(lab.gateway), "the end of its session")


def test_who_is_served_is_well(lab: Lab) -> None:
    alice = lab.customers[ALICE]
    alice.pppoe("alice", "sesame")
    assert alice.ping(lab.server_address)
    for who in ("alice", str(alice.mac), str(alice.dialled.named("up")[0]["address"])):  # type: ignore[union-attr]
        told = diagnose(lab, who)
        assert (told["verdict"], told["notes"]) == ("well", [])


def test_a_wrong_password(lab: Lab) -> None:
    bob = lab.customers[BOB]
    assert dials(bob, secret="guess") in ("refused", "peer-terminated")
    assert "bob" in says(lab, bob, "wrong-password")
    assert diagnose(lab, "bob")["verdict"] == "wrong-password", "the file has no more of it than this name"
    bob.pppoe("bob", "open")
    assert bob.ping(lab.server_address)
    says(lab, bob, "well")


def test_who_hung_up_and_who_fell_silent_has_ended(lab: Lab) -> None:
    bob = lab.customers[BOB]
    bob.pppoe("bob", "open")
    assert bob.dialled is not None
    bob.dialled.hang_up()
    assert "user-request" in says(lab, bob, "ended")
    assert diagnose(lab, "bob")["verdict"] == "ended"
    bob.pppoe("bob", "open")
    bob.forget()  # its power is gone
    assert "lost-carrier" in says(lab, bob, "ended")


def test_who_is_cut_off_and_goes_on_without_hearing_it(lab: Lab) -> None:
    bob = lab.customers[BOB]
    told = bob.pppoe("bob", "open")
    bob.forget()
    gone_before = dropped(lab.gateway, "no-session")
    lab.gateway.bng("clear", "session", str(bob.mac), "--config", str(lab.gateway.config_file))
    surfs(bob, told.session_id, lab)
    gone_before.wait()
    assert "admin-reset" in says(lab, bob, "ended")
    echo = encode_session(told.session_id, Protocol.LCP, b"\x09\x01\x00\x08\x00\x00\x00\x00")
    unknown = Meter(lab.gateway, "pppoe", "ignored", "unknown-pppoe-session")
    bob.send_raw(ethernet(GATEWAY_ACCESS_MAC, bob.mac, PPPOE_SESSION, echo))
    unknown.wait()
    assert "admin-reset" in says(lab, bob, "ended"), "that it is told so is no news"


def surfs(customer: Customer, session_id: int, lab: Lab) -> None:
    """Have it send a packet in a session, whether or not there is one."""
    packet = ipv4(lab.pools[0][9], lab.server_address, UDP, udp(lab.pools[0][9], lab.server_address, 1, 2, b""))
    inside = encode_session(session_id, Protocol.IPV4, packet)
    customer.send_raw(ethernet(GATEWAY_ACCESS_MAC, customer.mac, PPPOE_SESSION, inside))


def test_a_session_that_nobody_knows_and_an_address_that_nobody_gave(lab: Lab) -> None:
    scratch = lab.customers[SCRATCH]
    surfs(scratch, 4711, lab)
    assert "PPPoE 4711" in says(lab, scratch, "old-session")
    sent(scratch, lab.pools[0][9], lab.server_address)
    assert "PPPoE" not in says(lab, scratch, "no-dhcp")


def test_dhcp_where_only_pppoe_is_served(lab: Lab) -> None:
    scratch = lab.customers[SCRATCH]
    not_served = ignored(lab.gateway, "ipoe-not-served")
    with lab.access_node.trunk.capture() as trunk:
        asks(scratch)
        trunk.settle()
    assert not_served.wait()
    assert not [frame for frame in trunk.frames if frame.is_dhcp and not frame.outgoing], "it is not answered"
    says(lab, scratch, "ipoe-not-served")


def test_a_service_that_is_not_on_offer(lab: Lab) -> None:
    scratch = lab.customers[SCRATCH]
    dialled = scratch.pppoe_start("bob", "open", "--service", "television")
    says(lab, scratch, "other-service")
    assert not dialled.named("session")
    scratch.forget()


def test_a_name_of_another_concentrator(lab: Lab) -> None:
    scratch = lab.customers[SCRATCH]
    padi = discovery(Code.PADI, 0, [(SERVICE_NAME.number, b""), (0x0102, b"elsewhere")])
    scratch.send_raw(ethernet(BROADCAST, scratch.mac, PPPOE_DISCOVERY, padi))
    assert "other-concentrator" in says(lab, scratch, "bad-pppoe")


def test_who_will_not_say_who_it_is_in_any_way_that_counts(lab: Lab) -> None:
    scratch = lab.customers[SCRATCH]
    dials(scratch, "--accept", "ms-chap-2")
    assert "no authentication that both know" in says(lab, scratch, "no-agreement")


def test_padis_without_end(lab: Lab) -> None:
    flood = lab.customers[FLOOD]
    padi = ethernet(BROADCAST, flood.mac, PPPOE_DISCOVERY, discovery(Code.PADI, 0, [(SERVICE_NAME.number, b"")]))

    def flooded() -> bool:
        for _ in range(100):
            flood.send_raw(padi)
        return bool(diagnose(lab, str(flood.mac))["verdict"] == "policed")

    wait_until(flooded, "a client that is policed", 10)


def test_who_dials_where_only_ipoe_is_served() -> None:
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.start(lab.config())
        (customer,) = lab.customers
        not_served = dropped(lab.gateway, "pppoe-not-served")
        customer.pppoe_start("alice", "sesame")
        not_served.wait()
        assert "PPPoE discovery" in says(lab, customer, "pppoe-not-served")
        customer.forget()
        customer.dhcp("udhcpc")
        says(lab, customer, "well")


def test_circuits_that_are_not_told_or_make_no_sense_and_a_port_that_is_full() -> None:
    doors = ["--vendor-tag", encode(LineInfo(circuit_id=b"door-1"))[1].hex()]
    with Lab([Line(100, 1), Line(100, 1), Line(100, 1)]) as lab:
        port = {"protocols": ["pppoe"], "line": "circuit", "trusted": True, "pppoe_sessions": 1}
        lab.gateway.start(lab.config(subscriber=port, more="[pppoe]\nauthentication = []\n"))
        untold, garbled, late = lab.customers
        untold.pppoe_start("", "")
        says(lab, untold, "no-circuit-id")
        garbled.pppoe_start("", "", "--vendor-tag", "00000de901ff00")
        assert "malformed-line-tag" in says(lab, garbled, "bad-pppoe")
        untold.pppoe("", "", *doors)
        says(lab, untold, "well")
        assert dials(late, *doors) == "no-session"
        assert "1 sessions" in says(lab, late, "port-full")
