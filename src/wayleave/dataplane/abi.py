"""GENERATED from bpf/abi.h by tools/genabi.py. Do not edit: change abi.h and run `make abi`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address
from struct import Struct
from typing import TYPE_CHECKING, ClassVar

from wayleave.net.mac import Mac
from wayleave.net.units import BootNs

if TYPE_CHECKING:
    from typing_extensions import Buffer

LAYOUT = "6c19f8882e91"
"""Changes whenever a struct, enum or constant of abi.h does."""

PORT_MAX = 1024
TENANT_MAX = 256
SERVICE_MAX = 8
BUCKET_COUNT = 0x10000
PUNT_FRAME_MAX = 2048
SAMPLE_FRAME_MAX = 128
CAPTURE_FRAME_MAX = 2048
PORT_SLOTS = 4096
PORT_PROBES = 4
PREFIX_MAX = 16
PREFIX_ALL = 65535
REPLY_SLOTS = 4096
REPLY_OPTIONS_MAX = 360
NO_SESSION = 0xFFFFFFFF
METER_COST_BITS = 12
METER_TIME_BITS = 6
PPPOE_MTU = 1492


@dataclass(slots=True)
class Settings:
    """struct settings: 8 octets."""

    FORMAT: ClassVar[Struct] = Struct("<I4x")
    SIZE: ClassVar[int] = 8
    OFFSET: ClassVar[dict[str, int]] = {"fib_by_table": 0}
    fib_by_table: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.fib_by_table)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Settings:
        (fib_by_table,) = cls.FORMAT.unpack_from(data, offset)
        return cls(fib_by_table)


class PortKind(IntEnum):
    """enum port_kind."""

    SUBSCRIBER = 1
    NETWORK = 2
    HOST_LINK = 3


@dataclass(slots=True)
class Port:
    """struct port: 24 octets."""

    FORMAT: ClassVar[Struct] = Struct("<HHII6sHHH")
    SIZE: ClassVar[int] = 24
    OFFSET: ClassVar[dict[str, int]] = {
        "number": 0,
        "kind": 2,
        "tenant": 4,
        "ifindex": 8,
        "mac": 12,
        "mtu": 18,
        "shared": 20,
        "pppoe": 22,
    }
    number: int
    kind: int
    tenant: int
    ifindex: int
    mac: Mac
    mtu: int
    shared: int
    pppoe: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(
            self.number, self.kind, self.tenant, self.ifindex, self.mac, self.mtu, self.shared, self.pppoe
        )

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Port:
        number, kind, tenant, ifindex, mac, mtu, shared, pppoe = cls.FORMAT.unpack_from(data, offset)
        return cls(number, kind, tenant, ifindex, Mac(mac), mtu, shared, pppoe)


@dataclass(slots=True)
class Tenant:
    """struct tenant: 156 octets."""

    FORMAT: ClassVar[Struct] = Struct("<II4sH6s6sH128s")
    SIZE: ClassVar[int] = 156
    OFFSET: ClassVar[dict[str, int]] = {
        "table": 0,
        "link_ifindex": 4,
        "address": 8,
        "link": 12,
        "link_kernel": 14,
        "link_ours": 20,
        "prefix_count": 26,
        "prefixes": 28,
    }
    table: int
    link_ifindex: int
    address: IPv4Address
    link: int
    link_kernel: Mac
    link_ours: Mac
    prefix_count: int
    prefixes: bytes

    def pack(self) -> bytes:
        return self.FORMAT.pack(
            self.table,
            self.link_ifindex,
            self.address.packed,
            self.link,
            self.link_kernel,
            self.link_ours,
            self.prefix_count,
            self.prefixes,
        )

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Tenant:
        table, link_ifindex, address, link, link_kernel, link_ours, prefix_count, prefixes = cls.FORMAT.unpack_from(
            data, offset
        )
        return cls(
            table, link_ifindex, IPv4Address(address), link, Mac(link_kernel), Mac(link_ours), prefix_count, prefixes
        )


@dataclass(slots=True)
class Prefix:
    """struct prefix: 8 octets."""

    FORMAT: ClassVar[Struct] = Struct("<4s4s")
    SIZE: ClassVar[int] = 8
    OFFSET: ClassVar[dict[str, int]] = {"network": 0, "mask": 4}
    network: IPv4Address
    mask: IPv4Address

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.network.packed, self.mask.packed)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Prefix:
        network, mask = cls.FORMAT.unpack_from(data, offset)
        return cls(IPv4Address(network), IPv4Address(mask))


@dataclass(slots=True)
class ClientKey:
    """struct client_key: 16 octets."""

    FORMAT: ClassVar[Struct] = Struct("<HHHH6s2x")
    SIZE: ClassVar[int] = 16
    OFFSET: ClassVar[dict[str, int]] = {"port": 0, "svid": 2, "cvid": 4, "pppoe": 6, "mac": 8}
    port: int
    svid: int
    cvid: int
    pppoe: int
    mac: Mac

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.port, self.svid, self.cvid, self.pppoe, self.mac)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> ClientKey:
        port, svid, cvid, pppoe, mac = cls.FORMAT.unpack_from(data, offset)
        return cls(port, svid, cvid, pppoe, Mac(mac))


@dataclass(slots=True)
class Host4Key:
    """struct host4_key: 8 octets."""

    FORMAT: ClassVar[Struct] = Struct("<I4s")
    SIZE: ClassVar[int] = 8
    OFFSET: ClassVar[dict[str, int]] = {"tenant": 0, "address": 4}
    tenant: int
    address: IPv4Address

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.tenant, self.address.packed)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Host4Key:
        tenant, address = cls.FORMAT.unpack_from(data, offset)
        return cls(tenant, IPv4Address(address))


@dataclass(slots=True)
class Slot:
    """struct slot: 12 octets."""

    FORMAT: ClassVar[Struct] = Struct("<III")
    SIZE: ClassVar[int] = 12
    OFFSET: ClassVar[dict[str, int]] = {"row": 0, "generation": 4, "id": 8}
    row: int
    generation: int
    id: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.row, self.generation, self.id)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Slot:
        row, generation, id = cls.FORMAT.unpack_from(data, offset)
        return cls(row, generation, id)


class SessionFlag(IntFlag):
    """enum session_flag."""

    LOCAL = 1
    CHECK_SOURCE = 2
    CLAMP_MSS = 4


@dataclass(slots=True)
class Encapsulation:
    """struct encapsulation: 40 octets."""

    FORMAT: ClassVar[Struct] = Struct("<HBB2x30s4s")
    SIZE: ClassVar[int] = 40
    OFFSET: ClassVar[dict[str, int]] = {"port": 0, "length": 2, "pppoe": 3, "header": 6, "magic": 36}
    port: int
    length: int
    pppoe: int
    header: bytes
    magic: bytes

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.port, self.length, self.pppoe, self.header, self.magic)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Encapsulation:
        port, length, pppoe, header, magic = cls.FORMAT.unpack_from(data, offset)
        return cls(port, length, pppoe, header, magic)


@dataclass(slots=True)
class Meter:
    """struct meter: 8 octets."""

    FORMAT: ClassVar[Struct] = Struct("<II")
    SIZE: ClassVar[int] = 8
    OFFSET: ClassVar[dict[str, int]] = {"cost": 0, "burst": 4}
    cost: int
    burst: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.cost, self.burst)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Meter:
        cost, burst = cls.FORMAT.unpack_from(data, offset)
        return cls(cost, burst)


@dataclass(slots=True)
class Session:
    """struct session: 128 octets."""

    FORMAT: ClassVar[Struct] = Struct("<QII16s4s4sIIHHI8s40sQQ8s")
    SIZE: ClassVar[int] = 128
    OFFSET: ClassVar[dict[str, int]] = {
        "promise_until": 0,
        "generation": 8,
        "id": 12,
        "client": 16,
        "address": 32,
        "netmask": 36,
        "tenant": 40,
        "table": 44,
        "flags": 48,
        "mtu": 50,
        "reply": 52,
        "up": 56,
        "encapsulation": 64,
        "form": 104,
        "agent": 112,
        "down": 120,
    }
    promise_until: BootNs
    generation: int
    id: int
    client: ClientKey
    address: IPv4Address
    netmask: IPv4Address
    tenant: int
    table: int
    flags: int
    mtu: int
    reply: int
    up: Meter
    encapsulation: Encapsulation
    form: int
    agent: int
    down: Meter

    def pack(self) -> bytes:
        return self.FORMAT.pack(
            self.promise_until,
            self.generation,
            self.id,
            self.client.pack(),
            self.address.packed,
            self.netmask.packed,
            self.tenant,
            self.table,
            self.flags,
            self.mtu,
            self.reply,
            self.up.pack(),
            self.encapsulation.pack(),
            self.form,
            self.agent,
            self.down.pack(),
        )

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Session:
        (
            promise_until,
            generation,
            id,
            client,
            address,
            netmask,
            tenant,
            table,
            flags,
            mtu,
            reply,
            up,
            encapsulation,
            form,
            agent,
            down,
        ) = cls.FORMAT.unpack_from(data, offset)
        return cls(
            BootNs(promise_until),
            generation,
            id,
            ClientKey.unpack(client),
            IPv4Address(address),
            IPv4Address(netmask),
            tenant,
            table,
            flags,
            mtu,
            reply,
            Meter.unpack(up),
            Encapsulation.unpack(encapsulation),
            form,
            agent,
            Meter.unpack(down),
        )


@dataclass(slots=True)
class Reply:
    """struct reply: 384 octets."""

    FORMAT: ClassVar[Struct] = Struct("<Q4sIHH4x360s")
    SIZE: ClassVar[int] = 384
    OFFSET: ClassVar[dict[str, int]] = {"lease_ns": 0, "server": 8, "sum": 12, "length": 16, "room": 18, "options": 24}
    lease_ns: int
    server: IPv4Address
    sum: int
    length: int
    room: int
    options: bytes

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.lease_ns, self.server.packed, self.sum, self.length, self.room, self.options)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Reply:
        lease_ns, server, sum, length, room, options = cls.FORMAT.unpack_from(data, offset)
        return cls(lease_ns, IPv4Address(server), sum, length, room, options)


class Dhcp4Result(IntEnum):
    """enum dhcp4_result."""

    OFFERED = 0
    ACKED = 1
    UP_NEW = 2
    UP_NO_REPLY = 3
    UP_FRAME = 4
    UP_HEADER = 5
    UP_OPTIONS = 6
    UP_TYPE = 7
    UP_ADDRESS = 8
    UP_SERVER = 9
    UP_FORM = 10
    UP_AGENT = 11
    UP_PROMISE = 12
    UP_ROOM = 13
    UP_RATE = 14


@dataclass(slots=True)
class UsageDirection:
    """struct usage_direction: 64 octets."""

    FORMAT: ClassVar[Struct] = Struct("<QQQQQQIIQ")
    SIZE: ClassVar[int] = 64
    OFFSET: ClassVar[dict[str, int]] = {
        "packets": 0,
        "octets": 8,
        "dropped": 16,
        "seen": 24,
        "renewed": 32,
        "asked": 40,
        "heard": 48,
        "unanswered": 52,
        "metered_until": 56,
    }
    packets: int
    octets: int
    dropped: int
    seen: BootNs
    renewed: BootNs
    asked: BootNs
    heard: int
    unanswered: int
    metered_until: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(
            self.packets,
            self.octets,
            self.dropped,
            self.seen,
            self.renewed,
            self.asked,
            self.heard,
            self.unanswered,
            self.metered_until,
        )

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> UsageDirection:
        packets, octets, dropped, seen, renewed, asked, heard, unanswered, metered_until = cls.FORMAT.unpack_from(
            data, offset
        )
        return cls(
            packets, octets, dropped, BootNs(seen), BootNs(renewed), BootNs(asked), heard, unanswered, metered_until
        )


@dataclass(slots=True)
class Usage:
    """struct usage: 128 octets."""

    FORMAT: ClassVar[Struct] = Struct("<64s64s")
    SIZE: ClassVar[int] = 128
    OFFSET: ClassVar[dict[str, int]] = {"up": 0, "down": 64}
    up: UsageDirection
    down: UsageDirection

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.up.pack(), self.down.pack())

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Usage:
        up, down = cls.FORMAT.unpack_from(data, offset)
        return cls(UsageDirection.unpack(up), UsageDirection.unpack(down))


class Stage(IntEnum):
    """enum stage."""

    PARSE = 0
    SESSION = 1
    ARP = 2
    DHCP4 = 3
    PPPOE = 4
    PUNT = 5
    ADMIT = 6
    ANTISPOOF = 7
    METER = 8
    MSS = 9
    FORWARD = 10
    HOST = 11
    DELIVER = 12


class Outcome(IntEnum):
    """enum outcome."""

    DROPPED = 0
    ANSWERED = 1
    PUNTED = 2
    TO_SUBSCRIBER = 3
    TO_NETWORK = 4
    TO_HOST = 5
    PASSED = 6


class DropReason(IntEnum):
    """enum drop_reason."""

    NONE = 0
    UNKNOWN_PORT = 1
    TRUNCATED = 2
    TOO_MANY_TAGS = 3
    ETHERTYPE = 4
    SOURCE_MAC = 5
    MALFORMED_IPV4 = 6
    MALFORMED_ARP = 7
    NO_SESSION = 8
    STALE_KEY = 9
    PROMISE_PAST = 10
    NOT_FOR_GATEWAY = 11
    SPOOFED_IPV4 = 12
    SPOOFED_ARP = 13
    ARP_OWN = 14
    ARP_ELSEWHERE = 15
    MULTICAST = 16
    BROADCAST = 17
    BOGUS_DESTINATION = 18
    NO_ROUTE = 19
    BLACKHOLE = 20
    NO_SUBSCRIBER = 21
    LOCAL_SERVICE = 22
    LINK_POLICED = 23
    NO_LINK = 24
    FORWARDING_OFF = 25
    PUNT_CLASS = 26
    PUNT_LINE = 27
    PUNT_CLIENT = 28
    PUNT_RING = 29
    ADJUST_HEAD = 30
    LINK_NOISE = 31
    DHCP_FRAGMENT = 32
    TOO_BIG = 33
    NO_EGRESS = 34
    METERED_UP = 35
    METERED_DOWN = 36
    MALFORMED_PPPOE = 37
    PPP_PROTOCOL = 38
    PPPOE_NOT_SERVED = 39


class PuntClass(IntEnum):
    """enum punt_class."""

    DHCP4_KNOWN = 0
    DHCP4_NEW = 1
    PPP_KNOWN = 2
    PPP_NEW = 3
    PPPOE_DISCOVERY = 4


class PuntResult(IntEnum):
    """enum punt_result."""

    SENT = 0
    REFUSED_CLASS = 1
    REFUSED_LINE = 2
    REFUSED_CLIENT = 3
    REFUSED_RING = 4


@dataclass(slots=True)
class Punt:
    """struct punt: 32 octets."""

    FORMAT: ClassVar[Struct] = Struct("<QIHHHHHHH6x")
    SIZE: ClassVar[int] = 32
    OFFSET: ClassVar[dict[str, int]] = {
        "at": 0,
        "session": 8,
        "port": 12,
        "svid": 14,
        "cvid": 16,
        "class_": 18,
        "length": 20,
        "l3": 22,
        "pppoe": 24,
    }
    at: BootNs
    session: int
    port: int
    svid: int
    cvid: int
    class_: int
    length: int
    l3: int
    pppoe: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(
            self.at, self.session, self.port, self.svid, self.cvid, self.class_, self.length, self.l3, self.pppoe
        )

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Punt:
        at, session, port, svid, cvid, class_, length, l3, pppoe = cls.FORMAT.unpack_from(data, offset)
        return cls(BootNs(at), session, port, svid, cvid, class_, length, l3, pppoe)


class SampleResult(IntEnum):
    """enum sample_result."""

    SENT = 0
    POLICED = 1
    LOST = 2


@dataclass(slots=True)
class Sample:
    """struct sample: 32 octets."""

    FORMAT: ClassVar[Struct] = Struct("<QIIHHHBB6sH")
    SIZE: ClassVar[int] = 32
    OFFSET: ClassVar[dict[str, int]] = {
        "at": 0,
        "session": 8,
        "length": 12,
        "port": 16,
        "svid": 18,
        "cvid": 20,
        "reason": 22,
        "stage": 23,
        "source": 24,
        "pppoe": 30,
    }
    at: BootNs
    session: int
    length: int
    port: int
    svid: int
    cvid: int
    reason: int
    stage: int
    source: Mac
    pppoe: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(
            self.at,
            self.session,
            self.length,
            self.port,
            self.svid,
            self.cvid,
            self.reason,
            self.stage,
            self.source,
            self.pppoe,
        )

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Sample:
        at, session, length, port, svid, cvid, reason, stage, source, pppoe = cls.FORMAT.unpack_from(data, offset)
        return cls(BootNs(at), session, length, port, svid, cvid, reason, stage, Mac(source), pppoe)


@dataclass(slots=True)
class CaptureFilter:
    """struct capture_filter: 16 octets."""

    FORMAT: ClassVar[Struct] = Struct("<6sHHHH2x")
    SIZE: ClassVar[int] = 16
    OFFSET: ClassVar[dict[str, int]] = {"mac": 0, "port": 6, "svid": 8, "cvid": 10, "tagged": 12}
    mac: Mac
    port: int
    svid: int
    cvid: int
    tagged: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.mac, self.port, self.svid, self.cvid, self.tagged)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> CaptureFilter:
        mac, port, svid, cvid, tagged = cls.FORMAT.unpack_from(data, offset)
        return cls(Mac(mac), port, svid, cvid, tagged)


class CaptureSide(IntEnum):
    """enum capture_side."""

    CAME = 0
    LEFT = 1


@dataclass(slots=True)
class Captured:
    """struct captured: 24 octets."""

    FORMAT: ClassVar[Struct] = Struct("<QIHBBBB6x")
    SIZE: ClassVar[int] = 24
    OFFSET: ClassVar[dict[str, int]] = {
        "at": 0,
        "length": 8,
        "port": 12,
        "side": 14,
        "stage": 15,
        "outcome": 16,
        "reason": 17,
    }
    at: BootNs
    length: int
    port: int
    side: int
    stage: int
    outcome: int
    reason: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.at, self.length, self.port, self.side, self.stage, self.outcome, self.reason)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Captured:
        at, length, port, side, stage, outcome, reason = cls.FORMAT.unpack_from(data, offset)
        return cls(BootNs(at), length, port, side, stage, outcome, reason)


class CaptureResult(IntEnum):
    """enum capture_result."""

    TAKEN = 0
    LOST = 1


@dataclass(slots=True)
class Explanation:
    """struct explanation: 40 octets."""

    FORMAT: ClassVar[Struct] = Struct("<IIIIIII12s")
    SIZE: ClassVar[int] = 40
    OFFSET: ClassVar[dict[str, int]] = {
        "outcome": 0,
        "reason": 4,
        "dhcp4": 8,
        "session": 12,
        "receiver": 16,
        "out": 20,
        "step_count": 24,
        "steps": 28,
    }
    outcome: int
    reason: int
    dhcp4: int
    session: int
    receiver: int
    out: int
    step_count: int
    steps: bytes

    def pack(self) -> bytes:
        return self.FORMAT.pack(
            self.outcome, self.reason, self.dhcp4, self.session, self.receiver, self.out, self.step_count, self.steps
        )

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Explanation:
        outcome, reason, dhcp4, session, receiver, out, step_count, steps = cls.FORMAT.unpack_from(data, offset)
        return cls(outcome, reason, dhcp4, session, receiver, out, step_count, steps)


class Policer(IntEnum):
    """enum policer."""

    DHCP4_KNOWN = 0
    DHCP4_NEW = 1
    PPP_KNOWN = 2
    PPP_NEW = 3
    PPPOE_DISCOVERY = 4
    LINE = 5
    CLIENT = 6
    SHARED = 7
    PPPOE_LINE = 8
    PPPOE_CLIENT = 9
    PPPOE_SHARED = 10
    LINK = 11
    LINK_LINE = 12
    SAMPLE = 13
    SAMPLE_CLIENT = 14
    SAMPLE_LINE = 15
    SAMPLE_METERED = 16


@dataclass(slots=True)
class PolicerRate:
    """struct policer_rate: 16 octets."""

    FORMAT: ClassVar[Struct] = Struct("<QQ")
    SIZE: ClassVar[int] = 16
    OFFSET: ClassVar[dict[str, int]] = {"cost_ns": 0, "burst_ns": 8}
    cost_ns: int
    burst_ns: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.cost_ns, self.burst_ns)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> PolicerRate:
        cost_ns, burst_ns = cls.FORMAT.unpack_from(data, offset)
        return cls(cost_ns, burst_ns)


@dataclass(slots=True)
class Service:
    """struct service: 4 octets."""

    FORMAT: ClassVar[Struct] = Struct("<HB1x")
    SIZE: ClassVar[int] = 4
    OFFSET: ClassVar[dict[str, int]] = {"port": 0, "protocol": 2}
    port: int
    protocol: int

    def pack(self) -> bytes:
        return self.FORMAT.pack(self.port, self.protocol)

    @classmethod
    def unpack(cls, data: Buffer, offset: int = 0) -> Service:
        port, protocol = cls.FORMAT.unpack_from(data, offset)
        return cls(port, protocol)
