"""RADIUS as an operator sees it: how servers do, why a client gets nothing, what a machine lacks; secrets nowhere."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.test_diagnose import asks, diagnose
from tests.e2e.test_doctor import doctor
from tests.e2e.test_radius import FIRST, QUICK, SECOND, USERS, section, start
from wayleave.api.radius import HINTS, NEVER_HEARD
from wayleave.lab.access_node import Line
from wayleave.lab.radius import RadiusServer
from wayleave.lab.topology import GatewayFailed, Lab
from wayleave.lab.waiting import wait_until
from wayleave.proto.radius.packet import Doubt

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operations" / "radius.md"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        yield lab


def show(lab: Lab) -> Any:
    return json.loads(lab.gateway.bng("show", "radius", "--json", "--config", str(lab.gateway.config_file)))


def scraped(lab: Lab) -> dict[tuple[str, ...], float]:
    """/metrics as Prometheus reads it: name and values of its labels, in the order of their names → value."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(lab.gateway.request("GET", "/metrics")[1]):
        for sample in family.samples:
            found[sample.name, *(sample.labels[name] for name in sorted(sample.labels))] = sample.value
    return found


def test_how_servers_do(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab, server=QUICK)
    lab.customers[0].dhcp("udhcpc")
    asks(lab.customers[1])
    server.radclient(lab.core.ip, "coa", f"User-Name = {FIRST}\nFilter-Id = nothing")
    wait_until(lambda: show(lab)["backlogs"][0]["acknowledged"] == 2, lambda: f"On and Start: {show(lab)}")
    found = show(lab)
    access, accounting = found["servers"]
    assert (access["purpose"], access["alive"], access["requests"]) == ("access", True, 2)
    assert access["answers"] == {"access-accept": 1, "access-reject": 1}
    assert access["mean_ms"] > 0
    assert access["p95_ms"] >= 1
    assert accounting["answers"] == {"accounting-response": 2}
    assert found["controllers"] == {"coa": 1, "refused": 1}
    assert (found["rejected"], found["provisional"]) == (1, 0)
    now = scraped(lab)
    assert now["wayleave_radius_server_alive", "isp", "access", "r1"] == 1
    assert now["wayleave_radius_answers_total", "access-accept", "isp", "access", "r1"] == 1
    assert now["wayleave_radius_latency_seconds_count", "isp", "access", "r1"] == 2
    assert now["wayleave_radius_latency_seconds_bucket", "isp", "+Inf", "access", "r1"] == 2
    assert 0 < now["wayleave_radius_latency_seconds_sum", "isp", "access", "r1"] < 5
    assert now["wayleave_accounting_acknowledged_total", "isp"] == 2
    assert (now["wayleave_dynauth_total", "coa"], now["wayleave_dynauth_total", "refused"]) == (1, 1)
    server.stop()
    lab.customers[0].release()
    wait_until(lambda: not show(lab)["servers"][1]["alive"], lambda: f"its death: {show(lab)}", 20)
    (backlog,) = show(lab)["backlogs"]
    assert (backlog["waiting"], backlog["in_memory"]) == (1, 1)
    assert backlog["oldest_s"] < 20
    assert scraped(lab)["wayleave_accounting_waiting", "isp", "memory"] == 1
    assert lab.gateway.request("GET", "/readyz")[0] == 200
    lab.gateway.kill9()
    lab.gateway.restart()
    assert show(lab)["backlogs"][0]["waiting"] == 1, "it is on disk"
    server.start()
    wait_until(lambda: show(lab)["backlogs"][0]["waiting"] == 0, lambda: f"its Stop to arrive: {show(lab)}", 20)


def test_it_fits_a_terminal_of_80_columns(lab: Lab) -> None:
    RadiusServer(lab.router, USERS, signs=False)
    start(lab, server=QUICK)
    asks(lab.customers[0])
    words = [sys.executable, "-m", "wayleave.cli.bng", "show", "radius", "--config", str(lab.gateway.config_file)]
    text = lab.gateway.run("script", "-qec", f"stty cols 80; {shlex.join(words)}", "/dev/null")
    text = re.sub(r"\x1b\[\d*m|\r", "", text)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80, text
    assert any(line.split()[:2] == ["isp", "r1"] for line in lines), text
    assert re.search(r"not believed: no-message-authenticator +[1-9]", text)
    assert "message_authenticator = false" in " ".join(text.split())


# ---- the drill ---------------------------------------------------------------------------------


def verdict(lab: Lab, mac: str = FIRST) -> dict[str, Any]:
    """Have a client ask in vain, and see why."""
    asks(next(item for item in lab.customers if str(item.mac) == mac))
    found = diagnose(lab, mac)
    wait_until(lambda: found.update(diagnose(lab, mac)) or found["verdict"] != "getting-on", lambda: str(found), 20)
    return found


def test_who_is_rejected_is_told_by_whom_and_why(lab: Lab) -> None:
    RadiusServer(lab.router, USERS)
    start(lab)
    found = verdict(lab, SECOND)
    assert found["verdict"] == "radius-rejected"
    assert "rejected by r1: not a customer of ours" in found["says"]


def test_an_attribute_that_cannot_be_honoured_is_named_with_its_value(lab: Lab) -> None:
    RadiusServer(lab.router, USERS.replace('"gold"', '"platinum"'))
    start(lab)
    found = verdict(lab)
    assert found["verdict"] == "radius-unusable"
    assert "Filter-Id: there is no service platinum" in found["says"]


def test_a_server_that_died_is_named_and_since_when(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab, server=QUICK)
    lab.customers[0].dhcp("udhcpc")
    server.stop()
    found = verdict(lab, SECOND)
    assert found["verdict"] == "radius-unreachable"
    assert re.search(r"no server lives: r1; now: r1 dead for \d+s, heard \d+s ago", found["says"]), found


def test_a_server_that_knows_another_secret_says_nothing(lab: Lab) -> None:
    """FreeRADIUS drops what has a wrong Message-Authenticator without a word."""
    RadiusServer(lab.router, USERS, secret="another one")
    start(lab, server=QUICK)
    found = verdict(lab)
    assert found["verdict"] == "radius-never-answered"
    assert "wrong secret?" in found["means"]
    assert re.search(r"r1 dead for \d+s, never heard", found["says"]), found
    assert show(lab)["servers"][0]["hint"] == NEVER_HEARD


def test_answers_with_another_secret_are_told(lab: Lab) -> None:
    """A server that does not look at what requests are signed with answers, and its own secret shows."""
    lab.router.spawn(sys.executable, "-c", IGNORANT)
    start(lab, server=QUICK)
    found = verdict(lab)
    assert found["verdict"] == "radius-doubted"
    assert "wrong secret?" in found["means"]
    assert "r1: bad-authenticator" in found["says"]
    assert show(lab)["servers"][0]["hint"] == HINTS[Doubt.BAD_AUTHENTICATOR]


IGNORANT = """
import hashlib, socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 1812))
while True:
    asked, sender = sock.recvfrom(4096)
    head = bytes((2, asked[1], 0, 20))
    sock.sendto(head + hashlib.md5(head + asked[4:20] + b"another one").digest(), sender)
"""


def test_answers_without_a_message_authenticator_are_told_with_the_way_out(lab: Lab) -> None:
    RadiusServer(lab.router, USERS, signs=False)
    start(lab, server=QUICK)
    found = verdict(lab)
    assert found["verdict"] == "radius-unsigned"
    assert "r1: no-message-authenticator" in found["says"]
    assert "radius.servers.message_authenticator" in found["cure"]
    assert show(lab)["servers"][0]["hint"] == HINTS[Doubt.NO_MESSAGE_AUTHENTICATOR]
    lab.gateway.stop()
    start(lab, server=f"{QUICK}\nmessage_authenticator = false")
    lab.customers[0].dhcp("udhcpc")


def test_the_journal_says_who_granted_and_who_changed_what(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab)
    lab.customers[0].dhcp("udhcpc")
    server.radclient(lab.core.ip, "coa", f"User-Name = {FIRST}\nWayleave-Rate-Up = 5000")
    gone = server.radclient(lab.core.ip, "disconnect", f"User-Name = {FIRST}")
    assert "Disconnect-ACK" in gone
    wait_until(lambda: not lab.gateway.get("/sessions")["sessions"], "the end")
    (journal,) = lab.gateway.get(f"/journals?mac={FIRST}")["journals"]
    told = [(item["what"], item["says"]) for item in journal["entries"]]
    assert ("granted", "by r1: gold, up 20 Mbit/s, down 100 Mbit/s, pool residential") in told
    assert ("changed", "gold, up 5 Mbit/s, down 100 Mbit/s") in told
    assert ("ending", "disconnected") in told


# ---- what a machine lacks ----------------------------------------------------------------------

FAULTS: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("missing", lambda secret: secret.unlink(), "No such file or directory", "write the secret into that file"),
    ("readable", lambda secret: secret.chmod(0o644), "can be read by others (mode 644)", "chmod 600 "),
    ("empty", lambda secret: secret.write_text("\n"), "is empty", "write the secret into it"),
]


@pytest.mark.parametrize(("name", "fault", "says", "cure"), FAULTS, ids=[name for name, *_ in FAULTS])
def test_a_secret_that_cannot_be_used_is_told_before_anything_is_attached(
    lab: Lab, name: str, fault: Callable[[Path], object], says: str, cure: str
) -> None:
    config = lab.config(tenant={"radius": "isp"}, more=section(lab.folder))
    fault(lab.folder / "secret")
    status, lines = doctor(lab, config)
    assert status == 1, name
    (line,) = (line for line in lines if line.startswith("bad      radius.servers[r1].secret: "))
    assert says in line
    assert cure in line
    with pytest.raises(GatewayFailed, match=re.escape(says)):
        lab.gateway.start(config)
    assert "prog/xdp" not in lab.gateway.run("ip", "-details", "link", "show", "acc0")


def test_a_server_without_a_route_and_one_that_need_not_sign_are_told(lab: Lab) -> None:
    lab.gateway.namespace.ip("route flush table main")
    config = lab.config(tenant={"radius": "isp"}, more=section(lab.folder, server="message_authenticator = false"))
    status, lines = doctor(lab, config)
    assert status == 0, "a route may come later"
    told = [line for line in lines if "radius server r1" in line]
    assert [line.split()[0] for line in told] == ["warning", "warning"]
    assert "there is no route to 192.0.2.2" in told[0]
    assert "CVE-2024-3596" in told[1]


def test_an_address_that_is_not_the_machines_is_told_and_not_the_routes(lab: Lab) -> None:
    ours = '[radius]\naddress = "192.0.2.77"\nlisten = "192.0.2.78"\n'
    status, lines = doctor(lab, lab.config(tenant={"radius": "isp"}, more=ours + section(lab.folder)))
    assert status == 1
    for setting, address in (("address", "192.0.2.77"), ("listen", "192.0.2.78")):
        (line,) = (line for line in lines if f"radius.{setting}: " in line)
        assert line.startswith(f"bad      radius.{setting}: {address} is no address of this machine: write one that ")
    assert "good     radius server r1: there is a route to 192.0.2.2" in lines
    lab.gateway.namespace.ip("addr add 192.0.2.77/32 dev lo", "addr add 192.0.2.78/32 dev lo", "link set lo up")
    assert doctor(lab, lab.config(tenant={"radius": "isp"}, more=ours + section(lab.folder)))[0] == 0, "the cure"


def test_a_certificate_that_is_missing_is_told(lab: Lab) -> None:
    radsec = 'transport = "radsec"\ncertificate = "bng.pem"\nkey = "bng.key"\nca = "ca.pem"'
    status, lines = doctor(lab, lab.config(tenant={"radius": "isp"}, more=section(lab.folder, server=radsec)))
    assert status == 1
    (line,) = (line for line in lines if line.startswith("bad "))
    assert f"radius.servers[r1].key: {lab.folder}/bng.key: No such file" in line


# ---- secrets -----------------------------------------------------------------------------------


def test_a_secret_shows_nowhere(lab: Lab) -> None:
    """Whatever happens: accepted, rejected, changed, a wrong secret, a file that others can read."""
    secret, password = "5ecret-of-the-server", "pa55word-for-all"
    users = USERS.replace(f'"{FIRST}"', f'"{password}"')
    server = RadiusServer(lab.router, users, secret=secret)
    config = lab.config(
        tenant={"radius": "isp"}, more=section(lab.folder, group=f'password = "{lab.folder}/password"', server=QUICK)
    )
    for name, text in (("secret", secret), ("password", password)):
        (lab.folder / name).write_text(text)
        (lab.folder / name).chmod(0o600)
    said = ["\n".join(doctor(lab, config)[1])]
    lab.gateway.start(config)
    lab.customers[0].dhcp("udhcpc")
    asks(lab.customers[1])
    server.radclient(lab.core.ip, "coa", f"User-Name = {FIRST}\nFilter-Id = gold")
    server.radclient(lab.core.ip, "coa", f"User-Name = {FIRST}\nFilter-Id = gold", secret="a guess")
    server.stop()
    lab.customers[0].release()
    asks(lab.customers[1])
    for path in ("/metrics", "/radius", "/sessions", "/counters", "/plan", f"/journals?mac={SECOND}", "/openapi.json"):
        said.append(json.dumps(lab.gateway.request("GET", path)[1]))
    where = ("--config", str(lab.gateway.config_file))
    for words in (("show", "radius"), ("check",), ("doctor",), ("plan",), ("diagnose", SECOND)):
        said.append(lab.gateway.bng(*words, *where, check=False))
    process = lab.gateway.process
    assert process is not None
    said.append(subprocess.run(["ps", "-efww"], capture_output=True, text=True, check=True).stdout)
    said.append(Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace"))
    said.append(lab.gateway.log)
    lab.gateway.stop()
    (lab.folder / "secret").chmod(0o644)
    with pytest.raises(GatewayFailed) as failed:
        lab.gateway.start(config)
    said += [str(failed.value), lab.gateway.log]
    everything = "\n".join(said)
    assert "r1" in everything
    for text in (secret, password):
        for shown in (text, text.encode().hex(), base64.b64encode(text.encode()).decode()[:-4], repr(text.encode())):
            assert shown not in everything
    stored = b"".join(path.read_bytes() for path in (lab.folder / "state").iterdir())
    assert secret.encode() not in stored
    assert password.encode() not in stored


# ---- the document ------------------------------------------------------------------------------


def commands() -> list[str]:
    """Every command of the document, without its comment."""
    lines = re.findall(r"^    ((?:bng|printf) .*)$", DOCUMENT.read_text(), re.MULTILINE)
    return [line.split("    #")[0].split("  #")[0].strip() for line in lines]


def test_every_command_of_the_document_does_what_it_says(lab: Lab) -> None:
    """With the configuration that stands there, but for the ports of the lab and its secret's file."""
    (text,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    _, _, ours = text.partition('radius = "isp"\n')
    server = RadiusServer(lab.router, USERS)
    (lab.folder / "r1.secret").write_text(server.secret + "\n")
    (lab.folder / "r1.secret").chmod(0o600)
    silver = '\n[[services]]\nname = "silver"\nup = "5M"\n'
    lab.gateway.start(lab.config(tenant={"radius": "isp"}, more=ours + silver))
    lease = lab.customers[0].dhcp("udhcpc")
    assert str(lease.address) == "100.64.0.2"
    said: list[str] = []
    known = {"FILE": str(lab.gateway.config_file), "MAC": FIRST, "SECRETFILE": str(lab.folder / "r1.secret")}
    for command in commands():
        words = re.sub(r"\b(FILE|MAC|SECRETFILE)\b", lambda match: known[match[1]], command)
        if words.startswith("bng"):
            said.append(lab.gateway.bng(*shlex.split(words)[1:]))
        else:
            dictionary = f"radclient -d {server.folder} -D /usr/share/freeradius"
            said.append(server.host.run("sh", "-c", words.replace("radclient", dictionary)))
    assert "isp" in said[0]
    assert "well" in said[1]
    assert "granted" in said[2]
    assert "CoA-ACK" in said[3]
    assert "Disconnect-ACK" in said[4]
    for command in re.findall(r"`(bng [a-z]+[^`]*)`", DOCUMENT.read_text()):
        words = command.replace("FILE", str(lab.gateway.config_file))
        if "show" in words or "check" in words or "doctor" in words:
            lab.gateway.bng(*shlex.split(words)[1:])


def test_the_documents_freeradius_signs_what_it_says() -> None:
    """What stands there for FreeRADIUS is what the lab's own server is configured with."""
    told = DOCUMENT.read_text()
    assert "require_message_authenticator = yes" in told
    assert told.count("update reply { Message-Authenticator := 0x00 }") == 2
