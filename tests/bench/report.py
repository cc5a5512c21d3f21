"""What a benchmark returns and how it is shown: tables for people, everything measured for machines."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, rows of ready text; `notes` are sentences below it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        text = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, text[0], "-" * len(text[0]), *text[1:], *self.notes, ""])


@dataclass(frozen=True, slots=True)
class Aim:
    """What was measured against what was aimed at. `most`: the goal is an upper bound, else a lower one."""

    what: str
    measured: float
    goal: float
    most: bool = False

    @property
    def met(self) -> bool:
        return self.measured <= self.goal if self.most else self.measured >= self.goal


@dataclass(slots=True)
class Result:
    """One benchmark's outcome; `samples` holds every round under a name with its unit."""

    tables: list[Table]
    aims: list[Aim] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)


class Wrong(Exception):
    """Packets did not take the path that was to be measured; the figures would mean nothing."""


def shown(samples: Sequence[float], digits: int = 0) -> str:
    """Return median and, in brackets, the least and the greatest."""
    middle = statistics.median(samples)
    return f"{middle:.{digits}f} [{min(samples):.{digits}f}…{max(samples):.{digits}f}]"


def palindrome(names: Sequence[str]) -> list[str]:
    """Return the order of one round: there and back, so that a drift weighs on all alike."""
    return [*names, *reversed(names)]


def aims(found: Sequence[Aim]) -> Table:
    """Show what was aimed at."""
    rows = [
        (aim.what, f"{aim.measured:.2f}", f"{'≤' if aim.most else '≥'} {aim.goal:g}", "yes" if aim.met else "NO")
        for aim in found
    ]
    return Table("Aims", ("", "measured", "goal", "met"), rows)


def host_facts() -> dict[str, str]:
    """What the figures depend on and does not stand in them."""
    root = Path(__file__).resolve().parents[2]
    load = os.getloadavg()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _output("git", "-C", str(root), "describe", "--always", "--dirty"),
        "kernel": f"{platform.release()} {platform.version()}",
        "cpu": _cpu_model(),
        "cpus": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "hypervisor": _output("systemd-detect-virt", "--vm"),
        "bpf_stats_enabled": _read("/proc/sys/kernel/bpf_stats_enabled"),
        "bpf_jit_enable": _read("/proc/sys/net/core/bpf_jit_enable"),
        "xdp": "native, veth",
        "python": platform.python_version(),
        "load": " ".join(f"{value:.2f}" for value in load),
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"


def _output(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
