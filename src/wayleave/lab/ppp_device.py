"""A PPP device for a kernel that has none: `ppp0`, whose packets travel in a PPPoE session over another device.

`ppp0` is one end of a veth that asks for nobody's MAC. XDP programs at its other end and at the device with the cable
put the session's headers on and take them off (bpf/lab/ppp_device.bpf.c). Discovery and what PPP negotiates are for who
made it, on a packet socket at the cable's device; either side of a session can. If that process is killed, nothing goes
out by `ppp0` any more; the device is left, for `remove`.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from wayleave.dataplane import objects, syscall
from wayleave.io import devices
from wayleave.lab.closing import Closing
from wayleave.lab.namespace import ip_batch
from wayleave.net.mac import Mac

NAME = "ppp0"
PROGRAM = Path(__file__).with_name("ppp_device.bpf.o")
OVERHEAD = 8
"""Octets of PPPoE and of PPP's protocol in front of an IP packet (RFC 2516 7)."""

_INSIDE = "ppp0-inside"
_ROOM = 2000  # of the other end: more than any MTU of ppp0's, and little enough for a veth with a program
_SESSION = struct.Struct("=II6s6s2s2x")


class PppDevice(Closing):
    """`ppp0` in the caller's network namespace, over the device `cable`. Close it there, or use `with`."""

    def __init__(self, cable: str, link: int | None = None) -> None:
        """Make it. `link`: the XDP link that is on the cable's device, if one is; its program is replaced.

        Raises: CommandFailed, LoadError; DeviceError if there is no such cable.
        """
        remove()
        self._cable = _found(cable)
        ip_batch(
            [
                f"link add {NAME} address {self._cable.mac} type veth peer name {_INSIDE} mtu {_ROOM}",
                f"link set {NAME} arp off",
                f"link set {_INSIDE} up",
            ]
        )
        for feature in ("tx-checksum", "tso", "gso", "gro"):  # XDP sees packets as they are to be on the wire
            devices.set_offload(NAME, feature, False)
        self._inside = _found(_INSIDE)
        self._object = objects.load(PROGRAM)
        self._links = [self._attach("wrap", self._inside), self._attach("pass", _found(NAME))]
        if link is None:
            self._links.append(self._attach("unwrap", self._cable))
        else:
            syscall.link_update(link, self._object.programs["unwrap"])

    def connect(self, session_id: int, peer: Mac, mtu: int) -> None:
        """Be the device of a session."""
        self._write(session_id, peer)
        ip_batch([f"link set {NAME} mtu {mtu} up"])

    def add(self, address: str, *more: str) -> None:
        """Give it an address, in the words of ip-address(8): "100.64.0.2 peer 100.64.0.1". Then run `more` of ip's."""
        if ":" in address:
            for key, value in (("addr_gen_mode", "1"), ("disable_ipv6", "0")):  # no address but this one
                Path(f"/proc/sys/net/ipv6/conf/{NAME}/{key}").write_text(value)
        ip_batch([f"addr add {address} dev {NAME}", *more])

    def drop(self, address: str) -> None:
        """Take an address, in the same words; with the last of its kind go the routes."""
        ip_batch([f"addr del {address} dev {NAME}"])

    def disconnect(self) -> None:
        """Be no session's: addresses and routes go, then the session."""
        ip_batch([f"addr flush dev {NAME}", f"link set {NAME} down"])
        self._write(0, self._cable.mac)

    def close(self) -> None:
        """Remove it, and the programs. What came by a `link` of others does nothing any more, and stays."""
        self._write(0, self._cable.mac)
        remove()
        for link in self._links:
            os.close(link)
        self._object.close()

    def _attach(self, program: str, device: devices.Device) -> int:
        return objects.attach(self._object.programs[program], device.ifindex, syscall.XDP_NATIVE).fd

    def _write(self, session_id: int, peer: Mac) -> None:
        row = _SESSION.pack(
            self._cable.ifindex, self._inside.ifindex, self._cable.mac, peer, session_id.to_bytes(2, "big")
        )
        syscall.update(self._object.maps["sessions"].fd, bytes(4), row)


def remove() -> None:
    """Remove what a process that was killed has left in the caller's network namespace."""
    if devices.find(NAME) is not None:
        ip_batch([f"link del {NAME}"])


def _found(name: str) -> devices.Device:
    device = devices.find(name)
    if device is None:
        raise devices.DeviceError(f"there is no device {name}")
    return device
