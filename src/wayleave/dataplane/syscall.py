"""bpf(2), as far as the data plane needs it. Debian's libbpf 1.1 opens and loads; the rest is here.

Every call takes and returns plain bytes and integers. Failures raise OSError with the kernel's errno and what was
being done. Layouts of `union bpf_attr`: include/uapi/linux/bpf.h, kernel 6.1.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYSCALL_BPF = 321 if os.uname().machine == "x86_64" else 280
_ATTR_SIZE = 128

XDP_GENERIC, XDP_NATIVE = 1 << 1, 1 << 2
"""How to attach: XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE (if_link.h)."""


class Command(IntEnum):
    """enum bpf_cmd."""

    MAP_LOOKUP = 1
    MAP_UPDATE = 2
    MAP_DELETE = 3
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    OBJ_GET_INFO = 15
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31


_ATTACH_XDP = 37
LINK_XDP = 6
"""BPF_LINK_TYPE_XDP."""


def _call(command: Command, attr: ctypes.Array[ctypes.c_char], what: str) -> int:
    result: int = _LIBC.syscall(_SYSCALL_BPF, int(command), attr, _ATTR_SIZE)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf({command.name}) {what}: {os.strerror(error)}")
    return result


def _attr(layout: str, *values: int) -> ctypes.Array[ctypes.c_char]:
    buffer = ctypes.create_string_buffer(_ATTR_SIZE)
    struct.pack_into(layout, buffer, 0, *values)
    return buffer


def _address(buffer: ctypes.Array[ctypes.c_char] | None) -> int:
    return ctypes.addressof(buffer) if buffer is not None else 0


def _octets(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, max(len(data), 1))


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """Return the value under `key`, or None."""
    key_, value = _octets(key), ctypes.create_string_buffer(value_size)
    try:
        _call(Command.MAP_LOOKUP, _attr("<IxxxxQQQ", fd, _address(key_), _address(value), 0), "")
    except FileNotFoundError:
        return None
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Put `value` under `key`, whether or not one is there."""
    key_, value_ = _octets(key), _octets(value)
    _call(Command.MAP_UPDATE, _attr("<IxxxxQQQ", fd, _address(key_), _address(value_), 0), "")


def delete(fd: int, key: bytes) -> bool:
    """Remove `key`; False if it was not there."""
    key_ = _octets(key)
    try:
        _call(Command.MAP_DELETE, _attr("<IxxxxQQQ", fd, _address(key_), 0, 0), "")
    except FileNotFoundError:
        return False
    return True


_BATCH = "<QQQQIIQQ"
_BATCH_COUNT_OFFSET = 32


def update_batch(fd: int, keys: bytes, values: bytes, count: int) -> None:
    """Put `count` pairs; keys and values lie one after the other."""
    keys_, values_ = _octets(keys), _octets(values)
    _call(
        Command.MAP_UPDATE_BATCH,
        _attr(_BATCH, 0, 0, _address(keys_), _address(values_), count, fd, 0, 0),
        f"of {count} entries",
    )


def delete_batch(fd: int, keys: bytes, count: int, key_size: int) -> int:
    """Remove `count` keys; returns how many were there."""
    keys_ = _octets(keys)
    done = removed = 0
    while done < count:
        attr = _attr(_BATCH, 0, 0, _address(keys_) + done * key_size, 0, count - done, fd, 0, 0)
        try:
            _call(Command.MAP_DELETE_BATCH, attr, f"of {count - done} entries")
        except FileNotFoundError:
            (passed,) = struct.unpack_from("<I", attr, _BATCH_COUNT_OFFSET)
            removed += passed
            done += passed + 1  # the key that was not there
            continue
        removed += count - done
        break
    return removed


def lookup_batch(fd: int, key_size: int, value_size: int, count: int) -> tuple[bytes, bytes]:
    """Return all keys and all values of a map, each run together.

    `count` is how many the map can hold. An entry that is removed meanwhile may be missed; one that stays is
    returned at least once.
    """
    chunk = min(count, 65536)
    keys, values = (
        ctypes.create_string_buffer(chunk * key_size),
        ctypes.create_string_buffer(chunk * value_size),
    )
    cursor = ctypes.create_string_buffer(max(4, key_size))
    all_keys, all_values = bytearray(), bytearray()
    first = True
    while True:
        at = _address(cursor)
        attr = _attr(_BATCH, 0 if first else at, at, _address(keys), _address(values), chunk, fd, 0, 0)
        ended = False
        try:
            _call(Command.MAP_LOOKUP_BATCH, attr, "")
        except FileNotFoundError:
            ended = True
        (got,) = struct.unpack_from("<I", attr, _BATCH_COUNT_OFFSET)
        all_keys += memoryview(keys)[: got * key_size]
        all_values += memoryview(values)[: got * value_size]
        if ended:
            return bytes(all_keys), bytes(all_values)
        first = False


def pin(fd: int, path: str) -> None:
    """Keep what `fd` is alive under `path` on a bpffs."""
    name = _octets(path.encode() + b"\0")
    _call(Command.OBJ_PIN, _attr("<QII", _address(name), fd, 0), path)


def get_pinned(path: str) -> int:
    """Return a new descriptor of what is pinned at `path`."""
    name = _octets(path.encode() + b"\0")
    return _call(Command.OBJ_GET, _attr("<QII", _address(name), 0, 0), path)


def link_xdp(program: int, ifindex: int, mode: int) -> int:
    """Attach `program` to a device through a link; returns the link's descriptor."""
    return _call(Command.LINK_CREATE, _attr("<IIII", program, ifindex, _ATTACH_XDP, mode), f"XDP to ifindex {ifindex}")


def link_update(link: int, program: int) -> None:
    """Put `program` in the place of the link's, without a packet in between."""
    _call(Command.LINK_UPDATE, _attr("<IIII", link, program, 0, 0), "")


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel tells of a link. `program` is an id; `ifindex` is an XDP link's device, 0 if that was deleted."""

    type: int
    program: int
    ifindex: int


def link_info(link: int) -> LinkInfo:
    """Return what a link is."""
    info = ctypes.create_string_buffer(64)
    _call(Command.OBJ_GET_INFO, _attr("<IIQ", link, len(info), _address(info)), "link")
    return LinkInfo(*struct.unpack_from("<I4xI4xI", info))


def link_ids() -> Iterator[int]:
    """Yield the id of every link of the machine. Raises: PermissionError without CAP_SYS_ADMIN."""
    last = 0
    while True:
        attr = _attr("<II", last, 0)
        try:
            _call(Command.LINK_GET_NEXT_ID, attr, "")
        except FileNotFoundError:
            return
        _, last = struct.unpack_from("<II", attr)
        yield last


def link_by_id(number: int) -> int:
    """Return a new descriptor of a link. Raises: FileNotFoundError, PermissionError."""
    return _call(Command.LINK_GET_FD_BY_ID, _attr("<I", number), f"id {number}")


@dataclass(slots=True)
class Run:
    """What BPF_PROG_TEST_RUN said: the program's verdict, the packet after it, mean ns a run."""

    verdict: int
    packet: bytes
    duration_ns: int


def run(program: int, packet: bytes, ingress_ifindex: int, repeat: int = 1) -> Run:
    """Run an XDP program once (or `repeat` times) over `packet` as if it came in at `ingress_ifindex`.

    The device must exist in the caller's network namespace. Redirects are not carried out. The packet is not restored
    between repeats. Source: net/bpf/test_run.c, kernel 5.15.
    """
    data, out = _octets(packet), ctypes.create_string_buffer(4096 + 512)
    context = ctypes.create_string_buffer(struct.pack("<IIIIII", 0, len(packet), 0, ingress_ifindex, 0, 0), 24)
    attr = ctypes.create_string_buffer(_ATTR_SIZE)
    layout = "<IIIIQQIIIIQQIII"
    struct.pack_into(
        layout, attr, 0, program, 0, len(packet), len(out), _address(data), _address(out), repeat, 0, 24, 0,
        _address(context), 0, 0, 0, 0,
    )  # fmt: skip
    _call(Command.PROG_TEST_RUN, attr, f"over {len(packet)} octets")
    _, verdict, _, size, _, _, _, duration, *_ = struct.unpack_from(layout, attr)
    return Run(verdict, out.raw[:size], duration)
