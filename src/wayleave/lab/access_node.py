"""The access node: an OLT of one small BPF program. Customers are untagged, the trunk carries each line's tags.

The program pushes and pops tags and redirects (bpf/lab/access_node.bpf.c). Python does what an OLT's own CPU does: it
writes the line table, floods what has no known station on shared tags (N:1), puts option 82 into the DHCP of lines that
have a circuit-id and takes it out again (RFC 3046), and collects the copies of what crosses the trunk.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from wayleave.dataplane import objects, syscall
from wayleave.dataplane.events import Ring
from wayleave.lab.capture import Collected, packet_socket
from wayleave.lab.closing import Closing
from wayleave.lab.namespace import Namespace
from wayleave.lab.packet import (
    IPV4,
    QINQ,
    UDP,
    VLAN,
    Frame,
    Tag,
    dhcp_options,
    ethernet,
    ipv4,
    udp,
    with_dhcp_options,
)
from wayleave.lab.waiting import wait_until
from wayleave.lab.wire import SLOTS, Wire

PROGRAM = Path(__file__).with_name("access_node.bpf.o")
_RELAY_AGENT_INFORMATION, _CIRCUIT_ID = 82, 1
_SHARED, _CIRCUIT = 1, 2
_LINE = struct.Struct("=IHH")
_RECORD = struct.Struct("=QIHH")
_TO_GATEWAY, _FROM_GATEWAY, _DECIDE_UP, _DECIDE_DOWN = 1, 2, 3, 4


class Counter(IntEnum):
    """Index into the program's counters; enum counter in access_node.bpf.c."""

    UP = 0
    DOWN = 1
    TO_PYTHON = 2
    NO_LINE = 3
    OTHER_TAGS = 4
    MALFORMED = 5
    RING_FULL = 6


@dataclass(frozen=True, slots=True)
class Line:
    """Where a customer is attached. No VID: untagged; one: one tag, the first TPID; 0 is a priority tag.

    Lines that have the same tags share them (N:1). `circuit` is the circuit-id of option 82 that the access node puts
    into this line's DHCP.
    """

    svid: int | None = None
    cvid: int | None = None
    tpids: tuple[int, int] = (QINQ, VLAN)
    priorities: tuple[int, int] = (0, 0)
    circuit: bytes = b""

    @property
    def tags(self) -> tuple[Tag, ...]:
        """As they stand in a frame on the trunk, outermost first."""
        vids = [vid for vid in (self.svid, self.cvid) if vid is not None]
        return tuple(map(Tag, self.tpids, vids, self.priorities))

    @property
    def vids(self) -> int:
        """The key of the line table: the non-zero VIDs, outer << 16 | inner."""
        return vids_of(self.tags)

    def __str__(self) -> str:
        text = " ".join(map(str, self.tags)) or "untagged"
        return text + (f" circuit {self.circuit.decode(errors='replace')}" if self.circuit else "")


def vids_of(tags: Sequence[Tag]) -> int:
    """The key under which the program looks a frame's line up."""
    vids = [tag.vid for tag in tags[:2] if tag.vid] + [0, 0]
    return vids[0] << 16 | vids[1]


@dataclass(frozen=True, slots=True)
class Port:
    """A customer port of the access node."""

    device: str
    ifindex: int
    line: Line


class TrunkCapture(Collected, Closing):
    """Every frame that crosses the trunk while this is open, tags in band; `outgoing` is toward the gateway."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__("trunk")
        self._trunk = trunk
        self._lost_before = trunk.node.counters()[Counter.RING_FULL]
        self.since = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    @property
    def lost(self) -> int:
        """Copies the ring had no room for."""
        return self._trunk.node.counters()[Counter.RING_FULL] - self._lost_before

    def settle(self) -> None:
        """Wait until all that crossed before this call has been collected."""
        self._trunk.node.drain()

    def close(self) -> None:
        """Stop, with all that crossed before; what was collected stays."""
        self._trunk.detach(self)


class Trunk:
    """The access node's side of the cable to the gateway."""

    def __init__(self, node: AccessNode, device: str) -> None:
        self.node, self.device = node, device
        self.captures: list[TrunkCapture] = []
        self._socket = node.namespace.call(lambda: packet_socket(device, receive=False))

    def send(self, data: bytes) -> None:
        """Put a frame on the cable toward the gateway as it stands, tags and all."""
        self.collect(Frame(data, time.time_ns(), outgoing=True), time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        self._socket.send(data)

    def wire(self, slots: int = SLOTS) -> Wire:
        """Speak on the cable in place of customers: what comes down for no customer's line arrives there."""
        return self.node.namespace.call(lambda: Wire(self.device, slots))

    def capture(self) -> TrunkCapture:
        """Start copying what crosses the trunk; close it, or use `with`."""
        capture = TrunkCapture(self)
        self.captures = [*self.captures, capture]
        self.node.mirror(on=True)
        return capture

    def detach(self, capture: TrunkCapture) -> None:
        """End a capture; the last one switches the copying off."""
        if capture in self.captures:
            if len(self.captures) == 1:
                self.node.mirror(on=False)
            self.node.drain()
            self.captures = [other for other in self.captures if other is not capture]

    def collect(self, frame: Frame, boot_ns: int) -> None:
        """Hand a frame to the captures that were open when it crossed."""
        for capture in self.captures:
            if boot_ns >= capture.since:
                capture.add(frame)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


class AccessNode:
    """The access node in its namespace. `trunk` is its device to the gateway; `connect` adds customers."""

    def __init__(self, namespace: Namespace, trunk: str) -> None:
        self.namespace = namespace
        self._object = objects.load(PROGRAM)
        self._links: list[int] = []
        self._ports: dict[int, Port] = {}
        self._trunk_ifindex = namespace.ifindex(trunk)
        self.mirror(on=False)
        self.trunk = Trunk(self, trunk)
        self._socket = namespace.call(lambda: packet_socket("lo", receive=False))
        self.attach("downstream", namespace, trunk)
        self._ring = Ring(self._object.maps["ring"])
        self._boot_to_utc = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="access-node", daemon=True)
        self._thread.start()

    def attach(self, program: str, namespace: Namespace, device: str) -> int:
        """Attach one of the object's programs to a device, native; `pass` makes a veth's end run NAPI.

        Returns: the link's descriptor.
        """
        descriptor = self._object.programs[program]
        attached = namespace.call(lambda: objects.attach(descriptor, namespace.ifindex(device), syscall.XDP_NATIVE))
        self._links.append(attached.fd)
        return attached.fd

    def connect(self, device: str, line: Line) -> Port:
        """Make `device` the customer port of `line`."""
        port = Port(device, self.namespace.ifindex(device), line)
        self._ports[port.ifindex] = port
        self.attach("upstream", self.namespace, device)
        self._write(line.vids)
        return port

    def change(self, port: Port, line: Line) -> Port:
        """Move a customer to another line, as replugging does."""
        changed = Port(port.device, port.ifindex, line)
        self._ports[port.ifindex] = changed
        syscall.delete(self._object.maps["vlans"].fd, struct.pack("=I", port.line.vids))
        self._write(port.line.vids)
        self._write(line.vids)
        return changed

    def mirror(self, on: bool) -> None:
        """Switch the copies of what crosses the trunk."""
        self._update("nodes", struct.pack("=I", 0), struct.pack("=II", self._trunk_ifindex, on))

    def counters(self) -> dict[Counter, int]:
        """The program's counters since it was loaded."""
        fd = self._object.maps["counters"].fd
        values = ((counter, syscall.lookup(fd, struct.pack("=I", counter), 8)) for counter in Counter)
        return {counter: int.from_bytes(value or b"", "little") for counter, value in values}

    def drain(self) -> None:
        """Wait until Python has seen all that the program had put into the ring by now."""
        target = self._ring.produced
        if threading.current_thread() is not self._thread:
            wait_until(lambda: self._ring.consumed >= target, "empty ring of the access node")

    def close(self) -> None:
        """Detach and end the thread."""
        if self._thread.is_alive():
            os.write(self._woken, b"x")
            self._thread.join()
            for fd in (*self._links, self._wake, self._woken):
                os.close(fd)
            self._socket.close()
            self.trunk.close()
            self._object.close()

    def _sharing(self, vids: int) -> list[Port]:
        return [port for port in list(self._ports.values()) if port.line.vids == vids]

    def _write(self, vids: int) -> None:
        sharing = self._sharing(vids)
        for port in sharing:
            shared = len(sharing) > 1 or port.line.circuit
            flags = (_SHARED if shared else 0) | (_CIRCUIT if port.line.circuit else 0)
            tags = b"".join(map(bytes, port.line.tags))
            row = (_LINE.pack(port.ifindex, len(port.line.tags), flags) + tags).ljust(16, b"\0")
            self._update("lines", struct.pack("=I", port.ifindex), row)
            self._update("vlans", struct.pack("=I", vids), row)

    def _update(self, name: str, key: bytes, value: bytes) -> None:
        syscall.update(self._object.maps[name].fd, key, value)

    def _serve(self) -> None:
        poll = select.epoll()
        poll.register(self._ring.fileno(), select.EPOLLIN)
        poll.register(self._wake, select.EPOLLIN)
        with poll:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                for record in self._ring.records():
                    at, ifindex, kind, length = _RECORD.unpack_from(record)
                    data = bytes(record[_RECORD.size : _RECORD.size + length])
                    frame = Frame(data, at + self._boot_to_utc, outgoing=kind == _TO_GATEWAY)
                    if kind in (_TO_GATEWAY, _FROM_GATEWAY):
                        self.trunk.collect(frame, at)
                    elif kind == _DECIDE_UP:
                        self._pass_up(frame, self._ports[ifindex])
                    elif kind == _DECIDE_DOWN:
                        self._pass_down(frame)
                if self._wake in ready:
                    return

    def _pass_up(self, frame: Frame, port: Port) -> None:
        """DHCP of a line with a circuit-id: put in option 82, in the place of one the customer made up."""
        if not frame.is_dhcp:  # a later fragment that looks like it
            self.trunk.send(ethernet(frame.destination, frame.source, frame.ethertype, frame.payload, port.line.tags))
            return
        options = [pair for pair in dhcp_options(frame.udp_payload) if pair[0] != _RELAY_AGENT_INFORMATION]
        circuit = bytes((_CIRCUIT_ID, len(port.line.circuit))) + port.line.circuit
        options.append((_RELAY_AGENT_INFORMATION, circuit))
        self.trunk.send(_rewritten(frame, options, port.line.tags))

    def _pass_down(self, frame: Frame) -> None:
        """Shared tags: by the circuit-id of option 82, or to all."""
        ports = self._sharing(vids_of(frame.tags))
        data = ethernet(frame.destination, frame.source, frame.ethertype, frame.payload)
        if frame.is_dhcp:
            options = dhcp_options(frame.udp_payload)
            circuits = [value for code, value in options if code == _RELAY_AGENT_INFORMATION]
            if circuits:
                ports = [port for port in ports if port.line.circuit == circuits[0][2 : 2 + circuits[0][1]]]
                rest = [pair for pair in options if pair[0] != _RELAY_AGENT_INFORMATION]
                data = _rewritten(frame, rest, ())
        for port in ports:
            with contextlib.suppress(OSError):  # the cable is out
                self._socket.sendto(data, (port.device, 0))


def _rewritten(frame: Frame, options: list[tuple[int, bytes]], tags: tuple[Tag, ...]) -> bytes:
    """The same DHCP frame with other options and tags."""
    ip, ports = frame.ip, frame.udp_ports
    assert ip is not None
    assert ports is not None
    message = with_dhcp_options(frame.udp_payload, options)
    datagram = udp(ip.source, ip.destination, *ports, message)
    packet = ipv4(ip.source, ip.destination, UDP, datagram, ttl=ip.ttl, df=ip.dont_fragment)
    return ethernet(frame.destination, frame.source, IPV4, packet, tags)
