"""`python -m tests.bench [NAME …] [--quick] [--out DIR]`: run benchmarks, print tables, write everything measured.

As root. Each benchmark makes network namespaces of its own. `--quick` checks that they work; its figures mean little.
Whatever else the machine does weighs on them, on `control` most, which needs two CPUs for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from . import (
    blocks,
    claims,
    clients,
    control,
    dhcp,
    dial,
    exchange,
    fanout,
    forward,
    idle,
    nexus,
    packet,
    radius,
    redial,
    report,
    start,
    storm,
)

BENCHES: dict[str, Callable[[bool], report.Result]] = {
    "packet": packet.bench,
    "forward": forward.bench,
    "dhcp": dhcp.bench,
    "clients": clients.bench,
    "start": start.bench,
    "exchange": exchange.bench,
    "control": control.bench,
    "storm": storm.bench,
    "dial": dial.bench,
    "redial": redial.bench,
    "idle": idle.bench,
    "radius": radius.bench,
    "nexus": nexus.bench,
    "blocks": blocks.bench,
    "claims": claims.bench,
    "fanout": fanout.bench,
}


def main(arguments: list[str]) -> int:
    """Run what was asked for, everything by default; returns the exit status, 1 if a figure could not be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("build/bench"), help="where the JSON goes")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"no benchmark {' '.join(unknown)}; there are {' '.join(BENCHES)}")
    facts = report.host_facts()
    print("\n".join(f"{name:18} {value}" for name, value in facts.items()), flush=True)
    results: dict[str, report.Result] = {}
    loads: dict[str, float] = {}
    failed = False
    for name in options.names or BENCHES:
        loads[name] = os.getloadavg()[0]
        print(f"\n== {name} (load before: {loads[name]:.1f})", flush=True)
        began = time.monotonic()
        try:
            results[name] = BENCHES[name](options.quick)
        except report.Wrong as error:
            print(f"FAILED: {error}", flush=True)
            failed = True
            continue
        for table in results[name].tables:
            print(table, flush=True)
        if results[name].aims:
            print(report.aims(results[name].aims))
        print(f"({time.monotonic() - began:.0f} s)", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{facts['date'].replace(':', '')}.json"
    outcome = {name: asdict(result) for name, result in results.items()}
    written = {"host": facts, "quick": options.quick, "loads": loads, "results": outcome}
    path.write_text(json.dumps(written, indent=1) + "\n")
    print(f"\nwritten: {path}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
