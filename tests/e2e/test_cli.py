"""The command line: what an operator sees of a running gateway, what he ends, and what is refused in words."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from wayleave.cli.bng import main
from wayleave.lab import access_node
from wayleave.lab.access_node import Line
from wayleave.lab.namespace import CommandFailed, Namespace
from wayleave.lab.topology import PINS, Lab
from wayleave.lab.waiting import wait_until

from .watch import dropped, pool, sessions

pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked")  # with sys.argv, and on purpose
LINES = (Line(100, 1), Line(100, 2), Line(7, None, (0x8100, 0x8100)))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LINES) as lab:
        lab.gateway.start(lab.config())
        for number, customer in enumerate(lab.customers):
            customer.dhcp("udhcpc", "-x", f"hostname:house-{number}")
            assert customer.ping(lab.server_address)
        yield lab


@pytest.fixture(scope="module")
def idle() -> Iterator[Lab]:
    """A lab whose gateway does not run yet."""
    with Lab([Line(100, 1)]) as lab:
        yield lab


@dataclass(frozen=True)
class Done:
    """A command that has run."""

    returncode: int
    stdout: str
    stderr: str


def process(lab: Lab, *words: str, user: str = "root", where: Namespace | None = None) -> Done:
    """Run `bng WORDS --config FILE` as a process of `user`, where the gateway is or somewhere else."""
    command = [sys.executable, "-m", "wayleave.cli.bng", *words, "--config", str(lab.gateway.config_file)]
    become = ("setpriv", "--reuid", user, "--clear-groups", "--")
    argv = (where or lab.gateway.namespace).command(*become, *command)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def bng(lab: Lab, *words: str) -> Done:
    """The same from its `main()`, for commands that talk to the API's socket or read files: a process takes longer."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["bng", *words, "--config", str(lab.gateway.config_file)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    assert isinstance(status, int)
    return Done(status, out.getvalue(), err.getvalue())


def said(lab: Lab, *words: str, run: Callable[..., Done] = bng) -> str:
    """What it printed; it must have gone well."""
    done = run(lab, *words)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def told(lab: Lab, *words: str) -> Any:
    """The same with --json."""
    return json.loads(said(lab, *words, "--json"))


# ---- show ---------------------------------------------------------------------------------


def test_sessions_are_listed_whole_for_people_and_for_programs(lab: Lab) -> None:
    text = said(lab, "show", "sessions", run=process).splitlines()
    assert text[0 if text[0].strip() else 1].split()[:5] == ["id", "address", "mac", "line", "phase"]
    found = told(lab, "show", "sessions")
    assert len(found) == len(LINES)
    for number, customer in enumerate(lab.customers):
        (item,) = [item for item in found if item["mac"] == str(customer.mac)]
        assert item["address"] == str(customer.address)
        assert item["phase"] == "active"
        assert item["hostname"] == f"house-{number}"
        assert 3500 < item["lease_s"] <= 3600
        (row,) = [line.split() for line in text if item["mac"] in line.split()]
        assert row[:6] == [str(item["id"]), item["address"], item["mac"], item["line"], "active", "residential"]


@pytest.mark.parametrize(
    "words", ["show sessions", "show session 100.64.0.2 --journal", "show counters", "schema", "plan"]
)
def test_who_reads_no_more_ends_a_command_quietly(lab: Lab, words: str) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "wayleave.cli.bng", *words.split()]
    if words != "schema":
        command += ["--config", str(lab.gateway.config_file)]
    argv = lab.gateway.namespace.command(*command)
    try:
        done = subprocess.run(argv, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


FILTERS = {
    "--line 1:100": {0, 1},
    "--line 1:100.2": {1},
    "--line 1": {0, 1, 2},
    "--mac 02:C0:00:00:00:01": {1},
    "--mac 02-c0-00-00-00-02": {2},
    "--address 100.64.0.3": {1},
    "--phase active": {0, 1, 2},
    "--pool residential --line 1:7": {2},
}


@pytest.mark.parametrize("words", FILTERS)
def test_sessions_are_filtered(lab: Lab, words: str) -> None:
    found = {item["mac"] for item in told(lab, "show", "sessions", *words.split())}
    assert found == {str(lab.customers[number].mac) for number in FILTERS[words]}


@pytest.mark.parametrize("words", ["--line 1:10", "--phase offered", "--tenant nobody"])
def test_a_filter_that_finds_nothing_says_so_beside_the_table(lab: Lab, words: str) -> None:
    done = bng(lab, "show", "sessions", *words.split(), "--json")
    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert done.stderr == "bng: there is no such session\n"


def test_a_limit_that_cut_says_so_beside_the_table(lab: Lab) -> None:
    done = bng(lab, "show", "sessions", "--limit", "2", "--json")
    assert {item["mac"] for item in json.loads(done.stdout)} == {str(lab.customers[number].mac) for number in (0, 1)}
    assert done.stderr == "bng: there are more than these 2: say --limit\n"
    assert len(told(lab, "show", "sessions", "--limit", "3")) == 3, "that was all, and nothing is remarked"
    assert "bng: --limit: must be at least 1, not 0" in process(lab, "show", "sessions", "--limit", "0").stderr


@pytest.mark.parametrize("with_it", [("--hex", "00"), ("--pcap", "x.pcap")])
def test_a_packet_is_said_in_one_way(lab: Lab, with_it: tuple[str, str]) -> None:
    done = bng(lab, "explain", "icmp", "from", "100.64.0.2", "to", "100.64.0.1", *with_it, "--port", "1")
    assert (done.returncode, done.stderr) == (2, "bng: say one packet: in words, or with --hex, or with --pcap\n")


def test_who_may_not_open_the_socket_is_told_who_may(lab: Lab) -> None:
    lab.folder.chmod(0o755)
    for words in (("show", "pools"), ("capture", "02:00:00:00:00:01"), ("reload",)):
        done = process(lab, *words, user="nobody")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"bng: {lab.gateway.api}: permission denied: only user root may talk to this gateway: run this with sudo\n"
        )


@pytest.mark.parametrize("by", ["id", "address", "mac"])
def test_one_session_with_its_counters(lab: Lab, by: str) -> None:
    customer = lab.customers[2]
    which = str(sessions(lab.gateway, mac=customer.mac)[0][by])
    before = told(lab, "show", "session", which)
    assert before["line"] == "1:7"
    assert customer.ping(lab.server_address, count=4, size=72)
    after = told(lab, "show", "session", which)
    grown = {key: after["usage"][key] - before["usage"][key] for key in after["usage"]}
    assert grown == {
        "up_packets": 4, "up_octets": 400, "up_dropped": 0, "down_packets": 4, "down_octets": 400, "down_dropped": 0
    }  # fmt: skip
    lines = [line.split() for line in said(lab, "show", "session", which).splitlines()]
    rows = {words[0]: words[1] for words in lines if len(words) == 2}
    assert rows["address"] == str(customer.address)
    assert int(rows["up_packets"]) == after["usage"]["up_packets"]


def test_drops_by_reason(lab: Lab) -> None:
    before = told(lab, "show", "drops", "--all")
    assert before["ethertype"] == 0
    assert "ethertype" not in json.loads(bng(lab, "show", "drops", "--json").stdout), (
        "reasons that never occurred are left out"
    )
    customer = lab.customers[0]
    customer.send_raw(b"\xff" * 6 + customer.mac + b"\x88\xb5" + bytes(46))
    wait_until(lambda: told(lab, "show", "drops").get("ethertype") == 1, "a drop")
    assert ["ethertype", "1"] in [line.split() for line in said(lab, "show", "drops").splitlines()]


def test_pools_and_counters(lab: Lab) -> None:
    (found,) = told(lab, "show", "pools")
    assert found["held"] == len(LINES)
    assert found["size"] == 2**10 - 3
    assert said(lab, "show", "pools").split()[-7:-2] == [
        "residential",
        "default",
        "100.64.0.0/22",
        "100.64.0.1",
        "1021",
    ]
    counters = told(lab, "show", "counters")
    assert sum(sum(row.values()) for row in counters["outcomes"].values()) == sum(counters["received"].values())
    assert counters["sessions"]["unexpected"] == {}
    rows = dict(line.split() for line in said(lab, "show", "counters").splitlines() if len(line.split()) == 2)
    assert int(rows["sessions.opened"]) >= len(LINES)
    assert int(rows["dhcp4.said.ack"]) >= len(LINES)


def test_ports_with_what_is_wrong_with_them(lab: Lab) -> None:
    access, core = told(lab, "show", "ports")
    assert access == {
        "number": 1, "device": "acc0", "role": "subscriber", "tenant": "default", "state": "up", "program": "native",
        "sessions": len(LINES),
    }  # fmt: skip
    assert (core["number"], core["role"], core["sessions"]) == (100, "network", 0)
    gateway = lab.gateway
    gateway.namespace.ip("link add new0 mtu 1508 type veth peer name far0", "link set far0 up")
    more = '[[ports]]\nnumber = 2\ndevice = "new0"\nrole = "subscriber"\n'
    before = gateway.config_file.read_text()
    gateway.config_file.write_text(lab.config(more=more))
    said(lab, "reload")

    def new_port() -> tuple[str, str | None]:
        (port,) = (item for item in told(lab, "show", "ports") if item["number"] == 2)
        return port["state"], port["program"]

    assert new_port() == ("up", "native")
    gateway.namespace.ip("link set far0 down")
    wait_until(lambda: new_port() == ("no carrier", "native"), "a lost carrier")
    gateway.namespace.ip("link set new0 down")
    wait_until(lambda: new_port() == ("down", "native"), "a port that is down")
    gateway.namespace.ip("link del new0")
    wait_until(lambda: new_port() == ("gone", None), "a port that is gone")
    rows = [line.split() for line in said(lab, "show", "ports").splitlines()]
    assert ["2", "new0", "subscriber", "default", "gone", "no", "0"] in rows
    gateway.config_file.write_text(before)
    said(lab, "reload")


# ---- clear --------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "address", "mac"])
def test_a_cleared_client_is_off_until_it_asks_again(lab: Lab, by: str) -> None:
    customer = lab.customers[1]
    customer.forget()
    address = customer.dhcp("udhcpc").address
    assert customer.ping(lab.server_address)
    (session,) = sessions(lab.gateway, address=address)
    held = pool(lab.gateway)["held"]

    words = said(lab, "clear", "session", str(session[by]))

    assert words == f"cleared session {session['id']}: {session['client']} {address}\n"
    wait_until(lambda: pool(lab.gateway)["held"] == held - 1, "free address")
    unknown, unheld = dropped(lab.gateway, "no-session"), dropped(lab.gateway, "no-subscriber")
    with lab.router.capture() as core, lab.access_node.trunk.capture() as trunk:
        assert not customer.ping(lab.server_address, count=3, timeout=0.1)
        assert not lab.server.ping(address, count=2, timeout=0.1)
        trunk.settle()
    assert unknown.grown == 3
    assert unheld.grown == 2
    assert not core.matching(lambda f: f.ip and f.ip.source == address)
    assert not trunk.matching(lambda f: not f.outgoing and f.ip)
    assert customer.dhcp("udhcpc").address == address
    assert customer.ping(lab.server_address)


def test_usage_is_the_sessions_and_not_of_those_who_had_its_id_before(lab: Lab) -> None:
    customer = lab.customers[1]
    customer.forget()
    customer.dhcp("udhcpc")
    assert customer.ping(lab.server_address, count=20)
    (first,) = sessions(lab.gateway, mac=customer.mac)

    def has_the_id_again() -> bool:
        said(lab, "clear", "session", str(customer.mac))
        wait_until(lambda: not sessions(lab.gateway, mac=customer.mac), "end")
        customer.forget()
        customer.dhcp("udhcpc")
        return sessions(lab.gateway, mac=customer.mac)[0]["id"] == first["id"]

    wait_until(has_the_id_again, "the same id", 20)
    assert told(lab, "show", "session", str(customer.mac))["usage"]["up_octets"] == 0
    assert customer.ping(lab.server_address, count=2, size=72)
    assert told(lab, "show", "session", str(customer.mac))["usage"]["up_octets"] == 200


@pytest.mark.parametrize("verb", ["show", "clear"])
@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("4000", "bng: there is no session 4000\n"),
        ("100.64.3.200", "bng: there is no session with address 100.64.3.200\n"),
        ("02:00:00:00:00:77", "bng: there is no session with mac 02:00:00:00:00:77\n"),
        (
            "1:100.4000",
            "bng: there is no session with subscriber 1:100.4000: that is a line; "
            "`bng show sessions --line 1:100.4000` lists who is on it\n",
        ),
    ],
)
def test_an_unknown_session_is_said_to_be_unknown(lab: Lab, verb: str, which: str, words: str) -> None:
    done = bng(lab, verb, "session", which)
    assert (done.returncode, done.stderr, done.stdout) == (1, words, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--mac 02:00:00", "mac: '02:00:00' is not a MAC address: write it as 02:00:00:00:00:01"),
        ("--address 100.64.0", "address: '100.64.0' is not an IPv4 address: write it as 100.64.0.2"),
        ("--line house", "line: 'house' is not a line: write PORT, "),
        ("--phase asleep", 'phase: must be "authorizing", '),
    ],
)
def test_what_no_session_can_have_is_refused_and_not_just_not_found(lab: Lab, words: str, said: str) -> None:
    done = bng(lab, "show", "sessions", *words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"bng: {said}")
    assert done.stderr.count("\n") == 1


# ---- check, run, detach -------------------------------------------------------------------


def test_a_second_gateway_is_refused(lab: Lab) -> None:
    done = process(lab, "run")
    assert done.returncode == 1
    assert done.stderr.startswith("bng: ")
    assert "in use by another gateway" in done.stderr
    assert lab.customers[0].ping(lab.server_address)
    assert lab.customers[0].renew()


def test_nobody_answers(idle: Lab) -> None:
    idle.gateway.config_file.write_text(idle.config())
    for words in (("show", "sessions"), ("capture", "02:00:00:00:00:01"), ("plan",), ("reload",), ("stop",)):
        done = bng(idle, *words)
        assert done.returncode == 2
        said = f"bng: no gateway answers at {idle.gateway.api}: No such file or directory: is `bng run` running?"
        assert done.stderr.startswith(said)


def test_a_file_that_is_not_toml_is_called_so(idle: Lab) -> None:
    idle.gateway.config_file.write_text("[gateway\n")
    for words in (("show", "sessions"), ("plan",), ("reload",)):
        done = bng(idle, *words)
        assert done.returncode == 2
        assert f"{idle.gateway.config_file}: is not TOML: Expected ']' at the end of a table" in done.stderr


def test_a_good_configuration(idle: Lab) -> None:
    idle.gateway.config_file.write_text(idle.config())
    assert said(idle, "check") == f"{idle.gateway.config_file}: good: 2 ports, 1 pool, 0 subscribers\n"


def test_the_file_may_stand_by_itself(idle: Lab) -> None:
    idle.gateway.config_file.write_text(idle.config())
    out = io.StringIO()
    argv = ["bng", "check", str(idle.gateway.config_file)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert out.getvalue().startswith(f"{idle.gateway.config_file}: good: ")


def test_everything_wrong_is_said_at_once(idle: Lab) -> None:
    file = idle.gateway.config_file
    file.write_text(
        idle.config(
            subscriber={"clients": 0, "colour": "blue"},
            network={"number": 4000},
            pool={"lease": "5s"},
            tenant={"table": 0},
        )
    )
    done = bng(idle, "check")
    problems = done.stderr.splitlines()
    assert done.returncode == 2
    assert not done.stdout
    assert problems[-1] == "5 problems"
    paths = {line.removeprefix(f"{file}: ").split(": ")[0] for line in problems[:-1]}
    assert paths == {
        "ports[1].clients", "ports[1].colour", "ports[#2].number", "pools[residential].lease", "tenants[default].table",
    }  # fmt: skip


def test_what_contradicts_something_else_is_said_at_once(idle: Lab) -> None:
    idle.gateway.config_file.write_text(
        idle.config(
            subscriber={"tenant": "absent"},
            network={"number": 1},
            authorization={"default": "gold", "subscribers": "nowhere.toml"},
        )
    )
    done = bng(idle, "check")
    assert done.returncode == 2
    told = done.stderr
    assert "ports[#1].tenant: there is no tenant 'absent'; there is default" in told
    assert "ports[#2].number: 1 is already ports[#1]'s: give each its own" in told
    assert "authorization.default: there is no pool 'gold'; there is residential" in told
    assert "nowhere.toml: cannot be read: No such file or directory" in told
    assert process(idle, "run").returncode == 2


def _refused(lab: Lab, config: str) -> str:
    """Have the gateway run with `config`; it must end with status 1 and one sentence."""
    process = lab.gateway.start(config, ready=False)
    assert process.wait() == 1, process.output()
    (line,) = [line for line in process.output().splitlines() if line.startswith("bng: ")]
    assert "Traceback" not in process.output()
    assert not (PINS / lab.instance).exists(), "where nothing stood, nothing stays"
    return line


def test_an_api_socket_that_cannot_be_is_refused_before_anything_is_attached(idle: Lab) -> None:
    folder = idle.folder / "folder"
    (folder / "in it").mkdir(parents=True)
    line = _refused(idle, idle.config(gateway={"api": str(folder)}))
    assert line == f"bng: the API cannot listen at {folder}: Is a directory: see gateway.api"


@pytest.mark.parametrize(
    "more",
    [
        '[[radius.servers]]\nname = "r"\naddress = "192.0.2.2"\nsecret = "none"\n'
        '[[radius.groups]]\nname = "g"\nservers = ["r"]\n',
        '[[radius.controllers]]\naddress = "192.0.2.2"\nsecret = "none"\n',
    ],
    ids=["server", "controller"],
)
def test_a_secret_that_is_missing_is_said_and_nothing_stays(idle: Lab, more: str) -> None:
    assert "none: No such file or directory: write the secret" in _refused(idle, idle.config(more=more))


def test_run_has_to_be_root(idle: Lab) -> None:
    idle.folder.chmod(0o755)  # so that anybody can read the configuration
    state = idle.folder / "anybody's"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    idle.gateway.config_file.write_text(idle.config(gateway={"state": str(state)}))
    done = process(idle, "run", user="nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("bng: run has to be root (sudo): it lacks cap_net_admin, ")
    assert done.stderr.count("\n") == 1
    assert not list(state.iterdir()), "it says so before it touches anything"


def test_who_may_not_read_the_configuration_is_told_in_one_line(idle: Lab) -> None:
    idle.gateway.config_file.write_text(idle.config())
    idle.gateway.config_file.chmod(0o600)
    idle.folder.chmod(0o755)
    for words in (("run",), ("doctor",), ("show", "sessions"), ("capture", "02:00:00:00:00:01")):
        done = process(idle, *words, user="nobody")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.lower().endswith("permission denied: run this as root (sudo)\n")
    idle.gateway.config_file.chmod(0o644)


def test_a_small_mtu_is_refused_in_words(idle: Lab) -> None:
    idle.gateway.namespace.ip("link set acc0 mtu 1500")
    line = _refused(idle, idle.config())
    idle.gateway.namespace.ip(f"link set acc0 mtu {idle.access_mtu}")
    assert line.startswith("bng: acc0 has MTU 1500: ")
    assert line.endswith("`ip link set dev acc0 mtu 1508`")


def test_a_missing_device_is_refused_in_words(idle: Lab) -> None:
    line = _refused(idle, idle.config(network={"device": "core9"}))
    assert line == "bng: there is no device core9: `ip link` lists what there is"


def test_a_device_with_a_foreign_program_is_refused_in_words(idle: Lab) -> None:
    with _Foreign(idle):
        line = _refused(idle, idle.config())
    assert line == ("bng: port 100 (core0): another XDP program is attached: `ip link set dev core0 xdp off`")


class _Foreign:
    """Somebody else's XDP program on core0."""

    def __init__(self, lab: Lab) -> None:
        self._namespace = lab.gateway.namespace
        self._object = access_node.PROGRAM

    def _set(self, *words: str) -> None:
        self._namespace.run("ip", "link", "set", "dev", "core0", *words)

    def __enter__(self) -> None:
        self._set("xdpdrv", "obj", str(self._object), "program", "pass")

    def __exit__(self, *_: object) -> None:
        self._set("xdpdrv", "off")


def test_detach_ends_what_a_stopped_gateway_forwards(idle: Lab) -> None:
    customer = idle.customers[0]
    idle.gateway.start(idle.config())
    customer.dhcp("udhcpc")
    with pytest.raises(CommandFailed, match="is in use by another gateway"):
        idle.gateway.bng("detach", "--config", str(idle.gateway.config_file))
    assert idle.gateway.stop() == 0
    assert customer.ping(idle.server_address), "a stop alone changes nothing"
    idle.folder.chmod(0o755)  # so that anybody can read the configuration
    denied = process(idle, "detach", user="nobody")
    assert (denied.returncode, denied.stdout) == (1, "")
    assert denied.stderr.startswith("bng: ")
    assert denied.stderr.endswith("Permission denied: detach has to be root (sudo)\n")
    assert customer.ping(idle.server_address), "who may not detach changes nothing"
    assert said(idle, "detach", run=process) == "detached\n"
    assert not customer.ping(idle.server_address, count=1, timeout=0.2)
    devices = json.loads(idle.gateway.run("ip", "-json", "link", "show"))
    assert {item["ifname"] for item in devices} == {"lo", "acc0", "core0"}
    assert not [item["ifname"] for item in devices if "xdp" in item]
    assert said(idle, "detach", run=process) == "nothing was attached\n"
    idle.gateway.restart()
    wait_until(lambda: customer.ping(idle.server_address, count=1, timeout=0.2), "traffic after a new start", 5)
    assert idle.gateway.stop() == 0


def test_stop_ends_process_and_traffic_or_keeps_the_traffic(idle: Lab) -> None:
    customer = idle.customers[0]
    idle.gateway.start(idle.config())
    customer.dhcp("udhcpc")
    assert said(idle, "stop", "--keep-traffic", run=process) == "stopped, traffic goes on\n"
    assert idle.gateway.process is not None
    assert idle.gateway.process.status == 0
    assert customer.ping(idle.server_address)
    nobody = process(idle, "stop")
    assert nobody.returncode == 2
    assert "no gateway answers" in nobody.stderr
    ends = f"What it forwarded goes on: `bng detach --config {idle.gateway.config_file}` ends that."
    assert nobody.stderr.endswith(f"{ends}\n")
    assert customer.ping(idle.server_address), "it says so before it ends anything"
    idle.gateway.restart()
    assert said(idle, "stop", run=process) == "stopped\ndetached\n"
    assert idle.gateway.process.status == 0
    assert not customer.ping(idle.server_address, count=1, timeout=0.2)
    idle.gateway.restart()
    wait_until(lambda: customer.ping(idle.server_address, count=1, timeout=0.2), "traffic after a new start", 5)
    assert idle.gateway.stop() == 0


def test_stop_by_another_gateway_s_socket_ends_nothing(idle: Lab, tmp_path: Path) -> None:
    """The process would be the socket's, and the data plane the configuration's."""
    idle.gateway.start(idle.config())
    link = tmp_path / "same.sock"
    link.symlink_to(idle.gateway.api)
    other = tmp_path / "other.toml"
    other.write_text(idle.gateway.config_file.read_text().replace(str(idle.gateway.api), str(tmp_path / "b.sock")))
    done = idle.gateway.run(
        sys.executable, "-m", "wayleave.cli.bng", "stop", "--socket", str(idle.gateway.api), "--config", str(other),
        check=False,
    )  # fmt: skip
    assert idle.gateway.get("/healthz")["status"] == "ok", done
    assert said(idle, "stop", "--socket", str(link), run=process) == "stopped\ndetached\n"


def test_stop_with_a_configuration_that_makes_no_sense_ends_nothing(idle: Lab) -> None:
    idle.gateway.start(idle.config())
    good = idle.gateway.config_file.read_text()
    idle.gateway.config_file.write_text(good + "\n[nonsense]\n")
    done = process(idle, "stop")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nonsense" in done.stderr
    assert idle.gateway.get("/healthz")["status"] == "ok"
    idle.gateway.config_file.write_text(good)
    assert idle.gateway.stop() == 0


def test_detach_from_another_network_namespace_says_what_it_leaves_behind(idle: Lab) -> None:
    idle.gateway.start(idle.config())
    assert idle.gateway.stop() == 0
    done = process(idle, "detach", where=idle.router.namespace)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "detached\n"
        "the host link wl-default is not here: did the gateway run in another network namespace? It is left there\n"
    )
    assert "wl-default" in idle.gateway.run("ip", "link", "show")


def test_the_log_says_when_it_serves_and_when_it_stopped(idle: Lab) -> None:
    idle.gateway.start(idle.config())
    wait_until(lambda: " info serving " in idle.gateway.log, "a line of the log")
    assert f" ports=2 api={idle.gateway.api}" in idle.gateway.log
    assert idle.gateway.stop() == 0
    assert " info stopped " in idle.gateway.log.splitlines()[-1]
