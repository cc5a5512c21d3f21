"""`bng doctor`: on a good machine it has nothing to say against it; each fault is named, with its cure."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network

import pytest

from wayleave.dataplane import objects, syscall
from wayleave.lab import access_node
from wayleave.lab.access_node import Line
from wayleave.lab.topology import GatewayFailed, Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1)]) as lab:
        yield lab


def doctor(lab: Lab, config: str | None = None, *become: str) -> tuple[int, list[str]]:
    """Run it where the gateway would run; returns its status and lines."""
    lab.gateway.config_file.write_text(config or lab.config())
    words = [*become, sys.executable, "-m", "wayleave.cli.bng", "doctor", "--config", str(lab.gateway.config_file)]
    done = subprocess.run(
        lab.gateway.namespace.command(*words), capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_a_good_machine_is_told_so_and_left_as_it_is(lab: Lab) -> None:
    status, lines = doctor(lab)
    assert status == 0
    assert {line.split()[0] for line in lines} == {"good"}
    assert "good     port 1 (acc0): native XDP by veth" in lines
    assert "prog" not in lab.gateway.run("ip", "-details", "link", "show", "acc0").replace("gso_max", "")
    lab.gateway.start(lab.config())
    assert doctor(lab)[0] == 0, "its own programs are no fault"


def _foreign(lab: Lab) -> object:
    node = objects.load(access_node.PROGRAM)
    program = node.programs["pass"]
    return lab.gateway.namespace.call(
        lambda: objects.attach(program, lab.gateway.namespace.ifindex("acc0"), syscall.XDP_NATIVE)
    )


FAULTS: list[tuple[Callable[[Lab], object], int, str, str]] = [
    (
        lambda lab: lab.gateway.namespace.ip("link set acc0 mtu 1500"), 1,
        "MTU 1500 is under 1508", "ip link set dev acc0 mtu 1508",
    ),
    (lambda lab: lab.gateway.namespace.ip("link del core0"), 1, "there is no such device", "`ip link`"),
    (lambda lab: lab.access_node.namespace.ip("link set trunk down"), 0, "no carrier", "plug it in"),
    (lambda lab: lab.gateway.namespace.ip("route flush table main"), 0, "table 254 has no route", "ip route add"),
    (
        lambda lab: lab.gateway.namespace.ip("link add br0 type bridge", "link set core0 master br0"), 1,
        "is a part of br0", "ip link set dev core0 nomaster",
    ),
    (_foreign, 1, "another XDP program is attached, and held by a link", "`bpftool link detach id "),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "status", "says", "cure"), FAULTS, ids=[says for _, _, says, _ in FAULTS])
def test_a_fault_of_the_machine_is_named_with_its_cure(
    lab: Lab, fault: Callable[[Lab], object], status: int, says: str, cure: str
) -> None:
    fault(lab)
    found, lines = doctor(lab)
    assert found == status
    (line,) = (line for line in lines if says in line)
    assert cure in line
    assert line.split()[0] == ("bad" if status else "warning")


def test_who_may_be_given_1500_octets_by_pppoe_needs_more_of_the_device(lab: Lab) -> None:
    config = lab.config(subscriber={"protocols": ["pppoe"]}, more="[pppoe]\nauthentication = []\nmru = 1500\n")
    status, lines = doctor(lab, config)
    assert status == 1
    (line,) = (line for line in lines if "MTU 1508 is under 1516" in line)
    assert "ip link set dev acc0 mtu 1516" in line
    with pytest.raises(GatewayFailed, match="acc0 has MTU 1508: what its port carries needs 1516"):
        lab.gateway.start(config)


def test_a_bpffs_that_ends_with_a_mount_namespace_is_told(lab: Lab) -> None:
    lab.gateway.config_file.write_text(lab.config())
    words = ["ip", "netns", "exec", lab.gateway.namespace.name, sys.executable, "-m", "wayleave.cli.bng", "doctor"]
    words += ["--config", str(lab.gateway.config_file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if "pins: " in line)
    assert line.startswith("bad ")
    assert "nsenter --net=" in line


@pytest.mark.parametrize(
    ("before", "network", "says"),
    [
        ((), "192.0.2.0/25", "core0 has the address 192.0.2.1/30, and pool 192.0.2.0/25"),
        (("route add 10.77.0.0/24 via 192.0.2.2",), "10.77.0.0/24", "10.77.0.0/24 is routed to core0"),
    ],
)
def test_a_pool_where_something_else_is_is_told_and_refused(
    lab: Lab, before: tuple[str, ...], network: str, says: str
) -> None:
    lab.gateway.namespace.ip(*before)
    first = IPv4Network(network)[9]
    config = lab.config(more=f'[[pools]]\nname = "other"\nnetwork = "{network}"\ngateway = "{first}"\n')
    status, lines = doctor(lab, config)
    assert status == 1
    (line,) = (line for line in lines if says in line)
    assert line.startswith("bad ")
    routes = lab.gateway.run("ip", "route")
    with pytest.raises(GatewayFailed, match=re.escape(says)):
        lab.gateway.start(config)
    assert lab.gateway.run("ip", "route") == routes


def test_a_dictionary_that_cannot_be_used_is_told(lab: Lab) -> None:
    folder = lab.folder / "words"
    config = lab.config(more=f'[radius]\ndictionary = "{folder}"\n')
    status, lines = doctor(lab, config)
    assert (status, any("No such file" in line and line.startswith("bad ") for line in lines)) == (1, True)
    folder.mkdir()
    (folder / "mine").write_text("ATTRIBUTE broken\n")
    status, lines = doctor(lab, config)
    assert status == 1
    assert any(line.startswith("bad      radius.dictionary: ") for line in lines)
    (folder / "mine").write_text("VENDOR Mine 63999\n")
    assert doctor(lab, config)[0] == 0


@pytest.mark.parametrize(
    ("gateway", "says"),
    [({"sessions": 1_000_000, "state": "/proc/wayleave"}, "MiB free at /proc/wayleave, 1,000,000 leases may take")],
)
def test_a_configuration_that_is_too_large_is_told_by_how_much(lab: Lab, gateway: dict[str, object], says: str) -> None:
    status, lines = doctor(lab, lab.config(gateway=gateway))
    assert status == 1
    assert any(says in line for line in lines)


def test_a_million_sessions_load_and_doctor_says_what_they_take(lab: Lab) -> None:
    config = lab.config(gateway={"sessions": 1_000_000})
    _, lines = doctor(lab, config)
    (memory,) = (line for line in lines if " memory: " in line)
    assert "1,000,000 sessions" in memory
    assert "3528 MiB" in memory
    lab.gateway.start(config)
    lab.customers[0].dhcp("udhcpc")
    assert lab.customers[0].ping(lab.server_address)


def test_another_user_is_told_what_he_lacks_and_all_the_rest(lab: Lab) -> None:
    lab.gateway.start(lab.config())
    lab.folder.chmod(0o755)
    lab.gateway.config_file.chmod(0o644)
    status, lines = doctor(lab, None, "setpriv", "--reuid", "nobody", "--clear-groups", "--")
    assert status == 1
    assert not any("Traceback" in line for line in lines)
    assert lines[0].startswith("bad      rights: lacks")
    assert lines[-1].split()[1] == "clock:"


def test_without_rights_it_says_which(lab: Lab) -> None:
    less = "-net_admin,-bpf"
    status, lines = doctor(lab, None, "setpriv", "--bounding-set", less, "--inh-caps", less, "--")
    assert status == 1
    assert any(line.startswith("bad") and "lacks cap_net_admin" in line for line in lines)
