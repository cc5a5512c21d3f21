"""What this machine's Python is quick at: a bound for work that must not hold the loop, whatever machine it runs on."""

from __future__ import annotations

import time
from collections.abc import Callable

TRIES = 20
"""The least of so many counts: what is measured is the work, not what else the machine does."""


def least(work: Callable[[], object], tries: int = TRIES) -> float:
    """Return the seconds of this thread that some work takes."""
    took = []
    for _ in range(tries):
        start = time.thread_time()
        work()
        took.append(time.thread_time() - start)
    return min(took)


def adding(numbers: int) -> float:
    """Return the seconds that it takes to add up so many numbers: 200,000 are some 10 ms where Python is not slow."""

    def add() -> None:
        total = 0
        for number in range(numbers):
            total += number

    return least(add)
