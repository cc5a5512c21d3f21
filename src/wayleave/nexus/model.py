"""What Nexus keeps, and under which keys. Values are JSON.

    pool/NAME                              Pool
    plan/TENANT                            Plan         its pools of addresses, none of which overlap
    block/POOL/INDEX                       Ownership    there from its first owner on, for ever: the fence must not fall
    node/NAME                              Node
    state/NAME                             NodeState    as the gateway last told
    hold/NAME/EPOCH                        Hold         there for as long as the epoch may own anything
    held/NAME/EPOCH/POOL/INDEX             the fence    a block, found by its owner
    unit/POOL/NUMBER                       Unit         there from its first holder on, for ever
    lease/POOL/NUMBER                      Lease        of a unit whose time is limited
    last/POOL/HOLDER                       the number   of the unit that it has, or had
    kept/POOL/NUMBER                       the name     of the subscriber that keeps this address
    keeps/SUBSCRIBER                       POOL/NUMBER  of the address that it keeps
    address/POOL/ADDRESS                   Assignment   whose a subscriber's address is or last was, as its gateway told

    provider/NAME                          Provider
    realm/REALM                            the name     of the provider whose it is
    customer/PROVIDER/SUBSCRIBER           its realm    a subscriber, found by its provider
    line/NAME                              Line
    place/NODE/PORT:SVID.CVID/CIRCUIT      the name     of the line there
    attached/LINE                          Attached     the subscribers of a line, if it has any
    subscriber/NAME                        Subscriber
    view/NODE/SUBSCRIBER                   views.View   what a gateway has to know of a subscriber
    pending/PROVIDER                       nothing      the view of its subscribers is of before it changed

Numbers in keys are written so that their order is that of the keys. `held` is written with `block` in one commit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from wayleave.net.units import Ns

POOLS, PLANS, BLOCKS, NODES, HOLDS, HELD = "pool/", "plan/", "block/", "node/", "hold/", "held/"
PROVIDERS, REALMS, CUSTOMERS, PENDING = "provider/", "realm/", "customer/", "pending/"
LINES, PLACES, ATTACHED, SUBSCRIBERS, VIEWS = "line/", "place/", "attached/", "subscriber/", "view/"
UNITS, LEASES, LASTS = "unit/", "lease/", "last/"
STATES, ADDRESSES = "state/", "address/"
KEPT, KEEPS = "kept/", "keeps/"
Moment = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")]
"""As in RFC 3339."""
NEXUS = "nexus"
"""The name under which Nexus owns blocks itself; no gateway has it."""
OWN_EPOCH = 1
"""Of Nexus's own hold: as it never ends, there is no other."""


class Kind(StrEnum):
    """What a pool is of."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    """Prefixes, to be delegated."""
    VLAN = "vlan"
    """Single ones, or pairs of an S-VID and a C-VID."""
    PORTS = "ports"
    """Ranges of ports of public IPv4 addresses."""


class Pool(Struct, frozen=True):
    """What gateways share. `space` is a network, or of VLANs `FIRST-LAST`, of S- and C-VIDs `FIRST-LAST.FIRST-LAST`.

    A block is `block` units of it. A unit is an address, a VLAN or a pair of them; of IPv6 it is a prefix of length
    `unit`; of ports it is a range of `unit` ports of an address, and a block is all ranges of `block` addresses. The
    others have no `unit`. `tenant`: no two pools of addresses of one overlap. `closed`: nobody gets more of it.
    """

    name: str
    kind: Kind
    space: str
    block: int
    unit: int = 0
    tenant: str = ""
    closed: bool = False


class Plan(Struct, frozen=True):
    """The networks of a tenant's pools of addresses, by the pools' names."""

    networks: dict[str, str]


class Node(Struct, frozen=True):
    """A gateway: the epoch of its hold. It grows, and is never given twice."""

    epoch: int


class PoolUse(Struct, frozen=True):
    """How full a pool of a gateway is, in addresses."""

    pool: Annotated[str, Meta(max_length=64)]
    held: int
    size: int


class NodeState(Struct, frozen=True):
    """What a gateway tells of itself: `at`, and Nexus `heard` it then."""

    version: Annotated[str, Meta(max_length=64)]
    sessions: int
    pools: Annotated[tuple[PoolUse, ...], Meta(max_length=1000)]
    at: Moment
    heard: str = ""


class Assignment(Struct, frozen=True):
    """Whose an address is, since `at` (`began`), or was until then (`ended`)."""

    subscriber: str
    node: str
    state: Literal["began", "ended"]
    at: Moment


class Hold(Struct, frozen=True):
    """The right of an epoch to its blocks; every renewal writes it anew. `duration` is what its gateway was told.

    `run` is the process that renewed it last, `before` are the last few that it took over from.
    """

    duration: Ns
    beat: int
    run: str = ""
    before: tuple[str, ...] = ()


class Ownership(Struct, frozen=True, omit_defaults=True):
    """Whose a block is: an epoch's of a node. It is nobody's if `node` is empty, or if that epoch has no hold.

    `closed`: it is Nexus's own, and about to be given back: nothing of it is allocated.
    """

    node: str
    epoch: int
    fence: int
    closed: bool = False


class Mode(StrEnum):
    """How long a unit is its holder's."""

    STICKY = "sticky"
    """Until it is released; then it gets the same again, while that is free."""
    SESSION = "session"
    """Until it is released."""
    TTL = "ttl"
    """Until it has not been renewed for as long as was said."""
    RESERVATION = "reservation"
    """Until the operator deletes it."""


class Unit(Struct, frozen=True):
    """Whose a unit is; nobody's, if `holder` is empty. `fence` grows with every time that it is given to somebody.

    `request` tells a question that is repeated from another one.
    """

    holder: str
    fence: int
    mode: Mode = Mode.SESSION
    request: str = ""


class Lease(Struct, frozen=True):
    """For how long a unit is its holder's from when it asked last; every renewal writes it anew."""

    duration: Ns
    beat: int


class Provider(Struct, frozen=True):
    """Who sells service on the network's lines.

    `tenant`, `pool` and `service` are what they are called in the configuration of the gateways; of subscribers who
    have no others. `closed`: it gets no new subscribers.
    """

    name: str
    tenant: str
    pool: str
    service: str = ""
    realms: tuple[str, ...] = ()
    closed: bool = False


class Line(Struct, frozen=True):
    """Where subscribers attach: a place of the gateway `node`. It is the network owner's, whoever sells service on it.

    `ont` and `owner` are for people to find it by.
    """

    name: str
    node: str
    port: int
    svid: int = 0
    cvid: int = 0
    circuit: str = ""
    ont: str = ""
    owner: str = ""

    @property
    def place(self) -> str:
        """As a gateway writes it: PORT[:SVID[.CVID]][/CIRCUIT]."""
        tags = f":{self.svid}" + (f".{self.cvid}" if self.cvid else "") if self.svid else ""
        return f"{self.port}{tags}" + (f"/{self.circuit}" if self.circuit else "")


class Subscriber(Struct, frozen=True):
    """Who buys service of a provider, on a line; one without is told to no gateway, and may be allocated units.

    Of several on a line each is known by its `user` (without the realm) or its `mac`. `pool` and `service`, where they
    are given, are instead of the provider's. `limit`: clients at once; 0: the port's.
    """

    name: str
    provider: str
    line: str = ""
    mac: str = ""
    user: str = ""
    service: str = ""
    realm: str = ""
    address: str = ""
    pool: str = ""
    limit: int = 0
    blocked: bool = False

    @property
    def login(self) -> str:
        """What it says it is called: USER[@REALM]."""
        return f"{self.user}@{self.realm}" if self.realm else self.user


class Attached(Struct, frozen=True):
    """The subscribers of a line by their names, and what each is known by there: login and MAC."""

    subscribers: dict[str, tuple[str, str]]


def pool_key(name: str) -> str:
    return f"{POOLS}{name}"


def plan_key(tenant: str) -> str:
    return f"{PLANS}{tenant}"


def block_key(pool: str, index: int) -> str:
    return f"{BLOCKS}{pool}/{index:08x}"


def node_key(node: str) -> str:
    return f"{NODES}{node}"


def state_key(node: str) -> str:
    return f"{STATES}{node}"


def address_key(pool: str, address: str) -> str:
    return f"{ADDRESSES}{pool}/{address}"


def kept_prefix(pool: str) -> str:
    return f"{KEPT}{pool}/"


def kept_key(pool: str, number: int) -> str:
    return f"{kept_prefix(pool)}{number:08x}"


def keeps_key(subscriber: str) -> str:
    return f"{KEEPS}{subscriber}"


def view_prefix(node: str) -> str:
    return f"{VIEWS}{node}/"


def hold_key(node: str, epoch: int) -> str:
    return f"{HOLDS}{node}/{epoch:08x}"


def held_prefix(node: str, epoch: int) -> str:
    return f"{HELD}{node}/{epoch:08x}/"


def own_blocks_prefix(pool: str) -> str:
    """Of what Nexus itself owns of a pool."""
    return f"{held_prefix(NEXUS, OWN_EPOCH)}{pool}/"


def held_key(node: str, epoch: int, pool: str, index: int) -> str:
    return f"{held_prefix(node, epoch)}{pool}/{index:08x}"


def provider_key(name: str) -> str:
    return f"{PROVIDERS}{name}"


def realm_key(realm: str) -> str:
    return f"{REALMS}{realm}"


def customers_prefix(provider: str) -> str:
    return f"{CUSTOMERS}{provider}/"


def customer_key(provider: str, subscriber: str) -> str:
    return f"{customers_prefix(provider)}{subscriber}"


def pending_key(provider: str) -> str:
    return f"{PENDING}{provider}"


def line_key(name: str) -> str:
    return f"{LINES}{name}"


def place_key(line: Line) -> str:
    return f"{PLACES}{line.node}/{line.port}:{line.svid}.{line.cvid}/{line.circuit}"


def attached_key(line: str) -> str:
    return f"{ATTACHED}{line}"


def subscriber_key(name: str) -> str:
    return f"{SUBSCRIBERS}{name}"


def view_key(node: str, subscriber: str) -> str:
    return f"{view_prefix(node)}{subscriber}"


def units_prefix(pool: str) -> str:
    return f"{UNITS}{pool}/"


def unit_key(pool: str, number: int) -> str:
    return f"{units_prefix(pool)}{number:016x}"


def lease_key(pool: str, number: int) -> str:
    return f"{LEASES}{pool}/{number:016x}"


def last_key(pool: str, holder: str) -> str:
    return f"{LASTS}{pool}/{holder}"


def of_unit_key(key: str) -> tuple[str, int]:
    """Return the pool and the number that a `unit` or a `lease` key names."""
    _, pool, number = key.split("/")
    return pool, int(number, 16)


def of_held_key(key: str) -> tuple[str, int]:
    """Return the pool and the index that a `held` key names."""
    _, _, _, pool, index = key.split("/")
    return pool, int(index, 16)


def of_hold_key(key: str) -> tuple[str, int]:
    """Return the node and the epoch that a `hold` key names."""
    _, node, epoch = key.split("/")
    return node, int(epoch, 16)


Record = TypeVar("Record", bound=Struct)


def encode(record: Struct) -> bytes:
    """Return a record as it is stored."""
    return msgspec.json.encode(record)


def decode(kind: type[Record], value: bytes) -> Record:
    """Read a record. Raises: msgspec.ValidationError: somebody else has written to the store."""
    return msgspec.json.decode(value, type=kind)
