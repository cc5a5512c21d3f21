"""Rates as people write them: `50M` is 50,000,000 bit/s."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_RATE = re.compile(r"(\d+(?:\.\d+)?)([kMG]?)")
_SCALE = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def parse_rate(text: Any) -> int:
    """Read `512k`, `50M`, `2.5G` as bit/s. Raises: ValueError with what was expected."""
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a rate: write 512k, 50M or 2.5G, in bits a second")
    return int(float(match[1]) * _SCALE[match[2]])


BitRate = Annotated[
    int,
    BeforeValidator(parse_rate),
    WithJsonSchema({"type": "string", "pattern": f"^{_RATE.pattern}$", "examples": ["50M"]}),
]
