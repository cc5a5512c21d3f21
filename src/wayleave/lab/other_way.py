"""Another provider's way out of a lab's gateway: a cable `core1` to the same router, by other addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from wayleave.lab.site import lay as lay_cables
from wayleave.lab.topology import Lab

TABLE = 100
UPLINK = "gwother"
"""The router's end of it."""
CORE, ROUTER = IPv4Address("192.0.2.129"), IPv4Address("192.0.2.130")
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
    ends = (gateway, "core1"), (router, UPLINK)
    lay_cables([ends])
    for space, device in ends:
        space.offloads(device)
        space.ip(f"link set {device} up")
    lab.access_node.attach("pass", router, UPLINK)
    router.ip(f"addr add {ROUTER}/30 dev {UPLINK}", f"route add {pool} via {CORE}")
    gateway.ip(f"addr add {CORE}/30 dev core1", f"route add default via {ROUTER} dev core1 table {TABLE}")
