"""What the process may do: it gives up what only its start needed.

Capabilities are the thread's own; threads that it starts later inherit what is left. Source: capabilities(7), capset(2)
version 3 (Linux 2.6.26), prctl(2) PR_SET_NO_NEW_PRIVS (Linux 3.5).
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Iterable
from pathlib import Path

CAPABILITIES = {
    "cap_dac_override": 1, "cap_net_admin": 12, "cap_net_raw": 13, "cap_sys_admin": 21, "cap_perfmon": 38,
    "cap_bpf": 39,
}  # fmt: skip

STARTING = ("cap_net_admin", "cap_net_raw", "cap_sys_admin", "cap_perfmon", "cap_bpf")
"""Devices and routes, frames out, a bpffs to mount, BPF programs to load."""

SERVING = ("cap_net_admin", "cap_net_raw")
"""A device that was made anew is set up, gets its program, and a socket to send by. Maps and rings need no more
than their descriptors."""

_VERSION_3, _PR_SET_NO_NEW_PRIVS = 0x20080522, 38
_LIBC = ctypes.CDLL(None, use_errno=True)


def held(thread: Path = Path("/proc/thread-self")) -> set[int]:
    """Return the numbers of the capabilities that a thread can use."""
    (line,) = (line for line in (thread / "status").read_text().splitlines() if line.startswith("CapEff:"))
    mask = int(line.split()[1], 16)
    return {bit for bit in range(64) if mask >> bit & 1}


def missing() -> list[str]:
    """Return which of `STARTING` this process lacks."""
    have = held()
    return [name for name in STARTING if CAPABILITIES[name] not in have]


def keep_only(names: Iterable[str]) -> None:
    """Give up for good what is not among `names`; what this thread does not have, it does not get.

    To be called while there is one thread: others would keep what they have. Raises: OSError, RuntimeError.
    """
    if threading.active_count() != 1:
        raise RuntimeError("other threads would keep what they have")
    mask = sum(1 << bit for bit in held() & {CAPABILITIES[name] for name in names})
    low, high = mask & 0xFFFFFFFF, mask >> 32
    head, data = struct.pack("=Ii", _VERSION_3, 0), struct.pack("=6I", low, low, 0, high, high, 0)
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or _LIBC.capset(head, data):
        error = ctypes.get_errno()
        raise OSError(error, f"capset: {os.strerror(error)}")
