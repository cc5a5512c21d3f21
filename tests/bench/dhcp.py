"""DHCP answered in the kernel: ns a reply of the program alone, and replies a second through a veth on one core.

Renewals as udhcpc writes them, of another subscriber each time, with whole checksums. Live frames go out of the trunk,
come in at the access port, and come back answered to a counter on the trunk: one core writes the requests, carries both
over the veth, and answers.
"""

from __future__ import annotations

import contextlib
import statistics
from ipaddress import IPv4Address

from wayleave.dataplane.plane import ACCESS
from wayleave.lab.packet import IPV4, UDP, Tag, checksum, ethernet, ipv4, udp
from wayleave.lab.topology import GATEWAY_ACCESS_MAC
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

from . import population
from .crossing import Crossing, Plane, on_one_cpu
from .report import Aim, Result, Table, Wrong, shown
from .traffic import Traffic

CLIENTS = (1, 1_000, 64_000)
INSTALLED = 64_000
GOAL = 1.5e6
NOBODY = IPv4Address(0)


def _words(data: bytes) -> int:
    """The sum of the octets as words in memory, which is what a checksum leaves when it is taken away."""
    sum_ = 0xFFFF - checksum(data)
    return sum_ >> 8 | (sum_ & 0xFF) << 8


def message() -> tuple[bytes, int, int]:
    """Return a renewal without what is a client's own, and the sums of its IP header and of its datagram."""
    options = ((53, b"\3"), *population.ASKS)
    field = b"".join(bytes((code, len(value))) + value for code, value in options) + b"\xff"
    head = bytes((1, 1, 6, 0)) + b"\x12\x34\x56\x78" + bytes(228) + bytes((99, 130, 83, 99))
    payload = (head + field).ljust(300, b"\0")
    server = population.NETWORK[1]
    datagram = udp(NOBODY, server, 68, 67, payload)
    packet = ipv4(NOBODY, server, UDP, datagram)
    pseudo = server.packed + bytes((0, UDP)) + len(datagram).to_bytes(2, "big")
    sums = _words(packet[:10] + bytes(2) + packet[12:20]), _words(pseudo + datagram[:6] + bytes(2) + datagram[8:])
    tags = (Tag(0x88A8, 0), Tag(0x8100, 0))
    return (ethernet(GATEWAY_ACCESS_MAC, Mac(bytes(6)), IPV4, packet, tags), *sums)


class Bench:
    """One gateway on its port, and the world that asks."""

    def __init__(self, crossing: Crossing, traffic: Traffic) -> None:
        self.crossing, self.traffic = crossing, traffic
        self.plane = Plane(crossing, INSTALLED)
        self.plane.attach(crossing)
        crossing.attach(traffic.programs["sink"], crossing.outside, "trunk")
        traffic.message(*message())

    def alone(self, clients: int, repeats: int) -> float:
        """Return net ns a reply. Raises: Wrong unless every request was acknowledged."""

        def run(program: int) -> int:
            self.traffic.subscribers(clients)
            self.traffic.put_under_test(program)
            ifindex = self.crossing.acc0
            return on_one_cpu(self.crossing.gateway, lambda: self.traffic.repeat("dhcp_repeat", ifindex, repeats))

        empty = run(self.traffic.programs["nothing"])
        acked = self.plane.counters.dhcp4()["acked"]
        whole = run(self.plane.programs[ACCESS])
        self._expect(acked, repeats)
        return whole - (empty + run(self.traffic.programs["nothing"])) / 2

    def live(self, clients: int, frames: int) -> float:
        """Send requests; returns replies a second by the wall clock. Raises: Wrong if one went unanswered."""
        self.traffic.subscribers(clients)
        acked, arrived = self.plane.counters.dhcp4()["acked"], self.traffic.arrived()
        trunk = self.crossing.trunk
        burst = on_one_cpu(self.crossing.outside, lambda: self.traffic.live("dhcp_live", trunk, frames))
        wait_until(lambda: self.traffic.arrived() - arrived >= frames, "the last reply", 5)
        self._expect(acked, frames)
        return frames / burst.seconds

    def _expect(self, before: int, count: int) -> None:
        found = self.plane.counters.dhcp4()
        if found["acked"] - before != count:
            raise Wrong(f"of {count} requests {found['acked'] - before} were acknowledged; in all: {found}")


def bench(quick: bool) -> Result:
    """Every number of clients in turn, there and back round by round."""
    rounds, repeats = (3, 200_000) if quick else (7, 1_000_000)
    samples: dict[str, list[float]] = {}
    traffic = Traffic()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(traffic.close)
        bench_ = Bench(cleanup.enter_context(Crossing()), traffic)
        for number in range(rounds):
            for clients in CLIENTS if number % 2 == 0 else reversed(CLIENTS):
                samples.setdefault(f"{clients} ns", []).append(bench_.alone(clients, repeats))
                samples.setdefault(f"{clients} replies/s", []).append(bench_.live(clients, repeats))
    columns = ("clients taking part", *(f"{clients:,}" for clients in CLIENTS))
    table = Table(
        f"dhcp: answered in the kernel, median [min…max] of {rounds} rounds; {INSTALLED:,} sessions installed",
        columns,
        [
            ("ns a reply, program alone", *(shown(samples[f"{clients} ns"]) for clients in CLIENTS)),
            (
                "Mreplies/s on one core, delivered",
                *(shown([rate / 1e6 for rate in samples[f"{clients} replies/s"]], 2) for clients in CLIENTS),
            ),
        ],
        ("Every request was acknowledged; else there would be no table.",),
    )
    hot = statistics.median(samples[f"{CLIENTS[0]} replies/s"])
    return Result(
        [table], [Aim("replies a second on one core, one hot session, in millions", hot / 1e6, GOAL / 1e6)], samples
    )
