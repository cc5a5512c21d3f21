"""Units as types, so that two clocks or two rates cannot be mixed up silently."""

from typing import NewType

BootNs = NewType("BootNs", int)
"""Nanoseconds of CLOCK_BOOTTIME: what the BPF program and `io.clock` read. Never wall-clock time."""

UtcNs = NewType("UtcNs", int)
"""Nanoseconds since 1970-01-01 UTC: only on disk and for people."""

Ns = NewType("Ns", int)
"""A length of time in nanoseconds."""

BitsPerSecond = NewType("BitsPerSecond", int)

SECOND = Ns(1_000_000_000)
MILLISECOND = Ns(1_000_000)


def seconds(count: float) -> Ns:
    """Return `count` seconds as nanoseconds, rounded to the nearest."""
    return Ns(round(count * SECOND))


def after(start: BootNs, wait: Ns) -> BootNs:
    """Return the moment `wait` after `start` on the boot clock."""
    return BootNs(start + wait)
