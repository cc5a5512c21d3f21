"""What is printed: tables that fit, and nothing that a terminal would obey."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import pytest

from wayleave.cli.show import _SESSION_COLUMNS, _SPARE
from wayleave.cli.terminal import fitting, table
from wayleave.cli.words import age, lines, several

ROWS = [
    ("65535", "100.127.255.254", "02:c0:00:00:00:01", "511:4094.4094", "active", "residential", "smith", "58m", "3.4s",
     "smiths-living-room-tv"),
    ("7", "-", "02:c0:00:00:00:02", "1:100", "authorizing", "-", "-", "-", "-", "-"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (250, set()), (120, {"hostname"}), (100, {"hostname", "pool"}),
        (80, {"hostname", "pool", "subscriber", "phase"}), (40, set(_SPARE)),
    ],
)  # fmt: skip
def test_what_matters_least_is_left_out_first(width: int, left_out: set[str]) -> None:
    shown = fitting(_SESSION_COLUMNS, ROWS, _SPARE, width)
    assert {name for number, name in enumerate(_SESSION_COLUMNS) if number not in shown} == left_out


class Terminal(io.StringIO):
    """A terminal as wide as `COLUMNS` says."""

    def isatty(self) -> bool:
        return True


def test_at_80_columns_a_session_is_one_line() -> None:
    with (
        mock.patch.dict("os.environ", {"COLUMNS": "80", "TERM": "dumb"}),
        redirect_stdout(Terminal()) as out,
        redirect_stderr(io.StringIO()) as beside,
    ):
        table(_SESSION_COLUMNS, ROWS, _SPARE)
    head, _, first, second = printed = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, printed)) <= 80
    assert head.split() == ["id", "address", "mac", "line", "lease", "seen"]
    assert first.split() == ["65535", "100.127.255.254", "02:c0:00:00:00:01", "511:4094.4094", "58m", "3.4s"]
    assert second.split() == ["7", "-", "02:c0:00:00:00:02", "1:100", "-", "-"]
    assert beside.getvalue() == (
        "bng: too narrow for phase, pool, subscriber, hostname: they are in a wider window, or with --json\n"
    )


def test_figures_are_written_for_people() -> None:
    assert [several(number, "pool") for number in (0, 1, 2, 4096)] == ["0 pools", "1 pool", "2 pools", "4,096 pools"]
    assert (age(None), age(3.44), age(75.2), age(4)) == (None, "3.4s", "75s", "4s")
    assert dict(lines({"id": 7, "lease_s": 3599, "seen_s": None, "age_s": 4})) == {
        "id": 7, "lease": "59m", "seen": None, "age": "4s",
    }  # fmt: skip
