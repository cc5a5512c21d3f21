"""RADIUS tied to the engine's turn: what becomes of a session, and a clock that is set late."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.aaa.clients import deciders, dialing, session
from tests.daemon.radius_world import POOL, client
from tests.fakes.clock import FakeClock
from tests.fakes.plane import Plane
from wayleave.aaa.radius import Decision, Last, Ticket
from wayleave.aaa.settings import GroupSettings, RadiusSettings, ServerSettings
from wayleave.daemon.authority import Authority
from wayleave.daemon.derived import terms_of
from wayleave.daemon.engine import Admission, Engine
from wayleave.io.store import Store
from wayleave.net.units import SECOND, Ns, UtcNs
from wayleave.proto.ppp.auth import Pap
from wayleave.session.model import Client, Phase, Service, Session
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.table import Table


class Stage:
    """An authority with its engine and store, and no network."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0o600)
        settings = RadiusSettings(
            servers=(ServerSettings(name="r", address=IPv4Address("192.0.2.2"), secret="secret"),),
            groups=(GroupSettings(name="group", servers=("r",)),),
        )
        self.clock, self.table = clock, Table(64)
        self.store = Store(folder / "state", clock, "off", lambda *_: None)
        self.authority = Authority(settings, folder, deciders(), self.store, clock, 100)
        self.engine = Engine(
            self.table,
            {"residential": terms_of(POOL, ())},
            self.authority.authorizer,
            self.store,
            Plane(64),
            lambda *_: None,
            {1: Admission(8, True)},
            self.authority.transition,
            self.store.epoch,
            self.authority.accounting,
        )
        self.authority.serve(self.engine)

    def armed(self, of: Session) -> int | None:
        return self.authority.accounting._armed.get(of.accounting)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, FakeClock())
    yield stage
    stage.store.close()


def test_another_interval_of_interims_counts_at_once(stage: Stage) -> None:
    served, now = session(1), stage.clock.boot()
    assert served.service is not None
    stage.table.put(served, now)
    stage.engine.change(served.id, replace(served.service, interim=Ns(600 * SECOND)), now)
    due = stage.armed(served)
    assert due is not None
    assert now < due <= now + 600 * SECOND
    stage.engine.change(served.id, replace(served.service, interim=Ns(60 * SECOND)), now)
    due = stage.armed(served)
    assert due is not None
    assert now < due <= now + 60 * SECOND
    stage.engine.change(served.id, served.service, now)
    assert stage.armed(served) is None


def test_what_a_server_has_a_client_hear_reaches_it_with_the_verdict(stage: Stage) -> None:
    """The other half of MS-CHAPv2: without it the client takes the gateway for somebody else."""
    dials = dialing(Pap(b"bob", b"sesame"))
    stage.table.put(dials, stage.clock.boot())
    decision = Decision(Ticket(dials.id, dials.since), replace(GRANTED, address=None), proof=b"S=407A")
    stage.authority._decided(decision)
    decided = stage.table.get(dials.id)
    assert decided is not None
    assert (decided.phase, decided.proof, decided.credentials) == (Phase.RECORDING, b"S=407A", None)


def test_a_users_rejection_leaves_what_is_known_of_its_line(tmp_path: Path) -> None:
    before = Stage(tmp_path, FakeClock())
    user = dialing(Pap(b"bob", b"sesame"))
    stage = later(before, tmp_path, {user.client.station: GRANTED})
    stage.table.put(user, stage.clock.boot())
    stage.authority._decided(Decision(Ticket(user.id, user.since), Refusal(Reason.RADIUS_REJECTED, "no")))
    set_clock(stage, before)
    assert user.client.station in stage.authority.authorizer._last
    stage.store.close()


GRANTED = Service(tenant="isp", pool="residential", subscriber="bob", authority="group")


def later(before: Stage, folder: Path, known: dict[Client, Service | None]) -> Stage:
    """What the next boot makes of what was known, while its clock says 1970."""
    before.store.learn(known)
    before.store.start()
    before.store.close()
    stage = Stage(folder, before.clock.reboot(in_1970=True))
    stage.authority.take_up(stage.store.load(), counting_on=False)
    return stage


def set_clock(stage: Stage, after: Stage) -> None:
    stage.clock.wall = UtcNs(after.clock.wall + 3600 * SECOND)
    stage.authority.every_second()


def test_what_was_last_granted_counts_once_the_clock_is_set(tmp_path: Path) -> None:
    before = Stage(tmp_path, FakeClock())
    one = client(1)
    stage = later(before, tmp_path, {one: GRANTED})
    stage.authority.every_second()
    assert not stage.authority.authorizer._last
    set_clock(stage, before)
    last = stage.authority.authorizer._last[one]
    assert last.service == GRANTED
    assert stage.clock.boot() - last.at == 3600 * SECOND
    stage.store.close()


def test_unless_a_server_said_something_else_meanwhile(tmp_path: Path) -> None:
    before = Stage(tmp_path, FakeClock())
    one, other = client(1), client(2)
    stage = later(before, tmp_path, {one: GRANTED, other: GRANTED})
    refused = session(1, client=one, phase=Phase.AUTHORIZING, lease=None)
    stage.table.put(refused, stage.clock.boot())
    no = Refusal(Reason.RADIUS_REJECTED, "no")
    stage.authority._decided(Decision(Ticket(1, refused.since, again=False), no, ""))
    better = replace(GRANTED, subscriber="alice")
    stage.authority.authorizer._learn(other, Last(stage.clock.boot(), better))
    stage.authority.pump()
    set_clock(stage, before)
    last = stage.authority.authorizer._last
    assert one not in last
    assert last[other].service == better
    stage.store.start()
    stage.store.close()
    after = Stage(tmp_path, stage.clock)
    assert [key for key, _, _ in after.store.known()] == [other]
    after.store.close()
