"""What a service manager hears, on a socket of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.io.supervisor import Supervisor


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        listening.bind(path)
        yield listening, path


def test_it_hears_ready_alive_and_stopping(manager: tuple[socket.socket, str]) -> None:
    listening, path = manager
    supervisor = Supervisor({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"})
    supervisor.ready(7)
    supervisor.alive()
    supervisor.stopping()
    heard = [listening.recv(1000).decode() for _ in range(3)]
    assert heard == ["READY=1\nSTATUS=serving, 7 sessions were taken up", "WATCHDOG=1", "STOPPING=1"]


def test_a_name_in_the_abstract_namespace_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0wayleave-test-{os.getpid()}")
        Supervisor({"NOTIFY_SOCKET": f"@wayleave-test-{os.getpid()}"}).stopping()
        assert listening.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}])
def test_who_is_not_watched_says_nothing_of_being_alive(
    manager: tuple[socket.socket, str], more: dict[str, str]
) -> None:
    listening, path = manager
    supervisor = Supervisor({"NOTIFY_SOCKET": path, **more})
    supervisor.alive()
    supervisor.stopping()
    assert listening.recv(1000) == b"STOPPING=1"


def test_without_a_manager_and_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    Supervisor({}).ready(0)
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready(0)
