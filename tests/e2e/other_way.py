"""Another provider's way out of a lab's gateway: a cable `core1` to `gw1` of the same router, by other addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from wayleave.lab.topology import Lab

TABLE = 100
CORE, ROUTER = IPv4Address("192.0.2.5"), IPv4Address("192.0.2.6")
TENANT = f"""
[[tenants]]
name = "other"
table = {TABLE}

[[ports]]
number = 101
device = "core1"
role = "network"
tenant = "other"
"""


def lay(lab: Lab, pool: IPv4Network) -> None:
    """Lay the cable, before the gateway starts; `pool` is routed by it, and the tenant's table leads out there."""
    gateway, router = lab.gateway.namespace, lab.router.namespace
    gateway.ip(f"link add name core1 type veth peer name gw1 netns {router.name}")
    for space, device in ((gateway, "core1"), (router, "gw1")):
        space.offloads(device)
        space.ip(f"link set {device} up")
    lab.access_node.attach("pass", router, "gw1")
    router.ip(f"addr add {ROUTER}/30 dev gw1", f"route add {pool} via {CORE}")
    gateway.ip(f"addr add {CORE}/30 dev core1", f"route add default via {ROUTER} dev core1 table {TABLE}")
