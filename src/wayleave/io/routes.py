"""Where the kernel would send a packet, and whether it knows the way there. Reads only.

Blocks; not to be called from a running event loop (pyroute2 runs one of its own). Source: rtnetlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

STATIC = 4
"""RTPROT_STATIC, as pyroute2 marks a route that it makes: not the kernel's own, nor a routing daemon's."""

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


def reachable(destination: IPv4Address, source: IPv4Address | None) -> bool:
    """Whether the machine itself has a way there, from an address of its own if that is said."""
    given = {} if source is None else {"src": str(source)}
    try:
        with IPRoute() as netlink:
            return bool(netlink.route("get", dst=str(destination), **given))
    except NetlinkError:
        return False


_SOL_NETLINK, _NETLINK_GET_STRICT_CHK = 270, 12
_NLMSG_ERROR, _NLMSG_DONE, _RTM_GETROUTE, _REQUEST_DUMP = 2, 3, 26, 0x301
_RTA_DST, _RTA_OIF, _RTA_TABLE = 1, 4, 15
_HEADER, _ROUTE, _ATTRIBUTE, _WORD = struct.Struct("=IHHII"), struct.Struct("=8BI"), struct.Struct("=HH"), "=HHI"


def static(table: int, ifindex: int) -> set[IPv4Network]:
    """Return the networks that static routes of a table lead to by a device.

    The kernel looks for them (since 4.20): of a full table, pyroute2 would have Python read every route.

    Raises: OSError.
    """
    wanted = struct.pack(_WORD, 8, _RTA_TABLE, table) + struct.pack(_WORD, 8, _RTA_OIF, ifindex)
    body = _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, STATIC, 0, 0, 0) + wanted
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        netlink.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _REQUEST_DUMP, 1, 0) + body)
        return set(_answers(netlink))


def _answers(netlink: socket.socket) -> Iterator[IPv4Network]:
    while True:
        data = netlink.recv(1 << 16)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                (error,) = struct.unpack_from("=i", data, _HEADER.size)
                if error not in (0, -errno.ENOENT):  # there may be no such table
                    raise OSError(-error, os.strerror(-error))
                return
            yield _destination(data[_HEADER.size : length])
            data = data[length + 3 & ~3 :]


def _destination(route: bytes) -> IPv4Network:
    _, prefix, *_ = _ROUTE.unpack_from(route)
    at = _ROUTE.size
    while at < len(route):
        length, kind = _ATTRIBUTE.unpack_from(route, at)
        if kind == _RTA_DST:
            return IPv4Network((route[at + 4 : at + 8], prefix))
        at += length + 3 & ~3
    return IPv4Network((0, prefix))
