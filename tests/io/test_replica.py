"""The view on the disk: what it knows after a restart, a kill in the middle, and values that make no sense."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from wayleave.io.replica import Replica, ReplicaError, understood
from wayleave.session.model import Line


def entry(name: str, **other: object) -> bytes:
    return json.dumps({"name": name, "line": "1:100.7", "pool": "home", "tenant": "isp", **other}).encode()


@contextmanager
def opened(folder: Path) -> Iterator[Replica]:
    replica = Replica(folder)
    try:
        yield replica
    finally:
        replica.close()


def play(folder: Path, story: Callable[[Replica], Awaitable[None]]) -> None:
    with opened(folder) as replica:
        uvloop.run(story(replica))  # type: ignore[arg-type]


def test_what_was_told_is_known_after_a_restart(tmp_path: Path) -> None:
    async def story(replica: Replica) -> None:
        assert (replica.revision, replica.known) == (None, {})
        told = await replica.replace(5, {"alice": entry("alice"), "bob": entry("bob", line="1:100.8", blocked=True)})
        assert {name: found and found.name for name, found in told.items()} == {"alice": "alice", "bob": "bob"}
        told = await replica.apply(7, [("carol", entry("carol", line="1:9")), ("alice", None), ("nobody", None)])
        assert told == {"carol": replica.known["carol"], "alice": None, "nobody": None}

    play(tmp_path, story)
    with opened(tmp_path) as replica:
        assert replica.revision == 7
        assert {name: (found.line, found.blocked) for name, found in replica.known.items()} == {
            "bob": (Line(1, 100, 8), True),
            "carol": (Line(1, 9), False),
        }


def test_a_whole_view_tells_what_is_different(tmp_path: Path) -> None:
    async def story(replica: Replica) -> None:
        await replica.replace(5, {"same": entry("same"), "other": entry("other", line="1:8"), "gone": entry("gone")})
        told = await replica.replace(9, {"same": entry("same"), "other": entry("other", line="1:9")})
        assert set(told) == {"other", "gone"}
        assert told["gone"] is None
        assert told["other"] == replica.known["other"]
        assert set(replica.known) == {"same", "other"}
        assert await replica.replace(9, {"same": entry("same"), "other": entry("other", line="1:9")}) == {}

    play(tmp_path, story)


NO_SENSE: dict[str, tuple[bytes, str]] = {
    "another key": (entry("x", colour="red"), "colour: there is no such setting"),
    "a line that is none": (entry("x", line="door"), "line: "),
    "another type": (entry("x", limit="2"), 'limit: must be a whole number, not "2"'),
    "a list": (b"[]", "the value: must be a table"),
    "no JSON": (b"{", "Input data was truncated"),
    "depth": (b"[" * 100_000, "maximum recursion depth"),
    "another name": (entry("y"), "name: says y"),
    "nobody": (b'{"name":"x"}', "a subscriber is known by user, mac, line or circuit"),
    "a circuit twice": (entry("x", line="1:100/a", circuit="b"), "circuit: give the circuit-id with the line"),
}


@pytest.mark.parametrize("what", NO_SENSE)
def test_a_value_that_makes_no_sense_is_kept_aside_and_stops_nobody(tmp_path: Path, what: str) -> None:
    value, why = NO_SENSE[what]
    with pytest.raises(ValueError, match=why):
        understood("x", value)

    async def story(replica: Replica) -> None:
        await replica.replace(5, {"x": entry("x")})
        assert await replica.apply(6, [("x", value), ("bob", entry("bob"))]) == {"x": None, "bob": replica.known["bob"]}
        assert replica.refused["x"].startswith(why)

    play(tmp_path, story)
    with opened(tmp_path) as replica:
        assert list(replica.known) == ["bob"]
        assert replica.refused["x"].startswith(why)

        async def mended() -> None:
            assert await replica.apply(7, [("x", entry("x"))]) == {"x": replica.known["x"]}
            assert replica.refused == {}

        uvloop.run(mended())


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from wayleave.io.replica import Replica
replica = Replica(Path(sys.argv[1]))
at = int(sys.argv[2])
steps = iter(range(at))
replica._db.set_progress_handler(lambda: next(steps, None) is None and os.kill(os.getpid(), signal.SIGKILL) or 0, 100)
value = b'{"name":"%s","line":"1:2"}'
asyncio.run(replica.replace(9, {f"new{n}": value % f"new{n}".encode() for n in range(500)}))
"""


@pytest.mark.parametrize("at", [0, 1, 5, 20, 60, 150])
def test_a_kill_in_the_middle_of_a_whole_view_leaves_the_old_one(tmp_path: Path, at: int) -> None:
    """At a step of SQLite's own, which counts its instructions."""
    before = {f"old{number}": entry(f"old{number}") for number in range(500)}

    async def story(replica: Replica) -> None:
        await replica.replace(5, before)

    play(tmp_path, story)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(at)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with opened(tmp_path) as replica:
        assert (replica.revision, set(replica.known)) == (5, set(before))


def test_a_disk_that_refuses_leaves_all_as_it_was(tmp_path: Path) -> None:
    async def story(replica: Replica) -> None:
        await replica.replace(5, {"alice": entry("alice")})
        (pages,) = replica._db.execute("PRAGMA page_count").fetchone()
        replica._db.execute(f"PRAGMA max_page_count = {pages}")
        many = [(f"s{number}", entry(f"s{number}", circuit=None)) for number in range(1000)]
        with pytest.raises(ReplicaError, match=r"view\.sqlite: .* is full: is the folder writable, and is there room"):
            await replica.apply(6, [("alice", None), *many])
        assert (replica.revision, list(replica.known)) == (5, ["alice"])
        replica._db.execute("PRAGMA max_page_count = 100000")
        await replica.apply(6, [("alice", None), *many])
        assert (replica.revision, len(replica.known)) == (6, 1000)

    play(tmp_path, story)


def test_a_file_that_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "view.sqlite") as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(ReplicaError, match="has layout 7, this program writes 1: delete it, Nexus tells it all again"):
        Replica(tmp_path)
    (tmp_path / "view.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(ReplicaError, match="file is not a database: delete it"):
        Replica(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ReplicaError, match="is the folder writable"):
        Replica(tmp_path / "file")


def test_the_loop_goes_on_while_the_disk_is_slow(tmp_path: Path) -> None:
    async def story(replica: Replica) -> None:
        other = sqlite3.connect(tmp_path / "view.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(replica.apply(6, [("alice", entry("alice"))]))
        for _ in range(100):
            await asyncio.sleep(0)  # noqa: TID251 -- turns of the loop are what is asked about
        assert not writing.done()
        other.execute("ROLLBACK")
        other.close()
        assert list(await writing) == ["alice"]

    play(tmp_path, story)
