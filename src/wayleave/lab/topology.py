"""The whole lab: customers, access node, gateway, core router, server, wired and addressed.

    customer eth0 ── c0 access node trunk ── acc0 GATEWAY core0 ── gw0 router srv0 ── eth0 server

    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        lab.gateway.start(lab.config())
        lab.customers[0].dhcp()
        assert lab.customers[0].ping(lab.server_address)

`others` are more gateways at the same core, each with an access node and customers (`site`). They share the pools, and
the core has a route to nobody's addresses until `route_blocks` asks them who has what.

Leaving the `with` ends every process and deletes every namespace, also after an exception, Ctrl-C, SIGTERM or the end
of its terminal. What a killed lab left is removed by `sweep`, which every new lab calls.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import FrameType, TracebackType

from wayleave.dataplane import objects
from wayleave.lab.access_node import Line
from wayleave.lab.gateway import Gateway, GatewayFailed
from wayleave.lab.host import Host, Server
from wayleave.lab.namespace import PREFIX, ROOT, Namespace, create_all, delete_all
from wayleave.lab.site import (
    GATEWAY_ACCESS_MAC,
    GATEWAY_CORE_MAC,
    PINS,
    Plan,
    Section,
    Site,
    customer_mac,
    lay,
    section,
)

__all__ = [
    "GATEWAY_ACCESS_MAC", "GATEWAY_CORE_MAC", "PINS", "Gateway", "GatewayFailed", "Lab", "Section", "Site",
    "customer_mac", "section", "sweep",
]  # fmt: skip

_OWNED = re.compile(rf"^{PREFIX}-(\d+)-\d+-")
_serial = itertools.count(1)


class Lab(Site):
    """A context manager: entering makes everything, leaving removes it.

    `access_mtu` is that of the trunk: 1,508 carries 1,500 octets of IP inside two tags. With `offloads`, the customers
    leave their checksums to hardware that is not there, as a veth does by default.
    """

    def __init__(
        self,
        customers: Sequence[Line] = (Line(100, 1), Line(100, 2)),
        *,
        others: Sequence[Sequence[Line]] = (),
        pools: Sequence[IPv4Network] = (IPv4Network("100.64.0.0/22"),),
        core: IPv4Interface = IPv4Interface("192.0.2.1/30"),
        router: IPv4Address = IPv4Address("192.0.2.2"),
        server: IPv4Interface = IPv4Interface("198.51.100.10/24"),
        access_mtu: int = 1508,
        offloads: bool = False,
    ) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_serial)}"
        self.server_interface = server
        plan = Plan(self.name, pools, core, router, server.ip, access_mtu, offloads, not others)
        super().__init__(plan, 0, customers)
        self.sites = [self, *(Site(plan, number, lines) for number, lines in enumerate(others, 1))]
        self._blocks: dict[int, set[IPv4Network]] = {}
        """Of whom, as they said last."""
        self._routes: set[IPv4Network] = set()
        """What of that the core has routes to."""

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
        logs = "" if error is not None else "\n".join(filter(None, (site.gateway.raised() for site in self.sites)))
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
        folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self._cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        core, server = Namespace(f"{self.name}-core"), Namespace(f"{self.name}-srv")
        spaces = [core, server, *(space for site in self.sites for space in site.spaces)]
        self._cleanup.callback(delete_all, spaces)
        create_all(spaces)
        self.router, self.server = Host(core, self.uplink, folder), Server(server, "eth0", folder)
        self._cleanup.callback(self.router.close)
        self._cleanup.callback(self.server.close)
        core.sysctl({"ipv4/ip_forward": 1})
        self.beside_core(self.server, "srv0", self.server_interface)
        for site in self.sites:
            if site is not self:
                self._cleanup.callback(site.close)
            site.build(core, folder / f"site{site.number}" if site.number else folder)

    def beside_core(self, host: Host, device: str, address: IPv4Interface) -> None:
        """Cable a host to the router, which is the first of its network there, by `device`."""
        core, space = self.router.namespace, host.namespace
        first = next(address.network.hosts())
        lay([((core, device), (space, host.device))])
        core.ip(f"link set {device} up", f"addr add {first}/{address.network.prefixlen} dev {device}")
        space.ip(
            f"link set {host.device} up", f"addr add {address} dev {host.device}", f"route add default via {first}"
        )
        core.offloads(device)
        space.offloads(host.device)

    def route_blocks(self) -> None:
        """Have the core route each block of the lab's pools to the gateway that has it, as a routing protocol would.

        Gateways say what they have. What one that does not run had, it has: its traffic goes on.
        """
        for site in self.sites:
            if site.gateway.process is not None and site.gateway.process.alive:
                own = site.gateway.blocks()
                self._blocks[site.number] = {net for net in own if any(net.subnet_of(pool) for pool in self.pools)}
        wanted = {network: self.sites[number] for number, networks in self._blocks.items() for network in networks}
        self.router.namespace.ip(
            *(f"route del {network}" for network in self._routes - wanted.keys()),
            *(f"route replace {network} via {site.core.ip}" for network, site in wanted.items()),
        )
        self._routes = set(wanted)


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
