"""PPPoE customers who say who they are: checked by the gateway's own passwords, and by a real RADIUS server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import Customer
from wayleave.lab.pppoe import Connection, NoConnection
from wayleave.lab.radius import RadiusServer, radius_sections
from wayleave.lab.topology import Lab, section
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac
from wayleave.proto.pppoe.line import Figure, LineInfo, encode

from .watch import sessions

METHODS = ["pap", "chap", "ms-chap-2"]


def dial(customer: Customer, password: str, method: str = "chap", user: str = "alice", *options: str) -> Connection:
    return customer.pppoe(user, password, "--accept", method, *options)


def refused(customer: Customer, password: str, method: str = "chap", user: str = "alice") -> None:
    with pytest.raises(NoConnection) as failed:
        dial(customer, password, method, user)
    assert failed.value.reason in ("refused", "peer-terminated", "padt"), failed.value


def pppoe(*methods: str) -> str:
    return section("[pppoe]", {"authentication": list(methods)})


# ---- the gateway's own passwords ---------------------------------------------------------------


class Users:
    """A subscribers file and its passwords, beside a gateway's configuration."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.people, self.secrets = lab.folder / "people.toml", lab.folder / "people.secrets"
        self.write(alice="sesame", bob="open")

    def write(self, blocked: str = "", **passwords: str) -> None:
        entries = [
            section("[[subscribers]]", {"name": f"{user} of here", "user": user, "blocked": user == blocked})
            for user in passwords
        ]
        self.people.write_text("\n".join(entries))
        self.secrets.touch(0o600)
        self.secrets.write_text("".join(f'"{user}" = "{password}"\n' for user, password in passwords.items()))

    def config(self) -> str:
        authorization = {"subscribers": str(self.people), "secrets": str(self.secrets)}
        subscriber = {"protocols": ["ipoe", "pppoe"]}
        return self.lab.config(subscriber=subscriber, authorization=authorization, more=pppoe("chap", "pap"))

    def reload(self) -> str:
        return self.lab.gateway.bng("reload", "--config", str(self.lab.gateway.config_file))


@pytest.fixture
def users() -> Iterator[Users]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        users = Users(lab)
        lab.gateway.start(users.config())
        yield users


def test_users_with_passwords_of_the_gateways_own(users: Users) -> None:
    gateway, (first, second) = users.lab.gateway, users.lab.customers
    config = ("--config", str(gateway.config_file))
    for method in ("pap", "chap"):
        told = dial(first, "sesame", method)
        assert told.method.startswith(method)
        assert first.ping(users.lab.server_address)
        refused(second, "open", method)
        refused(second, "sesame", method, "eve")
    said = gateway.bng("diagnose", str(second.mac), *config, check=False)
    assert "user eve is not in the subscribers file" in said
    refused(second, "open")
    said = gateway.bng("diagnose", str(second.mac), *config, check=False)
    assert "wrong-password" in said or "does not know its password" in said
    (session,) = sessions(gateway)
    assert (session["subscriber"], session["address"]) == ("alice of here", str(told.address))

    users.write(alice="mended", bob="open")
    for what in (gateway.bng("plan", *config, check=False), users.reload()):
        assert "authorization.secrets[alice]: has changed" in what
        assert "sessions: 1 kept" in what
        assert "mended" not in what
        assert "sesame" not in what
    assert first.ping(users.lab.server_address), "who is on stays on"
    again = dial(first, "mended")
    assert again.address == told.address
    refused(second, "sesame")

    users.write(blocked="alice", alice="mended", bob="open")
    assert "1 ended" in users.reload()
    wait_until(lambda: not sessions(gateway), "nobody that is blocked")
    refused(first, "mended")
    assert dial(second, "open", user="bob").address in users.lab.pools[0]
    output = gateway.process.output() + json.dumps(gateway.get("/sessions"))
    assert not any(password in output for password in ("sesame", "mended"))


# ---- a RADIUS server's ---------------------------------------------------------------------------

USERS = """
alice Cleartext-Password := "sesame"
\tFramed-Protocol = PPP, Service-Type = Framed-User, Framed-IP-Netmask = 255.255.255.255, Framed-MTU = 1400,
\tFilter-Id = "gold", Class = 0xff00ff

dave Cleartext-Password := "sesame"

DEFAULT Auth-Type := Reject
\tReply-Message = "not a customer of ours"
"""
CAROL = """
carol Cleartext-Password := "open"
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        yield lab


def start(lab: Lab, *methods: str, more: str = "", **group: object) -> None:
    subscriber = {"protocols": ["pppoe"], "trusted": True}
    sections = radius_sections(lab.folder, lab.router_address, {"hold_rejects": "1s", **group})
    text = lab.config(subscriber=subscriber, tenant={"radius": "isp"}, more=sections + more + pppoe(*methods))
    lab.gateway.start(text)


@pytest.mark.parametrize("method", METHODS)
def test_a_server_is_asked_by_each_method(lab: Lab, method: str) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab, method)
    first, second = lab.customers
    line = encode(LineInfo(b"slot 1", b"door 7", {Figure.ACTUAL_DOWNSTREAM: 102_400}))[1].hex()
    told = dial(first, "sesame", method, "alice", "--vendor-tag", line)
    assert first.ping(lab.server_address)
    (session,) = sessions(lab.gateway)
    assert (session["subscriber"], session["service"], session["address"]) == ("alice", "gold", str(told.address))
    (asked,) = server.asked()
    assert asked["User-Name"] == ["alice"]
    assert {"pap": set(), "chap": {"CHAP-Password", "CHAP-Challenge"}}.get(
        method, {"MS-CHAP-Challenge", "MS-CHAP2-Response"}
    ) == {name for name in asked if "CHAP" in name}
    assert (asked["Framed-Protocol"], asked["Service-Type"], asked["NAS-Port-Type"]) == (
        ["PPP"],
        ["Framed-User"],
        ["PPPoEoQinQ"],
    )
    assert (asked["NAS-Port-Id"], asked["Calling-Station-Id"]) == (["1:100.1"], [dashed(first.mac)])
    assert asked["ADSL-Agent-Circuit-Id"] == ["0x" + b"slot 1".hex()]
    assert asked["Actual-Data-Rate-Downstream"] == ["102400000"]
    refused(second, "open", method)
    refused(second, "sesame", method, "eve")
    said = lab.gateway.bng("diagnose", str(second.mac), "--config", str(lab.gateway.config_file), check=False)
    assert "not a customer of ours" in said
    assert [record["User-Name"] for record in server.asked()] == [["alice"], ["alice"], ["eve"]]
    first.dialled.hang_up()
    wait_until(lambda: len(server.accounted()) == 3, lambda: f"On, Start, Stop: {server.accounted()}")
    for record in server.accounted()[1:]:
        assert (record["User-Name"], record["Framed-Protocol"], record["Acct-Authentic"]) == (
            ["alice"],
            ["PPP"],
            ["RADIUS"],
        )
        assert (record["NAS-Port-Type"], record["Framed-IP-Address"]) == (["PPPoEoQinQ"], [str(told.address)])
        assert record["Class"] == ["0xff00ff"]


def dashed(mac: Mac) -> str:
    return str(mac).upper().replace(":", "-")


def test_a_controller_finds_a_user_by_its_name_and_changes_and_ends_it(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab, "chap")
    customer = lab.customers[0]
    told = dial(customer, "sesame", user="dave")
    to = lab.core.ip
    changed = server.radclient(to, "coa", "User-Name = dave\nFilter-Id = gold")
    assert "CoA-ACK" in changed
    (session,) = sessions(lab.gateway)
    assert session["service"] == "gold"
    ended = server.radclient(
        to,
        "disconnect",
        f"User-Name = dave\nFramed-IP-Address = {told.address}\nNAS-Port-Id = 1:100.1\nNAS-Port-Type = PPPoEoQinQ\n"
        f"Acct-Session-Id = {server.accounted()[-1]['Acct-Session-Id'][0]}",
    )
    assert "Disconnect-ACK" in ended
    customer.dialled.wait_event("down")
    assert not sessions(lab.gateway)


def test_a_restart_that_takes_pppoe_from_a_port_ends_who_dialled_there_and_it_is_accounted(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab, "chap")
    dial(lab.customers[0], "sesame")
    wait_until(lambda: len(server.accounted()) == 2, lambda: f"On and Start: {server.accounted()}")
    lab.gateway.stop()
    lab.gateway.start(lab.gateway.config_file.read_text().replace('["pppoe"]', '["ipoe"]'))
    wait_until(lambda: not sessions(lab.gateway), "nobody is served")
    wait_until(lambda: len(server.accounted()) == 3, lambda: f"a Stop: {server.accounted()}")
    *_, stop = server.accounted()
    assert (stop["Acct-Status-Type"], stop["Acct-Terminate-Cause"]) == (["Stop"], ["NAS-Request"])
    assert "port 1 does not serve PPPoE any more" in lab.gateway.log


def test_a_realm_has_servers_of_its_own_and_is_taken_off(lab: Lab) -> None:
    ours, theirs = RadiusServer(lab.router, USERS), RadiusServer(lab.router, CAROL, auth=2812, acct=2813)
    more = section(
        "[[radius.servers]]",
        {
            "name": "r2",
            "address": lab.router_address,
            "secret": lab.folder / "secret",
            "auth_port": 2812,
            "acct_port": 2813,
        },
    ) + section(
        "[[radius.groups]]",
        {"name": "b", "servers": ["r2"], "pool": "residential", "realms": ["isp-b.example"], "strip_realm": True},
    )
    start(lab, "chap", more=more)
    first, second = lab.customers
    dial(first, "sesame")
    dial(second, "open", "chap", "carol@ISP-B.example")
    assert second.ping(lab.server_address)
    assert {item["subscriber"] for item in sessions(lab.gateway)} == {"alice", "carol"}
    assert [record["User-Name"] for record in ours.asked()] == [["alice"]]
    assert [record["User-Name"] for record in theirs.asked()] == [["carol"]]
    wait_until(lambda: len(theirs.accounted()) == 2, "an account of its own")


# ---- as the documentation has it -----------------------------------------------------------------

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "pppoe.md").read_text()
OWN, PEOPLE, SECRETS, RADIUS, REALM = re.findall(r"^```toml\n(.*?)^```", HOWTO, re.MULTILINE | re.DOTALL)


def test_the_howto_s_own_users() -> None:
    with Lab([Line(100, 1), Line(100, 7)]) as lab:
        (lab.folder / "subscribers.toml").write_text(PEOPLE)
        (lab.folder / "subscribers.secrets").write_text(SECRETS)
        (lab.folder / "subscribers.secrets").chmod(0o600)
        text = OWN.replace('"eth1"', '"acc0"').replace('"eth2"', '"core0"').replace('"bng1"', f'"{lab.instance}"')
        text = text.replace("/var/lib/wayleave", str(lab.folder / "state"))
        lab.gateway.start(text.replace("/run/wayleave/bng.sock", str(lab.gateway.api)))
        first, second = lab.customers
        assert str(dial(first, "sesame").address) == "100.64.0.2"
        assert str(dial(second, "open", user="bob@isp.example").address) == "100.64.0.77"
        refused(first, "open", user="bob@isp.example")


def test_the_howto_s_server_and_realm() -> None:
    users = re.search(r"^    alice .*\n        .*$", HOWTO, re.MULTILINE)
    assert users is not None
    text = users[0].replace("        ", "\t").replace("    ", "")
    with Lab([Line(100, 1)]) as lab:
        text = text.replace("100.64.0.77", str(lab.pools[0][77]))
        server = RadiusServer(lab.router, text + '\n\ncarol@isp-b.example Cleartext-Password := "open"\n')
        (lab.folder / "r1.secret").write_text(server.secret)
        (lab.folder / "r1.secret").chmod(0o600)
        sections = RADIUS[RADIUS.index("[pppoe]") :] + REALM
        lab.gateway.start(lab.config(tenant={"radius": "isp"}, subscriber={"protocols": ["pppoe"]}, more=sections))
        (customer,) = lab.customers
        for method in METHODS:
            assert dial(customer, "sesame", method).address == lab.pools[0][77]
        dial(customer, "open", "ms-chap-2", "carol@isp-b.example")
        assert server.asked()[-1]["User-Name"] == ["carol@isp-b.example"]
        wait_until(lambda: len(sessions(lab.gateway)) == 1, "the one that counts")
        (session,) = sessions(lab.gateway)
        assert (session["subscriber"], session["authority"]) == ("carol@isp-b.example", "isp-b")
