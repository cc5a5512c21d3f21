"""Rates as people write them: `50M` is 50,000,000 bit/s."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from wayleave.net.units import BitsPerSecond

_RATE = re.compile(r"(\d+(?:\.\d+)?)([kMG]?)")
_SCALE = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def parse_rate(text: Any) -> BitsPerSecond:
    """Read `512k`, `50M`, `2.5G` as bit/s. Raises: ValueError with what was expected."""
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a rate: write 512k, 50M or 2.5G, in bits a second")
    return BitsPerSecond(int(Decimal(match[1]) * _SCALE[match[2]]))


def written_rate(bits_s: int) -> str:
    """Write bit/s as an operator does, exactly and in the largest unit that takes no more than one decimal."""
    for unit, scale in reversed(_SCALE.items()):
        whole, rest = divmod(bits_s, scale)
        if whole and rest * 10 % scale == 0:
            return f"{whole}.{rest * 10 // scale}{unit}" if rest else f"{whole}{unit}"
    return str(bits_s)


BitRate = Annotated[
    BitsPerSecond,
    BeforeValidator(parse_rate),
    WithJsonSchema({"type": "string", "pattern": f"^{_RATE.pattern}$", "examples": ["50M"]}),
]
