"""A gateway of a lab, with what is on both sides of it: its access node, its customers, and its cable to the core.

A lab is one of these, and more if it was asked for more (`topology`): number 0 is the lab's own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import NamedTuple

from wayleave.dataplane import objects
from wayleave.lab.access_node import AccessNode, Line
from wayleave.lab.customer import Customer
from wayleave.lab.gateway import Gateway
from wayleave.lab.guest import Cable
from wayleave.lab.namespace import Namespace, ip_batch
from wayleave.net.mac import Mac

PINS = objects.BPFFS / "wayleave"
GATEWAY_ACCESS_MAC = Mac.parse("02:77:00:00:00:01")
GATEWAY_CORE_MAC = Mac.parse("02:77:00:00:00:02")
_ROUTER_MAC = Mac.parse("02:77:00:00:00:03")
"""Of number 0; the others count up in the fifth octet."""

Section = Mapping[str, object]
End = tuple[Namespace, str]
"""Of a cable: where, and the device there."""


class Plan(NamedTuple):
    """What the sites of a lab have in common; `core` and `router` are of number 0, the others' count up from there."""

    lab: str
    pools: Sequence[IPv4Network]
    core: IPv4Interface
    router: IPv4Address
    server: IPv4Address
    access_mtu: int
    offloads: bool
    alone: bool
    """The core has routes to the pools from the beginning on: they are the one gateway's."""


class Site:
    """Made by `build`, once what it is in stands. `customers` are those of its own."""

    access_node: AccessNode
    gateway: Gateway
    customers: list[Customer]
    folder: Path

    def __init__(self, plan: Plan, number: int, customers: Sequence[Line]) -> None:
        self.number = number
        self.instance = f"lab-{plan.lab}-{number}" if number else f"lab-{plan.lab}"
        self.lines = list(customers)
        self.pools = list(plan.pools)
        away = number * plan.core.network.num_addresses
        self.core = IPv4Interface((plan.core.ip + away, plan.core.network.prefixlen))
        self.router_address = plan.router + away
        self.server_address = plan.server
        """The server's: ping and iperf3 to it."""
        self.access_mtu, self.offloads = plan.access_mtu, plan.offloads
        self._routed = plan.pools if plan.alone else ()
        self.uplink = f"gw{number}"
        """The router's device toward the gateway."""
        self._spaces = [Namespace(f"{plan.lab}-{name}{number or ''}") for name in ("gw", "an")]
        letter = f"s{number}c" if number else "c"
        self._homes = [Namespace(f"{plan.lab}-{letter}{customer}") for customer in range(len(self.lines))]
        self._cleanup = contextlib.ExitStack()

    @property
    def spaces(self) -> list[Namespace]:
        """All that it needs: whoever builds it makes them before."""
        return [*self._spaces, *self._homes]

    @property
    def pool_gateway(self) -> IPv4Address:
        """The gateway's own address in the first pool."""
        return self.pools[0][1]

    @property
    def customer_mtu(self) -> int:
        """What two tags leave of the trunk's: a guest's on its line."""
        return self.access_mtu - 8

    def build(self, core: Namespace, folder: Path) -> None:
        """Wire and address it, and start its access node. `folder` is its own."""
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._cleanup.callback(objects.unpin, PINS / self.instance)
        gateway, node = self._spaces
        self._plug(gateway, node, core)
        self._wire(node, core)
        self.access_node = AccessNode(node, "trunk")
        self._cleanup.callback(self.access_node.close)
        self.access_node.attach("pass", core, self.uplink)
        self.gateway = Gateway(gateway, folder, self.instance)
        self.customers = []
        for number, (space, line) in enumerate(zip(self._homes, self.lines, strict=True)):
            link = self.access_node.attach("pass", space, "eth0")
            port = self.access_node.connect(f"c{number}", line)
            self.customers.append(Customer(space, folder, self.access_node, port, link))
        for host in (self.gateway, *self.customers):
            self._cleanup.callback(host.close)

    def close(self) -> None:
        """End what runs in it, and unpin."""
        self._cleanup.close()

    def _plug(self, gateway: Namespace, node: Namespace, core: Namespace) -> None:
        """Cable the gateway to `trunk` of the access node and to the router, and address it."""
        ends = [(node, "trunk"), (gateway, "acc0"), (gateway, "core0"), (core, self.uplink)]
        lay([(ends[0], ends[1]), (ends[2], ends[3])])
        gateway.ip(
            f"link set acc0 address {_of(GATEWAY_ACCESS_MAC, self.number)} mtu {self.access_mtu} up",
            f"link set core0 address {_of(GATEWAY_CORE_MAC, self.number)} up",
            f"addr add {self.core} dev core0",
        )
        gateway.ip(f"route add default via {self.router_address}")
        for space, device in ends:
            space.offloads(device)

    def _wire(self, node: Namespace, core: Namespace) -> None:
        cables = [((node, f"c{number}"), (space, "eth0")) for number, space in enumerate(self._homes)]
        lay(cables)
        node.ip(f"link set trunk mtu {self.access_mtu} up", *(f"link set {device} up" for (_, device), _ in cables))
        core.ip(
            f"link set {self.uplink} address {_of(_ROUTER_MAC, self.number)} up",
            f"addr add {self.router_address}/{self.core.network.prefixlen} dev {self.uplink}",
            *(f"route add {pool} via {self.core.ip}" for pool in self._routed),
        )
        for number, space in enumerate(self._homes):
            space.ip(f"link set eth0 address {customer_mac(number, self.number)} up")
        if not self.offloads:
            for ends in cables:
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


def lay(cables: Sequence[tuple[End, End]]) -> None:
    """Lay cables, each with two ends."""
    ip_batch(
        f"link add name {a} netns {space_a.name} type veth peer name {b} netns {space_b.name}"
        for (space_a, a), (space_b, b) in cables
    )


def customer_mac(number: int, site: int = 0) -> Mac:
    """The MAC that customer `number` of a site starts with."""
    return Mac(bytes((0x02, 0xC0, site)) + number.to_bytes(3, "big"))


def _of(mac: Mac, number: int) -> Mac:
    octets = bytes(mac)
    return Mac(octets[:4] + bytes((number,)) + octets[5:])


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
