"""A gateway between two veth pairs, and the world around it that sends and swallows.

        outside                 gateway
    trunk ───────────────── acc0   core0 ───────────────── gw0 (outside)

Devices are at their defaults as far as the data plane allows; every veth that takes redirected frames has a program,
or it would not run NAPI.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from types import TracebackType
from typing import TypeVar

from wayleave.dataplane import abi, objects, syscall
from wayleave.dataplane.counters import Counters
from wayleave.dataplane.maps import Array, Ports
from wayleave.dataplane.plane import ACCESS, CORE, settings_of_kernel, sizes
from wayleave.dataplane.rows import pack_prefixes, project_local
from wayleave.dataplane.tables import Tables
from wayleave.io.clock import Clock
from wayleave.lab.namespace import PREFIX, Namespace, create_all, delete_all
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, GATEWAY_CORE_MAC
from wayleave.net.mac import Mac
from wayleave.net.units import after
from wayleave.session.model import Rate

from . import population
from .traffic import Traffic

T = TypeVar("T")

ACCESS_MTU = 1508
RING_OCTETS = 1 << 20
ROUTER_MAC = Mac.parse("02:77:00:00:00:03")
CPU = max(os.sched_getaffinity(0))
"""Where everything runs that is measured on one core."""

_serial = itertools.count(1)


class Crossing:
    """The two namespaces and their devices. Entering makes them, leaving removes them."""

    def __init__(self) -> None:
        name = f"{PREFIX}-{os.getpid()}-{next(_serial)}"
        self.outside, self.gateway = Namespace(f"{name}-out"), Namespace(f"{name}-gate")
        self.cleanup = contextlib.ExitStack()

    def __enter__(self) -> Crossing:
        spaces = [self.outside, self.gateway]
        self.cleanup.callback(delete_all, spaces)
        try:
            create_all(spaces)
            self._wire()
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cleanup.close()

    def _wire(self) -> None:
        gateway, outside = self.gateway, self.outside
        outside.ip(
            f"link add name trunk mtu {ACCESS_MTU} type veth peer name acc0 netns {gateway.name}",
            f"link add name gw0 type veth peer name core0 netns {gateway.name}",
            "link set trunk up",
            f"link set gw0 address {ROUTER_MAC} up",
        )
        gateway.ip(
            f"link set acc0 address {GATEWAY_ACCESS_MAC} mtu {ACCESS_MTU} up",
            f"link set core0 address {GATEWAY_CORE_MAC} up",
            "addr add 198.51.100.1/24 dev core0",
            f"neigh add 198.51.100.2 lladdr {ROUTER_MAC} dev core0 nud permanent",
            "route add default via 198.51.100.2",
        )
        gateway.sysctl({"ipv4/ip_forward": 1})
        self.trunk, self.gw0 = outside.ifindex("trunk"), outside.ifindex("gw0")
        self.acc0, self.core0 = gateway.ifindex("acc0"), gateway.ifindex("core0")

    def attach(self, program: int, namespace: Namespace, device: str) -> None:
        """Put a program on a device, native, for as long as the crossing lasts."""
        link = namespace.call(lambda: objects.attach(program, namespace.ifindex(device), syscall.XDP_NATIVE))
        self.cleanup.callback(os.close, link.fd)


def on_one_cpu(namespace: Namespace, function: Callable[[], T]) -> T:
    """Call `function` on a thread in the namespace that may use `CPU` alone."""

    def pinned() -> T:
        os.sched_setaffinity(threading.get_native_id(), {CPU})
        return function()

    return namespace.call(pinned)


class Plane:
    """The product's data plane with `installed` sessions of `population`, and no Python beside it."""

    def __init__(self, crossing: Crossing, installed: int, rate: Rate | None = None, dialed: bool = False) -> None:
        """`rate`: what is sold to every one of them, both ways. `dialed`: their sessions are of PPPoE."""
        settings = {".rodata.settings": settings_of_kernel().pack()}
        self._object = objects.load(objects.PROGRAM, sizes(installed, RING_OCTETS), settings)
        crossing.cleanup.callback(self._object.close)
        self.programs, self.maps = self._object.programs, self._object.maps
        self.counters = Counters(self.maps)
        self.usage = Array(self.maps["usage"])
        self.tables = Tables(self.maps, Clock().boot())
        crossing.gateway.call(lambda: self._configure(crossing, dialed))
        self._install(installed, rate, dialed)

    def _configure(self, crossing: Crossing, dialed: bool) -> None:
        """Fill in the ports; from inside, since `egress` finds devices in the caller's namespace."""
        kinds = abi.PortKind
        ports = [
            abi.Port(
                population.ACCESS_PORT, kinds.SUBSCRIBER, 0, crossing.acc0, GATEWAY_ACCESS_MAC, ACCESS_MTU, 0, dialed
            ),
            abi.Port(population.CORE_PORT, kinds.NETWORK, 0, crossing.core0, GATEWAY_CORE_MAC, 1500, 0, 0),
        ]
        nobody = Mac(bytes(6))
        for port in ports:
            device = port.ifindex.to_bytes(4, "little")
            Ports(self.maps["ports"]).put(port)
            syscall.update(self.maps["egress"].fd, port.number.to_bytes(4, "little"), device)
        local = project_local(0, population.NETWORK[1], population.TENANT)
        self.tables.install([local], Clock().boot())
        tenant = abi.Tenant(
            population.TENANT.table, 0, IPv4Address(0), 0, nobody, nobody, *pack_prefixes([population.NETWORK])
        )
        syscall.update(self.maps["tenants"].fd, bytes(4), tenant.pack())

    def _install(self, count: int, rate: Rate | None, dialed: bool) -> None:
        now = Clock().boot()
        until = after(now, population.LEASE)
        make = population.dialed if dialed else population.session
        sessions = (make(number, until, rate=rate) for number in range(count))
        self.tables.install(population.rows(sessions), now)

    def attach(self, crossing: Crossing) -> None:
        """Put the programs on the gateway's devices."""
        crossing.attach(self.programs[ACCESS], crossing.gateway, "acc0")
        crossing.attach(self.programs[CORE], crossing.gateway, "core0")

    def used(self, subscribers: int, down: bool) -> list[int]:
        """Return each subscriber's packets so far, one way."""
        words = self.usage.view.cast("Q")
        stride = self.usage.stride // 8
        return words[8 if down else 0 : subscribers * stride : stride].tolist()


class Linux:
    """The kernel's own forwarding in the gateway's place: no tags, one route up, a neighbour a subscriber down."""

    def __init__(self, crossing: Crossing, traffic: Traffic, neighbours: int) -> None:
        gateway = crossing.gateway
        gateway.sysctl({"ipv4/conf/all/rp_filter": 0, "ipv4/conf/acc0/rp_filter": 0})
        gateway.ip(f"addr add {population.NETWORK[1]}/{population.NETWORK.prefixlen} dev acc0")
        gateway.ip(
            *(
                f"neigh add {population.address(number)} lladdr {population.mac(number)} dev acc0 nud permanent"
                for number in range(neighbours)
            )
        )
        for device in ("acc0", "core0"):
            crossing.attach(traffic.programs["pass"], gateway, device)
