"""Lengths of time as operators write them: `90s`, `10m`, `1h`, `2d`."""

from __future__ import annotations

import re

from wayleave.net.units import SECOND, Ns

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TEXT = re.compile(r"(\d+)([smhd])")


def parse_duration(text: object) -> Ns:
    """Read `1h`. Raises: ValueError with what was expected."""
    match = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a length of time: write a number and s, m, h or d, such as 90s or 1h")
    return Ns(int(match[1]) * _SECONDS[match[2]] * SECOND)


def spoken_duration(length: int) -> str:
    """Write nanoseconds for people, in the largest unit that leaves no more than three digits: `59m`, `23h`."""
    total = max(length, 0) // SECOND
    for unit, size in (("s", 1), ("m", 60), ("h", 3600)):
        if total < 120 * size:
            return f"{total // size}{unit}"
    return f"{total // 86400}d" if total >= 172800 else f"{total // 3600}h"


def spoken_age(length: int) -> str:
    """Write how long ago something was, in nanoseconds: with tenths of a second while they still tell, `3.4s`."""
    return f"{max(length, 0) / SECOND:.1f}s" if length < 10 * SECOND else spoken_duration(length)


def written_duration(length: int) -> str:
    """Write nanoseconds as an operator does, exactly and in the largest unit: `90s`, `1h`."""
    seconds = length // SECOND
    unit = next(unit for unit in reversed(_SECONDS) if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
