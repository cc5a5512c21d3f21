"""Lengths of time, as operators write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.net.duration import parse_duration, spoken_age, spoken_duration, written_duration
from wayleave.net.units import SECOND


@given(st.integers(0, 10**6), st.sampled_from("smhd"))
def test_what_is_written_reads_the_same(number: int, unit: str) -> None:
    length = parse_duration(f"{number}{unit}")
    assert parse_duration(written_duration(length)) == length


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0d"), (1, "1s"), (90, "90s"), (120, "2m"), (3600, "1h"), (86400, "1d"), (90000, "25h")],
)
def test_it_is_written_exactly_and_short(seconds: int, written: str) -> None:
    assert written_duration(seconds * SECOND) == written


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [(-1, "0.0s"), (0, "0.0s"), (3.44, "3.4s"), (10, "10s"), (75.9, "75s"), (119, "119s"), (120, "2m"), (7200, "2h")],
)
def test_an_age_has_tenths_while_they_tell(seconds: float, spoken: str) -> None:
    assert spoken_age(round(seconds * SECOND)) == spoken
    if seconds >= 10:
        assert spoken_duration(round(seconds * SECOND)) == spoken


@pytest.mark.parametrize("text", ["", "5", "h", "1.5h", "-1s", "1 h", 5])
def test_what_is_no_length_of_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a length of time: write a number and s, m, h or d"):
        parse_duration(text)
