"""Compile the BPF objects. Run directly, or by hatchling when it builds or installs the package.

Output: `*.bpf.o` beside the Python that loads them, so that a wheel carries them and users need no clang.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OBJECTS = {
    "bpf/bng.bpf.c": "src/wayleave/dataplane/bng.bpf.o",
    "bpf/lab/access_node.bpf.c": "src/wayleave/lab/access_node.bpf.o",
    "bpf/lab/ppp_device.bpf.c": "src/wayleave/lab/ppp_device.bpf.o",
    "bpf/bench/traffic.bpf.c": "tests/bench/traffic.bpf.o",
}
FLAGS = ["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]


def include_flags() -> list[str]:
    """Where Debian keeps asm/types.h: clang's bpf target does not look there by itself."""
    triple = subprocess.run(["gcc", "-dumpmachine"], check=True, capture_output=True, text=True).stdout.strip()
    return [f"-I/usr/include/{triple}", f"-I{ROOT / 'bpf'}"]


def compile_object(source: Path, target: Path) -> None:
    """Compile one translation unit; keeps BTF, strips DWARF.

    Raises: CalledProcessError with clang's own message on stderr.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    subprocess.run(["clang", *FLAGS, *include_flags(), "-c", str(source), "-o", str(part)], check=True)
    subprocess.run(["llvm-strip", "-g", str(part)], check=True)
    part.rename(target)


def newest_source() -> float:
    """When anything below bpf/ last changed, in seconds since 1970."""
    return max(path.stat().st_mtime for path in (ROOT / "bpf").rglob("*.[ch]"))


def build(force: bool = False) -> list[Path]:
    """Compile what is older than its sources; returns what was compiled."""
    built = []
    for source, target in OBJECTS.items():
        out = ROOT / target
        if not force and out.exists() and out.stat().st_mtime >= newest_source():
            continue
        compile_object(ROOT / source, out)
        built.append(out)
    return built


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, without the build backend
    pass
else:

    class BpfBuildHook(BuildHookInterface[Any]):
        """Hatchling's hook: objects first, then the files are collected."""

        def initialize(self, _version: str, _build_data: dict[str, Any]) -> None:
            build()


if __name__ == "__main__":
    for path in build(force="--force" in sys.argv[1:]):
        print(f"built {path.relative_to(ROOT)}")
