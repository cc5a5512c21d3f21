"""The two stores. etcd is three members over mutual TLS, shared by a module's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nexus.store.stores import Open
from wayleave.lab.etcd import EtcdCluster
from wayleave.nexus.store.etcd import EtcdStore
from wayleave.nexus.store.sqlite import SqliteStore


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "etcd"])
def open_(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Open:
    if request.param == "sqlite":
        path: Path = tmp_path_factory.mktemp("store") / "nexus.sqlite"
        return lambda: SqliteStore(path)
    running: EtcdCluster = request.getfixturevalue("cluster")
    return lambda: EtcdStore(running.endpoints, running.tls)
