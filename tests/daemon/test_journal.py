"""What the engine writes into journals and into the log, told as the same stories."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from tests.daemon.test_engine import HOUR, LINE, SOMEWHERE, A, Stage, address, discovers, pool, releases, requests
from wayleave.aaa.local import Subscriber
from wayleave.daemon import app
from wayleave.net.units import SECOND
from wayleave.session.model import Client, CloseCause
from wayleave.session.refusal import Reason


def told(stage: Stage) -> list[str]:
    """A's journal, in words."""
    session = stage.find()
    journal = stage.engine.journal
    entries = journal.of_session(session.id) if session is not None else journal.of_stranger(Client(LINE, A).key)
    return [f"{entry.what} {entry.says}".strip() for entry in entries]


def test_a_life_from_the_first_message_to_the_last() -> None:
    stage = Stage()
    stage.serve()
    stage.say(releases(address("2")))
    stage.wait(SECOND)
    stage.written()
    assert stage.find() is None
    assert told(stage) == ["offered home 10.0.0.2", "confirmed for 3600s", "released 10.0.0.2", "ending user-request"]
    stage.serve()
    assert told(stage)[-2:] == ["offered home 10.0.0.2", "confirmed for 3600s"]


def test_who_is_refused_has_a_journal_that_says_why() -> None:
    blocked = Subscriber.model_validate({"name": "smith", "mac": str(A), "blocked": True})
    stage = Stage(subscribers=(blocked,))
    stage.say(discovers())
    stage.say(requests(address("9")))
    assert stage.find() is None
    why = "subscriber smith is blocked"
    assert told(stage) == [f"not-authorized {why}", f"not-authorized {why}", f"refused {why}"]


def test_a_full_pool_a_restart_and_a_failing_disk_are_told() -> None:
    stage = Stage((pool(network="10.0.0.0/30"),))
    stage.serve()
    stage.say(discovers(line=SOMEWHERE))
    (entry,) = stage.engine.journal.of_stranger(Client(SOMEWHERE, A).key)
    assert entry.what == "no-address"
    stage = stage.restart(pool(network="10.0.0.0/30"))
    assert told(stage) == ["restored 10.0.0.2"]
    stage = Stage()
    stage.disk.failing = True
    stage.say(discovers())
    stage.say(requests(address("2")))
    stage.written()
    assert "not-recorded" in " ".join(told(stage))


def test_a_renewal_by_the_data_plane_is_told_and_a_request_without_an_answer_too() -> None:
    stage = Stage()
    stage.serve()
    session = stage.find()
    assert session is not None
    stage.wait(HOUR // 2)
    stage.plane._renewed[session.id] = stage.clock.boot()
    stage.wait(HOUR)
    assert told(stage)[2:] == ["renewed"]
    stage.say(releases(address("2")), discovers())
    assert told(stage)[3:] == ["released 10.0.0.2", "ending user-request", "asked"]


@pytest.mark.parametrize("anew", [Stage.restart, Stage.reload], ids=["restart", "reload"])
def test_what_a_configuration_ends_is_told_with_the_reason(anew: Callable[..., Stage]) -> None:
    blocked = Subscriber.model_validate({"name": "smith", "mac": str(A), "blocked": True})
    stage = Stage()
    stage.serve()
    stage = anew(stage, pool(), subscribers=(blocked,))
    stage.wait(SECOND)
    stage.written()
    assert stage.find() is None
    *_, entry = stage.engine.journal.of_stranger(Client(LINE, A).key)
    assert (entry.what, entry.says) == ("ending", "reconfigured: subscriber smith is blocked")
    assert entry.reason is Reason.BLOCKED


def test_what_the_operator_ends_is_told() -> None:
    stage = Stage()
    stage.serve()
    session = stage.find()
    assert session is not None
    stage.engine.clear(session.id, CloseCause.ADMIN_RESET, stage.clock.boot())
    stage.wait(SECOND)
    assert told(stage)[-1] == "ending admin-reset"


def test_what_the_operator_ends_while_it_goes_by_itself_is_told() -> None:
    """The cause that is counted is the one that stands last in the journal."""
    stage = Stage()
    stage.serve()
    stage.say(releases(address("2")))
    session = stage.find()
    assert session is not None
    for _ in range(2):
        stage.engine.clear(session.id, CloseCause.ADMIN_RESET, stage.clock.boot())
    stage.wait(SECOND)
    stage.written()
    assert told(stage)[2:] == ["released 10.0.0.2", "ending user-request", "ending admin-reset"]
    assert stage.engine.counts.closed == {"admin-reset": 1}


@pytest.mark.parametrize("ends", ["released", "cleared", "refused", "lapsed"])
def test_the_log_has_one_event_a_transition(ends: str) -> None:
    blocked = (
        [Subscriber.model_validate({"name": "smith", "mac": str(A), "blocked": True})] if ends == "refused" else []
    )
    stage = Stage(subscribers=tuple(blocked))
    stage.engine._transition = app._log_transition
    with capture_logs() as lines:
        if ends in ("refused", "lapsed"):
            stage.say(discovers())
            stage.wait(HOUR)
        else:
            stage.serve()
            session = stage.find()
            assert session is not None
            stage.say(requests(address("2")))
            stage.say(requests(address("2"), encapsulation=b"other"))
            stage.written()
            if ends == "cleared":
                stage.engine.clear(session.id, CloseCause.ADMIN_RESET, stage.clock.boot())
            else:
                stage.say(releases(address("2")))
            stage.wait(SECOND)
            stage.written()
    causes = {"released": "user-request", "cleared": "admin-reset", "refused": "refused", "lapsed": "offer-lapsed"}
    events = [line["event"] for line in lines]
    assert events == (["session-open"] if ends in ("released", "cleared") else []) + ["session-closed"]
    assert lines[-1]["cause"] == causes[ends]
