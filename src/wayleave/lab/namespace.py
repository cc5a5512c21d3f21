"""Network namespaces: make, enter, configure, delete.

Names are `wl-PID-SERIAL-ROLE`, so that a lab whose process died can be told and swept. Commands run through `nsenter
--net=`, not `ip netns exec`, which mounts a new /sys and so hides bpffs pins. Nothing here has a link to the namespace
of the machine's own interfaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from wayleave.lab.waiting import wait_until

T = TypeVar("T")

ROOT = Path("/run/netns")
PREFIX = "wl"
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)

PLAIN = {
    "tx": "off",
    "tso": "off",
    "gso": "off",
    "gro": "off",
    "rxvlan": "off",
    "txvlan": "off",
    "tx-vlan-stag-hw-insert": "off",
}
"""Offloads as the data plane needs them at the far end of a veth: whole checksums, real packets, tags in band."""


class CommandFailed(Exception):
    """A command of the lab returned an error; the text is the command and what it said."""


def run(argv: Iterable[str], text: str | None = None, check: bool = True, timeout: float = 60.0) -> str:
    """Run a command to its end; returns what it wrote to standard output.

    Raises: CommandFailed if it returns an error and `check` is set; subprocess.TimeoutExpired.
    """
    words = list(argv)
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise CommandFailed(f"{' '.join(words)}: exit {done.returncode}\n{text or ''}{done.stdout}{done.stderr}")
    return done.stdout


def ip_batch(lines: Iterable[str], namespace: str | None = None, force: bool = False) -> None:
    """Run many `ip` commands in one process; stops at the first that fails, unless `force` is set.

    Raises: CommandFailed.
    """
    text = "\n".join(lines)
    if text:
        options = [*(("-n", namespace) if namespace else ()), *(("-force",) if force else ())]
        run(["ip", *options, "-batch", "-"], text + "\n")


class Namespace:
    """One named network namespace. Make many with `create_all`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Namespace({self.name})"

    @property
    def path(self) -> Path:
        """What `nsenter --net=` takes."""
        return ROOT / self.name

    def command(self, *argv: str) -> list[str]:
        """Return `argv` with what runs it inside in front; the process keeps its pid."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(self, *argv: str, check: bool = True, timeout: float = 60.0) -> str:
        """Run a command inside to its end; returns its standard output. Raises as `run` does."""
        return run(self.command(*argv), check=check, timeout=timeout)

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` on a thread of its own that is inside; what sockets it opens stay there.

        Raises: what `function` raises.
        """
        result: list[T] = []
        failure: list[BaseException] = []

        def inside() -> None:
            try:
                self._enter()
                result.append(function())
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=inside, name=f"in-{self.name}")
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return result[0]

    def _enter(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _LIBC.setns(fd, _CLONE_NEWNET):
                error = ctypes.get_errno()
                raise OSError(error, f"setns {self.name}: {os.strerror(error)}")
        finally:
            os.close(fd)

    def ip(self, *lines: str) -> None:
        """Run `ip` commands inside, as in `namespace.ip("link set eth0 up")`."""
        ip_batch(lines, self.name)

    def sysctl(self, values: Mapping[str, int | str]) -> None:
        """Write below /proc/sys/net, keys as in `ipv4/ip_forward`."""

        def write() -> None:
            for key, value in values.items():
                (Path("/proc/sys/net") / key).write_text(f"{value}\n")

        self.call(write)

    def offloads(self, device: str, values: Mapping[str, str] = PLAIN) -> None:
        """Set `ethtool -K` features of a device."""
        self.run("ethtool", "-K", device, *(word for pair in values.items() for word in pair))

    def ifindex(self, device: str) -> int:
        """Return the index of a device inside."""
        return self.call(lambda: socket.if_nametoindex(device))

    def processes(self) -> list[int]:
        """The processes whose main thread is inside."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):  # it ended meanwhile
                    if (entry / "ns/net").stat().st_ino == inode:
                        found.append(int(entry.name))
        return found


def create_all(namespaces: Sequence[Namespace]) -> None:
    """Make namespaces, with IPv6 off so that captures hold what a test sent and nothing else."""
    ip_batch(f"netns add {namespace.name}" for namespace in namespaces)
    for namespace in namespaces:
        namespace.sysctl({"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1})
        namespace.ip("link set lo up")


def delete_all(namespaces: Iterable[Namespace]) -> None:
    """Kill what runs inside and delete the namespaces; those that are gone already are no error."""
    there = [namespace for namespace in namespaces if namespace.path.exists()]
    for namespace in there:
        for pid in namespace.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for namespace in there:
        wait_until(partial(_empty, namespace), f"end of the processes in {namespace.name}")
    with contextlib.suppress(CommandFailed):  # somebody else deletes it at the same moment
        ip_batch((f"netns del {namespace.name}" for namespace in there), force=True)
    left = [namespace.name for namespace in there if namespace.path.exists()]
    if left:
        raise CommandFailed(f"cannot delete the namespaces {' '.join(left)}")


def _empty(namespace: Namespace) -> bool:
    return not namespace.processes()
