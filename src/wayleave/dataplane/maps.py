"""The BPF maps as Python uses them: hashes and arrays of packed values, read and written in batches."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterator, Sequence
from functools import cached_property

from wayleave.dataplane import abi, syscall
from wayleave.dataplane.objects import Map


class TableFull(Exception):
    """No room for another entry; `map_name` says where. Raise `gateway.sessions` in the configuration."""

    def __init__(self, map_name: str) -> None:
        super().__init__(f"the table {map_name} is full: raise gateway.sessions")
        self.map_name = map_name


class Hash:
    """A hash map of bytes to bytes."""

    def __init__(self, map_: Map) -> None:
        self.map = map_

    def put(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Put all entries, new and old keys alike. Raises: TableFull."""
        if not entries:
            return
        keys, values = b"".join(key for key, _ in entries), b"".join(value for _, value in entries)
        try:
            syscall.update_batch(self.map.fd, keys, values, len(entries))
        except OSError as error:
            if error.errno in (errno.E2BIG, errno.ENOMEM):
                raise TableFull(self.map.name) from error
            raise

    def remove(self, keys: Sequence[bytes]) -> int:
        """Remove the keys; returns how many were there."""
        if not keys:
            return 0
        return syscall.delete_batch(self.map.fd, b"".join(keys), len(keys), self.map.key_size)

    def get(self, key: bytes) -> bytes | None:
        return syscall.lookup(self.map.fd, key, self.map.value_size)

    def items(self) -> dict[bytes, bytes]:
        """Read everything."""
        key_size, value_size = self.map.key_size, self.map.value_size
        keys, values = syscall.lookup_batch(self.map.fd, key_size, value_size, self.map.max_entries)
        count = len(keys) // key_size
        return {
            keys[i * key_size : (i + 1) * key_size]: values[i * value_size : (i + 1) * value_size] for i in range(count)
        }


class Array:
    """An array map, memory-mapped where it was made so (BPF_F_MMAPABLE), else by system calls."""

    def __init__(self, map_: Map) -> None:
        self.map = map_
        self.stride = (map_.value_size + 7) & ~7

    @cached_property
    def view(self) -> memoryview:
        """All values, `stride` octets each; writes are seen by the program at once."""
        size = -(-self.stride * self.map.max_entries // mmap.PAGESIZE) * mmap.PAGESIZE
        return memoryview(mmap.mmap(self.map.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))

    def put(self, index: int, value: bytes) -> None:
        syscall.update(self.map.fd, index.to_bytes(4, "little"), value)


class Ports:
    """The map `ports`: a device in the slot of its ifindex, or in one of the few behind it."""

    def __init__(self, map_: Map) -> None:
        self.map = map_

    def _slots(self, ifindex: int) -> list[int]:
        return [(ifindex + probe) % abi.PORT_SLOTS for probe in range(abi.PORT_PROBES)]

    def _at(self, slot: int) -> abi.Port:
        return abi.Port.unpack(syscall.lookup(self.map.fd, slot.to_bytes(4, "little"), abi.Port.SIZE) or b"")

    def put(self, port: abi.Port) -> None:
        """Put a port in, or in the place of the one on the same device. Raises: TableFull."""
        slots = self._slots(port.ifindex)
        taken = {slot: self._at(slot).ifindex for slot in slots}
        mine = [slot for slot in slots if taken[slot] == port.ifindex]
        free = [slot for slot in slots if not taken[slot]]
        if not mine + free:
            raise TableFull("ports")
        syscall.update(self.map.fd, (mine + free)[0].to_bytes(4, "little"), port.pack())

    def _occupied(self) -> Iterator[tuple[int, abi.Port]]:
        """Every slot that a port stands in, read in one go."""
        _, rows = syscall.lookup_batch(self.map.fd, 4, abi.Port.SIZE, abi.PORT_SLOTS)
        for slot in range(abi.PORT_SLOTS):
            port = abi.Port.unpack(rows, slot * abi.Port.SIZE)
            if port.ifindex:
                yield slot, port

    def numbers(self) -> set[int]:
        """The numbers of all ports that are in."""
        return {port.number for _, port in self._occupied()}

    def remove(self, number: int, but: int = 0) -> None:
        """Take the port of this number away from every device except the one with ifindex `but`."""
        for slot, port in self._occupied():
            if port.number == number and port.ifindex != but:
                syscall.update(self.map.fd, slot.to_bytes(4, "little"), bytes(abi.Port.SIZE))


class PerCpu:
    """A per-CPU array of 64-bit counters."""

    def __init__(self, map_: Map) -> None:
        self.map = map_
        self.cpus = possible_cpus()

    def totals(self) -> list[int]:
        """Each counter, summed over the CPUs."""
        size = 8 * self.cpus
        _, values = syscall.lookup_batch(self.map.fd, 4, size, self.map.max_entries)
        words = memoryview(values).cast("Q")
        return [sum(words[i * self.cpus : (i + 1) * self.cpus]) for i in range(self.map.max_entries)]


def possible_cpus() -> int:
    """How many values a per-CPU map keeps (/sys/devices/system/cpu/possible)."""
    with open("/sys/devices/system/cpu/possible") as text:
        return int(text.read().strip().replace("-", ",").split(",")[-1]) + 1
