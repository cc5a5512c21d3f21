"""Rates as operators write them: read exactly, and written again as they would be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.net.rate import parse_rate, written_rate

READ = {"8000": 8_000, "512k": 512_000, "100M": 100_000_000, "2.5G": 2_500_000_000, "32.3k": 32_300, "2.01M": 2_010_000}


@pytest.mark.parametrize("text", READ)
def test_a_rate_is_read_to_the_bit(text: str) -> None:
    assert parse_rate(text) == READ[text]


@pytest.mark.parametrize("text", ["", 10, "1m", "-1k", "1.k", ".5M", "1 M"])
def test_what_is_no_rate_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not a rate: write 512k, 50M or 2\.5G"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["512k", "100M", "2.5G", "1.5M", "1G", "32.3k", "8k", "999", "0", "1234567"])
def test_it_is_written_as_it_is_read(text: str) -> None:
    assert written_rate(parse_rate(text)) == text


@given(st.integers(0, 10**12))
def test_nothing_is_lost(bits_s: int) -> None:
    assert parse_rate(written_rate(bits_s)) == bits_s
