"""The host link: one veth pair a tenant that joins the data plane to the local kernel.

The kernel's end has the tenant's gateway addresses. Pools are routed to it through one next hop with a permanent
neighbour, so that nothing ever asks by ARP. What comes up it, a tenant's own table routes (`ip rule iif`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from pyroute2 import IPRoute, NetlinkError

from wayleave.io import devices, routes
from wayleave.io.devices import Device, DeviceError

NEXT_HOP = "169.254.77.2"
MTU = 3400
"""Larger than any packet that the kernel is to refuse or cut up; native XDP on veth allows no more than a page."""

RT_TABLE_MAIN = 254
_RULE_PRIORITY = 10_000
_LOOKUP, _PERMANENT = 1, 0x80
"""FR_ACT_TO_TBL; NUD_PERMANENT."""


@dataclass(frozen=True, slots=True)
class Routed:
    """A pool as the kernel sees it. Of one that gateways share, `blocks` are routed here; None: all of it is."""

    network: IPv4Network
    gateway: IPv4Address
    mtu: int = 1500
    blocks: tuple[IPv4Network, ...] | None = None

    @property
    def routes(self) -> tuple[IPv4Network, ...]:
        """What leads to customers."""
        return (self.network,) if self.blocks is None else self.blocks


@dataclass(frozen=True, slots=True)
class HostLink:
    """Both ends: the kernel's and the data plane's."""

    kernel: Device
    ours: Device


def names(tenant: str) -> tuple[str, str]:
    """Return the device names of a tenant's link: the kernel's end, ours."""
    return f"wl-{tenant}", f"wlx-{tenant}"


def tenant_of(device: str) -> str | None:
    """Return whose link a device is our end of, None if it is no such end."""
    prefix = names("")[1]
    return device.removeprefix(prefix) if device.startswith(prefix) else None


def ensure(tenant: str, table: int, pools: Sequence[Routed]) -> HostLink:
    """Make the link and its addresses, routes and rules, or complete what stands; what is another pool's is taken away.

    Blocks; not to be called from a running event loop (pyroute2 runs one of its own).

    Raises: DeviceError.
    """
    kernel, ours = names(tenant)
    with _netlink(f"the host link {kernel} cannot be set up") as netlink:
        for standing in _in_the_way(netlink, kernel, table, pools):
            raise DeviceError(standing)
        if find(tenant) is None:
            _create(netlink, kernel, ours)
        _configure(kernel, ours)
        ends = HostLink(_known(kernel), _known(ours))
        _route(netlink, ends, table, pools)
        _prune(netlink, ends.kernel, table, pools)
    return ends


def find(tenant: str) -> HostLink | None:
    """Return a tenant's link as it stands, None if an end of it is missing."""
    kernel, ours = map(devices.find, names(tenant))
    return HostLink(kernel, ours) if kernel is not None and ours is not None else None


def missing(tenant: str, table: int, pools: Sequence[Routed]) -> list[str]:
    """Return, in words, what `ensure` would have to put back. Blocks, as that does.

    Raises: DeviceError.
    """
    kernel, ours = names(tenant)
    ends = find(tenant)
    if ends is None:
        return ["its devices"]
    lacks = [f"{name} up" for name in (kernel, ours) if not devices.is_up(name)]
    with _netlink(f"the host link {kernel} cannot be looked at") as netlink:
        index = ends.kernel.ifindex
        own = {item.get_attr("IFA_LOCAL") for item in netlink.get_addr(family=2, index=index)}
        lacks += [f"the address {pool.gateway}" for pool in pools if str(pool.gateway) not in own]
        if not _has_neighbour(netlink, ends):
            lacks.append(f"the neighbour {NEXT_HOP}")
        routed = routes.static(table, index)
        wanted = {network for pool in pools for network in pool.routes}
        lacks += [f"the route to {network}" for network in sorted(wanted - routed)]
        lacks += [f"the end of the route to {network}" for network in sorted(routed - wanted)]
        lacks += sorted(f"the rule {rule}" for rule in _rules(kernel, table, pools) - _standing(netlink, kernel))
    return lacks


def in_the_way(tenant: str, table: int, pools: Sequence[Routed]) -> list[str]:
    """Return, in words, what of the machine's own stands where pools are to be: `ensure` leaves that alone, and fails.

    Blocks. Raises: DeviceError.
    """
    kernel, _ = names(tenant)
    with _netlink("the machine's addresses and routes cannot be read") as netlink:
        return list(_in_the_way(netlink, kernel, table, pools))


def _in_the_way(netlink: IPRoute, kernel: str, table: int, pools: Sequence[Routed]) -> Iterator[str]:
    taken: set[IPv4Network] = set()
    for item in netlink.get_addr(family=2):
        own = IPv4Interface(f"{item.get_attr('IFA_LOCAL')}/{item['prefixlen']}")
        device = devices.name_of(item["index"])
        if device is None or device.startswith(names("")[0]) or own.network.prefixlen == own.max_prefixlen:
            continue
        for pool in pools:
            if pool.network.overlaps(own.network):
                taken.add(pool.network)
                yield f"{device} has the address {own}, and pool {pool.network} is to be routed to customers"
    for pool in pools if table == RT_TABLE_MAIN else ():
        device = _routed_by(netlink, pool.network)
        if pool.network not in taken and device not in (None, kernel):
            yield f"{pool.network} is routed to {device}, and the pool is to be routed to customers"


_FIB_MATCH = 0x2000
"""RTM_F_FIB_MATCH, kernel 4.13: the route itself, instead of what it makes of one address."""


def _routed_by(netlink: IPRoute, network: IPv4Network) -> str | None:
    """The device that the main table routes just this network to; None: there is no such route, or to no device."""
    try:
        (route,) = netlink.route("get", dst=str(network.network_address), flags=_FIB_MATCH)
    except NetlinkError:
        return None
    found = (route.get_attr("RTA_DST"), route["dst_len"]) == (str(network.network_address), network.prefixlen)
    return devices.name_of(route.get_attr("RTA_OIF")) if found else None


@contextmanager
def _netlink(what: str) -> Iterator[IPRoute]:
    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        raise DeviceError(f"{what}: {error}") from error
    except OSError as error:
        raise DeviceError(f"{what}: {error.strerror}") from error


def remove(tenant: str) -> bool:
    """Take the link away, and with it its routes and addresses; False if it is not in this network namespace.

    Raises: DeviceError.
    """
    kernel, _ = names(tenant)
    with _netlink(f"the host link {kernel} cannot be removed") as netlink:
        index = netlink.link_lookup(ifname=kernel)
        if index:
            netlink.link("del", index=index[0])
    return bool(index)


def addresses() -> list[IPv4Address]:
    """Return every IPv4 address that the kernel of this namespace answers to. Raises: DeviceError."""
    with _netlink("the machine's addresses cannot be read") as netlink:
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
    netlink.neigh("replace", dst=NEXT_HOP, lladdr=str(ends.ours.mac), ifindex=index, state=_PERMANENT)
    for network, of in ((network, pool) for pool in pools for network in pool.routes):
        netlink.route(
            "replace",
            dst=str(network),
            gateway=NEXT_HOP,
            oif=index,
            table=table,
            prefsrc=str(of.gateway),
            flags=4,  # RTNH_F_ONLINK: the next hop is in no network of ours
            metrics={"lock": 1 << 2, "mtu": of.mtu},  # locked (by RTAX_MTU, 2): counts for what is forwarded
        )
    for rule in _rules(ends.kernel.name, table, pools) - _standing(netlink, ends.kernel.name):
        netlink.rule("add", priority=rule.priority, **rule.words())


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule for a tenant that has a table of its own; `table` None: what matches goes nowhere."""

    table: int | None
    iif: str | None = None
    to: IPv4Network | None = None
    source: IPv4Network | None = None

    def __str__(self) -> str:
        words = (("from", self.source), ("to", self.to), ("iif", self.iif))
        match = " ".join(f"{word} {value}" for word, value in words if value is not None)
        return f"{match} lookup {self.table}" if self.table is not None else f"{match} unreachable"

    @property
    def priority(self) -> int:
        return _RULE_PRIORITY if self.table is not None else _RULE_PRIORITY + 1

    def words(self) -> dict[str, str | int]:
        """The rule as pyroute2 takes it, without its priority."""
        words: dict[str, str | int] = {"table": self.table} if self.table is not None else {"action": "unreachable"}
        if self.iif is not None:
            words["iifname"] = self.iif
        for name, network in (("dst", self.to), ("src", self.source)):
            if network is not None:
                words |= {name: str(network.network_address), f"{name}_len": network.prefixlen}
        return words


def _rules(kernel: str, table: int, pools: Sequence[Routed]) -> set[_Rule]:
    """Return the rules of a tenant; what its table cannot route must not fall through to somebody else's."""
    if table == RT_TABLE_MAIN:
        return set()
    to = {_Rule(table, to=pool.network) for pool in pools}
    own = {_Rule(table, source=IPv4Network(pool.gateway)) for pool in pools}
    return {_Rule(table, iif=kernel), _Rule(None, iif=kernel)} | to | own


def _standing(netlink: IPRoute, kernel: str) -> set[_Rule]:
    """Return the rules of ours that stand: of this link, or of no link."""
    found = set()
    for rule in netlink.get_rules(family=2):
        to, source = (
            IPv4Network((address, rule[length])) if (address := rule.get_attr(name)) is not None else None
            for name, length in (("FRA_DST", "dst_len"), ("FRA_SRC", "src_len"))
        )
        table = rule.get_attr("FRA_TABLE") if rule["action"] == _LOOKUP else None
        read = _Rule(table, rule.get_attr("FRA_IIFNAME"), to, source)
        if rule.get_attr("FRA_PRIORITY") == read.priority and read.iif in (None, kernel):
            found.add(read)
    return found


def _has_neighbour(netlink: IPRoute, ends: HostLink) -> bool:
    """Whether the next hop of the pools has its MAC for good."""
    try:
        (entry,) = netlink.neigh("get", dst=NEXT_HOP, ifindex=ends.kernel.ifindex)
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise
        return False
    return (entry["state"], entry.get_attr("NDA_LLADDR")) == (_PERMANENT, str(ends.ours.mac))


def _prune(netlink: IPRoute, kernel: Device, table: int, pools: Sequence[Routed]) -> None:
    """Take away what an earlier configuration had here, after everything of this one stands."""
    index, gateways = kernel.ifindex, {str(pool.gateway) for pool in pools}
    for network in routes.static(table, index) - {network for pool in pools for network in pool.routes}:
        netlink.route("del", dst=str(network), oif=index, table=table)
    for item in netlink.get_addr(family=2, index=index):
        if item.get_attr("IFA_LOCAL") not in gateways:
            netlink.addr("del", index=index, address=item.get_attr("IFA_LOCAL"), prefixlen=item["prefixlen"])
    for rule in _standing(netlink, kernel.name) - _rules(kernel.name, table, pools):
        if rule.table == table != RT_TABLE_MAIN:
            netlink.rule("del", priority=rule.priority, **rule.words())
