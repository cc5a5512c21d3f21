"""What RADIUS attributes make of a service: one table, read by Access-Accept and CoA alike.

A row is an attribute, what it does to the service, and whether a CoA may change it while the session lives. A value
that cannot be honoured refuses the whole, with a reason; it is never guessed. What has no row means nothing here
(RFC 2865 5: what is not understood may be ignored), unless it is in REFUSED: that asks for something that the gateway
knows about and does not do.

Source: RFC 2865 5, RFC 2869 5, RFC 4372; the vendors' own documents for theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from wayleave.net.errors import Malformed
from wayleave.net.units import SECOND, Ns
from wayleave.proto.radius.dictionary import Attribute
from wayleave.session.model import LEAST_BURST, LEAST_INTERIM, LEAST_RATE, MOST_RATE, Rate, Service


class Unusable(Exception):
    """An attribute asks for what cannot be done. The text names it, its value and why."""

    def __init__(self, attribute: str, why: str, known: bool = True) -> None:
        super().__init__(f"{attribute}: {why}")
        self.known = known
        """The attribute may be used like this, only not with this value."""


class Known(Struct, frozen=True):
    """What names in attributes can stand for: services by name, pools with their networks and tenants."""

    services: Mapping[str, Service] = {}
    pools: Mapping[str, tuple[IPv4Network, str]] = {}
    tenants: frozenset[str] = frozenset()


Apply = Callable[[Service, Any, Known], Service]
"""Returns the changed service. Raises: ValueError with why it cannot."""
Way = Literal["up", "down"]
"""A direction, as the fields of a service are called."""


class Row(Struct, frozen=True):
    """What an attribute does. `means`: for the reference. `live`: a CoA may change it.
    `gathers`: the field that takes all values of a packet together, instead of what stood there before.
    """

    attribute: str
    apply: Apply
    means: str
    live: bool = True
    gathers: str = ""


# ---- What values do ---------------------------------------------------------------------


def sold_as(service: Service, named: Service) -> Service:
    """Return a service with what one of the configuration says of rates and timeouts, under that one's name."""
    return replace(
        service,
        name=named.name,
        up=named.up,
        down=named.down,
        session_timeout=named.session_timeout or service.session_timeout,
        idle_timeout=named.idle_timeout or service.idle_timeout,
    )


def _address(service: Service, value: IPv4Address, known: Known) -> Service:
    """RFC 2865 5.8: 255.255.255.254 leaves it to the gateway, 255.255.255.255 to the client: any of the pool's."""
    if int(value) >= 0xFFFFFFFE:
        return replace(service, address=None)
    homes = [name for name, (network, _) in known.pools.items() if value in network]
    if not homes:
        raise ValueError(f"{value} is in no pool")
    return replace(service, address=value, pool=homes[0])


def _netmask(service: Service, value: IPv4Address, known: Known) -> Service:
    """What a client is told of its subnet is its pool's; a host mask says nothing about it."""
    network = known.pools[service.pool][0] if service.pool in known.pools else None
    if int(value) != 0xFFFFFFFF and (network is None or value != network.netmask):
        raise ValueError(f"{value} is not the netmask of pool {service.pool or '(none)'}")
    return service


def _pool(service: Service, value: str, known: Known) -> Service:
    if value not in known.pools:
        raise ValueError(f"there is no pool {value}")
    return replace(service, pool=value)


def _tenant(service: Service, value: str, known: Known) -> Service:
    if value not in known.tenants:
        raise ValueError(f"there is no tenant {value}")
    return replace(service, tenant=value)


def _named(service: Service, value: str, known: Known) -> Service:
    return sold_as(service, _service(value, known))


def _service(value: str, known: Known) -> Service:
    if value not in known.services:
        raise ValueError(f"there is no service {value}: add it to [[services]]")
    return known.services[value]


def _of_named(way: Way) -> Apply:
    """What a service says of one direction."""

    def apply(service: Service, value: str, known: Known) -> Service:
        return replace(service, **{way: getattr(_service(value, known), way)})

    return apply


def _filter(service: Service, value: str, known: Known) -> Service:
    """RFC 2865 5.11: a name. Some servers write `name.in` and `name.out`, for one direction each."""
    base, _, way = value.rpartition(".")
    if base and way in ("in", "out") and value not in known.services:
        return _of_named("up" if way == "in" else "down")(service, base, known)
    return _named(service, value, known)


def rate(bits_s: int) -> Rate | None:
    """Return a rate with the burst that goes with it; 0 bit/s is none at all: as fast as it goes.

    Raises: ValueError where it is out of bounds.
    """
    if bits_s and not LEAST_RATE <= bits_s <= MOST_RATE:
        raise ValueError(f"{bits_s} bit/s is not between 8 kbit/s and 400 Gbit/s")
    return Rate.of(bits_s) if bits_s else None


def _rate(way: Way, unit: int) -> Apply:
    """`unit`: bits a second."""

    def apply(service: Service, value: int, _: Known) -> Service:
        return replace(service, **{way: rate(value * unit)})

    return apply


def _burst(way: Way) -> Apply:
    def apply(service: Service, octets: int, _: Known) -> Service:
        at: Rate | None = getattr(service, way)
        if at is None:
            raise ValueError("a burst needs a rate beside it")
        if octets < LEAST_BURST:
            raise ValueError(f"{octets} octets are less than one packet")
        return replace(service, **{way: Rate(at.bits_s, octets)})

    return apply


_SCALE = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_RATE = re.compile(r"(\d+)([kmg]?)", re.IGNORECASE)


def _bits(text: str) -> int:
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a rate: 10M, 512k")
    return int(match[1]) * _SCALE[match[2].lower()]


def _mikrotik(service: Service, value: str, _: Known) -> Service:
    """`rx[/tx]`, as the router sees it: rx is what the client sends. Its bursts work in a way of their own."""
    words = value.split()
    if len(words) != 1:
        raise ValueError(f"{value!r}: only rx-rate/tx-rate is supported, without burst rates, thresholds and priority")
    up, _slash, down = words[0].partition("/")
    return replace(service, up=rate(_bits(up)), down=rate(_bits(down or up)))


def _cisco(service: Service, value: str, known: Known) -> Service:
    """`key=value`, of which some are known; `*` for `=` says that it may be left out."""
    match = re.fullmatch(r"([^=*]+)([=*])(.*)", value, re.DOTALL)
    if match is None:
        raise ValueError(f"{value!r} is not key=value")
    key, sign, said = match[1].strip().lower(), match[2], match[3].strip()
    apply = CISCO.get(key)
    if apply is None:
        if sign == "*":
            return service
        raise ValueError(f"{key} is not supported; these are: {', '.join(CISCO)}")
    return apply(service, said, known)


def _cisco_dns(service: Service, value: str, _: Known) -> Service:
    try:
        return replace(service, dns=tuple(IPv4Address(word) for word in value.split()))
    except ValueError:
        raise ValueError(f"{value!r} are not IPv4 addresses") from None


CISCO: Mapping[str, Apply] = {
    "ip:addr-pool": _pool,
    "ip:vrf-id": _tenant,
    "ip:dns-servers": _cisco_dns,
    "ip:sub-qos-policy-in": _of_named("up"),
    "ip:sub-qos-policy-out": _of_named("down"),
    "subscriber:sub-qos-policy-in": _of_named("up"),
    "subscriber:sub-qos-policy-out": _of_named("down"),
}


def _dns(service: Service, value: IPv4Address, _: Known) -> Service:
    return replace(service, dns=(*service.dns, value))


def _seconds(field: str) -> Apply:
    def apply(service: Service, value: int, _: Known) -> Service:
        return replace(service, **{field: Ns(value * SECOND)})

    return apply


def _termination(service: Service, value: int, _: Known) -> Service:
    """RFC 2865 5.29: Default ends the session with its time, RADIUS-Request asks again."""
    if value not in (0, 1):
        raise ValueError(f"{value} is neither Default nor RADIUS-Request")
    return replace(service, reauthorize=value == 1)


def _state(service: Service, value: bytes, _: Known) -> Service:
    return replace(service, state=value)


def _interim(service: Service, value: int, _: Known) -> Service:
    """RFC 2869 5.16: no less than a minute, and better ten."""
    if value and value * SECOND < LEAST_INTERIM:
        raise ValueError(f"{value}s are less than 60 (RFC 2869 5.16)")
    return replace(service, interim=Ns(value * SECOND))


MOST_CLASS = 2048
"""Octets of all Classes together: a record of accounting has to carry them in one packet of 4,096 (RFC 2866 3)."""


def _class(service: Service, value: bytes, _: Known) -> Service:
    classes = (*service.classes, value)
    if sum(map(len, classes)) > MOST_CLASS:
        raise ValueError(f"more than {MOST_CLASS} octets in all do not fit into records of accounting")
    return replace(service, classes=classes)


def _sessions(service: Service, value: int, _: Known) -> Service:
    if value < 1:
        raise ValueError("no session at all: reject the client instead")
    return replace(service, sessions=value)


def _antispoof(service: Service, value: int, _: Known) -> Service:
    return replace(service, antispoof=bool(value))


def _subscriber(service: Service, value: str, _: Known) -> Service:
    """RFC 2865 5.1: what accounting is to call the subscriber."""
    return replace(service, subscriber=value)


def _mtu(service: Service, value: int, _: Known) -> Service:
    if not 576 <= value <= 1500:
        raise ValueError(f"{value} is not between 576 and 1500")
    return replace(service, mtu=value)


def _only(value: int, why: str) -> Apply:
    """An attribute of which one value is what the gateway does anyway."""

    def apply(service: Service, said: Any, _: Known) -> Service:
        if said != value:
            raise ValueError(why)
        return service

    return apply


ROWS = (
    Row("User-Name", _subscriber, "what accounting calls the subscriber", live=False),
    Row("Wayleave-Tenant", _tenant, "its tenant", live=False),
    Row("ERX-Virtual-Router-Name", _tenant, "its tenant", live=False),
    Row("Framed-Pool", _pool, "its pool", live=False),
    Row("ERX-Address-Pool-Name", _pool, "its pool", live=False),
    Row(
        "Framed-IP-Address",
        _address,
        "its address, of one of the tenant's pools; 255.255.255.254 and .255: any",
        live=False,
    ),
    Row("Framed-IP-Netmask", _netmask, "has to be the pool's, or 255.255.255.255", live=False),
    Row("Framed-MTU", _mtu, "what it is told of the MTU, 576 to 1500"),
    Row("Wayleave-Service", _named, "a service of the configuration"),
    Row("Filter-Id", _filter, "a service of the configuration; `NAME.in`, `NAME.out`: one direction of it"),
    Row("Alc-SLA-Prof-Str", _named, "a service of the configuration"),
    Row("ERX-Ingress-Policy-Name", _of_named("up"), "what a service says of what it sends"),
    Row("ERX-Egress-Policy-Name", _of_named("down"), "what a service says of what it is sent"),
    Row("Cisco-AVPair", _cisco, f"of its pairs: {', '.join(CISCO)}"),
    Row("Mikrotik-Rate-Limit", _mikrotik, "`UP/DOWN`, as `10M/50M`; bursts and priorities are refused"),
    Row("WISPr-Bandwidth-Max-Up", _rate("up", 1), "bit/s that it may send; 0: as fast as it goes"),
    Row("WISPr-Bandwidth-Max-Down", _rate("down", 1), "bit/s that it is sent; 0: as fast as it goes"),
    Row("Wayleave-Rate-Up", _rate("up", 1000), "kbit/s that it may send; 0: as fast as it goes"),
    Row("Wayleave-Rate-Down", _rate("down", 1000), "kbit/s that it is sent; 0: as fast as it goes"),
    Row("Wayleave-Burst-Up", _burst("up"), "octets at once above the rate"),
    Row("Wayleave-Burst-Down", _burst("down"), "octets at once above the rate"),
    Row("MS-Primary-DNS-Server", _dns, "a name server", live=False, gathers="dns"),
    Row("MS-Secondary-DNS-Server", _dns, "another", live=False, gathers="dns"),
    Row("ERX-Primary-Dns", _dns, "a name server", live=False, gathers="dns"),
    Row("ERX-Secondary-Dns", _dns, "another", live=False, gathers="dns"),
    Row("Alc-Primary-Dns", _dns, "a name server", live=False, gathers="dns"),
    Row("Alc-Secondary-Dns", _dns, "another", live=False, gathers="dns"),
    Row("Session-Timeout", _seconds("session_timeout"), "seconds after which it ends, or is asked about again"),
    Row(
        "Termination-Action",
        _termination,
        "what then: Default ends it, RADIUS-Request asks a server again; who proved who it is ends and dials anew",
    ),
    Row("State", _state, "comes back when a server is asked again", live=False),
    Row("Idle-Timeout", _seconds("idle_timeout"), "seconds of silence after which it ends"),
    Row("Acct-Interim-Interval", _interim, "seconds between interim records; 0: none"),
    Row("Class", _class, "comes back in every record", gathers="classes"),
    Row("Wayleave-Session-Limit", _sessions, "sessions that the subscriber may have at once", live=False),
    Row("Wayleave-Antispoof", _antispoof, "0: its source addresses are not checked"),
    Row("Wayleave-NAT", _only(0, "there is no NAT"), "has to be 0"),
    Row("Wayleave-Garden", _only(0, "there is no walled garden"), "has to be 0"),
    Row("Service-Type", _only(2, "only Framed-User is served"), "has to be Framed-User"),
    Row("Framed-Protocol", _only(1, "only PPP is framed"), "has to be PPP"),
)
"""In the order in which they count, whatever order a packet has: names first, then what says more than they do."""

REFUSED = {
    "Framed-Route": "routes behind a client are not supported",
    "Framed-IPv6-Prefix": "IPv6 is not supported",
    "Framed-IPv6-Address": "IPv6 is not supported",
    "Framed-IPv6-Pool": "IPv6 is not supported",
    "Framed-IPv6-Route": "IPv6 is not supported",
    "Framed-Interface-Id": "IPv6 is not supported",
    "Delegated-IPv6-Prefix": "IPv6 is not supported",
    "Delegated-IPv6-Prefix-Pool": "IPv6 is not supported",
    "Stateful-IPv6-Address-Pool": "IPv6 is not supported",
    "DNS-Server-IPv6-Address": "IPv6 is not supported",
    "Mikrotik-Address-List": "address lists are not supported",
}
"""Attributes that ask for what the gateway does not do, with why. Configured to be ignored, they are."""

_PLACE = {row.attribute: place for place, row in enumerate(ROWS)}
Exploded = Iterable[tuple[Attribute, bytes]]
"""A packet's attributes as `Dictionary.explode` gives them."""


class Reading(Struct, frozen=True):
    """How one group wants attributes to be read. `ignored` count for nothing; `aliases` mean what another one means."""

    ignored: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = {}


PLAIN = Reading()


def knows(attribute: str, reading: Reading = PLAIN) -> bool:
    """Whether an attribute means something here, be it that it cannot be done."""
    name = reading.aliases.get(attribute, attribute)
    return name in _PLACE or name in REFUSED or attribute in reading.ignored


def apply(service: Service, attributes: Exploded, known: Known, reading: Reading = PLAIN) -> Service:
    """Return what a service becomes by a packet's attributes.

    Raises: Unusable, for the first one that cannot be honoured.
    """
    counting = _counting(attributes, reading)
    service = replace(service, **{row.gathers: () for row, _ in counting if row.gathers})
    for row, value in counting:
        try:
            service = row.apply(service, value, known)
        except ValueError as error:
            raise Unusable(row.attribute, str(error)) from None
    return _sound(service, known)


def change(service: Service, attributes: Exploded, known: Known, reading: Reading = PLAIN) -> Service:
    """Return what a CoA makes of a live session's service. Raises: Unusable, also for what cannot change live."""
    exploded = list(attributes)
    for attribute, _ in exploded:
        place = _PLACE.get(reading.aliases.get(attribute.name, attribute.name))
        if place is not None and not ROWS[place].live and attribute.name not in reading.ignored:
            raise Unusable(attribute.name, "cannot change while the session lives", known=False)
    changed = apply(service, exploded, known, reading)
    for field in _FIXED:
        # a pair of Cisco's can do what rows of their own may not
        if getattr(changed, field) != getattr(service, field):
            raise Unusable("Cisco-AVPair", f"its {field} cannot change while the session lives", known=False)
    return changed


_FIXED = ("tenant", "pool", "address", "dns")
"""What a client has been told, or stands by; rows that are not live change these."""


def _counting(attributes: Exploded, reading: Reading) -> list[tuple[Row, Any]]:
    found: list[tuple[int, Any]] = []
    for attribute, octets in attributes:
        name = reading.aliases.get(attribute.name, attribute.name)
        if attribute.name in reading.ignored:
            continue
        if name in REFUSED:
            raise Unusable(name, REFUSED[name], known=False)
        place = _PLACE.get(name)
        if place is None:
            continue
        try:
            found.append((place, attribute.decode(octets)))
        except Malformed as error:
            raise Unusable(attribute.name, error.why) from None
    return [(ROWS[place], value) for place, value in sorted(found, key=lambda item: item[0])]


def _sound(service: Service, known: Known) -> Service:
    """Names fit each other: the pool, perhaps of a static address, is the tenant's."""
    if not service.pool:
        raise Unusable("Framed-Pool", "is absent, and the servers' group has no pool of its own")
    if service.pool in known.pools and known.pools[service.pool][1] != service.tenant:
        raise Unusable("Framed-Pool", f"pool {service.pool} is not tenant {service.tenant}'s")
    return service
