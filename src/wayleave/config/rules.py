"""What no value of a configuration alone can know to be wrong: rules over the whole tree, and over the subscribers.

A rule that asks for a value that makes no sense says no more (`session.settings.sensible`); so each asks for little.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import TypeVar

from wayleave.aaa.local import Subscriber
from wayleave.aaa.settings import GroupSettings, ServerSettings, ServiceSettings
from wayleave.access.settings import PortSettings
from wayleave.config.schema import Configuration, SubscribersFile
from wayleave.proto.dhcp4.options import BY_NAME
from wayleave.proto.dhcp4.server import BY_THE_SERVER
from wayleave.session.model import Line
from wayleave.session.settings import Leaf, PoolSettings, Problem, Reservation, TenantSettings, labels, sensible
from wayleave.session.settings import contradictions as rules_of

Section = TypeVar("Section", bound=Leaf)

Named = PoolSettings | TenantSettings | ServerSettings | GroupSettings | ServiceSettings

SERVICES_MAX = 8
"""Services that the data plane's table holds."""


def contradictions(tree: Configuration) -> Iterator[Problem]:
    """Yield what one value alone cannot know to be wrong. Those of `tree` that make no sense are not asked about."""
    for rule in (
        _tenants,
        _services,
        _ports,
        _roles,
        _pools,
        _default,
        _default_service,
        _sold,
        _radius,
        _pppoe,
        _nexus,
    ):
        yield from sensible(rule(tree))


def _tenants(tree: Configuration) -> Iterator[Problem]:
    yield from _repeated("tenants", "name", tree.tenants)
    for path, tenant in _each("tenants", tree.tenants):
        yield from sensible(_decided_about(path, tenant, tree))


def _decided_about(path: str, tenant: TenantSettings, tree: Configuration) -> Iterator[Problem]:
    if tenant.radius is not None:
        yield from _exists(f"{path}.radius", "radius group", tenant.radius, tree.radius.groups)


def _sold(tree: Configuration) -> Iterator[Problem]:
    yield from _repeated("services", "name", tree.services)
    for path, service in _each("services", tree.services):
        yield from rules_of(path, service)


def _radius(tree: Configuration) -> Iterator[Problem]:
    radius = tree.radius
    yield from _repeated("radius.servers", "name", radius.servers)
    yield from _repeated("radius.groups", "name", radius.groups)
    yield from _repeated("radius.controllers", "address", radius.controllers)
    for path, server in _each("radius.servers", radius.servers):
        yield from rules_of(path, server)
    for path, controller in _each("radius.controllers", radius.controllers):
        for name in getattr(controller, "groups", None) or ():
            yield from _exists(f"{path}.groups", "radius group", name, radius.groups)
    for path, group in _each("radius.groups", radius.groups):
        yield from rules_of(path, group)
        yield from sensible(_asks(path, group, tree))
        yield from sensible(_has_a_pool(path, group, tree))
        yield from sensible(_keeps_what_is_proven(path, group, tree))
    yield from sensible(_realms(tree))


def _asks(path: str, group: GroupSettings, tree: Configuration) -> Iterator[Problem]:
    for key, names in (("servers", group.servers), ("accounting", group.accounting or ())):
        for name in names:
            yield from _exists(f"{path}.{key}", "radius server", name, tree.radius.servers)


def _has_a_pool(path: str, group: GroupSettings, tree: Configuration) -> Iterator[Problem]:
    if group.pool is not None:
        yield from _exists(f"{path}.pool", "pool", group.pool, tree.pools)


def _pppoe(tree: Configuration) -> Iterator[Problem]:
    """Complain of a proof that nobody can check on a port whose tenant asks no RADIUS server."""
    yield from rules_of("pppoe", tree.pppoe)
    methods = tree.pppoe.authentication
    asking = {tenant.name for tenant in tree.tenants if tenant.radius is not None}
    users = tree.authorization.subscribers is not None and tree.authorization.secrets is not None
    checked = not methods or users or any(group.realms for group in tree.radius.groups)
    for port in tree.ports:
        if not port.serves("pppoe") or port.tenant in asking:
            continue
        if "ms-chap-2" in methods:
            yield (
                "pppoe.authentication",
                f'"ms-chap-2" takes a RADIUS server to check, and tenant {port.tenant} of port {port.number} has none: '
                'leave it out, or name a group with tenants.radius; "chap" and "pap" are checked here',
            )
        elif not checked:
            yield (
                "pppoe.authentication",
                f"nobody on port {port.number} can prove who it is: name the files of authorization.subscribers and "
                f"authorization.secrets, or a group with tenants.radius for tenant {port.tenant}; [] asks nobody",
            )


def _nexus(tree: Configuration) -> Iterator[Problem]:
    if tree.nexus is not None:
        yield from rules_of("nexus", tree.nexus)
    first: dict[str, str] = {}
    for path, pool in _each("pools", tree.pools):
        yield from sensible(_shared(path, pool, tree, first))


def _shared(path: str, pool: PoolSettings, tree: Configuration, before: dict[str, str]) -> Iterator[Problem]:
    """Complain of a pool that nobody leases blocks of, or whose blocks are another one's too."""
    if pool.nexus is None:
        return
    if tree.nexus is None:
        yield f"{path}.nexus", "there is no Nexus to lease its blocks from: write [nexus], or leave this out"
    for item in getattr(pool, "reservations", ()):
        yield f"{path}.reservations", f"{item.address} is Nexus' to keep: give it to a subscriber there (`address`)"
    if before.setdefault(pool.nexus, path) != path:
        yield f"{path}.nexus", f"{pool.nexus} is {before[pool.nexus]}'s already: its blocks can be in one pool alone"


def _keeps_what_is_proven(path: str, group: GroupSettings, tree: Configuration) -> Iterator[Problem]:
    if group.strip_realm and "ms-chap-2" in tree.pppoe.authentication:
        yield (
            f"{path}.strip_realm",
            'MS-CHAPv2 proves the whole name, so that no server finds a shorter one proven: leave "ms-chap-2" out of '
            "pppoe.authentication, or have the server look the realm away",
        )


def _realms(tree: Configuration) -> Iterator[Problem]:
    """Complain of a realm that would stand for two groups, or for one twice."""
    first: dict[str, str] = {}
    for path, group in _each("radius.groups", tree.radius.groups):
        for realm in getattr(group, "realms", ()):
            if realm.lower() in first:
                yield f"{path}.realms", f"{realm} is already {first[realm.lower()]}'s: a realm stands for a group once"
            first.setdefault(realm.lower(), path)


def _services(tree: Configuration) -> Iterator[Problem]:
    if sum(len(tenant.services) for tenant in tree.tenants) > SERVICES_MAX:
        yield "tenants", f"more than {SERVICES_MAX} services in all: take some away"


def _ports(tree: Configuration) -> Iterator[Problem]:
    yield from _repeated("ports", "number", tree.ports)
    yield from _repeated("ports", "device", tree.ports)
    for path, port in _each("ports", tree.ports):
        yield from rules_of(path, port)
        yield from sensible(_of_a_tenant(path, port, tree))


def _roles(tree: Configuration) -> Iterator[Problem]:
    roles = {port.role for port in tree.ports}
    for role in ("subscriber", "network"):
        if role not in roles:
            yield "ports", f'there is none with role = "{role}"'


def _pools(tree: Configuration) -> Iterator[Problem]:
    yield from _repeated("pools", "name", tree.pools)
    sections = [*_each("pools", tree.pools)]
    for index, (path, pool) in enumerate(sections):
        yield from rules_of(path, pool)
        yield from sensible(_of_a_tenant(path, pool, tree))
        for other_path, other in sections[:index]:
            yield from sensible(_apart(path, pool, other_path, other))
        yield from sensible(_reserved_lines(path, pool, tree))
        yield from sensible(_options(path, pool))


def _apart(path: str, pool: PoolSettings, other_path: str, other: PoolSettings) -> Iterator[Problem]:
    if pool.network.overlaps(other.network):
        yield f"{path}.network", f"{pool.network} overlaps {other.network} of {other_path}: no address can be in two"


def _reserved_lines(path: str, pool: PoolSettings, tree: Configuration) -> Iterator[Problem]:
    for here, item in _each(f"{path}.reservations", pool.reservations):
        yield from sensible(_on_a_line(here, item, tree))


def _options(path: str, pool: PoolSettings) -> Iterator[Problem]:
    for name, value in pool.options.items():
        why = _why_not_option(name, value)
        if why is not None:
            yield f"{path}.options.{name}", why


def _default(tree: Configuration) -> Iterator[Problem]:
    if tree.authorization.default is not None:
        yield from _exists("authorization.default", "pool", tree.authorization.default, tree.pools)


def _default_service(tree: Configuration) -> Iterator[Problem]:
    if tree.authorization.service is not None:
        yield from _exists("authorization.service", "service", tree.authorization.service, tree.services)


def _of_a_tenant(path: str, item: PortSettings | PoolSettings, tree: Configuration) -> Iterator[Problem]:
    yield from _exists(f"{path}.tenant", "tenant", item.tenant, tree.tenants)


def _on_a_line(path: str, item: Reservation | Subscriber, tree: Configuration) -> Iterator[Problem]:
    """Complain of a line that no client can be on."""
    line = item.line
    if line is None:
        return
    path += ".line"
    port = _port_of(line, tree)
    if port is None:
        numbers = sorted(port.number for port in tree.ports if port.role == "subscriber")
        yield path, f"there is no port {line.port}; of subscribers there is {', '.join(map(str, numbers)) or 'none'}"
    elif port.role != "subscriber":
        yield path, f'port {line.port} is a network port: clients are on those with role = "subscriber"'
    elif line.circuit and port.line != "circuit":
        yield path, f'port {line.port} tells no circuits apart: leave out /CIRCUIT-ID, or set line = "circuit" there'
    elif port.line == "circuit" and not line.circuit:
        yield path, f"port {line.port} tells lines apart by circuit-id: write {line}/CIRCUIT-ID"


def _port_of(line: Line, tree: Configuration) -> PortSettings | None:
    return next((port for port in tree.ports if port.number == line.port), None)


def contradictions_of(file: SubscribersFile, tree: Configuration) -> Iterator[Problem]:
    """Yield what is wrong with entries of the subscribers file beside each other and beside the configuration."""
    yield from sensible(_subscribers(file, tree))


def _subscribers(file: SubscribersFile, tree: Configuration) -> Iterator[Problem]:
    keys: dict[object, str] = {}
    addresses = _reserved_addresses(tree)
    for path, entry in _each("subscribers", file.subscribers):
        yield from _entry(path, entry, tree, keys, addresses)
        yield from sensible(_kept_here(path, entry, tree))


def _entry(
    path: str, entry: Subscriber, tree: Configuration, keys: dict[object, str], addresses: dict[object, str]
) -> Iterator[Problem]:
    """Yield what is wrong with one; `keys` and `addresses`: whose they are already, and are its own from now on."""
    yield from rules_of(path, entry)
    yield from sensible(_known_alone(path, entry, keys))
    yield from sensible(_on_a_line(path, entry, tree))
    yield from sensible(_circuit(path, entry, tree))
    yield from sensible(_asked(path, entry, tree))
    yield from sensible(_tenant(path, entry, tree))
    yield from sensible(_address(path, entry, addresses))
    yield from sensible(_pool(path, entry, tree))
    yield from sensible(_service(path, entry, tree))
    yield from sensible(_in_its_pool(path, entry, tree))


def out_of_place(told: Sequence[Subscriber], own: Sequence[Subscriber], tree: Configuration) -> dict[str, str]:
    """Return, by name, why subscribers that Nexus tells of cannot count here; `own` are those of the machine's file."""
    keys: dict[object, str] = {entry.key: f"{entry.name} of the subscribers file" for entry in own}
    addresses = _reserved_addresses(tree)
    addresses |= {entry.address: f"{entry.name}'s, of the subscribers file" for entry in own if entry.address}
    wrong: dict[str, str] = {}
    for entry in told:
        for where, what in _entry(entry.name, entry, tree, keys, addresses):
            wrong.setdefault(entry.name, f"{where.removeprefix(entry.name).lstrip('.')}: {what}".lstrip(": "))
    return wrong


def unproven(file: SubscribersFile, passwords: Collection[str]) -> Iterator[Problem]:
    """Yield which users could not prove who they are; `passwords`: who has one."""
    for path, entry in _each("subscribers", file.subscribers):
        yield from sensible(_has_a_password(path, entry, passwords))


def _has_a_password(path: str, entry: Subscriber, passwords: Collection[str]) -> Iterator[Problem]:
    if entry.user is not None and not entry.blocked and entry.user not in passwords:
        yield f"{path}.user", f"{entry.user} has no password: write it into the file of authorization.secrets"


def _reserved_addresses(tree: Configuration) -> dict[object, str]:
    """Whose the addresses are that pools reserve."""
    return {
        address: f"reserved in {path}"
        for path, pool in _each("pools", getattr(tree, "pools", ()))
        for item in getattr(pool, "reservations", ())
        if (address := getattr(item, "address", None)) is not None
    }


def _known_alone(path: str, entry: Subscriber, before: dict[object, str]) -> Iterator[Problem]:
    key = entry.key
    if any(part is not None for part in key) and before.setdefault(key, path) != path:
        yield path, f"is known by the same as {before[key]}: tell them apart, or leave one out"


def _circuit(path: str, entry: Subscriber, tree: Configuration) -> Iterator[Problem]:
    if entry.circuit is not None and all(port.line != "circuit" for port in tree.ports):
        yield f"{path}.circuit", 'no port tells lines apart by circuit-id (line = "circuit")'


def _asked(path: str, entry: Subscriber, tree: Configuration) -> Iterator[Problem]:
    """Complain of a user whom nobody asks who it is."""
    if entry.user is None:
        return
    if not any(port.serves("pppoe") for port in tree.ports):
        yield (
            f"{path}.user",
            'no port serves PPPoE, and only there clients say who they are: put "pppoe" into ports.protocols, '
            "or take user out",
        )
    elif not tree.pppoe.authentication:
        yield (
            f"{path}.user",
            'pppoe.authentication = [] asks nobody who it is: name methods there, such as "chap", or take user out',
        )


def _tenant(path: str, entry: Subscriber, tree: Configuration) -> Iterator[Problem]:
    if entry.tenant is not None:
        yield from _exists(f"{path}.tenant", "tenant", entry.tenant, tree.tenants)


def _address(path: str, entry: Subscriber, before: dict[object, str]) -> Iterator[Problem]:
    here, address = f"{path}'s", entry.address
    if address is not None and before.setdefault(address, here) != here:
        yield f"{path}.address", f"{address} is already {before[address]}"


def _pool(path: str, entry: Subscriber, tree: Configuration) -> Iterator[Problem]:
    if entry.pool is not None:
        yield from _exists(f"{path}.pool", "pool", entry.pool, tree.pools)
    elif tree.authorization.default is None and not entry.blocked:
        yield f"{path}.pool", "is missing, and so is authorization.default: the subscriber would get nothing"
    elif entry.tenant is None and entry.line is not None and not entry.blocked:
        port, default = _port_of(entry.line, tree), _named(tree.pools, tree.authorization.default)
        if port is not None and default is not None and default.tenant != port.tenant:
            theirs = (
                f"authorization.default is tenant {default.tenant}'s, and port {port.number} tenant {port.tenant}'s"
            )
            yield f"{path}.pool", f"is missing: {theirs}: name a pool of tenant {port.tenant}"


def _service(path: str, entry: Subscriber, tree: Configuration) -> Iterator[Problem]:
    if entry.service is not None:
        yield from _exists(f"{path}.service", "service", entry.service, tree.services)


def _in_its_pool(path: str, entry: Subscriber, tree: Configuration) -> Iterator[Problem]:
    """Complain of what does not go with an entry's pool."""
    pool = _named(tree.pools, entry.pool or tree.authorization.default)
    if pool is None:
        return
    if entry.tenant not in (None, pool.tenant):
        yield f"{path}.tenant", f"is {entry.tenant}, but pool {pool.name} is tenant {pool.tenant}'s"
    why = pool.why_not_static(entry.address, f" of pool {pool.name}") if entry.address is not None else None
    if why is not None:
        yield f"{path}.address", why


def _kept_here(path: str, entry: Subscriber, tree: Configuration) -> Iterator[Problem]:
    """Complain of an address of a shared pool: who is in the machine's own file is nobody to Nexus."""
    pool = _named(tree.pools, entry.pool or tree.authorization.default)
    if pool is not None and pool.nexus is not None and entry.address is not None:
        yield (
            f"{path}.address",
            f"pool {pool.name} is shared: {entry.address} is Nexus' to keep, for a subscriber there",
        )


def _why_not_option(name: str, value: object) -> str | None:
    option = BY_NAME.get(name)
    if option is None:
        return f"there is no DHCPv4 option of this name{_perhaps(name)}"
    if option.code in BY_THE_SERVER:
        return "the server writes this option by itself: take it out"
    try:
        option.configured(value)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _perhaps(name: str) -> str:
    """Name the option that was probably meant."""
    close = get_close_matches(name, BY_NAME, 1, 0.7) or [known for known in BY_NAME if name in known.split("-")][:1]
    return f": is {close[0]} meant?" if close else ": docs/reference/dhcp4-options.md lists them"


def _each(path: str, items: Sequence[Section]) -> Iterator[tuple[str, Section]]:
    """Yield every section of a list with its path."""
    return zip((f"{path}[{label}]" for label in labels(items)), items, strict=True)


def _named(pools: Sequence[PoolSettings], name: str | None) -> PoolSettings | None:
    return next((pool for pool in pools if getattr(pool, "name", None) == name), None) if name is not None else None


def _repeated(kind: str, key: str, items: Sequence[Leaf]) -> Iterator[Problem]:
    first: dict[str | int, str] = {}
    for path, item in _each(kind, items):
        value = getattr(item, key, None)
        if value is not None and first.setdefault(value, path) != path:
            yield f"{path}.{key}", f"{value} is already {first[value]}'s: give each its own"


def _exists(path: str, kind: str, name: str, among: Sequence[Named]) -> Iterator[Problem]:
    """Complain unless there is one of this name, be it one that makes no sense otherwise."""
    if all(item.name != name for item in among):
        names = ", ".join(sorted({item.name for item in among}))
        yield path, f"there is no {kind} {name!r}; there is {names or 'none'}"
