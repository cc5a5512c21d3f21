"""Lengths of time as operators write them: `90s`, `10m`, `1h`, `2d`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

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


Duration = Annotated[
    Ns,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhd]$", "examples": ["90s", "1h"]}),
]
