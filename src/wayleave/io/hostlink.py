"""The host link: one veth pair a tenant that joins the data plane to the local kernel.

The kernel's end has the tenant's gateway addresses. Pools are routed to it through one next hop with a permanent
neighbour, so that nothing ever asks by ARP. What comes up it, a tenant's own table routes (`ip rule iif`).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from pyroute2 import IPRoute, NetlinkError

from wayleave.io import devices
from wayleave.io.devices import Device, DeviceError

NEXT_HOP = "169.254.77.2"
MTU = 3400
"""Larger than any packet that the kernel is to refuse or cut up; native XDP on veth allows no more than a page."""

RT_TABLE_MAIN = 254
_RULE_PRIORITY = 10_000
_OURS = 4
"""RTPROT_STATIC, as pyroute2 marks a route that it makes: not the kernel's own, nor a routing daemon's."""


@dataclass(frozen=True, slots=True)
class Routed:
    """A pool as the kernel sees it."""

    network: IPv4Network
    gateway: IPv4Address
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class HostLink:
    """Both ends: the kernel's and the data plane's."""

    kernel: Device
    ours: Device


def names(tenant: str) -> tuple[str, str]:
    """Return the device names of a tenant's link: the kernel's end, ours."""
    return f"wl-{tenant}", f"wlx-{tenant}"


def ensure(tenant: str, table: int, pools: Sequence[Routed]) -> HostLink:
    """Make the link and its addresses, routes and rules, or complete what stands; what is another pool's is taken away.

    Blocks; not to be called from a running event loop (pyroute2 runs one of its own).

    Raises: DeviceError.
    """
    kernel, ours = names(tenant)
    try:
        with IPRoute() as netlink:
            if devices.find(kernel) is None or devices.find(ours) is None:
                _create(netlink, kernel, ours)
            _configure(kernel, ours)
            ends = HostLink(_known(kernel), _known(ours))
            _route(netlink, ends, table, pools)
            _prune(netlink, ends.kernel.ifindex, table, pools)
    except NetlinkError as error:
        raise DeviceError(f"the host link {kernel} cannot be set up: {error}") from error
    except OSError as error:
        raise DeviceError(f"the host link {kernel} cannot be set up: {error.strerror}") from error
    return ends


def remove(tenant: str) -> bool:
    """Take the link away, and with it its routes and addresses; False if it is not in this network namespace.

    Raises: DeviceError.
    """
    kernel, _ = names(tenant)
    try:
        with IPRoute() as netlink:
            index = netlink.link_lookup(ifname=kernel)
            if index:
                netlink.link("del", index=index[0])
    except NetlinkError as error:
        raise DeviceError(f"the host link {kernel} cannot be removed: {error}") from error
    return bool(index)


def addresses() -> list[IPv4Address]:
    """Return every IPv4 address that the kernel of this namespace answers to."""
    with IPRoute() as netlink:
        return [IPv4Address(item.get_attr("IFA_LOCAL")) for item in netlink.get_addr(family=2)]


def _known(name: str) -> Device:
    device = devices.find(name)
    if device is None:
        raise DeviceError(f"{name} went away while it was set up")
    return device


def _create(netlink: IPRoute, kernel: str, ours: str) -> None:
    for name in (kernel, ours):
        for index in netlink.link_lookup(ifname=name):
            netlink.link("del", index=index)
    netlink.link("add", ifname=kernel, kind="veth", mtu=MTU, peer={"ifname": ours, "mtu": MTU})


def _configure(kernel: str, ours: str) -> None:
    for name in (kernel, ours):
        devices.set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
    devices.set_sysctl(f"net/ipv4/conf/{kernel}/rp_filter", "0")
    devices.set_sysctl(f"net/ipv4/conf/{kernel}/send_redirects", "0")
    devices.set_sysctl(f"net/ipv4/conf/{kernel}/forwarding", "1")
    for feature in ("tx-checksum", "tso", "gso"):
        devices.set_offload(kernel, feature, False)
    devices.set_offload(kernel, "gro", True)  # veth delivers redirected frames only where NAPI runs
    devices.set_up(kernel)
    devices.set_up(ours)


def _route(netlink: IPRoute, ends: HostLink, table: int, pools: Sequence[Routed]) -> None:
    index = ends.kernel.ifindex
    for pool in pools:
        netlink.addr("replace", index=index, address=str(pool.gateway), prefixlen=32)
    netlink.neigh("replace", dst=NEXT_HOP, lladdr=str(ends.ours.mac), ifindex=index, state=0x80)  # permanent
    for pool in pools:
        netlink.route(
            "replace",
            dst=str(pool.network),
            gateway=NEXT_HOP,
            oif=index,
            table=table,
            prefsrc=str(pool.gateway),
            flags=4,  # RTNH_F_ONLINK: the next hop is in no network of ours
            metrics={"lock": 1 << 2, "mtu": pool.mtu},  # locked (by RTAX_MTU, 2): counts for what is forwarded
        )
    if table == RT_TABLE_MAIN:
        return
    _rule(netlink, table=table, iifname=ends.kernel.name)
    # What the tenant's table cannot route must not fall through to somebody else's.
    _rule(netlink, _RULE_PRIORITY + 1, action="unreachable", iifname=ends.kernel.name)
    for pool in pools:
        _rule(netlink, table=table, dst=str(pool.network.network_address), dst_len=pool.network.prefixlen)
        _rule(netlink, table=table, src=str(pool.gateway), src_len=32)


def _prune(netlink: IPRoute, index: int, table: int, pools: Sequence[Routed]) -> None:
    """Take away what an earlier configuration had here, after everything of this one stands."""
    networks, gateways = {str(pool.network) for pool in pools}, {str(pool.gateway) for pool in pools}
    for route in netlink.get_routes(family=2, table=table, oif=index, proto=_OURS):
        network = f"{route.get_attr('RTA_DST')}/{route['dst_len']}"
        if network not in networks:
            netlink.route("del", dst=network, oif=index, table=table)
    for item in netlink.get_addr(family=2, index=index):
        if item.get_attr("IFA_LOCAL") not in gateways:
            netlink.addr("del", index=index, address=item.get_attr("IFA_LOCAL"), prefixlen=item["prefixlen"])
    for rule in netlink.get_rules(family=2, priority=_RULE_PRIORITY, table=table) if table != RT_TABLE_MAIN else ():
        to, source = rule.get_attr("FRA_DST"), rule.get_attr("FRA_SRC")
        if to is not None and f"{to}/{rule['dst_len']}" not in networks:
            _unrule(netlink, table=table, dst=to, dst_len=rule["dst_len"])
        if source is not None and source not in gateways:
            _unrule(netlink, table=table, src=source, src_len=rule["src_len"])


def _unrule(netlink: IPRoute, **match: str | int) -> None:
    netlink.rule("del", priority=_RULE_PRIORITY, **match)


def _rule(netlink: IPRoute, priority: int = _RULE_PRIORITY, **match: str | int) -> None:
    try:
        netlink.rule("add", priority=priority, **match)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
