"""Every decoder under the fuzzer for a while; and the fuzzer finds what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROFILE

TARGETS = (
    *("frame", "message", "relay", "options", "radius", "values", "access", "pcapng", "nexus", "events"),
    *("discovery", "pppoe-session", "lcp", "auth", "ppp"),
)
SECONDS = {"test": 4, "soak": 3600}[PROFILE]


def fuzz(words: list[str], seconds: int, found: Path) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer; what it finds goes to a folder of its own."""
    options = ["--corpus", str(found), f"-max_total_time={seconds}", "-max_len=1500", f"-artifact_prefix={found}/"]
    command = [sys.executable, *words, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 120)


@pytest.mark.parametrize("target", TARGETS)
def test_no_octets_break_a_decoder(target: str, tmp_path: Path) -> None:
    done = fuzz(["-m", "tests.fuzz", target], SECONDS, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    ran = re.search(r"Done (\d+) runs", done.stderr)
    assert ran is not None
    print(f"{target}: {ran[1]} runs in {SECONDS}s")
    assert int(ran[1]) > 1000


def test_the_fuzzer_finds_a_decoder_that_breaks(tmp_path: Path) -> None:
    """A decoder that believes a length octet, as decoders do that crash."""
    broken = (
        "import sys; from tests.fuzz import __main__ as fuzz\n"
        "def believes(data):\n"
        "    if len(data) > 2 and data[0] == 82: data[data[1]]\n"
        "fuzz.TARGETS['relay'] = believes; fuzz.main(['relay', *sys.argv[1:]])"
    )
    done = fuzz(["-c", broken], 60, tmp_path)
    assert done.returncode != 0
    assert "IndexError" in done.stdout + done.stderr
