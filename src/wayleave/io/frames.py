"""Frames out: one AF_PACKET socket a port, a batch a system call. What it sends does not pass the port's XDP program.

`send` only copies into the port's batch; `flush` hands all batches over. One call a batch keeps the interpreter's lock
from changing hands at every frame.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct

BATCH = 256
"""Frames a call, at most."""

_SLOT = 2048
_IOVEC = struct.Struct("@PN")
_MSGHDR = struct.Struct("@PIPNPNiIxxxx")  # struct mmsghdr: msghdr, then the octets sent
_LIBC = ctypes.CDLL(None, use_errno=True)
_FULL = (errno.EAGAIN, errno.ENOBUFS)
"""Why the kernel takes no more, whatever comes next."""


class Port:
    """A socket bound to a device, and the frames that wait for the next flush."""

    def __init__(self, device: str) -> None:
        """Raises: OSError if there is no such device, or without CAP_NET_RAW."""
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._socket.bind((device, 0))
        self._frames = bytearray(BATCH * _SLOT)
        self._vectors = bytearray(BATCH * _IOVEC.size)
        self._headers = bytearray(BATCH * _MSGHDR.size)
        frames, vectors, self._address = (_address(item) for item in (self._frames, self._vectors, self._headers))
        self._starts = [frames + index * _SLOT for index in range(BATCH)]
        for index in range(BATCH):
            vector = vectors + index * _IOVEC.size
            _MSGHDR.pack_into(self._headers, index * _MSGHDR.size, 0, 0, vector, 1, 0, 0, 0, 0)
        self.waiting = 0

    def add(self, frame: bytes) -> None:
        """Copy a frame of at most 2,048 octets into the batch; there must be room."""
        index = self.waiting
        start = index * _SLOT
        self._frames[start : start + len(frame)] = frame
        _IOVEC.pack_into(self._vectors, index * _IOVEC.size, self._starts[index], len(frame))
        self.waiting = index + 1

    def flush(self) -> int:
        """Send the batch; returns how many frames the kernel took. One that it refuses costs no other its way."""
        count, self.waiting = self.waiting, 0
        at = taken = 0
        while at < count:
            done = _LIBC.sendmmsg(
                self._socket.fileno(), ctypes.c_void_p(self._address + at * _MSGHDR.size), count - at, 0
            )
            if done <= 0 and ctypes.get_errno() in _FULL:
                break
            taken += max(done, 0)
            at += max(done, 1)
        return taken

    def close(self) -> None:
        self._socket.close()


def _address(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Transmitter:
    """Sends whole Ethernet frames. Errors are counted, never raised: a client asks again."""

    def __init__(self) -> None:
        self._ports: dict[int, Port] = {}
        self.sent = 0
        self.failed = 0

    def open(self, port: int, device: str) -> None:
        """Bind `port` to a device, again if that was made anew. Raises: OSError."""
        self.close(port)
        self._ports[port] = Port(device)

    def close(self, port: int) -> None:
        link = self._ports.pop(port, None)
        if link is not None:
            link.close()

    def send(self, port: int, frame: bytes) -> None:
        """Have a frame sent with the next flush."""
        link = self._ports.get(port)
        if link is None or len(frame) > _SLOT:
            self.failed += 1
            return
        link.add(frame)
        if link.waiting == BATCH:
            self._flush(link)

    def flush(self) -> None:
        """Send what waits on every port."""
        for link in self._ports.values():
            if link.waiting:
                self._flush(link)

    def _flush(self, link: Port) -> None:
        count = link.waiting
        taken = link.flush()
        self.sent += taken
        self.failed += count - taken
