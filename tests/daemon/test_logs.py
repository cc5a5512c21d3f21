"""Log lines as people and scripts read them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
import structlog

from wayleave.daemon import logs
from wayleave.daemon.logs import Lines


def rendered(**event: object) -> str:
    return logs._render(None, "info", {"event": "session-open", **event})


def test_a_line_is_time_level_name_and_keys_in_order() -> None:
    line = rendered(session=7, client="02:00:00:00:00:01@1:100", address=None)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info session-open"
        r" session=7 client=02:00:00:00:00:01@1:100 address=None",
        line,
    )


def test_the_time_is_utc_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs.time, "time_ns", lambda: 1_790_000_000_007_999_999)
    assert rendered().startswith("2026-09-21T14:13:20.007Z ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "no"', r'"say \"no\""'),
        ("a\nb", r'"a\nb"'),
        ("back\\slash", "back\\slash"),
        ("back\\ slash", r'"back\\ slash"'),
        ("\x1b[2J\x07\r", r'"\x1b[2J\x07\r"'),
    ],
)
def test_what_would_break_a_line_apart_is_quoted(value: str, text: str) -> None:
    assert rendered(why=value).endswith(f" why={text}")


def test_lines_leave_with_the_flush_in_one_write() -> None:
    written: list[str] = []

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    lines = Lines(Out())
    lines.msg("one")
    lines.msg("two")
    assert written == []
    lines.flush()
    lines.flush()
    assert written == ["one\ntwo\n"]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged, flushed or not; loggers and level are as before afterwards."""
    out = io.StringIO()
    monkeypatch.setattr(logs, "LINES", Lines(out))
    before = structlog.get_config()
    logs.configure()
    yield out
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("level", "logged"),
    [("info", ["info", "warning", "error"]), ("warning", ["warning", "error"]), ("error", ["error"])],
)
def test_a_logger_that_was_used_before_goes_by_another_level(lines: io.StringIO, level: str, logged: list[str]) -> None:
    log = structlog.get_logger()
    log.info("first")
    logs.set_level(level)
    for name in ("info", "warning", "error"):
        getattr(log, name)("then")
    logs.LINES.flush()
    assert [line.split()[1:] for line in lines.getvalue().splitlines()] == [
        ["info", "first"], *([name, "then"] for name in logged)
    ]  # fmt: skip


def test_a_full_disk_does_not_stop_the_gateway() -> None:
    class Out(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(28, "No space left on device")

    lines = Lines(Out())
    lines.msg("one")
    lines.flush()
