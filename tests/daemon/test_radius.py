"""RADIUS at work: what the log hears of servers."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import FakeClock
from wayleave.aaa.settings import GroupSettings, RadiusSettings, ServerSettings
from wayleave.daemon.radius import Radius
from wayleave.net.units import SECOND
from wayleave.proto.radius.exchange import Exchange

NOBODY: Any = SimpleNamespace(decisions=lambda _now: [])


class Desk:
    """A group of one server that is asked a question every second, without sockets."""

    def __init__(self, folder: Path) -> None:
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0o600)
        settings = RadiusSettings(
            servers=(ServerSettings(name="r", address=IPv4Address("192.0.2.2"), secret="secret"),),
            groups=(GroupSettings(name="group", servers=("r",)),),
        )
        self.clock = FakeClock()
        self.radius = Radius(settings, folder, self.clock)

    @property
    def exchange(self) -> Exchange:
        return self.radius.access["group"]

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.wait(SECOND)
            now = self.clock.boot()
            self.exchange.ask(now, lambda _now, _hide: [], now)
            self.exchange.expire(now)
            self.radius.pump(NOBODY, lambda _decision: None)


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with capture_logs() as log:
        yield log


def test_a_silent_server_that_is_tried_again_is_not_back(tmp_path: Path, log: list[Any]) -> None:
    desk = Desk(tmp_path)
    desk.wait(200)
    (peer,) = desk.exchange.peers
    assert peer.deaths > 1, "it was tried again"
    assert [said["event"] for said in log] == ["radius-server-silent"]
    desk.exchange.regained(0, desk.clock.boot())
    desk.wait(1)
    assert [said["event"] for said in log] == ["radius-server-silent", "radius-server-back"]
    assert log[1]["silent_s"] > 150, "since it fell silent, not since it was tried last"
