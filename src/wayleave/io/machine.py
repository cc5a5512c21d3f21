"""Facts about the machine that a gateway depends on: kernel, memory, disks, what drivers can do.

Reads only. Source: proc(5), include/uapi/linux/ethtool.h, Documentation/netlink/specs/netdev.yaml
(kernel 6.3).
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink import NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

XDP_BASIC, XDP_REDIRECT, XDP_XMIT = 1, 2, 4
"""Bits of a driver's XDP features: it runs programs; they may redirect; frames may be redirected to it."""

_SIOCETHTOOL, _GDRVINFO = 0x8946, 0x3
_IFF_UP = 0x1
_DEV_GET = 1


def kernel() -> tuple[int, int]:
    """Return the kernel's version, as in (6, 1)."""
    major, minor = os.uname().release.split("-")[0].split(".")[:2]
    return int(major), int(minor)


def available_memory() -> int:
    """Return how many octets programs may still take without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def free_disk(path: Path) -> int:
    """Return how many octets are free where `path`, or the nearest folder above it that exists, lies."""
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def sysctl(path: str) -> str | None:
    """Return what /proc/sys/`path` says; None if the kernel has none."""
    file = Path("/proc/sys") / path
    return file.read_text().strip() if file.exists() else None


def forwards() -> bool:
    """Whether the kernel routes IPv4 between devices of this namespace; else bpf_fib_lookup refuses every packet."""
    return sysctl("net/ipv4/ip_forward") == "1"


def driver(device: str) -> str:
    """Return the name of a device's driver, "unknown" if it does not tell."""
    info = array.array("B", struct.pack("I192x", _GDRVINFO))
    request = struct.pack("16sP", device.encode(), info.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
    except OSError:
        return "unknown"
    return info.tobytes()[4:36].split(b"\0")[0].decode(errors="replace")


class _NetdevMessage(genlmsg):  # type: ignore[misc]
    nla_map = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def xdp_features(ifindex: int) -> int | None:
    """Return what a driver can do with XDP; None where the kernel does not tell (before 6.3)."""
    try:
        with GenericNetlinkSocket() as netlink:
            netlink.bind("netdev", _NetdevMessage)
            message = _NetdevMessage()
            message["cmd"], message["version"] = _DEV_GET, 1
            message["attrs"] = [("NETDEV_A_DEV_IFINDEX", ifindex)]
            (answer,) = netlink.nlm_request(message, msg_type=netlink.prid, msg_flags=NLM_F_REQUEST)
    except (NetlinkError, OSError):
        return None
    found: int | None = answer.get_attr("NETDEV_A_DEV_XDP_FEATURES")
    return found


def attached_program(ifindex: int) -> tuple[int, str]:
    """Return the id of the XDP program on a device, and how it is attached in ip-link(8)'s word; 0: there is none."""
    try:
        with IPRoute() as netlink:
            (link,) = netlink.get_links(ifindex)
    except NetlinkError:
        return 0, ""
    xdp = link.get_attr("IFLA_XDP")
    if xdp is None:
        return 0, ""
    return xdp.get_attr("IFLA_XDP_PROG_ID") or 0, xdp.get_attr("IFLA_XDP_ATTACHED") or ""


def master(ifindex: int) -> str | None:
    """Return the bridge, bond or the like that a device is a part of; None: it stands by itself."""
    with IPRoute() as netlink:
        (link,) = netlink.get_links(ifindex)
    above = link.get_attr("IFLA_MASTER")
    return None if above is None else socket.if_indextoname(above)


def is_private(folder: Path) -> bool | None:
    """Whether a file system mounted at `folder` is, or would be, this mount namespace's own, and ends with it.

    None: this process may not know what the machine's first one has mounted. Source: proc_pid_mountinfo(5).
    """
    try:
        ours, machines = (_mounts(Path(f"/proc/{process}/mountinfo")) for process in ("self", "1"))
    except OSError:
        return None
    if ours.get("/", ("",))[0] == machines.get("/", ("",))[0]:
        return False
    here, there = ours.get(str(folder)), machines.get(str(folder))
    return here is None or there is None or here[1] != there[1]


def _mounts(mountinfo: Path) -> dict[str, tuple[str, str]]:
    """What is mounted where: the mount's id, which is its namespace's own, and the file system's device."""
    lines = (line.split() for line in mountinfo.read_text().splitlines())
    return {words[4]: (words[0], words[2]) for words in lines}


def has_route(table: int) -> bool:
    """Whether a route table has any route but those to the link layer's own addresses."""
    with IPRoute() as netlink:
        return any(route["type"] == 1 for route in netlink.get_routes(family=socket.AF_INET, table=table))


def can_bind(address: IPv4Address) -> bool:
    """Whether a program may send from this address: it is the machine's own, or `net.ipv4.ip_nonlocal_bind` is set."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def carriers(devices: Iterable[str]) -> dict[str, bool]:
    """Return those of the devices that are administratively up, and whether they have a carrier."""
    with IPRoute() as netlink:
        links = [netlink.get_links(index)[0] for name in devices for index in netlink.link_lookup(ifname=name)]
    enabled = [link for link in links if link["flags"] & _IFF_UP]
    return {link.get_attr("IFLA_IFNAME"): link.get_attr("IFLA_CARRIER") == 1 for link in enabled}
