"""As a service: the unit says what systemd understands, and the gateway tells it when it serves, lives, and stops."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.io import privileges
from wayleave.lab.access_node import Line
from wayleave.lab.topology import Lab

UNITS = sorted((Path(__file__).resolve().parents[2] / "packaging").glob("*.service"))


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service manager's end, whose name every process we start finds in its environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(20)
        listening.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        yield listening


def test_it_says_that_it_serves_that_it_lives_and_that_it_stops(manager: socket.socket) -> None:
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.start(lab.config())
        assert lab.gateway.get("/readyz")["ready"]
        heard = [manager.recv(1000).decode() for _ in range(4)]
        assert sum(said.startswith("READY=1") for said in heard) == 1
        assert heard.count("WATCHDOG=1") == 3
        assert lab.gateway.stop() == 0
        while heard[-1] != "STOPPING=1":
            heard.append(manager.recv(1000).decode())


def test_once_it_serves_it_has_given_up_what_only_its_start_needed() -> None:
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.start(lab.config())
        assert lab.gateway.process is not None
        threads = list(Path(f"/proc/{lab.gateway.process.pid}/task").iterdir())
        assert len(threads) > 1, "the store writes on its own"
        expected = {privileges.CAPABILITIES[name] for name in ("cap_net_admin", "cap_net_raw")}
        assert [privileges.held(thread) for thread in threads] == [expected] * len(threads)
        lab.customers[0].dhcp("udhcpc")


def analyzed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_understood_by_systemd(unit: Path) -> None:
    done = analyzed("verify", "--man=no", str(unit))
    about_ours = [line for line in done.stderr.splitlines() if str(unit) in line]  # it looks at others' units, too
    assert (done.returncode, about_ours) == (0, [])


@pytest.mark.parametrize(("name", "most"), [("wayleave-bng@.service", 65), ("wayleave-nexus.service", 30)])
def test_a_unit_lets_its_process_do_little(name: str, most: int) -> None:
    """As systemd rates it: 0 is nothing, 100 all."""
    (unit,) = (unit for unit in UNITS if unit.name == name)
    done = analyzed("security", "--offline=yes", f"--threshold={most}", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout


def test_units_let_both_speak_ipv6() -> None:
    assert all("AF_INET6" in unit.read_text() for unit in UNITS)
