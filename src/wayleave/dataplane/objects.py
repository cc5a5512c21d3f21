"""Open, load, pin and attach BPF objects: libbpf does ELF, BTF and CO-RE; links and pins are bpf(2).

A pinned map outlives the process. Loading again with the same pin folder takes up the pinned maps, so that a new
program works on the tables of the old one; `attach` then swaps the program under the pinned link without a packet in
between.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wayleave.dataplane import syscall

BPFFS = Path("/sys/fs/bpf")
PROGRAM = Path(__file__).with_name("bng.bpf.o")


class LoadError(Exception):
    """The object cannot be loaded or attached; the text says why and what to do."""


class Occupied(LoadError):
    """Another program is on the device."""


_OCCUPIED = (errno.EBUSY, errno.EEXIST)


@dataclass(frozen=True, slots=True)
class Map:
    """A loaded map: its descriptor and shape. `value_size` is one CPU's for per-CPU maps."""

    name: str
    fd: int
    type: int
    key_size: int
    value_size: int
    max_entries: int


@dataclass(slots=True)
class Object:
    """A loaded object: its maps by name and its programs' descriptors by name."""

    maps: dict[str, Map]
    programs: dict[str, int]
    _close: Callable[[], None] = field(repr=False)

    def close(self) -> None:
        """Let go of this process's descriptors; what is pinned or attached stays."""
        self._close()


_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_said: list[str] = []
_LIBC = ctypes.CDLL(None)


def _libbpf() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise LoadError("libbpf.so.1 is missing: apt install libbpf1") from error
    for name in (
        "bpf_object__open_file",
        "bpf_object__next_map",
        "bpf_object__next_program",
        "bpf_map__initial_value",
    ):
        getattr(lib, name).restype = ctypes.c_void_p
    for name in ("bpf_map__name", "bpf_program__name"):
        getattr(lib, name).restype = ctypes.c_char_p
    lib.libbpf_set_print(_print)
    return lib


def _collect(level: int, form: bytes, arguments: int) -> int:
    if level <= 1:  # warnings and info; debug is left out
        text = ctypes.c_char_p()
        if _LIBC.vasprintf(ctypes.byref(text), form, ctypes.c_void_p(arguments)) >= 0:
            _said.extend((text.value or b"").decode(errors="replace").splitlines())
            _LIBC.free(text)
    return 0


_print = _PRINT(_collect)


def _last_said(lines: int = 60) -> str:
    """The end of what libbpf said: the verifier's log is long, and its reason stands last."""
    return "\n".join(_said[-lines:])


def ensure_bpffs(root: Path = BPFFS) -> None:
    """Mount a bpffs at `root` unless one is there.

    Raises: LoadError if it cannot be mounted.
    """
    root.mkdir(parents=True, exist_ok=True)
    with open("/proc/self/mounts") as mounts:
        if any(line.split()[1:3] == [str(root), "bpf"] for line in mounts):
            return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", str(root).encode(), b"bpf", 0, b"mode=0700"):
        raise LoadError(
            f"no bpffs at {root}: {os.strerror(ctypes.get_errno())}; run as root, or mount -t bpf bpf {root}"
        )


def load(
    path: Path,
    sizes: Mapping[str, int] | None = None,
    settings: Mapping[str, bytes] | None = None,
    pins: Path | None = None,
) -> Object:
    """Load the object at `path`.

    `sizes` sets max_entries by map name; `settings` the whole value of read-only sections by name
    (`.rodata.settings`). With `pins`, every map is pinned in that folder, or taken from there if it is already.

    Raises: LoadError with what libbpf or the verifier said.
    """
    lib = _libbpf()
    _said.clear()
    if not path.exists():
        raise LoadError(f"{path} is not built: run `make build`")
    pointer = lib.bpf_object__open_file(str(path).encode(), None)
    if not pointer:
        raise LoadError(f"{path}: {os.strerror(ctypes.get_errno())}\n{_last_said()}")
    handle = ctypes.c_void_p(pointer)
    try:
        handles = dict(_each(lib, "map", handle))
        for name, count in (sizes or {}).items():
            _check(lib.bpf_map__set_max_entries(handles[name], ctypes.c_uint32(count)), f"size of {name}")
        for name, value in (settings or {}).items():
            section = next(handle_ for key, handle_ in handles.items() if key.endswith(name))
            _check(lib.bpf_map__set_initial_value(section, value, ctypes.c_size_t(len(value))), name)
        pinned = [name for name in handles if "." not in name] if pins is not None else []
        for name in pinned:
            _pin_or_reuse(lib, handles[name], pins / name if pins is not None else Path())
        if lib.bpf_object__load(handle):
            raise LoadError(f"{path.name} is refused: {os.strerror(ctypes.get_errno())}\n{_last_said()}")
    except BaseException:
        lib.bpf_object__close(handle)
        raise
    maps = {
        name: Map(
            name,
            lib.bpf_map__fd(map_),
            lib.bpf_map__type(map_),
            lib.bpf_map__key_size(map_),
            lib.bpf_map__value_size(map_),
            lib.bpf_map__max_entries(map_),
        )
        for name, map_ in handles.items()
    }
    programs = {name: lib.bpf_program__fd(program) for name, program in _each(lib, "program", handle)}
    return Object(maps, programs, lambda: lib.bpf_object__close(handle))


def _pin_or_reuse(lib: ctypes.CDLL, map_: ctypes.c_void_p, path: Path) -> None:
    """Have a map pinned when it is made, or take the one that is pinned already.

    libbpf's own reuse compares flags, and the kernel adds one to every devmap. The folder is named after the layout.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _check(lib.bpf_map__set_pin_path(map_, str(path).encode()), f"pin of {path.name}")
        return
    fd = syscall.get_pinned(str(path))
    try:
        _check(lib.bpf_map__reuse_fd(map_, fd), f"reuse of {path}")
    finally:
        os.close(fd)


def _check(result: int, what: str) -> None:
    if result:
        raise LoadError(f"{what}: {os.strerror(abs(result))}")


def _each(lib: ctypes.CDLL, kind: str, handle: ctypes.c_void_p) -> list[tuple[str, ctypes.c_void_p]]:
    step, name = getattr(lib, f"bpf_object__next_{kind}"), getattr(lib, f"bpf_{kind}__name")
    found: list[tuple[str, ctypes.c_void_p]] = []
    item = step(handle, None)
    while item:
        found.append((name(ctypes.c_void_p(item)).decode(), ctypes.c_void_p(item)))
        item = step(handle, ctypes.c_void_p(item))
    return found


@dataclass(slots=True)
class Attachment:
    """An XDP link; `reused` tells that it stood already and only its program was exchanged."""

    fd: int
    ifindex: int
    reused: bool


def attach(program: int, ifindex: int, mode: int, pinned: Path | None = None) -> Attachment:
    """Attach `program` to a device, or put it in the place of the one under the pinned link.

    A pin whose device was deleted still lists, with nothing attached: it is replaced.

    Raises: LoadError in words the operator can act on; Occupied.
    """
    if pinned is not None and pinned.exists():
        link = syscall.get_pinned(str(pinned))
        if syscall.link_info(link).ifindex == ifindex:
            syscall.link_update(link, program)
            return Attachment(link, ifindex, True)
        os.close(link)
        pinned.unlink()
    try:
        link = syscall.link_xdp(program, ifindex, mode)
    except OSError as error:
        raise (Occupied if error.errno in _OCCUPIED else LoadError)(_why_not(error, mode)) from error
    if pinned is not None:
        pinned.parent.mkdir(parents=True, exist_ok=True)
        syscall.pin(link, str(pinned))
    return Attachment(link, ifindex, False)


def _why_not(error: OSError, mode: int) -> str:
    match error.errno:
        case errno.EOPNOTSUPP if mode == syscall.XDP_NATIVE:
            return 'the driver has no native XDP: use another port, or ask for generic with `xdp = "generic"`'
        case errno.EINVAL | errno.ERANGE if mode == syscall.XDP_NATIVE:
            return (
                "the driver refuses native XDP as the device, or the far end of its cable, is set up: lower the MTU, "
                "or switch receive offloads off (`ethtool -K DEVICE lro off rx-gro-hw off`); `dmesg` may say which"
            )
        case errno.EBUSY | errno.EEXIST:
            return "another XDP program is attached, to it or to what it is a part of: end what attached that"
        case errno.EPERM:
            return "not permitted: needs CAP_BPF and CAP_NET_ADMIN (run as root)"
        case errno.ENODEV:
            return "the device is gone"
        case _:
            return error.strerror or repr(error)


def unpin(folder: Path) -> None:
    """Remove a pin folder and all below it: what nobody else holds is gone."""
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            unpin(path) if path.is_dir() else path.unlink()
        folder.rmdir()
