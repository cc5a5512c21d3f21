"""Two processes of Nexus over an etcd of three members: what one has acknowledged the other knows, and goes on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nexus.service import Events, Nexus, running
from wayleave.lab.etcd import EtcdCluster
from wayleave.lab.waiting import wait_until


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def nexuses(tmp_path: Path, etcd: EtcdCluster) -> Iterator[tuple[Nexus, Nexus]]:
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    with running(folders[0], etcd.section) as one, running(folders[1], etcd.section) as other:
        yield one, other


def test_a_gateway_goes_on_with_another_process(nexuses: tuple[Nexus, Nexus], etcd: EtcdCluster) -> None:
    one, other = nexuses
    with Events(other.client("operator", "ops"), "/v1/changes?prefix=nodes") as events:
        began, _, _ = events.next()
        assert one.client("node", "bng1").ask("POST", "/v1/hold/renew", {"epoch": 0}).body["epoch"] == 1
        revision, told = events.change()
        assert (told, revision > began) == ([{"name": "bng1", "value": {"epoch": 1}}], True)
        one.process.kill()
        assert other.client("node", "bng1").ask("POST", "/v1/hold/renew", {"epoch": 1}).body["beat"] == 1
        leader = etcd.leader()
        leader.kill9()
        try:
            renewing = other.client("node", "bng2")

            def renewed() -> bool:
                return renewing.ask("POST", "/v1/hold/renew", {"epoch": 0}).status == 200

            wait_until(renewed, lambda: f"answer without the leader:\n{other.process.output()}", 20)
            assert events.change()[1][0]["name"] == "bng2"
        finally:
            etcd.start(leader)
            etcd.wait()


def test_without_etcd_it_says_so_and_serves_when_it_is_back(nexuses: tuple[Nexus, Nexus], etcd: EtcdCluster) -> None:
    one, _ = nexuses
    for node in etcd.nodes:
        node.kill9()
    try:
        assert not one.ready()
        answer = one.client("node", "bng3").ask("POST", "/v1/hold/renew", {"epoch": 0})
        assert (answer.status, answer.problem) == (503, "unavailable")
    finally:
        for node in etcd.nodes:
            etcd.start(node)
        etcd.wait()
    wait_until(one.ready, one.process.output)
    assert one.client("node", "bng3").ask("POST", "/v1/hold/renew", {"epoch": 0}).status == 200
