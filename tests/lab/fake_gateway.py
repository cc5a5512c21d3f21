"""A gateway of sixty lines, so that customers can be tested without the product: DHCP, ARP and echo at `acc0`."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from wayleave.lab import packet
from wayleave.lab.packet import ARP, BROADCAST, ECHO, ECHO_REPLY, ICMP, IPV4, UDP, Frame, dhcp_options
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab

DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
GATEWAY = IPv4Address("100.64.0.1")


class FakeGateway:
    """Gives the n-th MAC it hears of 100.64.0.(9+n), as it arrives: call `listen` inside `with`."""

    def __init__(self, lab: Lab, lease_s: int = 3600) -> None:
        self._lab, self._lease_s = lab, lease_s
        lab.access_node.attach("pass", lab.gateway.namespace, "acc0")
        self.addresses: dict[bytes, IPv4Address] = {}
        self.heard: list[tuple[int, bytes]] = []
        self._capture = lab.gateway.capture("acc0")
        add = self._capture.add

        def hear(frame: Frame) -> None:
            add(frame)
            if not frame.outgoing:
                self._receive(frame)

        self._capture.add = hear  # type: ignore[method-assign]

    def __enter__(self) -> FakeGateway:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.close()

    def messages(self, kind: int) -> int:
        """How many DHCP messages of a kind were heard."""
        return sum(1 for heard, _ in self.heard if heard == kind)

    def _send(self, to: Frame, ethertype: int, payload: bytes) -> None:
        data = packet.ethernet(to.source, GATEWAY_ACCESS_MAC, ethertype, payload, to.tags)
        self._lab.gateway.send_raw(data, "acc0")

    def _receive(self, frame: Frame) -> None:
        if frame.arp and frame.arp.operation == 1 and frame.arp.target == GATEWAY:
            reply = packet.arp(2, GATEWAY_ACCESS_MAC, GATEWAY, frame.arp.sender_mac, frame.arp.sender)
            self._send(frame, ARP, reply)
        elif frame.icmp == (ECHO, 0) and frame.ip and frame.ip.destination == GATEWAY:
            identifier, sequence = struct.unpack_from("!HH", frame.ip.payload, 4)
            reply = packet.icmp_echo(identifier, sequence, frame.ip.payload[8:], ECHO_REPLY)
            self._send(frame, IPV4, packet.ipv4(GATEWAY, frame.ip.source, ICMP, reply))
        elif frame.udp_ports == (68, 67):
            self._serve(frame)

    def _serve(self, frame: Frame) -> None:
        message = frame.udp_payload
        options = dict(dhcp_options(message))
        kind = options[53][0]
        self.heard.append((kind, frame.source))
        if kind not in (DISCOVER, REQUEST):
            return
        address = self.addresses.setdefault(frame.source, GATEWAY + 9 + len(self.addresses))
        wanted = IPv4Address(options[50]) if 50 in options and kind == REQUEST else address
        kind = OFFER if kind == DISCOVER else ACK if wanted == address else NAK
        answer = [(53, bytes((kind,))), (54, GATEWAY.packed)]
        if kind != NAK:
            answer += [(51, struct.pack("!I", self._lease_s)), (1, b"\xff\xff\xfc\0")]
            answer += [(3, GATEWAY.packed), (6, IPv4Address("198.51.100.10").packed)]
        yours = address.packed if kind != NAK else bytes(4)
        head = b"\x02" + message[1:16] + yours + message[20:240]
        body = packet.with_dhcp_options(head, answer)
        has = IPv4Address(message[12:16])  # RFC 2131 4.1: a client that has its address listens to no other
        to, to_mac = (has, frame.source) if int(has) else (IPv4Address("255.255.255.255"), BROADCAST)
        datagram = packet.udp(GATEWAY, to, 67, 68, body)
        data = packet.ipv4(GATEWAY, to, UDP, datagram)
        self._lab.gateway.send_raw(packet.ethernet(to_mac, GATEWAY_ACCESS_MAC, IPV4, data, frame.tags), "acc0")
