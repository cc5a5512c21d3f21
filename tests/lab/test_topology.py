"""A lab leaves nothing behind: namespaces, processes, pins and files, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from wayleave.dataplane import objects
from wayleave.lab import __main__ as command
from wayleave.lab.access_node import Line
from wayleave.lab.namespace import ROOT, CommandFailed
from wayleave.lab.topology import PINS, Lab, sweep
from wayleave.lab.waiting import wait_until


def left_of(name: str) -> list[str]:
    """Everything on this machine that belongs to a lab."""
    spaces = [path.name for path in ROOT.iterdir() if path.name.startswith(f"{name}-")]
    folders = [str(path) for path in Path(tempfile.gettempdir()).glob(f"{name}-*")]
    pins = [str(path) for path in PINS.glob(f"lab-{name}")] if PINS.exists() else []
    return spaces + folders + pins


def runs(pid: int) -> bool:
    """False for a zombie, which nobody has asked about yet."""
    return Path(f"/proc/{pid}/exe").exists()


def test_a_lab_leaves_nothing_behind() -> None:
    with Lab([Line(100, 1)]) as lab:
        processes = [
            lab.server.spawn("sh", "-c", "trap '' TERM; while :; do read x </dev/zero; done"),
            lab.customers[0].spawn("setsid", "--fork", "tail", "-f", "/dev/null"),
        ]
        wait_until(lambda: lab.customers[0].namespace.processes(), "process that left its group")
        escaped = lab.customers[0].namespace.processes()
        assert left_of(lab.name)
    assert left_of(lab.name) == []
    assert not any(process.alive for process in processes)
    assert not any(runs(pid) for pid in escaped)


def test_an_exception_tears_the_lab_down() -> None:
    lab = Lab([Line(100, 1)])
    with pytest.raises(ZeroDivisionError), lab:
        _ = 1 / 0
    assert left_of(lab.name) == []


def test_a_lab_that_cannot_be_built_leaves_nothing() -> None:
    lab = Lab([Line(100, 1)], access_mtu=70000)
    with pytest.raises(CommandFailed, match="mtu"):
        lab.__enter__()
    assert left_of(lab.name) == []


SCRIPT = """
import signal, threading
from wayleave.lab.topology import Lab
signal.signal(signal.SIGHUP, signal.SIG_DFL)
with Lab() as lab:
    lab.server.spawn("tail", "-f", "/dev/null")
    print(lab.name, flush=True)
    threading.Event().wait()
"""


def other_lab() -> tuple[subprocess.Popen[str], str]:
    """Run a lab in a process of its own; returns that and the lab's name."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert name, "the other lab did not start"
    return process, name


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)],
)
def test_signals_tear_the_lab_down(number: signal.Signals, status: int) -> None:
    process, name = other_lab()
    with process:
        assert left_of(name)
        process.send_signal(number)
        assert process.wait(10) == status
    assert left_of(name) == []


def test_a_lab_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Lab([Line(100, 1)]):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_a_killed_lab_leaves_is_swept_and_a_living_lab_is_spared(capsys: pytest.CaptureFixture[str]) -> None:
    living, spared = other_lab()
    process, name = other_lab()
    with living, process:
        process.kill()
        process.wait()
        objects.ensure_bpffs()
        (PINS / f"lab-{name}").mkdir(parents=True)
        pids = _inside(f"{name}-srv")
        assert pids
        assert command.main(["sweep"]) == 0
        assert f"removed {name}-gw" in capsys.readouterr().out
        assert left_of(name) == []
        wait_until(lambda: not any(map(runs, pids)), "end of the orphans")
        assert left_of(spared)
        living.terminate()
        living.wait(10)
    assert left_of(spared) == []


def _inside(name: str) -> list[int]:
    text = subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True, text=True).stdout
    return [int(line) for line in text.split()]


def test_sweeping_spares_ones_own_lab() -> None:
    with Lab([Line(100, 1)]) as lab:
        sweep()
        assert lab.server.ping(lab.core.ip)
        assert lab.name.split("-")[1] == str(os.getpid())


def test_nothing_in_a_lab_reaches_the_machines_own_interface() -> None:
    with Lab([Line(100, 1)]) as lab:
        for host in (lab.gateway, lab.router, lab.server, *lab.customers):
            devices = set(host.namespace.call(lambda: os.listdir("/proc/sys/net/ipv4/neigh")))
            assert devices <= {"default", "lo", "acc0", "core0", "gw0", "srv0", "eth0"}
            assert host.ping("1.1.1.1", count=1, timeout=0.1).received == 0


def test_the_configuration_is_toml_that_can_be_changed() -> None:
    with Lab([Line(100, 1)]) as lab:
        text = lab.config(
            pool={"lease": "10s", "promise": None},
            subscriber={"clients": 1, "trusted": True},
            authorization={"default": None},
            more="[antispoof]\nenabled = false",
        )
        config = tomllib.loads(text)
    assert config["gateway"]["name"] == lab.instance
    assert config["pools"] == [
        {
            "name": "residential",
            "network": "100.64.0.0/22",
            "gateway": "100.64.0.1",
            "dns": ["198.51.100.10"],
            "lease": "10s",
        }
    ]
    assert [port["number"] for port in config["ports"]] == [1, 100]
    assert config["ports"][0]["clients"] == 1
    assert config["ports"][0]["trusted"] is True
    assert config["authorization"] == {}
    assert config["antispoof"] == {"enabled": False}
