"""What a running gateway shows: metrics that Prometheus reads, readiness, and the commands behind `bng show`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wayleave.api.metrics import METRICS
from wayleave.lab.access_node import Line
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        lab.gateway.start(lab.config())
        for customer in lab.customers:
            customer.dhcp("udhcpc")
        yield lab


def scraped(lab: Lab) -> dict[str, dict[tuple[str, ...], float]]:
    """Read /metrics as Prometheus does: name → labels' values → value."""
    status, text = lab.gateway.request("GET", "/metrics")
    assert status == 200
    order = {metric.name: metric.labels for metric in METRICS}
    return {
        family.name: {
            tuple(sample.labels[name] for name in order[family.name]): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(text)
    }


def show(lab: Lab, *words: str) -> Any:
    return json.loads(lab.gateway.bng("show", *words, "--json", "--config", str(lab.gateway.config_file)))


def test_every_metric_is_there_and_says_what_happened(lab: Lab) -> None:
    assert lab.customers[0].ping(lab.server_address, count=1)  # or the first packet waits for the router's MAC
    assert lab.customers[0].ping(lab.server_address, count=1)
    before = scraped(lab)
    assert set(before) == {metric.name for metric in METRICS}
    assert lab.customers[0].ping(lab.server_address, count=5)
    after = scraped(lab)
    name = "wayleave_packets"
    assert after[name]["forward", "to-network"] - before[name]["forward", "to-network"] == 5
    assert sum(after["wayleave_received_packets"].values()) == sum(after[name].values())
    assert after["wayleave_sessions"][("active",)] == 2
    assert after["wayleave_sessions_opened"][()] == 2
    assert after["wayleave_pool_addresses"]["residential", "default", "held"] == 2
    assert after["wayleave_dhcp4_said"][("ack",)] == 2
    assert after["wayleave_dhcp4_data_plane"][("up-new",)] == 4
    assert after["wayleave_ready"][()] == 1


def test_there_is_no_series_a_session(lab: Lab) -> None:
    """Neither a client's address nor its MAC is anywhere in it."""
    _, text = lab.gateway.request("GET", "/metrics")
    for customer in lab.customers:
        assert customer.lease is not None
        assert str(customer.lease.address) not in text
        assert str(customer.mac) not in text


def test_show_punt_and_version(lab: Lab) -> None:
    punt = show(lab, "punt")
    assert punt["classes"]["dhcp4-new"]["sent"] == 4
    assert (punt["ring_waiting"], punt["ring_size"]) == (0, 8 << 20)
    version = show(lab, "version")
    assert version["gateway"] == version["command"]
    assert (version["ready"], version["why_not"]) == (True, [])


CUT_OFF = {
    "no uplink": ("router", "link set gw0 down", "tenant default has no uplink: port 100 (core0) has no carrier"),
    "an uplink that is switched off": (
        "gateway", "link set core0 down", "tenant default has no uplink: port 100 (core0) is administratively down",
    ),
    "a trunk that is cut": ("access_node", "link set trunk down", "port 1 (acc0) has no carrier"),
}  # fmt: skip


@pytest.mark.parametrize("fault", CUT_OFF)
def test_a_gateway_that_cannot_serve_everybody_says_whom_it_cannot(lab: Lab, fault: str) -> None:
    host, command, why = CUT_OFF[fault]
    assert lab.gateway.request("GET", "/readyz")[0] == 200
    where = getattr(lab, host).namespace
    where.ip(command)
    wait_until(lambda: lab.gateway.request("GET", "/readyz")[0] == 503, "a gateway that is not ready")
    assert lab.gateway.request("GET", "/readyz")[1]["why"] == [why]
    assert "port-down" in lab.gateway.log
    where.ip(command.replace(" down", " up"))
    wait_until(lambda: lab.gateway.request("GET", "/readyz")[0] == 200, "a gateway that is ready again")
    assert "port-up" in lab.gateway.log


def test_a_gateway_that_does_not_forward_is_not_ready(lab: Lab) -> None:
    lab.gateway.run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    status, told = lab.gateway.request("GET", "/readyz")
    assert (status, told["why"]) == (503, ["the kernel does not forward: sysctl -w net.ipv4.ip_forward=1"])
    lab.gateway.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    assert lab.gateway.request("GET", "/readyz")[0] == 200


def test_a_gateway_whose_port_is_gone_is_not_ready_and_says_which(lab: Lab) -> None:
    assert lab.gateway.request("GET", "/readyz") == (200, {"ready": True, "why": []})
    lab.gateway.namespace.ip("link del core0")
    wait_until(lambda: lab.gateway.request("GET", "/readyz")[0] == 503, "a gateway that is not ready")
    assert lab.gateway.request("GET", "/readyz")[1]["why"] == ["port 100 (core0) is gone or has lost its program"]
    assert lab.gateway.request("GET", "/healthz")[0] == 200, "it lives"
    assert "core0" in lab.gateway.bng("show", "version", "--config", str(lab.gateway.config_file))
    assert scraped(lab)["wayleave_ready"][()] == 0
