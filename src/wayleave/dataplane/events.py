"""The punt ring: the only way a packet comes up to Python.

A BPF ring buffer, memory-mapped: the consumer's position in the first page, the producer's in the second, then the
data, mapped twice over so that a record never wraps. Source: Documentation/bpf/ringbuf.rst, kernel 6.1. Reading relies
on x86's ordering of loads; arm64 would need an acquire.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

from wayleave.dataplane.abi import Punt
from wayleave.dataplane.objects import Map

_BUSY, _DISCARD = 1 << 31, 1 << 30
_LENGTH = struct.Struct("<I4x")


class Ring:
    """Reads records in batches. `fileno` polls readable when there is something."""

    def __init__(self, map_: Map) -> None:
        page = mmap.PAGESIZE
        self._fd = map_.fd
        self._size = map_.max_entries
        self._consumer_page = mmap.mmap(map_.fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer_page = mmap.mmap(map_.fd, page + 2 * self._size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumer = memoryview(self._consumer_page).cast("Q")
        self._producer = memoryview(self._producer_page)[:8].cast("Q")
        self._data = memoryview(self._producer_page)[page:]

    def fileno(self) -> int:
        return self._fd

    @property
    def consumed(self) -> int:
        """Position up to which records were taken, in octets since the ring was made."""
        return self._consumer[0]

    @property
    def produced(self) -> int:
        """Position up to which records were put in."""
        return self._producer[0]

    @property
    def size(self) -> int:
        """Octets that it holds at most."""
        return self._size

    @property
    def waiting(self) -> int:
        """Octets that lie in the ring."""
        return self.produced - self.consumed

    def records(self, limit: int = -1) -> Iterator[memoryview]:
        """Yield up to `limit` records (-1: all that lie there); each is freed when the next is asked for, so ask on."""
        position, data, mask = self._consumer[0], self._data, self._size - 1
        while limit and position < self._producer[0]:
            start = position & mask
            (length,) = _LENGTH.unpack_from(data, start)
            if length & _BUSY:
                return
            size = length & ~_DISCARD
            if size == length:
                yield data[start + 8 : start + 8 + size]
                limit -= 1
            position += 8 + (size + 7 & ~7)
            self._consumer[0] = position

    def read(self, limit: int) -> Iterator[tuple[Punt, bytes]]:
        """Yield up to `limit` punted frames."""
        for record in self.records(limit):
            punt = Punt.unpack(record)
            yield punt, bytes(record[Punt.SIZE : Punt.SIZE + punt.length])
