"""The gateway under Debian 12's own kernel, on virtio network cards; what surrounds it runs on the kernel of here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.dhcp import ACK, DISCOVER, OFFER, REQUEST, Message, messages
from wayleave.lab.access_node import Line
from wayleave.lab.elsewhere import GuestLab
from wayleave.lab.guest import DEBIAN, Guest
from wayleave.lab.packet import ECHO, ECHO_REPLY, Frame

ROOT = Path(__file__).resolve().parents[2]
LINE = Line(100, 1)


@pytest.fixture(scope="module")
def lab() -> Iterator[GuestLab]:
    with GuestLab(DEBIAN, [LINE]) as made:
        made.guest.start(made.config())
        yield made


def exchange(lab: GuestLab) -> list[Message]:
    """Run udhcpc until it has its lease, then ping through the gateway; returns what DHCP was said on the trunk."""
    customer = lab.customers[0]
    with lab.access_node.trunk.capture() as trunk, lab.router.capture() as core:
        customer.dhcp("udhcpc", timeout=30)
        assert customer.ping(lab.server_address, count=3)
        assert customer.ping(lab.server_address, count=1, size=1472, df=True), "1,500 octets of IP inside two tags"
        trunk.settle()
    assert all(frame.tags == LINE.tags for frame in trunk.frames), trunk.frames
    assert ttls(trunk.frames, ECHO) == [64] * 4
    assert ttls(core.frames, ECHO) == [63] * 4
    assert ttls(core.frames, ECHO_REPLY) == [63] * 4
    assert ttls(trunk.frames, ECHO_REPLY) == [62] * 4
    return messages(trunk.frames, mac=customer.mac)


def ttls(frames: list[Frame], kind: int) -> list[int]:
    """The TTLs of the ICMP messages of this type."""
    return [frame.ip.ttl for frame in frames if frame.ip and frame.icmp == (kind, 0)]


def explained(lab: GuestLab, *words: str) -> tuple[str, str]:
    """What `bng explain` says of a packet: outcome, and the device that it leaves by."""
    verdict = json.loads(lab.guest.bng("explain", *words, "--json"))
    return verdict["outcome"], verdict["out_device"]


def kinds(said: list[Message]) -> list[int]:
    """What was said, in order. A client asks again when an emulated gateway on a busy machine takes its second."""
    return list(dict.fromkeys(item.kind for item in said))


def answers(said: list[Message]) -> dict[int, tuple[object, ...]]:
    """What the gateway told the client, by kind."""
    return {item.kind: (item.yiaddr, list(item.options.items())) for item in said if item.kind in (OFFER, ACK)}


def test_the_program_is_native_on_both_cards_of_a_kernel_6_1(lab: GuestLab) -> None:
    assert lab.guest.run("uname", "-r").startswith("6.1.")
    links = {link["ifname"]: link for link in json.loads(lab.guest.run("ip", "-json", "-detail", "link"))}
    for device in ("acc0", "core0"):
        driver = lab.guest.run("readlink", "-f", f"/sys/class/net/{device}/device/driver").strip()
        assert (links[device]["xdp"]["mode"], Path(driver).name) == (1, "virtio_net"), "mode 1: the driver's"


def test_a_lease_and_traffic_and_the_same_from_the_data_plane_alone(lab: GuestLab) -> None:
    """In between `bng explain`, whose twins of both programs say what happens."""
    first = exchange(lab)
    assert kinds(first) == [DISCOVER, OFFER, REQUEST, ACK]
    outcomes = lab.guest.get("/counters")["outcomes"]
    assert outcomes["forward"].keys() == {"to-network", "to-host"}, "the kernel has to find the router's MAC first"
    assert sum(outcomes["forward"].values()) == 4
    assert outcomes["deliver"] == {"to-subscriber": 4}
    here, there = first[-1].yiaddr, lab.server_address
    assert explained(lab, "icmp", "from", str(here), "to", str(there)) == ("to-network", "core0")
    assert explained(lab, "udp", "from", f"{there}:53", "to", f"{here}:4000") == ("to-subscriber", "acc0")
    lab.guest.kill9()
    lab.customers[0].forget()
    again = exchange(lab)
    assert kinds(again) == [DISCOVER, OFFER, REQUEST, ACK]
    assert answers(again) == answers(first)


@pytest.mark.soak
def test_the_doctor_has_nothing_to_say_against_it(lab: GuestLab) -> None:
    said = lab.guest.bng("doctor").splitlines()
    assert {line.split()[0] for line in said} == {"good"}, said


@pytest.mark.soak
def test_every_test_of_the_data_plane_holds_there(tmp_path: Path) -> None:
    with Guest(DEBIAN, tmp_path, memory_mb=1536) as guest:
        pytest_there = (sys.executable, "-m", "pytest", "-q", "--color=no", "--rootdir", str(ROOT))
        said = guest.run(*pytest_there, str(ROOT / "tests/dataplane"), check=False, timeout=3600)
    print(said)
    last = said.strip().splitlines()[-1]
    assert " passed" in last, said[-6000:]
    assert not {"failed", "error", "errors", "skipped"} & set(last.split()), said[-6000:]
