"""Where the kernel would send a packet, and whether it knows the way there. Reads only.

Blocks; not to be called from a running event loop (pyroute2 runs one of its own). Source: rtnetlink(7).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_STATES = {
    0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe", 0x20: "failed",
    0x40: "noarp", 0x80: "permanent",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NextHop:
    """Who gets the packet, over which device. `neighbour` is the state of its MAC's entry, "none" without one."""

    device: str
    address: IPv4Address
    neighbour: str
    mtu: int


def next_hop(source: IPv4Address, destination: IPv4Address, arriving_by: str) -> NextHop | None:
    """Return the next hop of a packet from a client, which comes up by the host link `arriving_by`; None: no way."""
    try:
        with IPRoute() as netlink:
            by = socket.if_nametoindex(arriving_by)
            (route,) = netlink.route("get", dst=str(destination), src=str(source), iif=by)
            out = route.get_attr("RTA_OIF")
            address = IPv4Address(route.get_attr("RTA_GATEWAY") or str(destination))
            known = [
                item["state"]
                for item in netlink.get_neighbours(family=socket.AF_INET, ifindex=out)
                if item.get_attr("NDA_DST") == str(address)
            ]
            (link,) = netlink.get_links(out)
    except (NetlinkError, OSError, ValueError):
        return None
    state = _STATES.get(known[0], "none") if known else "none"
    return NextHop(link.get_attr("IFLA_IFNAME"), address, state, link.get_attr("IFLA_MTU"))
