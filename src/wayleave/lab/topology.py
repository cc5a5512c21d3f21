"""The whole lab: customers, access node, gateway, core router, server, wired and addressed.

    customer eth0 ── c0 access node trunk ── acc0 GATEWAY core0 ── gw0 router srv0 ── eth0 server

    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        lab.gateway.start(lab.config())
        lab.customers[0].dhcp()
        assert lab.customers[0].ping(lab.server_address)

Leaving the `with` ends every process and deletes every namespace, also after an exception, Ctrl-C, SIGTERM or the end
of its terminal. What a killed lab left is removed by `sweep`, which every new lab calls.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from wayleave.dataplane import objects
from wayleave.lab.access_node import AccessNode, Line
from wayleave.lab.customer import Customer
from wayleave.lab.guest import Cable
from wayleave.lab.host import Host, Server
from wayleave.lab.namespace import PREFIX, ROOT, Namespace, create_all, delete_all, ip_batch
from wayleave.lab.process import Process
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

PINS = objects.BPFFS / "wayleave"
GATEWAY_ACCESS_MAC = Mac.parse("02:77:00:00:00:01")
GATEWAY_CORE_MAC = Mac.parse("02:77:00:00:00:02")

_OWNED = re.compile(rf"^{PREFIX}-(\d+)-\d+-")
_serial = itertools.count(1)

Section = Mapping[str, object]


class GatewayFailed(Exception):
    """bng did not start, ended, or does not answer: nothing can be said about what it does with packets."""


class Gateway(Host):
    """The namespace the product runs in: `acc0` to the access node, `core0` to the router."""

    def __init__(self, namespace: Namespace, folder: Path, name: str) -> None:
        super().__init__(namespace, "core0", folder)
        self.name = name
        self.api = folder / "bng.sock"
        self.config_file = folder / "bng.toml"
        self.process: Process | None = None

    def start(self, config: str, ready: bool = True, timeout: float = 20.0) -> Process:
        """Write the configuration and run `bng run`; returns when it says that it is ready, unless told not to wait.

        Raises: GatewayFailed with the end of its log.
        """
        self.config_file.write_text(config)
        return self._run(ready, timeout)

    def restart(self, timeout: float = 20.0) -> Process:
        """Run it again with the same configuration, after `kill9` or `stop`."""
        return self._run(True, timeout)

    def _run(self, ready: bool, timeout: float) -> Process:
        assert self.process is None or not self.process.alive, "the gateway runs already"
        self.process = self.start_command("run", "--config", str(self.config_file))
        if ready:
            self.wait_ready(timeout)
        return self.process

    def start_command(self, *arguments: str) -> Process:
        """Start `bng` with other arguments, in the background."""
        return self.spawn(sys.executable, "-m", "wayleave.cli.bng", *arguments, log="bng")

    def bng(self, *arguments: str, check: bool = True, timeout: float = 30.0) -> str:
        """Run a `bng` command to its end; returns what it printed. Raises: CommandFailed."""
        return self.run(sys.executable, "-m", "wayleave.cli.bng", *arguments, check=check, timeout=timeout)

    def wait_ready(self, timeout: float = 20.0) -> None:
        """Wait until GET /healthz says 200. Raises: GatewayFailed if bng ended or never said so."""
        process = self.process
        assert process is not None

        def ready() -> bool:
            if not process.alive:
                raise GatewayFailed(f"bng ended with status {process.status}:\n{process.output()[-4000:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.request("GET", "/healthz")[0] == http.HTTPStatus.OK
            return False

        try:
            wait_until(ready, "bng that is ready", timeout)
        except TimeoutError as error:
            raise GatewayFailed(f"{error}; its log ends:\n{process.output()[-4000:]}") from error

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask the API over its local socket; returns status and decoded answer. Raises: OSError, HTTPException."""
        connection = _LocalConnection(self.api)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if data[:1] in (b"{", b"[", b'"') else data.decode()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """GET from the API. Raises: GatewayFailed unless it answers 200."""
        status, answer = self.request("GET", path)
        if status != http.HTTPStatus.OK:
            raise GatewayFailed(f"GET {path}: {status} {answer}")
        return answer

    def kill9(self) -> None:
        """SIGKILL, as the out-of-memory killer does it."""
        assert self.process is not None
        self.process.kill()

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM and wait; returns the exit status."""
        assert self.process is not None
        return self.process.stop(timeout)

    def raised(self) -> str:
        """The first exception that any bng of this gateway caught in its loop, and went on; empty: none."""
        for process in self._processes:
            _, found, text = process.output().partition("Exception in callback")
            if found:
                return f"{found}{text[:2000]}"
        return ""

    @property
    def log(self) -> str:
        """What the present bng wrote."""
        return self.process.output() if self.process else ""


class _LocalConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Lab:
    """A context manager: entering makes everything, leaving removes it.

    `access_mtu` is that of the trunk: 1,508 carries 1,500 octets of IP inside two tags. With `offloads`, the customers
    leave their checksums to hardware that is not there, as a veth does by default.
    """

    def __init__(
        self,
        customers: Sequence[Line] = (Line(100, 1), Line(100, 2)),
        *,
        pools: Sequence[IPv4Network] = (IPv4Network("100.64.0.0/22"),),
        core: IPv4Interface = IPv4Interface("192.0.2.1/30"),
        router: IPv4Address = IPv4Address("192.0.2.2"),
        server: IPv4Interface = IPv4Interface("198.51.100.10/24"),
        access_mtu: int = 1508,
        offloads: bool = False,
    ) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_serial)}"
        self.instance = f"lab-{self.name}"
        self.lines = list(customers)
        self.pools = list(pools)
        self.core, self.router_address, self.server_interface = core, router, server
        self.access_mtu, self.offloads = access_mtu, offloads
        self._cleanup = contextlib.ExitStack()

    @property
    def server_address(self) -> IPv4Address:
        """The server's: ping and iperf3 to it."""
        return self.server_interface.ip

    @property
    def pool_gateway(self) -> IPv4Address:
        """The gateway's own address in the first pool."""
        return self.pools[0][1]

    @property
    def customer_mtu(self) -> int:
        """What two tags leave of the trunk's: a guest's on its line."""
        return self.access_mtu - 8

    def __enter__(self) -> Lab:
        sweep()
        self._catch_signals()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logs = self.gateway.raised() if error is None else ""
        self.close()
        if logs:
            raise GatewayFailed(f"bng went on, but something in it raised:\n{logs}")

    def close(self) -> None:
        """Remove everything; a second Ctrl-C does not interrupt it."""
        main = threading.current_thread() is threading.main_thread()
        before = {number: signal.getsignal(number) for number in _ENDING} if main else {}
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        try:
            self._cleanup.close()
        finally:
            for number, action in before.items():
                if signal.getsignal(number) == signal.SIG_IGN:
                    signal.signal(number, action)

    def _catch_signals(self) -> None:
        """Let what ends a process unwind the stack.

        A shell's background jobs start with SIGINT ignored, and shall hear it; who says `nohup` means it.
        """
        if threading.current_thread() is threading.main_thread():
            for number, action in _ENDING.items():
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._cleanup.callback(signal.signal, number, signal.signal(number, action))

    def _build(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self._cleanup.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._cleanup.callback(objects.unpin, PINS / self.instance)
        names = ["gw", "an", "core", "srv", *(f"c{number}" for number in range(len(self.lines)))]
        spaces = [Namespace(f"{self.name}-{name}") for name in names]
        self._cleanup.callback(delete_all, spaces)
        create_all(spaces)
        gateway, node, core, server, *customers = spaces
        self._plug(gateway, node, core)
        self._wire(node, core, server, customers)
        self._address(core, server)

        self.access_node = AccessNode(node, "trunk")
        self._cleanup.callback(self.access_node.close)
        self.access_node.attach("pass", core, "gw0")
        self.gateway = Gateway(gateway, self.folder, self.instance)
        self.router = Host(core, "gw0", self.folder)
        self.server = Server(server, "eth0", self.folder)
        self.customers = []
        for number, (space, line) in enumerate(zip(customers, self.lines, strict=True)):
            link = self.access_node.attach("pass", space, "eth0")
            port = self.access_node.connect(f"c{number}", line)
            self.customers.append(Customer(space, self.folder, self.access_node, port, link))
        for host in (self.gateway, self.router, self.server, *self.customers):
            self._cleanup.callback(host.close)

    def _plug(self, gateway: Namespace, node: Namespace, core: Namespace) -> None:
        """Cable the gateway to `trunk` of the access node and `gw0` of the router, and address it."""
        ends = [(node, "trunk"), (gateway, "acc0"), (gateway, "core0"), (core, "gw0")]
        _lay([(ends[0], ends[1]), (ends[2], ends[3])])
        gateway.ip(
            f"link set acc0 address {GATEWAY_ACCESS_MAC} mtu {self.access_mtu} up",
            f"link set core0 address {GATEWAY_CORE_MAC} up",
            f"addr add {self.core} dev core0",
        )
        gateway.ip(f"route add default via {self.router_address}")
        for space, device in ends:
            space.offloads(device)

    def cable(self, line: Line) -> Cable:
        """Lay the cable of one more customer, which is a guest; it lies until the lab ends."""
        number, node = len(self.lines), self.access_node.namespace
        self.lines.append(line)
        cable = Cable(node, f"c{number}", customer_mac(number))
        self._cleanup.callback(cable.close)
        node.ip(f"link set {cable.name} mtu {self.customer_mtu} up")
        self.access_node.connect(cable.name, line)
        return cable

    def _wire(self, node: Namespace, core: Namespace, server: Namespace, customers: list[Namespace]) -> None:
        cables = [
            ((core, "srv0"), (server, "eth0")),
            *(((node, f"c{number}"), (space, "eth0")) for number, space in enumerate(customers)),
        ]
        _lay(cables)
        node.ip(
            f"link set trunk mtu {self.access_mtu} up",
            *(f"link set c{number} up" for number in range(len(customers))),
        )
        core.ip("link set gw0 address 02:77:00:00:00:03 up", "link set srv0 address 02:77:00:00:00:04 up")
        server.ip("link set eth0 address 02:77:00:00:00:05 up")
        for number, space in enumerate(customers):
            space.ip(f"link set eth0 address {customer_mac(number)} up")
        for ends in cables:
            for space, device in ends:
                if not (self.offloads and (space in customers or device.startswith("c"))):
                    space.offloads(device)

    def _address(self, core: Namespace, server: Namespace) -> None:
        length = self.core.network.prefixlen
        first = next(self.server_interface.network.hosts())
        core.sysctl({"ipv4/ip_forward": 1})
        core.ip(
            f"addr add {self.router_address}/{length} dev gw0",
            f"addr add {first}/{self.server_interface.network.prefixlen} dev srv0",
            *(f"route add {pool} via {self.core.ip}" for pool in self.pools),
        )
        server.ip(f"addr add {self.server_interface} dev eth0", f"route add default via {first}")

    def config(
        self,
        *,
        gateway: Section | None = None,
        tenant: Section | None = None,
        subscriber: Section | None = None,
        network: Section | None = None,
        pool: Section | None = None,
        authorization: Section | None = None,
        more: str = "",
    ) -> str:
        """Return the gateway's configuration, TOML. Each argument changes keys of a section; None takes a key out.

        `subscriber` and `network` are the two ports; `more` is put at the end.
        """
        return "\n".join(
            (
                section("[gateway]", self._gateway_section(), gateway),
                section("[[tenants]]", {"name": "default", "table": 254}, tenant),
                section("[[ports]]", self._subscriber_section(), subscriber),
                section("[[ports]]", {"number": 100, "device": "core0", "role": "network"}, network),
                section("[[pools]]", self._pool_section(), pool),
                section("[authorization]", {"default": "residential"}, authorization),
                more,
            )
        )

    def _gateway_section(self) -> dict[str, object]:
        return {
            "name": self.instance,
            "state": str(self.folder / "state"),
            "api": str(self.gateway.api),
            "sessions": 4096,
        }

    def _subscriber_section(self) -> dict[str, object]:
        return {
            "number": 1,
            "device": "acc0",
            "role": "subscriber",
            "tenant": "default",
            "trusted": any(line.circuit for line in self.lines),
            "line": "circuit" if any(line.circuit for line in self.lines) else "vlan",
            "clients": 4,
            "at_limit": "replace",
        }

    def _pool_section(self) -> dict[str, object]:
        return {
            "name": "residential",
            "network": str(self.pools[0]),
            "gateway": str(self.pool_gateway),
            "dns": [str(self.server_address)],
            "lease": "1h",
            "promise": "24h",
        }


def _lay(cables: Sequence[tuple[tuple[Namespace, str], tuple[Namespace, str]]]) -> None:
    ip_batch(
        f"link add name {a} netns {space_a.name} type veth peer name {b} netns {space_b.name}"
        for (space_a, a), (space_b, b) in cables
    )


def customer_mac(number: int) -> Mac:
    """The MAC that customer `number` starts with."""
    return Mac(b"\x02\xc0\x00" + number.to_bytes(3, "big"))


def section(head: str, values: Section, changes: Section | None = None) -> str:
    """Return a section of TOML. `changes` are other values of keys; None takes a key out."""
    merged = {**values, **(changes or {})}
    lines = [f"{key} = {_toml(value)}" for key, value in merged.items() if value is not None]
    return "\n".join([head, *lines, ""])


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }"
        case _:
            return json.dumps(str(value))


def _terminated(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


_ENDING = {signal.SIGTERM: _terminated, signal.SIGHUP: _terminated, signal.SIGINT: signal.default_int_handler}
"""What ends a lab, and how."""


def sweep() -> list[str]:
    """Remove what labs left whose process is gone; returns the names. Others' and living labs' things stay."""
    pins = [path.name.removeprefix("lab-") + "-" for path in PINS.iterdir()] if PINS.exists() else []
    folders = list(Path(tempfile.gettempdir()).glob(f"{PREFIX}-*-*-*"))
    spaces = [path.name for path in ROOT.iterdir()] if ROOT.exists() else []
    swept = [name for name in spaces if _orphan(name)]
    delete_all(map(Namespace, swept))
    for name in filter(_orphan, pins):
        objects.unpin(PINS / f"lab-{name[:-1]}")
        swept.append(f"pins of {name[:-1]}")
    for path in folders:
        if _orphan(path.name):
            shutil.rmtree(path, ignore_errors=True)
            swept.append(str(path))
    return swept


def _orphan(name: str) -> bool:
    match = _OWNED.match(name)
    return match is not None and not Path(f"/proc/{match[1]}").exists()
