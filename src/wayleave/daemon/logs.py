"""Structured logs: one logfmt line an event, a batch a write.

A line is written to a buffer and leaves with the next `flush`, which the loop calls after every turn: 12,000 sessions a
second would else be 12,000 system calls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

import structlog

from wayleave.net.printable import printable
from wayleave.net.units import MILLISECOND, SECOND


class Lines:
    """A buffer of lines for structlog; `flush` writes them. `least`: events of lower levels make no line."""

    def __init__(self, out: TextIO) -> None:
        self._out, self.least = out, 0
        self._lines: list[str] = []

    def msg(self, line: str) -> None:
        self._lines.append(line)

    debug = info = warning = error = critical = msg

    def flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            try:
                self._out.write("\n".join(lines) + "\n")
                self._out.flush()
            except OSError:
                return  # nobody reads, or the disk is full: the gateway goes on


LINES = Lines(sys.stderr)

_LEVELS = {"info": 20, "warning": 30, "error": 40}


def set_level(level: str) -> None:
    """Log what is of this level or above from now on: `info`, `warning` or `error`."""
    LINES.least = _LEVELS[level]


def _enough(_logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Here and not in the logger's class, which stays what it was at its first use."""
    if _LEVELS[level] < LINES.least:
        raise structlog.DropEvent
    return event


def _render(_logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
    """Write one event: time, level, name, then its keys in the order given."""
    second, rest = divmod(time.time_ns(), SECOND)
    name = event.pop("event")
    return f"{_second(second)}.{rest // MILLISECOND:03}Z {level} {name}{_pairs(event)}"


@lru_cache(maxsize=2)
def _second(number: int) -> str:
    """A second of UTC for people: thousands of lines share one."""
    return datetime.fromtimestamp(number, UTC).isoformat()[:-6]


def _pairs(event: Mapping[str, Any]) -> str:
    return "".join([f" {key}={_quoted(value)}" for key, value in event.items()])


def _quoted(value: Any) -> str:
    text = str(value)
    if text and text.isprintable() and " " not in text and "=" not in text and '"' not in text:
        return text
    escaped = printable(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'


def configure() -> None:
    """Send every structlog event through `LINES`, from info on until `set_level` says otherwise."""
    structlog.configure(
        processors=[_enough, _render],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=lambda *_: LINES,
        cache_logger_on_first_use=True,
    )
