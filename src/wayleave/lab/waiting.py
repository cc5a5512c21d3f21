"""Waiting for a condition, never for a length of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.02


def wait_until(condition: Callable[[], T], what: str | Callable[[], str], timeout: float = 10.0) -> T:
    """Ask `condition` again and again until what it returns is true; returns that.

    `what` says what was waited for, or is called to say it, with the state as it is at the end.

    Raises: TimeoutError after `timeout` seconds.
    """
    pause = threading.Event()
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"after {timeout:g} s still no {what if isinstance(what, str) else what()}")
        pause.wait(min(POLL_S, left))
