"""Packets from BPF: test runs that write every packet anew, and live frames that really go out of a device."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from wayleave.dataplane import objects, syscall
from wayleave.dataplane.maps import Array, PerCpu

PROGRAM = Path(__file__).with_name("traffic.bpf.o")
PLAIN, TAGGED, PPPOE = 60, 68, 76
"""Octets of a frame, without and with two tags, and in PPPoE behind these."""

BATCH = 64
"""Live frames at a time: what one NAPI poll takes, so that no ring between two veths overflows."""

_PLAN = struct.Struct("=QI4x")
_MESSAGE = struct.Struct("=III4x512s")
_LIVE_FRAMES = 2
_LIBC = ctypes.CDLL(None, use_errno=True)
_SYSCALL_BPF = 321 if os.uname().machine == "x86_64" else 280
_TEST_RUN = struct.Struct("<IIIIQQIIIIQQIII")


@dataclass(frozen=True, slots=True)
class Live:
    """A burst of live frames: how many were sent, in how many seconds by the wall clock."""

    sent: int
    seconds: float


class Traffic:
    """The generator's object. One run at a time: its state is shared."""

    def __init__(self) -> None:
        self._object = objects.load(PROGRAM)
        self.programs = self._object.programs
        self._plan = Array(self._object.maps["plan"])
        self._arrived = PerCpu(self._object.maps["arrived"])
        self._message = Array(self._object.maps["message"])
        self._length = 0

    def close(self) -> None:
        """Let go of it."""
        self._object.close()

    def subscribers(self, count: int) -> None:
        """Have the packets cycle at random over subscribers 0 … count - 1; the same order every time."""
        self._plan.put(0, _PLAN.pack(0x5DEECE66D, count))

    def message(self, frame: bytes, ip_sum: int, udp_sum: int) -> None:
        """Have `dhcp_*` write this frame in two tags; the sums are those of all that is not a subscriber's own."""
        self._length = len(frame)
        self._message.put(0, _MESSAGE.pack(len(frame), udp_sum, ip_sum, frame))

    def put_under_test(self, program: int) -> None:
        """Have `*_repeat` call this program's descriptor."""
        syscall.update(self._object.maps["under_test"].fd, bytes(4), program.to_bytes(4, "little"))

    def redirect_to(self, ifindex: int) -> None:
        """Have `bare_redirect` send to this device, of the calling thread's namespace."""
        syscall.update(self._object.maps["other_port"].fd, bytes(4), ifindex.to_bytes(4, "little"))

    def arrived(self) -> int:
        """Frames that reached `sink` since the object was loaded."""
        return self._arrived.totals()[0]

    def repeat(self, program: str, ifindex: int, count: int) -> int:
        """Run a `*_repeat` program `count` times as if its frames came in at `ifindex`; returns the mean ns a run."""
        return syscall.run(self.programs[program], bytes(self._size(program)), ifindex, count).duration_ns

    def _size(self, program: str) -> int:
        """Octets of the frames of a program."""
        if program.startswith("dhcp"):
            return self._length
        if program.startswith("up_pppoe"):
            return PPPOE
        return TAGGED if program in ("up_live", "up_repeat", "down_repeat") else PLAIN

    def live(self, program: str, ifindex: int, count: int) -> Live:
        """Send `count` frames of a `*_live` program out of a device of the calling thread's namespace.

        What the frames set off runs in softirqs of this thread's CPU, before this returns or soon after.
        Raises: OSError. Source: net/bpf/test_run.c, kernel 5.18.
        """
        frame = ctypes.create_string_buffer(self._size(program))
        context = ctypes.create_string_buffer(struct.pack("<IIIIII", 0, len(frame), 0, ifindex, 0, 0), 24)
        attr = ctypes.create_string_buffer(128)
        _TEST_RUN.pack_into(
            attr, 0, self.programs[program], 0, len(frame), 0, ctypes.addressof(frame), 0, count, 0, 24, 0,
            ctypes.addressof(context), 0, _LIVE_FRAMES, 0, BATCH,
        )  # fmt: skip
        began = time.monotonic()
        if _LIBC.syscall(_SYSCALL_BPF, int(syscall.Command.PROG_TEST_RUN), attr, len(attr)) < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"live frames of {program}: {os.strerror(error)}")
        return Live(count, time.monotonic() - began)
