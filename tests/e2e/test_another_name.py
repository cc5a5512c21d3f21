"""Who else is on a device: another gateway's data plane, or a stranger. The command that is advised takes it off."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.test_doctor import doctor
from wayleave.dataplane import objects, syscall
from wayleave.lab import access_node
from wayleave.lab.access_node import Line
from wayleave.lab.namespace import CommandFailed
from wayleave.lab.topology import PINS, Lab
from wayleave.lab.waiting import wait_until


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.start(lab.config())
        lab.customers[0].dhcp("udhcpc")
        yield lab
        objects.unpin(PINS / other(lab))


def other(lab: Lab) -> str:
    """Another name, which a later lab knows for an orphan's, too."""
    return f"{lab.instance}-b"


def renamed(lab: Lab, **more: object) -> str:
    return lab.config(gateway={"name": other(lab), **more})


def refused(lab: Lab, config: str) -> str:
    """Start a gateway that does not come up; returns what it says."""
    process = lab.gateway.start(config, ready=False)
    assert process.wait() == 1, process.output()
    return process.output().strip().splitlines()[-1]


def command(said: str) -> list[str]:
    """The last command that a message advises."""
    return re.findall("`([^`]+)`", said)[-1].split()


def test_under_another_name_the_old_one_is_named_and_what_is_advised_takes_it_off(lab: Lab) -> None:
    gateway, customer = lab.gateway, lab.customers[0]
    assert gateway.stop() == 0
    routes = gateway.run("ip", "route"), gateway.run("ip", "addr", "show", "wl-default")
    said = refused(lab, renamed(lab))
    assert said.startswith(f"bng: port 1 (acc0): gateway {lab.instance} has it, as port 1: ")
    assert customer.ping(lab.server_address), "a refused start leaves the old one as it is"
    assert (gateway.run("ip", "route"), gateway.run("ip", "addr", "show", "wl-default")) == routes
    _, lines = doctor(lab, renamed(lab))
    advised = [line for line in lines if f"gateway {lab.instance} has it, as port " in line]
    assert [line.split(": ")[0].split("(")[0] for line in advised] == [
        "bad      port 1 ", "bad      port 100 ", "bad      host link wl-default",
    ]  # fmt: skip
    program, *words = command(said)
    assert (program, words) == ("bng", ["detach", "--name", lab.instance])
    assert gateway.bng(*words) == "detached\n"
    assert "wl-default" not in gateway.run("ip", "link")
    assert not customer.ping(lab.server_address, count=1, timeout=0.2)
    gateway.restart()
    wait_until(lambda: customer.ping(lab.server_address, count=1, timeout=0.2), "traffic under the new name", 5)


def test_who_still_runs_is_not_detached_and_nor_is_a_name_that_nobody_has(lab: Lab) -> None:
    with pytest.raises(CommandFailed, match=f"gateway {lab.instance} is in use by another process: stop that first"):
        lab.gateway.bng("detach", "--name", lab.instance)
    for name in ("nobody", "..", "", f"../wayleave/{lab.instance}"):
        with pytest.raises(CommandFailed, match=f"nothing is pinned under the name {re.escape(name)}; there is .*lab-"):
            lab.gateway.bng("detach", "--name", name)
    assert lab.customers[0].ping(lab.server_address)


def test_one_name_is_one_process_whatever_its_state(lab: Lab) -> None:
    second = lab.folder / "second.toml"
    apart = {"state": str(lab.folder / "second"), "api": str(lab.folder / "second.sock")}
    second.write_text(lab.config(gateway=apart))
    with pytest.raises(CommandFailed, match=f"gateway {lab.instance} is in use by another process"):
        lab.gateway.bng("run", "--config", str(second))
    assert lab.customers[0].ping(lab.server_address)
    assert lab.gateway.get("/healthz")["name"] == lab.instance


def test_a_new_name_is_said_to_be_another_gateway_and_stop_ends_the_one_that_runs(lab: Lab) -> None:
    gateway, config = lab.gateway, ("--config", str(lab.gateway.config_file))
    gateway.config_file.write_text(renamed(lab))
    for word in ("plan", "reload"):
        with pytest.raises(CommandFailed, match="is another gateway: `bng stop`, which ends its traffic, then start"):
            gateway.bng(word, *config)
    assert gateway.bng("stop", *config) == "stopped\ndetached\n"
    gateway.restart()
    assert gateway.get("/healthz")["name"] == other(lab)
    wait_until(lambda: lab.customers[0].ping(lab.server_address, count=1, timeout=0.2), "traffic", 5)


def test_another_number_for_a_port_is_told_as_this_gateway_s_own(lab: Lab) -> None:
    assert lab.gateway.stop() == 0
    said = refused(lab, lab.config(network={"number": 101}))
    assert said.startswith("bng: port 101 (core0): this gateway has it as port 100: ")
    assert command(said) == ["bng", "detach", "--name", lab.instance]
    assert lab.customers[0].ping(lab.server_address)


@pytest.mark.parametrize("mode", ["xdpdrv", "xdpgeneric"])
def test_a_stranger_s_program_is_taken_off_as_advised(lab: Lab, mode: str) -> None:
    gateway = lab.gateway
    gateway.bng("stop", "--config", str(gateway.config_file))
    gateway.run("ip", "link", "set", "dev", "core0", mode, "obj", str(access_node.PROGRAM), "program", "pass")
    said = refused(lab, lab.config())
    assert said.startswith("bng: port 100 (core0): another XDP program is attached: ")
    gateway.run(*command(said))
    gateway.restart()


def test_a_stranger_s_link_is_taken_off_as_advised(lab: Lab) -> None:
    gateway = lab.gateway
    gateway.bng("stop", "--config", str(gateway.config_file))
    program = objects.load(access_node.PROGRAM)
    index = gateway.namespace.ifindex("core0")
    link = gateway.namespace.call(lambda: objects.attach(program.programs["pass"], index, syscall.XDP_NATIVE))
    said = refused(lab, lab.config())
    assert said.startswith("bng: port 100 (core0): another XDP program is attached, and held by a link: ")
    subprocess.run(command(said), check=True)
    gateway.restart()
    assert syscall.link_info(link.fd).ifindex == 0
