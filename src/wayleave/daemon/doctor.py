"""`bng doctor`: what a machine lacks for a configuration, each with its cure, before anything is attached.

A check is a function that yields findings; it reads, and changes nothing but for a trial load of the program, which is
let go again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path

from msgspec import Struct

from wayleave.aaa.settings import ServerSettings
from wayleave.access.settings import PortSettings, least_mtu
from wayleave.config.schema import Configuration
from wayleave.daemon.authority import DictionaryError, read_dictionary
from wayleave.daemon.derived import tenants
from wayleave.daemon.hostlinks import number_of, routed
from wayleave.dataplane import objects
from wayleave.dataplane.pins import PINS
from wayleave.dataplane.plane import settings_of_kernel, sizes
from wayleave.io import devices, hostlink, machine, privileges
from wayleave.io.clock import Clock
from wayleave.io.occupant import occupant
from wayleave.io.routes import reachable
from wayleave.io.secrets import SecretError, read_secret
from wayleave.io.tls import client_context
from wayleave.session.model import Tenant

FLOOR = (6, 1)
"""The oldest that the tests run on (docs/operations/kernels.md). An older one is asked whether it takes the program."""

KERNEL_OCTETS, PYTHON_OCTETS = 700, 3_000
"""What a session takes at most, in maps and in Python (`make bench BENCH=start`)."""

LEASE_OCTETS = 1_000
"""What a lease takes on the disk, with its share of the log."""


class Level(Enum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Finding(Struct, frozen=True):
    """What was looked at, what it says, and how to mend it."""

    level: Level
    what: str
    says: str
    cure: str = ""


Findings = Iterator[Finding]


def examine(settings: Configuration, folder: Path) -> Findings:
    """Yield what every check finds, in the order in which things would go wrong. `folder`: of the configuration."""
    for check in CHECKS:
        yield from check(settings)
    yield from _radius(settings, folder)
    yield from _dictionary(settings, folder)


def _verdict(holds: bool, what: str, good: str, bad: str, cure: str, level: Level = Level.BAD) -> Finding:
    return Finding(Level.GOOD, what, good) if holds else Finding(level, what, bad, cure)


def _rights(_: Configuration) -> Findings:
    missing = privileges.missing()
    yield _verdict(
        not missing, "rights", "all capabilities", f"lacks {', '.join(missing)}", "run as root, or grant them"
    )


def _kernel(settings: Configuration) -> Findings:
    version = machine.kernel()
    text = ".".join(map(str, version))
    floor = ".".join(map(str, FLOOR))
    yield _verdict(
        version >= FLOOR,
        "kernel",
        text,
        f"{text} is older than {floor}, the oldest that this was tried on",
        "boot a newer kernel",
        Level.WARNING,
    )
    others = [tenant.name for tenant in settings.tenants if tenant.table != 254]
    if others and not settings_of_kernel().fib_by_table:
        who = ", ".join(others)
        yield Finding(Level.BAD, "kernel", f"{text} looks no routes up by table, as {who} needs", "boot 6.5 or later")
    yield _verdict(
        machine.sysctl("net/core/bpf_jit_enable") != "0",
        "BPF compiler",
        "on",
        "off: programs are interpreted",
        "sysctl net.core.bpf_jit_enable=1",
        Level.WARNING,
    )


def _pins(_: Configuration) -> Findings:
    private = machine.is_private(objects.BPFFS)
    if private is not None:
        yield _verdict(
            not private,
            "pins",
            f"{objects.BPFFS} is the machine's",
            f"{objects.BPFFS} is this mount namespace's own (`ip netns exec` makes one): what is pinned ends with it",
            "nsenter --net=/run/netns/NAME bng run",
        )


def _program(_: Configuration) -> Findings:
    """Load it as it would be loaded, but small and unpinned, and let it go."""
    try:
        objects.load(objects.PROGRAM, sizes(16, 1 << 16), {".rodata.settings": settings_of_kernel().pack()}).close()
    except objects.LoadError as error:
        lines = str(error).splitlines()
        yield Finding(Level.BAD, "program", f"{lines[0]} {lines[-1] if len(lines) > 1 else ''}".strip(), "see the log")
        return
    yield Finding(Level.GOOD, "program", "the kernel takes it")


def _ports(settings: Configuration) -> Findings:
    for port in settings.ports:
        what = f"port {port.number} ({port.device})"
        device = devices.find(port.device)
        if device is None:
            yield Finding(Level.BAD, what, "there is no such device", "`ip link` lists what there is")
            continue
        least = least_mtu(port, settings.pppoe)
        yield _verdict(
            device.mtu >= least,
            what,
            f"MTU {device.mtu}",
            f"MTU {device.mtu} is under {least}",
            f"ip link set dev {port.device} mtu {least}",
        )
        yield from _xdp(port, what, device.ifindex)
        who = occupant(device, settings.gateway.name, port.number)
        if who is not None:
            yield Finding(Level.BAD, what, *who)
        above = machine.master(device.ifindex)
        if above is not None:
            cure = f"ip link set dev {port.device} nomaster"
            yield Finding(Level.BAD, what, f"is a part of {above}, which takes and sends its packets as well", cure)
        if not machine.carriers([port.device]).get(port.device):
            yield Finding(Level.WARNING, what, "no carrier", f"plug it in; ip link set dev {port.device} up")


def _xdp(port: PortSettings, what: str, ifindex: int) -> Findings:
    driver, features = machine.driver(port.device), machine.xdp_features(ifindex)
    if port.xdp == "generic":
        yield Finding(Level.WARNING, what, f"generic XDP, as asked for: slow (driver {driver})", 'xdp = "native"')
    elif features is None:
        yield Finding(Level.GOOD, what, f"driver {driver}; this kernel does not tell what it can do with XDP")
    else:
        yield _verdict(
            bool(features & machine.XDP_BASIC and features & machine.XDP_REDIRECT),
            what,
            f"native XDP by {driver}",
            f"driver {driver} has no native XDP",
            'use another device, or ask for generic with xdp = "generic"',
        )


def _routes(settings: Configuration) -> Findings:
    for tenant in settings.tenants:
        yield _verdict(
            machine.has_route(tenant.table),
            f"tenant {tenant.name}",
            f"table {tenant.table} has routes",
            f"table {tenant.table} has no route: its customers reach nothing but each other",
            f"ip route add default via ROUTER table {tenant.table}",
            Level.WARNING,
        )


def _host_links(settings: Configuration) -> Findings:
    """Those that stand; that one is missing is a fault only where the data plane of a gateway needs it."""
    needed = os.access(PINS / settings.gateway.name / "links", os.F_OK)
    for tenant in tenants(settings):
        link = hostlink.find(tenant.name)
        kernel, ours = hostlink.names(tenant.name)
        what = f"host link {kernel}"
        who = occupant(link.ours, settings.gateway.name, number_of(tenant)) if link is not None else None
        if who is not None:
            yield Finding(Level.BAD, what, f"{ours}: {who.says}", who.cure)
        elif needed:
            yield from _host_link(tenant, what, routed(settings, tenant))
        yield from _in_the_way(tenant, routed(settings, tenant))


def _in_the_way(tenant: Tenant, pools: Sequence[hostlink.Routed]) -> Findings:
    try:
        found = hostlink.in_the_way(tenant.name, tenant.table, pools)
    except devices.DeviceError as error:
        found = [str(error)]
    cure = "give the pool a network that nothing else on this machine uses"
    yield from (Finding(Level.BAD, f"pools of {tenant.name}", says, cure) for says in found)


def _host_link(tenant: Tenant, what: str, pools: Sequence[hostlink.Routed]) -> Findings:
    try:
        lacks = hostlink.missing(tenant.name, tenant.table, pools)
    except devices.DeviceError as error:
        yield Finding(Level.BAD, what, str(error))
        return
    cure = "`bng` puts it back while it runs: start it, or see in its log what keeps it from doing so"
    yield _verdict(not lacks, what, "whole", f"lacks {', '.join(lacks)}", cure)


def _radius(settings: Configuration, folder: Path) -> Findings:
    for setting, path in settings.radius.secrets():
        try:
            read_secret(folder / path, setting)
        except SecretError as error:
            yield Finding(Level.BAD, setting, error.says, error.cure)
        else:
            yield Finding(Level.GOOD, setting, "for its owner alone")
    foreign = list(_foreign(settings))
    yield from foreign
    source = settings.radius.address if not foreign else None  # no route starts at what is not the machine's
    for server in settings.radius.servers:
        what = f"radius server {server.name}"
        yield _verdict(
            reachable(server.address, source),
            what,
            f"there is a route to {server.address}",
            f"there is no route to {server.address}",
            f"ip route add {server.address} via ROUTER",
            Level.WARNING,
        )
        if server.radsec:
            yield from _certificate(server, folder)
        elif not server.message_authenticator:
            says = "its answers are believed without a Message-Authenticator: they can be forged (CVE-2024-3596)"
            yield Finding(
                Level.WARNING, what, says, "have it sign (docs/operations/radius.md), and take that setting out"
            )


def _dictionary(settings: Configuration, folder: Path) -> Findings:
    if settings.radius.dictionary is None:
        return
    try:
        read_dictionary(settings.radius, folder)
    except DictionaryError as error:
        yield Finding(Level.BAD, error.setting, error.says, "mend it, or take the setting out: `bng run` refuses it")
    else:
        yield Finding(Level.GOOD, "radius.dictionary", f"{settings.radius.dictionary} can be read")


def _foreign(settings: Configuration) -> Findings:
    """Addresses that RADIUS is to use, and the machine has not."""
    for setting in ("address", "listen"):
        address = getattr(settings.radius, setting)
        if address is not None and not machine.can_bind(address):
            cure = f"write one that `ip -4 addr` lists, or leave it out; or ip addr add {address}/32 dev lo"
            yield Finding(Level.BAD, f"radius.{setting}", f"{address} is no address of this machine", cure)


def _certificate(server: ServerSettings, folder: Path) -> Findings:
    what = f"radius.servers[{server.name}]"
    try:
        client_context(*server.pem(folder), what)
    except SecretError as error:
        yield Finding(Level.BAD, error.setting, error.says, error.cure)
    else:
        yield Finding(Level.GOOD, what, "certificate, key and CA can be read")


def _room(settings: Configuration) -> Findings:
    sessions = settings.gateway.sessions
    needed, there = sessions * (KERNEL_OCTETS + PYTHON_OCTETS), machine.available_memory()
    yield _verdict(
        there > needed,
        "memory",
        f"{needed >> 20} MiB for {sessions:,} sessions, {there >> 20} MiB are there",
        f"{sessions:,} sessions take {needed >> 20} MiB, {there >> 20} MiB are there",
        "lower gateway.sessions, or add memory",
    )
    folder = Path(settings.gateway.state)
    leases, free = sessions * LEASE_OCTETS, machine.free_disk(folder)
    yield _verdict(
        free > leases,
        "disk",
        f"{free >> 20} MiB free at {folder}",
        f"{free >> 20} MiB free at {folder}, {sessions:,} leases may take {leases >> 20} MiB",
        "make room, or put gateway.state elsewhere",
    )


def _clock(_: Configuration) -> Findings:
    yield _verdict(
        Clock().plausible,
        "clock",
        "set",
        "the wall clock says a time that has already been: nothing of before a reboot is freed until it is set",
        "run an NTP client",
        Level.WARNING,
    )


CHECKS: tuple[Callable[[Configuration], Findings], ...] = (
    _rights, _kernel, _pins, _program, _ports, _host_links, _routes, _room, _clock,
)  # fmt: skip
