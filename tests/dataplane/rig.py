"""A bench for the compiled BPF programs: a throw-away network namespace, maps filled by hand, one packet at a time.

`Bench.check(case)` puts one packet in and compares everything that may change: verdict, packet out, every counter.
A `Case` is a row of a table; what it does not mention must not happen. `egress` holds only the port that the case
names, so a redirect to any other is seen as a drop.

Not used on purpose: `rows.project` and `tables.Tables`. Here rows are written as the header file describes them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from wayleave.dataplane import abi, objects, syscall
from wayleave.dataplane.events import Ring
from wayleave.dataplane.maps import Array, PerCpu, Ports
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs

CLONE_NEWNET = 0x40000000
FOREVER = BootNs(2**64 - 1)
ROWS = 64


class Verdict(IntEnum):
    """enum xdp_action."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


# ---- Who is who: devices, their ports, and the three tenants -----------------------------------

SUB, NET, LINK, SUB_OFF, NET_1 = 1, 2, 3, 4, 5
"""Port numbers: subscribers, network, host link, subscribers on a device with forwarding off, tenant 1's network."""

DEVICES = {"sub": SUB, "net": NET, "link": LINK, "suboff": SUB_OFF, "net1": NET_1}
GATEWAY_MAC = Mac.parse("02:00:00:00:01:01")
NET_MAC = Mac.parse("02:00:00:00:02:01")
ROUTER_MAC = Mac.parse("02:00:00:00:02:fe")
LINK_MAC = Mac.parse("02:00:00:00:03:01")
KERNEL_MAC = Mac.parse("02:00:00:00:03:fe")
NET_1_MAC = Mac.parse("02:00:00:00:05:01")
ROUTER_1_MAC = Mac.parse("02:00:00:00:05:fe")

_TOPOLOGY = f"""
link set dev lo up
link add name sub address {GATEWAY_MAC} type veth peer name cpe
link add name net address {NET_MAC} type veth peer name router
link add name link address {LINK_MAC} type veth peer name kernel address {KERNEL_MAC}
link add name suboff address {GATEWAY_MAC} type veth peer name cpeoff
link add name net1 address {NET_1_MAC} type veth peer name router1
link add name odd type veth peer name oddpeer
link set dev sub up
link set dev net up
link set dev link up
link set dev kernel up
link set dev suboff up
link set dev net1 up
link set dev odd up
link set dev cpe up
link set dev router up
link set dev cpeoff up
link set dev router1 up
link set dev oddpeer up
address add 198.51.100.1/24 dev net
address add 198.51.101.1/24 dev net1
address add 192.0.2.1/24 dev odd
address add 192.0.3.1/24 dev suboff
address add 169.254.0.1/30 dev kernel
neighbour add 198.51.100.2 lladdr {ROUTER_MAC} dev net nud permanent
neighbour add 198.51.101.2 lladdr {ROUTER_1_MAC} dev net1 nud permanent
neighbour add 192.0.2.2 lladdr {ROUTER_MAC} dev odd nud permanent
neighbour add 192.0.3.2 lladdr {ROUTER_MAC} dev suboff nud permanent
neighbour add 169.254.0.2 lladdr {LINK_MAC} dev kernel nud permanent
route add default via 198.51.100.2 dev net
route add 100.64.0.0/16 via 169.254.0.2 dev kernel
route add 100.65.0.0/16 dev kernel
route add blackhole 203.0.113.0/28
route add unreachable 203.0.113.16/28
route add prohibit 203.0.113.32/28
route add throw 203.0.113.48/28
route add 198.18.0.0/24 via 198.51.100.2 dev net mtu lock 1000
route add 198.19.0.0/24 encap ip id 1 dst 198.51.100.2 via 198.51.100.2 dev net
route add default via 198.51.101.2 dev net1 table 100
"""
_PROCFS = {"ip_forward": "1", "conf/suboff/forwarding": "0"}


@contextmanager
def namespace() -> Iterator[None]:
    """Be in a network namespace of one's own, with the topology above; nothing of the machine's is touched."""
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare: the data-plane tests run as root")
    try:
        subprocess.run(["ip", "-batch", "-"], input=_TOPOLOGY.encode(), check=True)
        for name, value in _PROCFS.items():
            Path("/proc/sys/net/ipv4", name).write_text(value)
        yield
    finally:
        libc.setns(outside, CLONE_NEWNET)
        os.close(outside)


def ifindex(device: str) -> int:
    """The device's index in the namespace we are in."""
    return socket.if_nametoindex(device)


# ---- Sessions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subscriber:
    """One session and the keys that lead to it. `tags` are (TPID, VID), outermost first, as the client is sent them."""

    id: int
    mac: Mac
    address: str
    tags: tuple[tuple[int, int], ...] = ()
    port: int = SUB
    tenant: int = 0
    table: int = 254
    netmask: str = "255.255.255.0"
    mtu: int = 1500
    flags: int = abi.SessionFlag.CHECK_SOURCE
    promise_for_s: float | None = 3600
    encapsulation: bytes | None = None
    """In the place of the one that the tags make."""
    row_generation: int = 1
    key_generation: int = 1
    claims: Mac | None = None
    """Whom the row says it is for, if not `mac`."""
    holds: str = ""
    """The address in the row, if not `address`."""
    of_tenant: int | None = None
    """The tenant in the row, if not `tenant`."""
    reply: int = 0
    form: int = 0
    agent: int = 0
    up: tuple[int, int] = (0, 0)
    """What it may send: the cost of an octet in 1/4096 ns, and the burst in octets."""
    down: tuple[int, int] = (0, 0)
    pppoe: int = 0
    """Its PPPoE session-id; 0: IPoE."""
    magic: bytes = b""
    """Ours in PPP; empty: the program does not answer echo requests."""

    @property
    def key(self) -> abi.ClientKey:
        vids = [vid for _, vid in self.tags if vid] + [0, 0]
        return abi.ClientKey(self.port, vids[0], vids[1], self.pppoe, self.mac)

    @property
    def header(self) -> bytes:
        if self.encapsulation is not None:
            return self.encapsulation
        tags = b"".join(struct.pack(">HH", tpid, vid) for tpid, vid in self.tags)
        behind = struct.pack(">HBBHHH", 0x8864, 0x11, 0, self.pppoe, 0, 0x0021) if self.pppoe else b"\x08\x00"
        return self.mac + GATEWAY_MAC + tags + behind

    def row(self, now: int) -> abi.Session:
        promise = FOREVER if self.promise_for_s is None else BootNs(now + int(self.promise_for_s * 1e9))
        return abi.Session(
            promise_until=promise,
            generation=self.row_generation,
            id=self.id,
            client=replace(self.key, mac=self.claims or self.mac),
            address=IPv4Address(self.holds or self.address),
            netmask=IPv4Address(self.netmask),
            tenant=self.tenant if self.of_tenant is None else self.of_tenant,
            table=self.table,
            flags=self.flags,
            mtu=self.mtu,
            reply=self.reply,
            encapsulation=abi.Encapsulation(self.port, len(self.header), int(self.pppoe > 0), self.header, self.magic),
            form=self.form,
            agent=self.agent,
            up=abi.Meter(*self.up),
            down=abi.Meter(*self.down),
        )


S_TPID, C_TPID = 0x88A8, 0x8100
ALICE = Subscriber(1, Mac.parse("02:aa:00:00:00:0a"), "100.64.0.10", ((S_TPID, 100), (C_TPID, 7)))
BOB = Subscriber(2, Mac.parse("02:bb:00:00:00:0b"), "100.64.0.11", mtu=1400)
CAROL = Subscriber(3, Mac.parse("02:cc:00:00:00:0c"), "100.64.0.12", ((C_TPID, 200),))
GATEWAY = Subscriber(
    0xFFFF0000, Mac(bytes(6)), "100.64.0.1", port=0, flags=abi.SessionFlag.LOCAL, promise_for_s=None, encapsulation=b""
)
ALICE_PPP = replace(ALICE, id=4, address="100.64.0.13", pppoe=0x1234, mtu=1492)
"""On Alice's line, from her MAC, with a session of its own."""
BOB_PPP = replace(BOB, id=5, address="100.64.0.14", pppoe=0xFFFE, mtu=1492)
CAROL_PPP = replace(CAROL, id=6, address="100.64.0.15", pppoe=1, mtu=1492)
EVERYBODY = (ALICE, BOB, CAROL, ALICE_PPP, BOB_PPP, CAROL_PPP, GATEWAY)


@dataclass(frozen=True)
class Use:
    """What a packet did to one session's counters: (packets, octets) each way, and drops."""

    up: tuple[int, int] = (0, 0)
    down: tuple[int, int] = (0, 0)
    up_dropped: int = 0
    down_dropped: int = 0


# ---- One packet --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One packet in, and all that must come of it."""

    says: str
    sent: bytes
    ends: tuple[abi.Stage, abi.Outcome]
    reason: abi.DropReason | None = None
    on: str = "sub"
    out: bytes | None = None
    """The packet afterwards; None: as it came."""
    to: int = 0
    """The port it is redirected to; 0: none."""
    sessions: Sequence[Subscriber] = EVERYBODY
    used: Mapping[Subscriber, Use] = field(default_factory=dict)
    punted: tuple[abi.PuntClass, abi.PuntResult] | None = None

    def __str__(self) -> str:
        return self.says


def dropped(
    says: str, sent: bytes, stage: abi.Stage, reason: abi.DropReason, by: Subscriber | None = None, **more: Any
) -> Case:
    """A row for a packet that is dropped; `by`: the session that is charged for it upstream."""
    if by is not None:
        more["used"] = {by: Use(up_dropped=1)}
    return Case(says, sent, (stage, abi.Outcome.DROPPED), reason, **more)


_VERDICTS = {
    abi.Outcome.DROPPED: Verdict.DROP,
    abi.Outcome.ANSWERED: Verdict.TX,
    abi.Outcome.PUNTED: Verdict.DROP,
    abi.Outcome.TO_SUBSCRIBER: Verdict.REDIRECT,
    abi.Outcome.TO_NETWORK: Verdict.REDIRECT,
    abi.Outcome.TO_HOST: Verdict.REDIRECT,
    abi.Outcome.PASSED: Verdict.PASS,
}
_KINDS = {
    "sub": abi.PortKind.SUBSCRIBER,
    "suboff": abi.PortKind.SUBSCRIBER,
    "net": abi.PortKind.NETWORK,
    "net1": abi.PortKind.NETWORK,
    "link": abi.PortKind.HOST_LINK,
    "odd": 0,
}


@dataclass(frozen=True)
class Counters:
    """All per-CPU counters, summed."""

    received: tuple[int, ...]
    outcomes: tuple[int, ...]
    drops: tuple[int, ...]
    punts: tuple[int, ...]

    def since(self, before: Counters) -> Counters:
        """What has been counted since `before`."""

        def minus(name: str) -> tuple[int, ...]:
            return tuple(a - b for a, b in zip(getattr(self, name), getattr(before, name), strict=True))

        return Counters(minus("received"), minus("outcomes"), minus("drops"), minus("punts"))

    def assert_balanced(self) -> None:
        """What goes in equals what comes out, and every drop has one reason."""
        assert sum(self.received) == sum(self.outcomes)
        dropped = sum(self.outcomes[stage * len(abi.Outcome) + abi.Outcome.DROPPED] for stage in abi.Stage)
        assert dropped == sum(self.drops)
        assert self.drops[abi.DropReason.NONE] == 0

    @property
    def ends(self) -> dict[tuple[abi.Stage, abi.Outcome], int]:
        pairs = ((stage, outcome) for stage in abi.Stage for outcome in abi.Outcome)
        return {(s, o): n for s, o in pairs if (n := self.outcomes[s * len(abi.Outcome) + o])}

    @property
    def reasons(self) -> dict[abi.DropReason, int]:
        return {reason: self.drops[reason] for reason in abi.DropReason if self.drops[reason]}

    @property
    def punt_results(self) -> dict[tuple[abi.PuntClass, abi.PuntResult], int]:
        pairs = ((class_, result) for class_ in abi.PuntClass for result in abi.PuntResult)
        return {(c, r): n for c, r in pairs if (n := self.punts[c * len(abi.PuntResult) + r])}


ALL = (abi.PREFIX_ALL, b"")
"""What a tenant's row says where any address may be a subscriber's."""


class Bench:
    """The loaded object in a namespace of its own."""

    def __init__(self, object_: objects.Object) -> None:
        self.maps, self.programs = object_.maps, object_.programs
        self.devices = {name: ifindex(name) for name in [*DEVICES, "odd", "kernel"]}
        self._per_cpu = {name: PerCpu(self.maps[name]) for name in ("received", "outcomes", "drops", "punts")}
        self._usage = Array(self.maps["usage"])
        self.ring, self.sampled = Ring(self.maps["ring"]), Ring(self.maps["sampled"])
        self._placed: list[tuple[str, bytes]] = []
        self._buckets_used = False
        self.twin = "bng"
        """Which of the programs that belong on a device `run` runs: bng, capture."""
        self._configure()

    def put(self, name: str, key: bytes | int, value: bytes) -> None:
        """Write one map entry."""
        syscall.update(self.maps[name].fd, key.to_bytes(4, "little") if isinstance(key, int) else key, value)

    def _configure(self) -> None:
        kinds = [abi.PortKind.SUBSCRIBER, abi.PortKind.NETWORK, abi.PortKind.HOST_LINK]
        ports = {
            "sub": (SUB, kinds[0], 0, GATEWAY_MAC, 1508),
            "net": (NET, kinds[1], 0, NET_MAC, 1500),
            "link": (LINK, kinds[2], 0, LINK_MAC, 1500),
            "suboff": (SUB_OFF, kinds[0], 0, GATEWAY_MAC, 1508),
            "net1": (NET_1, kinds[1], 1, NET_1_MAC, 1500),
        }
        for device, (number, kind, tenant, mac, mtu) in ports.items():
            port = abi.Port(number, kind, tenant, self.devices[device], mac, mtu, 0, int(device == "sub"))
            Ports(self.maps["ports"]).put(port)
        nobody, ours = Mac(bytes(6)), IPv4Address(GATEWAY.address)
        self.put("tenants", 0, abi.Tenant(254, self.devices["kernel"], ours, LINK, KERNEL_MAC, LINK_MAC, *ALL).pack())
        self.put("tenants", 1, abi.Tenant(100, 0, IPv4Address(0), 0, nobody, nobody, *ALL).pack())
        self.put("tenants", 2, abi.Tenant(200, 0, ours, LINK, KERNEL_MAC, LINK_MAC, *ALL).pack())

    def reset(self) -> None:
        """Take out what cases and tests put in: sessions, egress, policers, services, the ring's records."""
        for name, key in self._placed:
            syscall.delete(self.maps[name].fd, key)
        self._placed.clear()
        self._buckets_used = False
        self.twin = "bng"
        self.open_only()
        for number in range(len(abi.Policer)):
            self.police(abi.Policer(number), 0, 0)
        for number in range(abi.SERVICE_MAX):
            self.put("services", number, bytes(abi.Service.SIZE))
        self.put("services", 0, abi.Service(22, 6).pack())
        self.put("services", 1, abi.Service(0, 6).pack())
        self.put("services", abi.SERVICE_MAX - 1, abi.Service(123, 17).pack())
        for ring in (self.ring, self.sampled):
            for _ in ring.records():
                pass
        self._usage.view[: ROWS * self._usage.stride] = bytes(ROWS * self._usage.stride)

    def police(self, policer: abi.Policer, cost_ns: int, burst_ns: int) -> None:
        """Set a rate; the first one set in a test finds all buckets at rest."""
        if cost_ns and not self._buckets_used:
            keys = b"".join(index.to_bytes(4, "little") for index in range(self.maps["buckets"].max_entries))
            syscall.update_batch(self.maps["buckets"].fd, keys, bytes(len(keys) * 2), len(keys) // 4)
            self._buckets_used = True
        self.put("policers", policer, abi.PolicerRate(cost_ns, burst_ns).pack())

    def open_only(self, *numbers: int) -> None:
        """Let packets leave by these ports only."""
        for device, port in DEVICES.items():
            if port in numbers:
                self.put("egress", port, struct.pack("<I", self.devices[device]))
            else:
                syscall.delete(self.maps["egress"].fd, port.to_bytes(4, "little"))

    def place(self, sessions: Sequence[Subscriber]) -> None:
        """Write rows and keys, in the order of the sessions."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for index, who in enumerate(sessions, 1):
            self.put("sessions", index, who.row(now).pack())
            slot = abi.Slot(index, who.key_generation, who.id).pack()
            keys = [("hosts4", abi.Host4Key(who.tenant, IPv4Address(who.address)).pack())]
            if not who.flags & abi.SessionFlag.LOCAL:
                keys.append(("clients", who.key.pack()))
            for name, key in keys:
                self.put(name, key, slot)
                self._placed.append((name, key))

    def counters(self) -> Counters:
        """Read all per-CPU counters."""
        return Counters(**{name: tuple(map_.totals()) for name, map_ in self._per_cpu.items()})

    def use(self, who: Subscriber) -> Use:
        """Read one session's counters."""
        if who.id >= ROWS:
            return Use()
        words = struct.unpack_from("<16Q", self._usage.view, who.id * self._usage.stride)
        assert not any(words[11:15])
        assert not words[4] or who.pppoe, "DHCP renews elsewhere"
        return Use((words[0], words[1]), (words[8], words[9]), words[2], words[10])

    def seen(self, who: Subscriber) -> int:
        """usage.up.seen of a session."""
        (seen,) = struct.unpack_from("<24xQ", self._usage.view, who.id * self._usage.stride)
        return int(seen)

    def renewed(self, who: Subscriber) -> int:
        """usage.up.renewed of a session."""
        (renewed,) = struct.unpack_from("<32xQ", self._usage.view, who.id * self._usage.stride)
        return int(renewed)

    def set_seen(self, who: Subscriber, when: int) -> None:
        """Pretend that the session was last seen at `when`."""
        struct.pack_into("<Q", self._usage.view, who.id * self._usage.stride + 24, when)

    def metered_until(self, who: Subscriber, way: str) -> int:
        """usage.`way`.metered_until of a session."""
        (until,) = struct.unpack_from("<Q", self._usage.view, self._meter(who, way))
        return int(until)

    def pass_time(self, who: Subscriber, ns: int) -> None:
        """Pretend, to the session's meters, that so much time has passed."""
        for way in ("up", "down"):
            at = self._meter(who, way)
            (until,) = struct.unpack_from("<Q", self._usage.view, at)
            struct.pack_into("<Q", self._usage.view, at, max(0, until - (ns << abi.METER_TIME_BITS)))

    def _meter(self, who: Subscriber, way: str) -> int:
        within = abi.Usage.OFFSET[way] + abi.UsageDirection.OFFSET["metered_until"]
        return who.id * self._usage.stride + within

    def asking(self, who: Subscriber) -> tuple[int, int, int]:
        """usage.up of a session: asked, heard, unanswered."""
        asked, heard, unanswered = struct.unpack_from("<40xQII", self._usage.view, who.id * self._usage.stride)
        return int(asked), int(heard), int(unanswered)

    def ask_long_ago(self, who: Subscriber) -> None:
        """Pretend that the session asked nothing for the last second."""
        start = who.id * self._usage.stride + 40
        (asked,) = struct.unpack_from("<Q", self._usage.view, start)
        struct.pack_into("<Q", self._usage.view, start, max(0, asked - 1_100_000_000))

    def run(self, sent: bytes, on: str = "sub") -> syscall.Run:
        """Run the program that belongs on the device over one packet."""
        return self.run_program(f"{self.twin}_access" if on.startswith("sub") else f"{self.twin}_core", sent, on)

    def run_program(self, program: str, sent: bytes, on: str) -> syscall.Run:
        """Run a program over one packet as if it came in on the device."""
        return syscall.run(self.programs[program], sent, self.devices[on])

    def check(self, case: Case) -> None:
        """Run the case and compare everything."""
        self.place(case.sessions)
        self.open_only(case.to)
        before = self.counters()
        ran = self.run(case.sent, case.on)
        counted = self.counters().since(before)
        assert counted.reasons == ({case.reason: 1} if case.reason is not None else {})
        assert counted.ends == {case.ends: 1}
        assert counted.received == tuple(int(kind == _KINDS[case.on]) for kind in range(len(counted.received)))
        counted.assert_balanced()
        assert Verdict(ran.verdict) == _VERDICTS[case.ends[1]]
        assert ran.packet == (case.sent if case.out is None else case.out)
        assert {who.address: use for who in case.sessions if (use := self.use(who)) != Use()} == {
            who.address: use for who, use in case.used.items()
        }
        assert counted.punt_results == ({case.punted: 1} if case.punted else {})
        assert len(list(self.ring.read(10))) == (case.ends[1] == abi.Outcome.PUNTED)
