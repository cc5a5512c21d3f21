"""Invariants of authorization and accounting over any story: see `radius_world`.

The session limit holds. Every Start has exactly one Stop, in order, and no session has either twice. No counter goes
backwards, and a Stop says what was really used, or what was last reported where the machine itself lost the rest. No
forged reply is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.conftest import PROFILE
from tests.daemon.radius_world import INTERIM, START, STOP, World, client
from wayleave.aaa.outbox import Outbox
from wayleave.daemon.accounting import Accounting
from wayleave.daemon.engine import Engine
from wayleave.io.store import Store
from wayleave.proto.radius import exchange
from wayleave.session.table import Table

SEEDS = {"test": 60, "soak": 10_000}[PROFILE]


def story(seed: int, folder: Path) -> World:
    """A few hundred things that happen, then peace: everybody is cleared, and all is acknowledged."""
    world = World(seed, folder)
    random = world.random
    world.lose, world.repeat, world.forge = 0.1, 0.1, 0.2
    for _ in range(150):
        match random.randrange(100):
            case number if number < 40:
                who = client(random.randrange(10))
                world.process.discover(who)
            case number if number < 55:
                served = [one for one in world.process.table if one.lease is not None]
                if served:
                    world.process.release(random.choice(served))
            case number if number < 85:
                world.use()
            case number if number < 92:
                server = random.choice(world.servers)
                server.up = not server.up
            case number if number < 95:
                world.kill()
            case number if number < 96:
                world.reboot()
            case number if number < 97:
                world.full = False  # what was counted before is nowhere else
                world.lose_maps()
                world.run(1)
            case number if number < 99:
                world.full = not world.full
            case _:
                world.run(120)
        world.run(random.random() * 8)
    world.lose = world.forge = world.repeat = 0
    world.full = False
    for server in world.servers:
        server.up = True
    world.process.clear()
    world.run(400)
    return world


def judge(world: World, seed: int) -> None:
    assert not [*world.process.table], f"seed {seed}: sessions are left"
    left = world.process.store._db.execute("SELECT session FROM accounting").fetchall()
    assert not left, f"seed {seed}: {len(left)} records never arrived"
    for name, told in world.accounted.items():
        kinds = [kind for kind, _ in told.kinds]
        assert kinds.count(START) == kinds.count(STOP) == 1, f"seed {seed}: {name!r}: {told}"
        assert (kinds[0], kinds[-1]) == (START, STOP), f"seed {seed}: {name!r}: {told}"
        assert told.octets.get(INTERIM, 0) <= told.octets[STOP], f"seed {seed}: {name!r}: a counter went backwards"
        assert told.octets[STOP] == world.used[name.decode()], f"seed {seed}: {name!r}: not what was used"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_story(seed: int, tmp_path: Path) -> None:
    judge(story(seed, tmp_path), seed)


def forget_the_stop(patch: pytest.MonkeyPatch) -> None:
    """A session ends without a word to accounting."""
    patch.setattr(Accounting, "stopped", lambda *_: None)


def start_at_every_renewal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "_started", lambda self, session: self._accounts.started(session, self._now))


def count_from_nothing_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """What stood under the id before the session is not taken off."""
    patch.setattr(Engine, "used", lambda self, session: self._plane.counted(session.id))


def believe_anybody(patch: pytest.MonkeyPatch) -> None:
    """No authenticator of a reply is looked at."""
    patch.setattr(exchange, "doubt_response", lambda *_: None)


def let_on_as_many_as_come(patch: pytest.MonkeyPatch) -> None:
    """The subscriber's limit is not looked at."""
    patch.setattr(Table, "of_subscriber", lambda *_: [])


def forget_what_is_on_the_disk(patch: pytest.MonkeyPatch) -> None:
    """A process starts with an empty outbox."""
    patch.setattr(Outbox, "resume", lambda *_: None)


def forget_what_lost_counters_had_counted(patch: pytest.MonkeyPatch) -> None:
    """A process whose counters begin at nothing takes a session's for new."""
    patch.setattr(Accounting, "_count_anew", lambda _self, session, _used: session)


def forget_what_the_disk_refused(patch: pytest.MonkeyPatch) -> None:
    """What the disk refused once is not tried again."""
    patch.setattr(Store, "again", lambda *_: None)


def tell_of_the_end_of_what_never_began(patch: pytest.MonkeyPatch) -> None:
    """A session that the disk refused is accounted as it ends."""

    class Forgetful(set[int]):
        def __contains__(self, _: object) -> bool:
            return False

    init = Accounting.__init__

    def forgetful(self: Accounting, *args: object) -> None:
        init(self, *args)  # type: ignore[arg-type]
        self._unbegun = Forgetful()

    patch.setattr(Accounting, "__init__", forgetful)


def lose_counters_in_memory_alone(patch: pytest.MonkeyPatch) -> None:
    """The next process on the same maps does not know."""
    patch.setattr(Store, "recount", lambda *_: None)


MUTANTS = [
    forget_what_lost_counters_had_counted,
    lose_counters_in_memory_alone,
    forget_what_the_disk_refused,
    tell_of_the_end_of_what_never_began,
    forget_the_stop,
    start_at_every_renewal,
    count_from_nothing_after_a_restart,
    believe_anybody,
    let_on_as_many_as_come,
    forget_what_is_on_the_disk,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_mutants_are_found(mutant: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mutant(monkeypatch)  # type: ignore[operator]
    for seed in range(10):
        try:
            judge(story(seed, tmp_path / str(seed)), seed)
        except AssertionError:
            return
    pytest.fail("ten stories, and nothing was wrong")
