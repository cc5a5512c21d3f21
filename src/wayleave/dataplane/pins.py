"""What is pinned under /sys/fs/bpf/wayleave, this gateway's or another's: a folder an instance, in it a link a port."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wayleave.dataplane import objects, syscall

PINS = objects.BPFFS / "wayleave"


class Claimed(objects.LoadError):
    """Another process holds the instance."""


class PinnedLink(NamedTuple):
    """An instance's program on a device: the port's number there, the program's id, the device (0: it is gone)."""

    instance: str
    port: int
    program: int
    ifindex: int


def path_of(instance: str, port: int) -> Path:
    """Where the link of a port is pinned."""
    return PINS / instance / "links" / f"port-{port}"


def instances() -> list[str]:
    """Return the names of all instances of which something is pinned. Raises: PermissionError."""
    return sorted(os.listdir(PINS)) if PINS.exists() else []


def links(instance: str) -> Iterator[PinnedLink]:
    """Yield an instance's links. Raises: PermissionError."""
    folder = PINS / instance / "links"
    for path in folder.iterdir() if folder.exists() else ():
        link = syscall.get_pinned(str(path))
        try:
            info = syscall.link_info(link)
        finally:
            os.close(link)
        yield PinnedLink(instance, int(path.name.removeprefix("port-")), info.program, info.ifindex)


def holder(ifindex: int, program: int) -> PinnedLink | None:
    """Return the link that holds a device, whoever's; `program` as the device has it.

    An ifindex alone is a namespace's own: the same number may be another device elsewhere. Raises: PermissionError.
    """
    found = (link for instance in instances() for link in links(instance))
    return next((link for link in found if (link.ifindex, link.program) == (ifindex, program)), None)


def claim(instance: str) -> int:
    """Have an instance for this process alone; ends with the descriptor. Raises: Claimed, OSError."""
    folder = PINS / instance
    folder.mkdir(parents=True, exist_ok=True)
    claimed = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(claimed)
        raise Claimed(f"the data plane of gateway {instance} is in use by another process: stop that first") from None
    return claimed


def remove(instance: str) -> bool:
    """Take an instance's data plane away, traffic and all; False if there was none. Raises: Claimed, OSError."""
    if instance not in instances():
        return False
    claimed = claim(instance)
    try:
        objects.unpin(PINS / instance)
    finally:
        os.close(claimed)
    return True
