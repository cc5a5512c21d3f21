"""CoA and Disconnect at work: what is acknowledged when, and what is undone."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.aaa.clients import GOLD, deciders, session
from tests.fakes.clock import FakeClock
from tests.fakes.plane import Plane
from wayleave.aaa.settings import ControllerSettings, RadiusSettings
from wayleave.daemon.dynauth import TOLD_EVERY, TOLD_MOST, Dynauth
from wayleave.daemon.engine import Engine
from wayleave.io.writes import Collected, Save, Write, erased
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.proto.radius.dynauth import Source
from wayleave.proto.radius.packet import Code, decode, dynauth_request
from wayleave.session.model import Session
from wayleave.session.table import Table

FROM = Source(IPv4Address("192.0.2.2"), 4000, IPv4Address("192.0.2.1"))
UNAVAILABLE = (506).to_bytes(4, "big")


class Disk(Collected):
    """Keeps what was handed over until the test says what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.group: list[Write] = []

    def flush(self) -> None:
        self.group += self._collected
        self._collected.clear()


class Desk:
    """A gateway with one session, 1, and a controller."""

    def __init__(self, folder: Path, groups: tuple[str, ...] | None = None) -> None:
        secret = folder / "secret"
        secret.write_text("s3cret")
        secret.chmod(0o600)
        controller = ControllerSettings(address=FROM.address, secret=str(secret), groups=groups)
        self.clock, self.disk, self.plane = FakeClock(), Disk(), Plane(16)
        self.engine = Engine(Table(16), {}, None, self.disk, self.plane, lambda *_: None, {})  # type: ignore[arg-type]
        served = session(1, installed=True, leased_until=BootNs(1 << 60))
        self.engine.table.put(served, self.clock.boot())
        self.plane.install([served], self.clock.boot())
        settings = RadiusSettings(controllers=(controller,))
        self.dynauth = Dynauth(settings, folder, self.engine, deciders, self.clock)  # type: ignore[arg-type]
        self.answers: list[tuple[int, bytes | None]] = []
        self.dynauth._socket = self  # type: ignore[assignment]
        self._identifier = 0

    def send(self, to: Source, data: bytes) -> None:
        assert to == FROM, "from the address that was asked"
        packet = decode(data)
        self.answers.append((packet.code, packet.first(101)))

    def ask(self, code: Code, *said: tuple[str, Any]) -> None:
        self._identifier += 1
        avps = [STANDARD[name].encode(value) for name, value in (("User-Name", "bob"), *said)]
        answer = self.dynauth._receive(FROM, dynauth_request(code, self._identifier, avps, b"s3cret"))
        if answer is not None:
            self.send(FROM, answer)

    def written(self, error: str | None = None) -> None:
        """The disk has what waits, or refuses it."""
        group, self.disk.group = self.disk.group, []
        self.dynauth.kept([write.session for write in group if isinstance(write, Save)], error)
        self.dynauth.ended(erased(group), error)

    @property
    def session(self) -> Session:
        found = self.engine.table.get(1)
        assert found is not None
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_change_is_acknowledged_once_the_disk_has_it(desk: Desk) -> None:
    desk.ask(Code.COA_REQUEST, ("Filter-Id", "gold"))
    assert desk.session.service is not None
    assert (desk.session.service.up, desk.answers) == (GOLD.up, []), "it counts, and is not said yet"
    desk.written()
    assert desk.answers == [(Code.COA_ACK, None)]


def test_an_end_is_acknowledged_once_the_disk_has_it(desk: Desk) -> None:
    desk.ask(Code.DISCONNECT_REQUEST)
    desk.written()
    assert desk.answers == [], "packets are in flight: nothing was given to the disk yet"
    desk.clock.wait(SECOND)
    desk.engine.due(desk.clock.boot())
    assert desk.answers == []
    desk.written()
    assert desk.answers == [(Code.DISCONNECT_ACK, None)]


def test_an_end_that_the_disk_refuses_is_not_acknowledged(desk: Desk) -> None:
    desk.ask(Code.DISCONNECT_REQUEST)
    desk.clock.wait(SECOND)
    desk.engine.due(desk.clock.boot())
    desk.written("disk full")
    assert desk.answers == [(Code.DISCONNECT_NAK, UNAVAILABLE)]


def test_changes_that_the_disk_refuses_are_undone_as_if_they_had_not_been(desk: Desk) -> None:
    before = desk.session
    desk.ask(Code.COA_REQUEST, ("Filter-Id", "gold"))
    desk.clock.wait(5 * SECOND)
    desk.ask(Code.COA_REQUEST, ("Session-Timeout", 600))
    desk.written("disk full")
    assert desk.answers == [(Code.COA_NAK, UNAVAILABLE)] * 2
    now = desk.session
    assert (now.service, now.ends_at, now.asks_at) == (before.service, before.ends_at, before.asks_at)
    assert desk.plane.rows[1].session.service == before.service


def test_also_where_it_refuses_them_one_after_the_other(desk: Desk) -> None:
    before = desk.session
    desk.ask(Code.COA_REQUEST, ("Filter-Id", "gold"))
    first, desk.disk.group = desk.disk.group, []
    desk.ask(Code.COA_REQUEST, ("Session-Timeout", 600))
    second, desk.disk.group = desk.disk.group, first
    desk.written("disk full")
    desk.disk.group = second
    desk.written("disk full")
    assert desk.answers == [(Code.COA_NAK, UNAVAILABLE)] * 2
    now = desk.session
    assert (now.service, now.ends_at, now.asks_at) == (before.service, before.ends_at, before.asks_at)


def test_what_else_the_disk_has_of_a_session_acknowledges_nothing(desk: Desk) -> None:
    service = desk.session.service
    assert service is not None
    desk.engine.change(1, service, desk.clock.boot())
    of_others, desk.disk.group = desk.disk.group, []
    desk.ask(Code.COA_REQUEST, ("Filter-Id", "gold"))
    waiting, desk.disk.group = desk.disk.group, of_others
    desk.written()
    assert desk.answers == []
    desk.disk.group = waiting
    desk.written()
    assert desk.answers == [(Code.COA_ACK, None)]


def test_a_controller_changes_only_what_its_groups_decided(tmp_path: Path) -> None:
    desk = Desk(tmp_path, groups=("another",))
    desk.ask(Code.DISCONNECT_REQUEST)
    assert desk.answers == [(Code.DISCONNECT_NAK, (503).to_bytes(4, "big"))]


def ignored(desk: Desk, *senders: int) -> list[str]:
    """Who of these, each of an address that is no controller's, is told to the log."""
    with capture_logs() as log:
        for number in senders:
            desk.dynauth._receive(Source(IPv4Address(number), 4000), b"anything")
    assert {said["event"] for said in log} <= {"change-ignored"}
    return [said["by"] for said in log]


def test_who_is_ignored_is_told_once_a_minute(desk: Desk) -> None:
    assert ignored(desk, 1, 1, 2) == ["0.0.0.1", "0.0.0.2"]
    desk.clock.wait(TOLD_EVERY)
    assert ignored(desk, 2, 2) == ["0.0.0.2"]


def test_forged_addresses_do_not_fill_the_log(desk: Desk) -> None:
    assert len(ignored(desk, *range(1, 1000), *range(1, 1000))) == TOLD_MOST
    desk.clock.wait(TOLD_EVERY)
    assert len(ignored(desk, *range(1000, 2000))) == TOLD_MOST
    assert len(desk.dynauth._told) == TOLD_MOST
