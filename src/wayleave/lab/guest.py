"""A guest: a small machine of QEMU's that runs another kernel, with this machine's files.

The root is the host's, read-only over 9P, with what the guest writes in its memory on top: nothing is installed in it
and nothing is left. Only /run is its own, empty, and where its temporary files go. It has three serial ports: its
console, a shell that runs commands, and a journal that what runs in the background writes to, so that to look at it
costs the guest nothing. Emulated (TCG) on machine `pc`: with KVM in a machine that is virtual itself, and on
`microvm`, it hangs. Everything takes some twenty times as long as outside.

    with Guest(DEBIAN, folder) as guest:
        print(guest.run("uname", "-r"))
"""

from __future__ import annotations

import fcntl
import gzip
import itertools
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wayleave.lab.closing import Closing
from wayleave.lab.namespace import CommandFailed, Namespace, run
from wayleave.lab.process import Process
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000

_INIT = """#!/bin/busybox sh
set -e
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
for module in /modules/*; do busybox insmod $module; done
busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host
busybox mount -t tmpfs memory /memory
busybox mkdir /memory/upper /memory/work
busybox mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root /root
busybox mount -t tmpfs run /root/run
busybox mount -t proc proc /root/proc
busybox mount -t sysfs sys /root/sys
busybox mount -t devtmpfs dev /root/dev
busybox mount -t bpf bpf /root/sys/fs/bpf
exec 3<>/dev/ttyS1 4>/dev/ttyS2  # held open: a port that nobody has open loses what comes, and forgets its settings
for port in 1 2; do busybox stty -F /dev/ttyS$port raw -echo; done
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run PYTHONDONTWRITEBYTECODE=1
echo --up-0. >&3
exec busybox chroot /root /bin/sh -c "cat <&3 | sh 2>&1 | cat >&3"  # pipes: what runs there is at no terminal
"""

JOURNAL = "/dev/ttyS2"
"""What is written there in the guest can be read outside."""


class GuestFailed(Exception):
    """The guest cannot be started, or ended; the text has the end of its console."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel and its modules, as tools/fetch-kernel lays them."""

    folder: Path

    @property
    def release(self) -> str:
        """As `uname -r` says it. Raises: GuestFailed if none was fetched."""
        try:
            return (self.folder / "release").read_text().strip()
        except FileNotFoundError as error:
            raise GuestFailed(f"there is no kernel in {self.folder}: `make setup` fetches one") from error


DEBIAN = Kernel(Path(__file__).resolve().parents[3] / "build/kernel")
"""What `make setup` fetched."""


class Cable:
    """A cable of the lab to a network card of the guest: outside it is the device `name` of a namespace, a tap.

    The guest's card is virtio-net. Taps carry no offloads here, so the card is offered none, and with none it takes
    native XDP; a full frame with two tags needs its mergeable buffers, which are on.
    """

    def __init__(self, namespace: Namespace, name: str, mac: Mac) -> None:
        self.name, self.mac = name, mac
        self.fd = namespace.call(self._open)

    def _open(self) -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", self.name.encode(), _IFF_TAP | _IFF_NO_PI))
        return fd

    def close(self) -> None:
        """Let go of the outer end; QEMU holds it, too, while it runs."""
        os.close(self.fd)


class Guest(Closing):
    """A running guest; its cards are eth0, eth1, … in the order of `cables`. Close it, or use `with`.

    Raises: GuestFailed if QEMU ends, TimeoutError if it is not up within `timeout` seconds.
    """

    def __init__(
        self, kernel: Kernel, folder: Path, cables: Sequence[Cable] = (), memory_mb: int = 1024, timeout: float = 60.0
    ) -> None:
        self.kernel, self.folder = kernel, folder
        self._marks = itertools.count(1)
        _ = kernel.release  # or nobody says which is missing
        command = self._command(cables, memory_mb)
        self._process = Process(command, folder / "console.log", inherit=[cable.fd for cable in cables])
        self._shell = socket.socket(socket.AF_UNIX)
        try:
            wait_until(lambda: self._shell.connect_ex(str(self._path)) == 0 or self._check(), "QEMU")
            self._answer(re.compile(rb"--up-(\d)\.\n"), "the start", time.monotonic() + timeout)
        except BaseException:
            self.close()
            raise

    @property
    def _path(self) -> Path:
        return self.folder / "shell.sock"

    @property
    def journal(self) -> str:
        """What was written to `JOURNAL`."""
        return (self.folder / "journal").read_text(errors="replace")

    @property
    def console(self) -> str:
        """What its kernel said."""
        return self._process.output()

    def run(self, *argv: str, check: bool = True, timeout: float = 60.0) -> str:
        """Run a command in the guest to its end; returns what it wrote, standard error included.

        Raises: CommandFailed if it returns an error and `check` is set; TimeoutError; GuestFailed if the guest ended.
        """
        return self.shell(shlex.join(argv), check=check, timeout=timeout)

    def shell(self, line: str, check: bool = True, timeout: float = 60.0) -> str:
        """Run a line of shell, in a shell of its own, otherwise as `run` does. One at a time."""
        mark = f"--done-{next(self._marks)}-"
        self._shell.settimeout(timeout)
        self._shell.sendall(f"( {line}\n) </dev/null 2>&1; echo {mark}$?.\n".encode())
        text, status = self._answer(re.compile(rf"{mark}(\d+)\.\n".encode()), line, time.monotonic() + timeout)
        if check and status:
            raise CommandFailed(f"in the guest: {line}: exit {status}\n{text}")
        return text

    def _answer(self, end: re.Pattern[bytes], line: str, until: float) -> tuple[str, int]:
        data = b""
        while not (found := end.search(data)):
            self._shell.settimeout(max(0.01, until - time.monotonic()))
            try:
                part = self._shell.recv(65536)
            except TimeoutError as error:
                seen = (data or self.console.encode())[-2000:].decode(errors="replace")
                raise TimeoutError(f"in the guest, no end of: {line}\n{seen}") from error
            if not part:
                self._check()
                raise GuestFailed(f"the guest's shell ended during: {line}\n{self.console[-2000:]}")
            data += part
        return data[: found.start()].decode(errors="replace"), int(found[1])

    def _check(self) -> bool:
        if not self._process.alive:
            raise GuestFailed(f"QEMU ended with status {self._process.status}:\n{self.console[-2000:]}")
        return False

    def close(self) -> None:
        """Switch it off."""
        self._process.kill()
        self._shell.close()

    def _command(self, cables: Sequence[Cable], memory_mb: int) -> list[str]:
        cards = [
            word
            for number, cable in enumerate(cables)
            for word in (
                *("-netdev", f"tap,id=cable{number},fd={cable.fd}"),
                *("-device", f"virtio-net-pci,netdev=cable{number},mac={cable.mac},romfile="),
            )
        ]
        # The processor is an old one: what newer ones can do besides costs time when it is emulated.
        return [
            *("setpriv", "--pdeathsig", "KILL", "--"),  # a guest ends with who started it, however that ends
            *("qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "Nehalem", "-smp", "1", "-m", str(memory_mb)),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-kernel", str(self.kernel.folder / "vmlinuz"), "-initrd", str(self._initramfs())),
            *("-append", "console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0"),
            *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
            *("-serial", "stdio", "-serial", f"unix:{self._path},server=on,wait=off"),
            *("-serial", f"file:{self.folder / 'journal'}"),
            *cards,
        ]

    def _initramfs(self) -> Path:
        """What the kernel begins with: busybox and its libraries, the modules, and a script that mounts the rest."""
        root, packed = self.folder / "initramfs", self.folder / "initramfs.gz"
        shutil.rmtree(root, ignore_errors=True)
        for name in ("bin", "proc", "sys", "dev", "host", "memory", "root"):
            (root / name).mkdir(parents=True)
        shutil.copytree(self.kernel.folder, root / "modules", ignore=shutil.ignore_patterns("vmlinuz", "release"))
        busybox = shutil.which("busybox") or "/bin/busybox"
        shutil.copy(busybox, root / "bin/busybox")
        for library in re.findall(r"/\S+\.so\S*", run(["ldd", busybox], check=False)):
            place = root / library.removeprefix("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
        (root / "init").write_text(_INIT)
        (root / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        archive = subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"], input=names.encode(), cwd=root, capture_output=True, check=True
        )
        packed.write_bytes(gzip.compress(archive.stdout, 1))
        return packed
