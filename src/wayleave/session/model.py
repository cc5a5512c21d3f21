"""The words of the domain as types: Line, Client, Service, Lease, Session, CloseCause.

Everything is frozen; `lifecycle.advance` returns a changed copy (`msgspec.structs.replace`). Addresses are
ipaddress objects, times are boot-clock nanoseconds. What is frozen is made after what it holds and cannot be in a
cycle, so Python's collector need not look at it (`gc=False`): a pass over 100,000 sessions holds the loop for 70 ms.
"""

from __future__ import annotations

import re
from enum import Enum
from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns

NEVER = BootNs(0)
LONG_PAST = BootNs(1)
"""A promise that is on disk, but of which nobody knows whether it stands."""

_LINE = re.compile(r"(?P<port>\d{1,3})(:(?P<svid>\d{1,4})(\.(?P<cvid>\d{1,4}))?)?(/(?P<circuit>.+))?")


LAST_VID = 4094


class Line(Struct, frozen=True, gc=False):
    """Where a subscriber attaches: port and tags, and the circuit-id where many share them (N:1)."""

    port: int
    svid: int = 0
    cvid: int = 0
    circuit: bytes = b""

    @classmethod
    def parse(cls, text: str) -> Line:
        """Read `PORT`, `PORT:S`, `PORT:S.C`, each with `/CIRCUIT` behind it or not.

        Raises: ValueError with what was expected.
        """
        match = _LINE.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not a line: write PORT, PORT:SVID, PORT:SVID.CVID, with /CIRCUIT-ID behind it"
            )
        port, svid, cvid = (int(match[group] or 0) for group in ("port", "svid", "cvid"))
        if max(svid, cvid) > LAST_VID:
            raise ValueError(f"{text!r} has VID {max(svid, cvid)}: the last one is {LAST_VID} (IEEE 802.1Q 9.6)")
        if cvid and not svid:
            raise ValueError(f"{text!r}: VID 0 is no tag: write {port}:{cvid}")
        return cls(port, svid, cvid, (match["circuit"] or "").encode())

    def __str__(self) -> str:
        tags = f":{self.svid}.{self.cvid}" if self.cvid else f":{self.svid}" if self.svid else ""
        circuit = f"/{self.circuit.decode('utf-8', 'backslashreplace')}" if self.circuit else ""
        return f"{self.port}{tags}{circuit}"


class Client(Struct, frozen=True, gc=False):
    """A MAC, or a PPPoE session, on a line."""

    line: Line
    mac: Mac
    pppoe: int = 0

    @property
    def key(self) -> tuple[int, int, int, Mac, int]:
        """What a frame tells of its sender: port, S-VID, C-VID, MAC, PPPoE session-id. Unique among live sessions."""
        return (self.line.port, self.line.svid, self.line.cvid, self.mac, self.pppoe)

    @property
    def station(self) -> Client:
        """Who dials, whatever session-id the call has: a MAC on a line."""
        return Client(self.line, self.mac) if self.pppoe else self

    def __str__(self) -> str:
        return f"{self.mac}@{self.line}"


class Tenant(Struct, frozen=True):
    """A provider with its own route table, pools and authorization. `number` stands in BPF keys."""

    name: str
    number: int
    table: int


LEAST_RATE, MOST_RATE = 8_000, 400_000_000_000
"""Bits a second."""

LEAST_BURST, MOST_BURST = 1600, 0xFFFF_FFFF
"""Octets: a packet, and what a row has room for: 250 ms of 137 Gbit/s, 86 ms of 400."""

LEAST_INTERIM = Ns(60 * SECOND)
"""Between reports of what a session uses (RFC 2869 5.16)."""


class Rate(Struct, frozen=True, gc=False):
    """How fast IP packets may go: on the average, and how many octets at once above that."""

    bits_s: int
    burst: int
    """Octets."""

    @classmethod
    def of(cls, bits_s: int, burst: int | None = None) -> Rate:
        """Return a rate; without a burst it is 250 ms of it, and at least ten packets.

        A TCP whose whole window is dropped, as happens where the round trip is short, is silent for its least
        retransmission timeout, on Linux 200 ms; with less in the bucket it would never make up for that (ADR 12).
        """
        return cls(bits_s, min(max(15_000, bits_s // 32), MOST_BURST) if burst is None else burst)

    def __str__(self) -> str:
        return f"{self.bits_s / 1_000_000:g} Mbit/s"


class Service(Struct, frozen=True, kw_only=True, gc=False):
    """What authorization decided that a client gets (a Grant)."""

    tenant: str
    pool: str
    subscriber: str = ""
    address: IPv4Address | None = None
    """A static address; None: any of the pool's."""
    limit: int | None = None
    """Clients on the line at once; None: the port's own limit."""
    antispoof: bool = True
    mtu: int = 1500
    name: str = ""
    """Of the service that it was sold, for people and accounting."""
    up: Rate | None = None
    down: Rate | None = None
    """None: as fast as it goes."""
    dns: tuple[IPv4Address, ...] = ()
    """Instead of the pool's."""
    session_timeout: Ns = Ns(0)
    idle_timeout: Ns = Ns(0)
    """0: none."""
    interim: Ns = Ns(0)
    """Between reports of what it uses; 0: none."""
    sessions: int | None = None
    """Of this subscriber at once, on whatever line; None: as many as lines allow."""
    classes: tuple[bytes, ...] = ()
    """What the server wants to hear again in accounting, opaque (RFC 2865 5.25)."""
    authority: str = ""
    """The group of servers that decided, and that accounting goes to; empty: the gateway itself."""
    provisional: bool = False
    """It is what was granted last, and a server is to be asked again: none could be, or the time for it has come."""
    reauthorize: bool = False
    """After `session_timeout` it does not end: a server is asked again (RFC 2865 5.29)."""
    state: bytes = b""
    """What the server wants to hear when it is asked again, opaque (RFC 2865 5.24)."""


class Subnet(Struct, frozen=True, gc=False):
    """What a client is told of the network around its address."""

    network: IPv4Network
    gateway: IPv4Address

    @property
    def netmask(self) -> IPv4Address:
        return self.network.netmask


class Lease(Struct, frozen=True, gc=False):
    """An address with the promise that nobody else gets it before `promise_until`.

    `duration` is what a client is granted at each renewal, `horizon` how far ahead the promise is recorded.
    `promise_until` is on disk before it stands here; NEVER until then. `longer` is what the pool grants by now, if that
    is more than `duration`: it counts once it is on disk, so that after a restart nobody has been told of more than the
    record says. 0: no more.
    """

    address: IPv4Address
    pool: str
    subnet: Subnet
    duration: Ns
    horizon: Ns
    promise_until: BootNs = NEVER
    longer: Ns = Ns(0)


class Link(Struct, frozen=True, gc=False):
    """What PPP agreed on with a client, beneath its addresses: another process goes on with it.

    `name` is what the client said it is called, empty where nobody asked; `service` is the one that it asked for, if it
    was particular. `mru`: octets of IP that it takes.
    """

    name: str = ""
    service: str = ""
    magic: bytes = b""
    """Our number (RFC 1661 6.4), with which the data plane answers echo requests; empty: it does not."""
    mru: int = 1492
    identifiers: tuple[bytes, bytes] | None = None
    """Our interface identifier and the client's (RFC 5072 4.1), eight octets each; None: they are not agreed."""


class Dialer(Struct, frozen=True, gc=False):
    """What a client of PPP is from one call to the next: its MAC on its line, and what it says it is called."""

    station: Client
    name: str


class Used(Struct, frozen=True, gc=False):
    """IP packets and their octets, by direction; since when, who holds it knows."""

    up_octets: int = 0
    up_packets: int = 0
    down_octets: int = 0
    down_packets: int = 0

    def __sub__(self, base: Used) -> Used:
        return Used(
            self.up_octets - base.up_octets,
            self.up_packets - base.up_packets,
            self.down_octets - base.down_octets,
            self.down_packets - base.down_packets,
        )


NOTHING_USED = Used()


class Phase(Enum):
    """Where a session stands on its way from Seen to Closed."""

    AUTHORIZING = "authorizing"
    ALLOCATING = "allocating"
    OFFERED = "offered"
    """The address is held in memory until the offer lapses."""
    RECORDING = "recording"
    """The lease is on its way to the disk."""
    INSTALLING = "installing"
    ACTIVE = "active"
    REMOVING = "removing"
    """Keys are gone; waiting for packets in flight, then for the final counters."""
    FORGETTING = "forgetting"
    """The end is on its way to the disk; only then is the address free."""
    CLOSED = "closed"

    __hash__ = object.__hash__  # members are one of a kind; Enum's own hash is ten times slower


class CloseCause(Enum):
    """Why a session ended; RADIUS causes (RFC 2866 5.10) follow from it."""

    USER_REQUEST = "user-request"
    LEASE_EXPIRED = "lease-expired"
    DECLINED = "declined"
    OFFER_LAPSED = "offer-lapsed"
    DISPLACED = "displaced"
    ADMIN_RESET = "admin-reset"
    REFUSED = "refused"
    NO_ADDRESS = "no-address"
    STORE_FAILED = "store-failed"
    TABLE_FULL = "table-full"
    SESSION_TIMEOUT = "session-timeout"
    IDLE_TIMEOUT = "idle-timeout"
    DISCONNECTED = "disconnected"
    """A RADIUS server said so."""
    STOPPED = "stopped"
    """The gateway was, by its operator."""
    REBOOTED = "rebooted"
    """The machine was; the client goes on as a new session to accounting."""
    LOST_CARRIER = "lost-carrier"
    """PPP: it answers no more."""
    NOT_NEGOTIATED = "not-negotiated"
    """PPP: it came to no agreement with it, or to none any more."""
    RECONFIGURED = "reconfigured"
    """The configuration that counts now grants the client nothing, or another address."""
    BLOCK_LOST = "block-lost"
    """Its address is in a block that is not the gateway's, or not now."""


class Session(Struct, frozen=True, kw_only=True, gc=False):
    """One client being served.

    `id` indexes the data plane's counters and is reused only after a rest. `ask` is the request that waits for an
    answer, opaque here: it came from a protocol and goes back to it. `encapsulation` is the Ethernet header toward the
    client, tags included.
    """

    id: int
    client: Client
    phase: Phase
    since: BootNs
    accounting: str = ""
    """Acct-Session-Id: no other session has or had it, whatever became of the gateway (RFC 2866 5.5)."""
    counted_before: Used = NOTHING_USED
    """What the data plane had counted under its id when it began; less than nothing if it counts anew since."""
    encapsulation: bytes = b""
    relayed: bool = False
    hostname: str = ""
    form: bytes | None = None
    """What of the client's last request shapes the answer, opaque here: whoever has it can say the same again."""
    agent: bytes = b""
    """What its access node last said of it, opaque here."""
    link: Link | None = None
    """None: it is not a client of PPP."""
    credentials: object = None
    """How it proves who it is, opaque here; gone once that is decided."""
    proof: bytes = b""
    """What whoever verified it wants it to hear; gone once it is told."""
    service: Service | None = None
    lease: Lease | None = None
    promising: BootNs = NEVER
    """The promise that is on its way to the disk."""
    tenure: BootNs = NEVER
    """Until when its address is the gateway's to promise; NEVER: without end, as in a pool of its own."""
    installed: bool = False
    """The data plane has its rows."""
    leased_until: BootNs = NEVER
    """When the client, as far as it was told, stops using the address."""
    deadline: BootNs = NEVER
    """When `Due` is wanted next; NEVER: not at all."""
    opened_at: BootNs = NEVER
    """When its first lease was recorded: then it began, for whoever counts its time."""
    ends_at: BootNs = NEVER
    """When its time is up, whatever the lease says; NEVER: it is not limited."""
    asks_at: BootNs = NEVER
    """When authorization is to be asked again whether it may go on; NEVER: not."""
    active_at: BootNs = NEVER
    """When it last sent a packet, as far as was looked; renewals are none."""
    left_at: BootNs = NEVER
    """When the client gave its address up: a renewal after that counts again."""
    moving: bool = False
    """Authorization names another address by now: served until the client asks next, and then told to start anew."""
    ask: object = None
    wanted: IPv4Address | None = None
    exact: bool = False
    """The client goes on with `wanted` or is refused: no other address will do."""
    cause: CloseCause | None = None

    @property
    def known_as(self) -> Client | Dialer:
        """What lasts of its client: a session that is known as the same is of the same client, later or beside."""
        return self.client if self.link is None else Dialer(self.client.station, self.link.name)

    @property
    def named(self) -> bool:
        """Its client was asked who it is, and said so; what it proved that by is not kept."""
        return self.link is not None and self.link.name != ""

    @property
    def recorded(self) -> bool:
        """The lease stands on disk."""
        return self.lease is not None and self.lease.promise_until != NEVER

    @property
    def waits(self) -> bool:
        """It is of before a reboot, and nobody knows yet whether its promise stands: what the disk says of it stays."""
        return self.lease is not None and self.lease.promise_until == LONG_PAST

    @property
    def mtu(self) -> int:
        """Octets of IP that may be sent to it: what it was granted, if its link takes that."""
        granted = self.service.mtu if self.service is not None else 1500
        return granted if self.link is None else min(granted, self.link.mru)

    @property
    def live(self) -> bool:
        """Counts against limits: not on its way out."""
        return self.phase not in (Phase.REMOVING, Phase.FORGETTING, Phase.CLOSED)


OFFER_HOLD = Ns(60 * SECOND)
"""How long an offered address is held for its client."""

LEASE_GRACE = Ns(5 * SECOND)
"""What a lease outlives its end by, for a renewal that is on its way."""

IN_FLIGHT = Ns(SECOND // 50)
"""How long packets that passed a removed key may still be in the program."""

STORE_RETRY = Ns(10 * SECOND)
"""When an end that the disk refused is tried again; until then the address stays taken."""
