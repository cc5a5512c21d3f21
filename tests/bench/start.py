"""From cold to serving: rows into an empty data plane, a whole process with its leases on disk, memory a session."""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path

from wayleave.dataplane import objects
from wayleave.dataplane.plane import settings_of_kernel, sizes
from wayleave.dataplane.tables import Tables
from wayleave.io.clock import Clock
from wayleave.lab.access_node import Line
from wayleave.lab.topology import Lab
from wayleave.net.units import after

from . import population
from .control import POOL, resident
from .crossing import RING_OCTETS
from .report import Aim, Result, Table, shown

SCALED = ("sessions", "clients", "hosts4", "usage")
"""The maps that grow with the number of sessions."""


MILLION = 1_000_000
"""The largest `gateway.sessions`."""


def cold_install(count: int) -> dict[str, float]:
    """Project and install `count` sessions into maps just made; returns seconds and the maps' octets."""
    now = Clock().boot()
    sessions = [population.session(number, after(now, population.LEASE)) for number in range(count)]
    settings = {".rodata.settings": settings_of_kernel().pack()}
    began = time.monotonic()
    object_ = objects.load(objects.PROGRAM, sizes(count, RING_OCTETS), settings)
    tables = Tables(object_.maps, now)
    loaded = time.monotonic()
    rows = population.rows(sessions)
    projected = time.monotonic()
    tables.install(rows, now)
    installed = time.monotonic()
    memory = {name: memlock(map_.fd) for name, map_ in object_.maps.items()}
    tables.sessions.view.release()
    object_.close()
    return {
        "load s": loaded - began,
        "project s": projected - loaded,
        "install s": installed - projected,
        "project and install s": installed - loaded,
        "scaled maps octets": sum(memory[name] for name in SCALED),
        "other maps octets": sum(size for name, size in memory.items() if name not in SCALED),
    }


def memlock(fd: int) -> int:
    """Octets the kernel holds for a map (proc(5), fdinfo)."""
    found = re.search(r"^memlock:\s*(\d+)", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def process(count: int, table: int) -> dict[str, float]:
    """Start `bng` with `count` leases on disk, cold and once more over its pinned maps; returns seconds and octets."""
    with Lab([Line(100, 1)]) as lab:
        config = lab.config(gateway={"sessions": table}, pool=POOL)
        resident(lab.folder / "state", count)
        began = time.monotonic()
        gateway = lab.gateway.start(config, timeout=120)
        cold = time.monotonic() - began
        memory = rss(gateway.pid)
        lab.gateway.kill9()
        began = time.monotonic()
        lab.gateway.restart(timeout=120)
        return {"cold s": cold, "warm s": time.monotonic() - began, "anonymous octets": memory}


def rss(pid: int) -> int:
    """Anonymous memory of a process in octets; mapped BPF arrays are not in it."""
    found = re.search(r"^RssAnon:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def bench(quick: bool) -> Result:
    """All of it, several times over."""
    count, rounds = (10_000, 2) if quick else (100_000, 5)
    samples: dict[str, list[float]] = {}

    def note(prefix: str, found: dict[str, float]) -> None:
        for name, value in found.items():
            samples.setdefault(f"{prefix}{name}", []).append(value)

    for _ in range(rounds):
        note("", cold_install(count))
    for _ in range(max(2, rounds - 2)):
        note("empty ", process(0, count + 1000))
        note("process ", process(count, count + 1000))
    if not quick:
        note("million ", process(MILLION, MILLION))
    pairs = zip(samples["process anonymous octets"], samples["empty anonymous octets"], strict=True)
    samples["python octets a session"] = [(full - empty) / count for full, empty in pairs]
    samples["kernel octets a session"] = [octets / count for octets in samples["scaled maps octets"]]
    return Result([_times(samples, count), _memory(samples, count)], _aims(samples), samples)


def _times(samples: dict[str, list[float]], count: int) -> Table:
    names = {
        "project": "project s",
        "rows and keys into the maps": "install s",
        "both": "project and install s",
        "bng, spawn to healthz": "process cold s",
        "the same without leases": "empty cold s",
        "bng, spawn to healthz, maps pinned by the last one": "process warm s",
    }
    if "million cold s" in samples:
        names |= {f"bng with {MILLION:,} leases": "million cold s", "the same, maps pinned": "million warm s"}
    rows = [(label, shown(samples[name], 2)) for label, name in names.items()]
    return Table(f"start: {count:,} sessions, seconds, median [min…max]", ("", "s"), rows)


def _memory(samples: dict[str, list[float]], count: int) -> Table:
    fixed = statistics.median(samples["other maps octets"]) / 1e6
    rows = [
        ("kernel (maps that grow)", shown(samples["kernel octets a session"])),
        ("Python (anonymous, against no sessions)", shown(samples["python octets a session"])),
    ]
    note = f"Maps of fixed size: {fixed:.1f} MB, with a ring of {RING_OCTETS >> 20} MB."
    return Table(f"start: octets a session at {count:,}", ("", "octets"), rows, (note,))


def _aims(samples: dict[str, list[float]]) -> list[Aim]:
    return [
        Aim("100k sessions programmed, s", statistics.median(samples["project and install s"]), 1.0, most=True),
        Aim("kernel kB a session", statistics.median(samples["kernel octets a session"]) / 1000, 1.0, most=True),
        Aim("Python kB a session", statistics.median(samples["python octets a session"]) / 1000, 4.0, most=True),
    ]
