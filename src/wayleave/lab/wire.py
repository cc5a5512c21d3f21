"""One end of a cable at full rate: frames go out in batches, and come in through a ring shared with the kernel.

Tags are in band both ways. The kernel hands a packet socket each frame without its outer tag and tells that beside the
frame (measured: of two tags the inner one stays in place, whoever sent it, XDP or a socket); here it is put back.
A veth delivers what XDP sends into it only if it runs NAPI, so a program has to be attached to the device.

Source: Documentation/networking/packet_mmap.rst, TPACKET_V2.
"""

from __future__ import annotations

import mmap
import select
import socket
import struct
import time
from collections.abc import Iterator

from wayleave.io.frames import BATCH, Port
from wayleave.lab.closing import Closing
from wayleave.lab.packet import VLAN

SLOTS = 1 << 14
"""Frames that a ring holds while nobody reads, 2 kB each. A multiple of 32."""

_SLOT = 2048
_BLOCK = 1 << 16
_SOL_PACKET, _RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 263, 5, 6, 10, 23
_TPACKET_V2 = 1
_ETH_P_ALL = 0x0003
_USER, _VLAN_VALID, _VLAN_TPID_VALID = 1, 0x10, 0x40
_HEADER = struct.Struct("=IIIHHIIHH")  # status, length, snapped, mac, net, seconds, nanoseconds, TCI, TPID
_STATUS, _TAG = struct.Struct("=I"), struct.Struct("!HH")
_MACS = 12


class Wire(Closing):
    """Both directions of a device. Open it on a thread inside the device's namespace; close it, or use `with`."""

    def __init__(self, device: str, slots: int = SLOTS) -> None:
        """Raises: OSError if there is no such device, or without CAP_NET_RAW."""
        self._out = Port(device)
        self._in = _ring_socket(device, slots)
        self._ring = mmap.mmap(self._in.fileno(), slots * _SLOT)
        self._slots = slots
        self._next = 0
        self._lost = 0
        self._poll = select.poll()
        self._poll.register(self._in, select.POLLIN)
        self.refused = 0
        """Frames that the kernel did not take."""

    def send(self, frame: bytes) -> None:
        """Put a frame, tags and all, into the batch; a full batch goes out by itself."""
        self._out.add(frame)
        if self._out.waiting == BATCH:
            self.flush()

    def flush(self) -> None:
        """Send the batch."""
        waiting = self._out.waiting
        self.refused += waiting - self._out.flush()

    def received(self, most: int) -> Iterator[tuple[int, bytes]]:
        """What has come in and was not taken yet, at most so many: when, on the monotonic clock in ns, and the frame.

        The kernel says when, as the frame arrives, so the reader's own backlog is no part of what is measured.
        """
        ring = self._ring
        offset = time.monotonic_ns() - time.time_ns()
        for _ in range(most):
            start = self._next * _SLOT
            status, _, size, mac, _, seconds, ns, tci, tpid = _HEADER.unpack_from(ring, start)
            if not status & _USER:
                return
            data = ring[start + mac : start + mac + size]
            if status & _VLAN_VALID:
                tag = _TAG.pack(tpid if status & _VLAN_TPID_VALID else VLAN, tci)
                data = data[:_MACS] + tag + data[_MACS:]
            _STATUS.pack_into(ring, start, 0)
            self._next = (self._next + 1) % self._slots
            yield seconds * 1_000_000_000 + ns + offset, data

    def wait(self, seconds: float) -> None:
        """Return when a frame comes in, or after `seconds`."""
        self._poll.poll(max(0.0, seconds * 1000))

    @property
    def half_full(self) -> bool:
        """Whether more than half of the ring waits to be read."""
        middle = (self._next + self._slots // 2) % self._slots
        (status,) = _STATUS.unpack_from(self._ring, middle * _SLOT)
        return bool(status & _USER)

    @property
    def lost(self) -> int:
        """Frames that found the ring full."""
        _, dropped = struct.unpack("=II", self._in.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self._lost += dropped
        return self._lost

    def close(self) -> None:
        """Let go of sockets and ring."""
        self._ring.close()
        self._in.close()
        self._out.close()


def _ring_socket(device: str, slots: int) -> socket.socket:
    # Protocol 0 receives nothing: the ring first, then the device, so that no frame of another comes in between.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        sock.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V2)
        sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        request = struct.pack("=IIII", _BLOCK, slots * _SLOT // _BLOCK, _SLOT, slots)
        sock.setsockopt(_SOL_PACKET, _RX_RING, request)
        sock.bind((device, _ETH_P_ALL))
    except BaseException:
        sock.close()
        raise
    return sock
