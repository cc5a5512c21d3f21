"""Machines on one switch, whose cables can be pulled: what is sent either way vanishes then, and nobody is told.

with Switch() as switch:
    one, other = switch.machine("one"), switch.machine("other")
    switch.pull(one)
"""

from __future__ import annotations

import itertools
import os
from ipaddress import IPv4Interface, IPv4Network

from wayleave.lab.namespace import PREFIX, Namespace, create_all, delete_all
from wayleave.lab.site import lay

NETWORK = IPv4Network("192.0.2.0/24")
_serial = itertools.count(1)


class Machine(Namespace):
    """A namespace with one device, at the switch."""

    def __init__(self, name: str, port: str, interface: IPv4Interface) -> None:
        super().__init__(name)
        self.port, self.interface = port, interface

    @property
    def address(self) -> str:
        """Where it is asked."""
        return str(self.interface.ip)


class Switch:
    """A context manager: leaving ends what runs on the machines, and removes them."""

    def __init__(self) -> None:
        self._name = f"{PREFIX}-{os.getpid()}-0-{next(_serial)}"
        self._bridge = Namespace(f"{self._name}-switch")
        self._machines: list[Machine] = []

    def __enter__(self) -> Switch:
        create_all([self._bridge])
        self._bridge.ip("link add br0 type bridge", "link set br0 up")
        return self

    def __exit__(self, *_: object) -> None:
        delete_all([*self._machines, self._bridge])

    def machine(self, role: str) -> Machine:
        """Return another machine, with a cable to the switch."""
        number = len(self._machines) + 1
        interface = IPv4Interface((NETWORK[number], NETWORK.prefixlen))
        made = Machine(f"{self._name}-{role}", f"p{number}", interface)
        self._machines.append(made)
        create_all([made])
        lay([((self._bridge, made.port), (made, "eth0"))])
        self._bridge.ip(f"link set {made.port} up")
        made.ip(f"addr add {interface} dev eth0", "link set eth0 up")
        self.plug(made)
        return made

    def pull(self, machine: Machine) -> None:
        """Have nothing come through its cable. Both ends still see a carrier."""
        self._bridge.ip(f"link set {machine.port} nomaster")

    def plug(self, machine: Machine) -> None:
        """End that."""
        self._bridge.ip(f"link set {machine.port} master br0")
