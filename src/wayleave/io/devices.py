"""Network devices: what they are, what the gateway needs of them, and when they come and go.

Everything here acts in the network namespace of the process. Reads and settings go through ioctl (netdevice(7),
ethtool's in include/uapi/linux/ethtool.h): /sys shows the namespace it was mounted in, which may be another.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wayleave.net.mac import Mac

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCGIFMTU, _SIOCGIFHWADDR, _SIOCETHTOOL = 0x8913, 0x8914, 0x8921, 0x8927, 0x8946
_IFF_UP, _IFF_RUNNING, _IFF_PROMISC = 0x1, 0x40, 0x100
_ETHTOOL_GFLAGS, _ETHTOOL_SFLAGS = 0x25, 0x26
_FLAG_TXVLAN, _FLAG_RXVLAN, _FLAG_LRO = 1 << 7, 1 << 8, 1 << 15
_SETTERS = {"tx-checksum": 0x17, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}


class DeviceError(Exception):
    """A device cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Device:
    """A network device. `mtu` is without the 14 octets of Ethernet."""

    name: str
    ifindex: int
    mac: Mac
    mtu: int


def _ioctl(request: int, name: str, data: bytes = b"") -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, request, struct.pack("16s24s", name.encode(), data))


def find(name: str) -> Device | None:
    """Return the device of this name, None if there is none."""
    try:
        ifindex = socket.if_nametoindex(name)
        mac = Mac(_ioctl(_SIOCGIFHWADDR, name)[18:24])
        (mtu,) = struct.unpack_from("i", _ioctl(_SIOCGIFMTU, name), 16)
    except OSError:
        return None
    return Device(name, ifindex, mac, mtu)


def state(name: str) -> str:
    """Return `up`, `no carrier`, `down` as it was set, or `gone`. Source: netdevice(7), IFF_RUNNING."""
    try:
        (flags,) = struct.unpack_from("H", _ioctl(_SIOCGIFFLAGS, name), 16)
    except OSError:
        return "gone"
    return "down" if not flags & _IFF_UP else "up" if flags & _IFF_RUNNING else "no carrier"


def name_of(ifindex: int) -> str | None:
    """Return what a device is called, None if it is gone."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return None


def set_up(name: str) -> None:
    """Bring a device up, and make it take frames of every VLAN (its filter drops VIDs it was not told of)."""
    (flags,) = struct.unpack_from("H", _ioctl(_SIOCGIFFLAGS, name), 16)
    _ioctl(_SIOCSIFFLAGS, name, struct.pack("H", flags | _IFF_UP | _IFF_PROMISC))


def ifindex(name: str) -> int | None:
    """Return the index of a device, None if there is none of this name."""
    device = find(name)
    return None if device is None else device.ifindex


def is_up(name: str) -> bool:
    """Whether a device is there, and administratively up."""
    try:
        (flags,) = struct.unpack_from("H", _ioctl(_SIOCGIFFLAGS, name), 16)
    except OSError:
        return False
    return bool(flags & _IFF_UP)


def _ethtool(name: str, command: int, value: int) -> int:
    """Run one of ethtool's one-word commands; returns the word.

    Raises: OSError where the driver knows no such setting.
    """
    word = array.array("I", [command, value])
    address, _ = word.buffer_info()
    _ioctl(_SIOCETHTOOL, name, struct.pack("P", address))
    return word[1]


def set_offload(name: str, feature: str, on: bool) -> None:
    """Switch `tx-checksum`, `tso`, `gso` or `gro`, unless it stands so already.

    Raises: OSError where the driver refuses.
    """
    setter = _SETTERS[feature]
    if bool(_ethtool(name, setter - 1, 0)) != on:  # each getter's number is one below its setter's
        _ethtool(name, setter, int(on))


def usable(name: str, least: int) -> Device:
    """Find the device of a port that carries `least` octets. Raises: DeviceError if it is missing or its MTU less."""
    device = find(name)
    if device is None:
        raise DeviceError(f"there is no device {name}: `ip link` lists what there is")
    if device.mtu < least:
        raise DeviceError(
            f"{name} has MTU {device.mtu}: what its port carries needs {least}; `ip link set dev {name} mtu {least}`"
        )
    return device


def prepare(name: str, role: str, least: int) -> Device:
    """Make a port ready for native XDP: up, every VLAN let through, tags in the frame, nothing aggregated.

    Raises: DeviceError if the device is missing, its MTU too small, or the driver insists on tags or LRO.
    """
    device = usable(name, least)
    set_up(name)
    unwanted = _FLAG_LRO | (_FLAG_RXVLAN | _FLAG_TXVLAN if role == "subscriber" else 0)
    with suppress(OSError):
        _ethtool(name, _ETHTOOL_SFLAGS, _ethtool(name, _ETHTOOL_GFLAGS, 0) & ~unwanted)
    try:
        left = _ethtool(name, _ETHTOOL_GFLAGS, 0) & unwanted
    except OSError:
        left = 0
    if left & _FLAG_RXVLAN:
        raise DeviceError(
            f"{name} takes VLAN tags out of frames and cannot be told not to: `ethtool -K {name} rxvlan off`"
        )
    if left & _FLAG_LRO:
        raise DeviceError(f"{name} aggregates packets: `ethtool -K {name} lro off`")
    for feature in ("tx-checksum", "tso", "gso"):
        with suppress(OSError):  # of what the kernel itself sends here; a driver without it has nothing to switch
            set_offload(name, feature, False)
    return device


def set_sysctl(path: str, value: str) -> None:
    """Write /proc/sys/`path` unless it says so already; missing ones are passed over.

    Raises: DeviceError if it cannot be written.
    """
    file = Path("/proc/sys") / path
    try:
        if file.read_text().strip() != value:
            file.write_text(value)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DeviceError(f"/proc/sys/{path} cannot be set to {value}: {error.strerror}") from error


def enable_forwarding() -> None:
    """Let this namespace route IPv4: without it bpf_fib_lookup refuses every packet."""
    set_sysctl("net/ipv4/ip_forward", "1")


_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV4_RULE = 0x1, 0x10, 0x80


class LinkWatch:
    """Tells that some device, address or rule came, went or changed; the caller looks up which.

    A hint: a lost one costs seconds. Of routes it tells nothing: a full table's changes would drown the rest.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV4_RULE))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Take what waits."""
        with suppress(BlockingIOError, OSError):
            while self._socket.recv(65536):
                pass

    def close(self) -> None:
        self._socket.close()
