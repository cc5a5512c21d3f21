"""Captures: frames seen at a device, collected by a thread, for assertions and pcap files.

A packet socket does not see what XDP redirects; what crosses the access node's trunk is therefore copied by the access
node itself (`access_node.Trunk`). Both are `Collected`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

from wayleave.lab.closing import Closing
from wayleave.lab.namespace import Namespace
from wayleave.lab.packet import VLAN, Frame

Predicate = Callable[[Frame], object]

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_AUXDATA, _PACKET_STATISTICS, _PACKET_OUTGOING = 263, 8, 6, 4
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_STATUS_VLAN_VALID, _STATUS_VLAN_TPID_VALID = 0x10, 0x40
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("=qq")


class Collected:
    """Frames in the order they were seen. One thread adds, any may look and wait."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._frames: list[Frame] = []
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.where}: {len(self._frames)} frames)"

    def add(self, frame: Frame) -> None:
        """Take a frame in and wake who waits."""
        with self._changed:
            self._frames.append(frame)
            self._changed.notify_all()

    @property
    def frames(self) -> list[Frame]:
        """All so far."""
        with self._changed:
            return list(self._frames)

    def matching(self, predicate: Predicate) -> list[Frame]:
        """All so far that `predicate` is true of."""
        return [frame for frame in self.frames if predicate(frame)]

    def clear(self) -> None:
        """Forget what was collected."""
        with self._changed:
            self._frames.clear()

    def wait_for(self, predicate: Predicate, timeout: float = 5.0, count: int = 1, what: str = "frame") -> list[Frame]:
        """Wait until `count` frames match, those already collected included; returns the matching ones.

        Raises: TimeoutError that lists the last frames seen.
        """
        end = time.monotonic() + timeout
        found: list[Frame] = []
        looked = 0
        with self._changed:
            while True:
                found += [frame for frame in self._frames[looked:] if predicate(frame)]
                looked = len(self._frames)
                if len(found) >= count:
                    return found
                if not self._changed.wait(max(0.0, end - time.monotonic())):
                    break
            seen = "\n".join(f"  {frame}" for frame in self._frames[-12:])
        raise TimeoutError(
            f"after {timeout:g} s {len(found)} of {count} {what} at {self.where};"
            f" {looked} frames were seen, the last:\n{seen}"
        )

    def write_pcap(self, path: Path) -> int:
        """Write all frames for tcpdump or wireshark, with ns time; returns how many."""
        frames = self.frames
        with path.open("wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1))
            for frame in frames:
                size = len(frame.data)
                out.write(struct.pack("<IIII", *divmod(frame.at, 1_000_000_000), size, size))
                out.write(frame.data)
        return len(frames)


class Capture(Collected, Closing):
    """What a packet socket sees at a device of a namespace, both ways, tags in band. Close it, or use `with`."""

    def __init__(self, namespace: Namespace, device: str) -> None:
        super().__init__(f"{namespace.name}/{device}")
        self._socket = namespace.call(lambda: packet_socket(device))
        self._lost = 0
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._collect, name=f"capture-{self.where}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Frames that the socket's buffer had no room for."""
        with contextlib.suppress(OSError):
            _, dropped = struct.unpack("=II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            self._lost += dropped
        return self._lost

    def close(self) -> None:
        """Stop; what was collected stays."""
        if self._thread.is_alive():
            os.write(self._woken, b"x")
            self._thread.join()
            _ = self.lost
            self._socket.close()
            os.close(self._wake)
            os.close(self._woken)

    def _collect(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._socket.fileno() in ready:
                with contextlib.suppress(BlockingIOError, OSError):
                    while True:
                        self.add(receive(self._socket))
            if self._wake in ready:
                return


def packet_socket(device: str, receive: bool = True) -> socket.socket:
    """Open an AF_PACKET socket at `device` of the calling thread's namespace, non-blocking."""
    # Protocol 0 receives nothing: bound to the device first, so that no frame of another comes in between.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            sock.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        sock.bind((device, _ETH_P_ALL if receive else 0))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def receive(sock: socket.socket) -> Frame:
    """Read the next frame of a `packet_socket`, its outer tag put back. Raises: BlockingIOError if there is none."""
    data, ancillary, _, address = sock.recvmsg(65536, 256)
    at = 0
    for level, kind, value in ancillary:
        if level == _SOL_PACKET and kind == _PACKET_AUXDATA:
            status, _, _, _, _, tci, tpid = _AUXDATA.unpack_from(value)
            if status & _STATUS_VLAN_VALID:  # the kernel took the outer tag out of the frame
                tpid = tpid if status & _STATUS_VLAN_TPID_VALID else VLAN
                data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        elif level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack_from(value)
            at = seconds * 1_000_000_000 + nanoseconds
    return Frame(data, at, outgoing=address[2] == _PACKET_OUTGOING)
