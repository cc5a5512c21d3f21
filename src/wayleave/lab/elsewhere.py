"""The lab with its gateway under another kernel: `acc0` and `core0` are network cards of a guest.

    with GuestLab(DEBIAN, [Line(100, 1)]) as lab:
        lab.guest.start(lab.config())
        lab.customers[0].dhcp(timeout=30)

Everything else stays where it was: customers, access node, router and server are namespaces of this machine's kernel.
`lab.gateway` is an empty namespace.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wayleave.lab.access_node import Line
from wayleave.lab.gateway import GatewayFailed
from wayleave.lab.guest import JOURNAL, Cable, Guest, Kernel
from wayleave.lab.namespace import CommandFailed, Namespace
from wayleave.lab.site import GATEWAY_ACCESS_MAC, GATEWAY_CORE_MAC
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

_BNG = (sys.executable, "-m", "wayleave.cli.bng")

_ENDED, _PID_FILE = "bng ended with status", "/run/bng.pid"

_ASK = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(20)
    sock.connect(sys.argv[1])
    sock.sendall(f"GET {sys.argv[2]} HTTP/1.0\\r\\nHost: bng\\r\\n\\r\\n".encode())
    print(b"".join(iter(lambda: sock.recv(65536), b"")).decode().partition("\\r\\n\\r\\n")[2])
"""


class GuestGateway(Guest):
    """The guest that `bng` runs in. What it keeps is lost with the guest."""

    api, config_file = Path("/run/bng.sock"), Path("/run/bng.toml")

    def start(self, config: str, timeout: float = 120.0) -> None:
        """Run `bng run`; returns when its API answers that it is ready. Raises: GatewayFailed with its log."""
        self.shell(f"cat >{self.config_file} <<'END'\n{config}\nEND")
        command = shlex.join([*_BNG, "run", "--config", str(self.config_file)])
        self.shell(f"( {command} & echo $! >{_PID_FILE}; wait $!; echo {_ENDED} $? ) >{JOURNAL} 2>&1 &")
        try:
            wait_until(self._ready, "bng that is ready", timeout)
        except TimeoutError as error:
            raise GatewayFailed(f"{error}; its log ends:\n{self.journal[-4000:]}") from error

    def _ready(self) -> bool:
        journal = self.journal
        if _ENDED in journal:
            raise GatewayFailed(f"bng ended:\n{journal[-4000:]}")
        if " serving " not in journal:
            return False  # to ask would cost the guest what it needs to start
        with contextlib.suppress(CommandFailed):  # nobody listens yet
            return bool(self.get("/readyz")["ready"])
        return False

    def bng(self, *arguments: str, check: bool = True) -> str:
        """Run a `bng` command about the gateway to its end; returns what it printed. Raises: CommandFailed."""
        return self.run(*_BNG, *arguments, "--config", str(self.config_file), check=check)

    def get(self, path: str) -> Any:
        """GET from the API. Raises: CommandFailed if it does not answer."""
        return json.loads(self.run(sys.executable, "-I", "-S", "-c", _ASK, str(self.api), path))

    def kill9(self) -> None:
        """SIGKILL to `bng`; returns when it is gone."""
        self.shell(f"kill -9 $(cat {_PID_FILE})")
        wait_until(lambda: f"{_ENDED} 137" in self.journal, "end of bng")


class GuestLab(Lab):
    """A lab whose gateway is a guest that runs `kernel`."""

    guest: GuestGateway

    def __init__(self, kernel: Kernel, customers: Sequence[Line] = (Line(100, 1),)) -> None:
        super().__init__(customers)
        self.kernel = kernel

    def _plug(self, gateway: Namespace, node: Namespace, core: Namespace) -> None:
        _ = gateway
        cables = [Cable(node, "trunk", GATEWAY_ACCESS_MAC), Cable(core, "gw0", GATEWAY_CORE_MAC)]
        for cable in cables:
            self._cleanup.callback(cable.close)
        self.guest = GuestGateway(self.kernel, self.folder, cables)
        self._cleanup.callback(self.guest.close)
        for old, new, mtu in (("eth0", "acc0", self.access_mtu), ("eth1", "core0", 1500)):
            self.guest.run("ip", "link", "set", old, "name", new, "mtu", str(mtu), "up")
        self.guest.run("ip", "addr", "add", str(self.core), "dev", "core0")
        self.guest.run("ip", "route", "add", "default", "via", str(self.router_address))

    def _gateway_section(self) -> dict[str, object]:
        return {**super()._gateway_section(), "state": "/run/state", "api": str(GuestGateway.api)}
