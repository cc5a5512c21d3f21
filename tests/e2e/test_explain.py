"""`bng explain` against what really happens: it says beforehand what becomes of a packet, and changes nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.e2e.dhcp import REQUEST, framed, message, messages
from tests.e2e.test_kernel_dhcp import DHCLIENT
from wayleave.lab.access_node import Line
from wayleave.lab.namespace import CommandFailed
from wayleave.lab.packet import IPV4, UDP, ethernet, ipv4, udp
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net import pcapng


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        lab.gateway.start(lab.config())
        for customer in lab.customers:
            customer.dhcp("dhclient")
        yield lab


def explain(lab: Lab, *words: str) -> dict[str, str]:
    """Run the command; returns its lines by their heads."""
    text = lab.gateway.bng("explain", *words, "--config", str(lab.gateway.config_file))
    found = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return {head: rest.strip() for head, rest in (item for item in found if len(item) == 2)}


def counted(lab: Lab) -> dict[str, object]:
    """Everything the data plane counts."""
    counters = lab.gateway.get("/counters")
    ids = [item["id"] for item in lab.gateway.get("/sessions")["sessions"]]
    usage = [lab.gateway.get(f"/sessions/{id_}")["usage"] for id_ in ids]
    chosen = {name: counters[name] for name in ("received", "outcomes", "drops", "punts")}
    del chosen["received"]["network"]  # the core's kernels ask each other for their MACs whenever they like
    chosen["outcomes"]["parse"].pop("passed", None)
    return chosen | {"kernel": counters["dhcp4"]["kernel"], "usage": usage}


def address(lab: Lab, number: int) -> IPv4Address:
    found = lab.customers[number].lease
    assert found is not None
    return found.address


def test_what_it_says_of_a_client_s_packet_is_what_happens(lab: Lab) -> None:
    here, neighbour = address(lab, 0), address(lab, 1)
    first = explain(lab, "icmp", "from", str(here), "to", str(lab.server_address))
    assert first["verdict"] == "to-host by port 512 (wlx-default)", "the kernel has to find the router's MAC first"
    assert lab.customers[0].ping(lab.server_address, count=1)
    before = counted(lab)
    internet = explain(lab, "icmp", "from", str(here), "to", str(lab.server_address))
    hairpin = explain(lab, "icmp", "from", str(lab.customers[0].mac), "to", str(neighbour))
    gateway = explain(lab, "tcp", "from", str(here), "to", f"{lab.pool_gateway}:22")
    back = explain(lab, "udp", "from", f"{lab.server_address}:53", "to", f"{here}:4000")
    nobody = explain(lab, "udp", "from", f"{lab.server_address}:53", "to", f"{lab.pools[0][900]}:1")
    assert counted(lab) == before, "nothing was counted"
    assert internet["verdict"] == "to-network by port 100 (core0)"
    assert "untagged icmp" in internet["leaves"]
    assert "ttl 63" in internet["leaves"]
    assert (
        internet["stages"] == "parse > session > arp > dhcp4 > pppoe > punt > admit > antispoof > meter > mss > forward"
    )
    assert hairpin["verdict"] == "to-subscriber by port 1 (acc0)"
    assert "0x88a8/100 0x8100/2" in hairpin["leaves"]
    assert gateway["verdict"] == "dropped: local-service"
    assert back["verdict"] == "to-subscriber by port 1 (acc0)"
    assert nobody["verdict"] == "dropped: no-subscriber"
    assert lab.customers[0].ping(lab.server_address, count=1)
    assert lab.customers[0].ping(neighbour, count=1)


def test_a_captured_packet_is_explained(lab: Lab, tmp_path: Path) -> None:
    """A spoofed one and a renewal, as they were on the trunk."""
    customer, here = lab.customers[0], address(lab, 0)
    stolen = ipv4(address(lab, 1), lab.server_address, UDP, udp(address(lab, 1), lab.server_address, 1, 2, b""))
    ask = message(REQUEST, customer.mac, *DHCLIENT, ciaddr=here)
    with lab.access_node.trunk.capture() as trunk:
        customer.send_raw(ethernet(GATEWAY_ACCESS_MAC, customer.mac, IPV4, stolen))
        customer.send_raw(framed(ask, customer.mac, source=here))
        trunk.settle()
    path = tmp_path / "trunk.pcap"
    trunk.write_pcap(path)
    spoofed = explain(lab, "--pcap", str(path), "--port", "1")
    assert spoofed["verdict"] == "dropped: spoofed-ipv4"
    before = counted(lab)
    renewal = explain(lab, "--pcap", str(path), "--packet", "2", "--port", "1")
    assert (renewal["dhcp"], renewal["verdict"]) == ("acked", "answered")
    assert counted(lab) == before
    answers = messages(trunk.frames, 5, mac=customer.mac)
    assert f"udp {lab.pool_gateway}:67 > {here}:68" in renewal["leaves"]
    assert answers, "the real one was answered"


def test_a_file_of_bng_capture_and_one_of_tshark_are_read(lab: Lab, tmp_path: Path) -> None:
    customer, path = lab.customers[0], tmp_path / "customer.pcapng"
    told = lab.gateway.start_command(
        "capture",
        str(customer.mac),
        "-w",
        str(path),
        "--count",
        "2",
        "--json",
        "--config",
        str(lab.gateway.config_file),
    )
    wait_until(lambda: lab.gateway.get("/capture")["running"], "a capture")
    with lab.access_node.trunk.capture() as trunk:
        customer.ping(lab.server_address, count=2)
        trunk.settle()
    assert told.wait() == 0
    said = json.loads(told.output()[told.output().index("{") :])
    assert (said["file"], said["packets"], said["lost"]) == (str(path), 2, 0)
    first = explain(lab, "--pcap", str(path))
    assert first["comes"].split()[:4] == ["in", "port", "1", "(acc0):"]
    assert "icmp" in first["comes"]
    with pytest.raises(CommandFailed, match="leaves the gateway: say --packet of one that came in"):
        explain(lab, "--pcap", str(path), "--packet", "2")
    trunk.write_pcap(tmp_path / "trunk.pcap")
    subprocess.run(["tshark", "-r", tmp_path / "trunk.pcap", "-w", tmp_path / "trunk.pcapng"], check=True, timeout=30)
    assert (tmp_path / "trunk.pcapng").read_bytes()[:4] == pcapng.MAGIC
    assert explain(lab, "--pcap", str(tmp_path / "trunk.pcapng"), "--port", "1")["verdict"] == first["verdict"]
    with pytest.raises(CommandFailed, match="say --port"):
        explain(lab, "--pcap", str(tmp_path / "trunk.pcapng"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("udp", "from", "4711", "to", "1.1.1.1:53"), "there is no session 4711"),
        (("udp", "from", "100.64.3.9", "to", "1.1.1.1:53"), "of pool residential, and no client has it"),
        (("--hex", "00", "--port", "1"), "whole Ethernet frame"),
        (("--hex", "xx", "--port", "1"), "not hexadecimal"),
        (("--hex", "00" * 60), "say the port"),
        (("--hex", "00" * 60, "--port", "77"), "there is no port 77"),
        (("udp", "from", "9.9.9.9", "to", "1.1.1.1:53", "--port", "1"), "no network port"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(lab: Lab, words: tuple[str, ...], says: str) -> None:
    with pytest.raises(CommandFailed, match=says):
        explain(lab, *words)
