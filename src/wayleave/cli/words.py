"""How figures are written for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wayleave.net.duration import spoken_age, spoken_duration
from wayleave.net.units import SECOND


def age(seconds: float | None) -> str | None:
    """Write how long ago something was, or how long it still takes; whole seconds have no tenths."""
    if seconds is None:
        return None
    return spoken_duration(seconds * SECOND) if isinstance(seconds, int) else spoken_age(round(seconds * SECOND))


def several(number: int, thing: str) -> str:
    """Write `1 pool` or `2 pools`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def lines(found: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield what an answer of the API says line by line; seconds as ages, without their suffix."""
    for key, value in found.items():
        yield (key.removesuffix("_s"), age(value)) if key.endswith("_s") else (key, value)
