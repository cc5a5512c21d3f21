"""The data plane as the gateway holds it: the loaded object, its tables, and its place on the ports.

Maps, programs and links are pinned under `/sys/fs/bpf/wayleave/INSTANCE`: the maps in a folder named after their layout
and sizes, the links in `links`. A new process takes up the maps if the layout is the same; if not, it loads beside the
old ones, fills the new tables from the store, swaps the programs under the links, and lets the old maps go.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import structlog

from wayleave.dataplane import abi, objects, pins, syscall
from wayleave.dataplane.capture import PROGRAMS, Copies
from wayleave.dataplane.counters import Counters
from wayleave.dataplane.events import Ring
from wayleave.dataplane.explain import Explainer, Explanation
from wayleave.dataplane.maps import Array, Ports, TableFull
from wayleave.dataplane.rows import FIRST_LOCAL_ID, Rows, project
from wayleave.dataplane.samples import Samples
from wayleave.dataplane.tables import Tables
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs
from wayleave.proto.dhcp4.standing import StandingReply
from wayleave.session import model
from wayleave.session.ports import PlaneFull

log = structlog.get_logger()

HEADROOM = 1024
"""Session rows besides one a session: changed rows are written fresh while the old ones rest."""

ACCESS, CORE = "bng_access", "bng_core"
_MODES = {"native": syscall.XDP_NATIVE, "generic": syscall.XDP_GENERIC}


@dataclass(frozen=True, slots=True)
class Attached:
    """A port as it is attached: the row in the map `ports` and the device behind it."""

    device: str
    ifindex: int
    port: abi.Port
    xdp: str
    link: int


def sizes(sessions: int, ring: int) -> dict[str, int]:
    """Return max_entries by map name for a gateway of this many sessions."""
    rows = sessions + max(HEADROOM, sessions // 8)
    keys = 2 * sessions + HEADROOM  # twice the buckets: a look-up then seldom walks a chain (a cache miss a step)
    return {
        "sessions": rows,
        "clients": keys,
        "hosts4": keys,
        "usage": sessions,
        "ring": ring,
    }


class DataPlane:
    """Open it with the instance's name and sizes; it implements session.ports.Plane."""

    def __init__(
        self,
        instance: str,
        table_sizes: Mapping[str, int],
        settings: abi.Settings,
        clock: Callable[[], BootNs],
        standing: Callable[[model.Session], StandingReply | None] = lambda _session: None,
    ) -> None:
        """Load the object and take up what is pinned. `standing` tells what a session's client may be answered.

        Raises: objects.LoadError; pins.Claimed if another process has this instance.
        """
        objects.ensure_bpffs()
        self.instance = instance
        self._claim = pins.claim(instance)
        layout = hashlib.sha256(f"{abi.LAYOUT} {sorted(table_sizes.items())}".encode()).hexdigest()[:12]
        self._folder = pins.PINS / instance
        self._maps_folder = self._folder / f"maps-{layout}"
        self.resumed = (self._maps_folder / "sessions").exists()
        self._stood_before = (self._folder / "links").exists()
        try:
            self._object = objects.load(
                objects.PROGRAM, table_sizes, {".rodata.settings": settings.pack()}, self._maps_folder
            )
        except BaseException:
            os.close(self._claim)
            self._unpin_new()
            raise
        maps = self._object.maps
        self.tables = Tables(maps, clock())
        self.counters = Counters(maps)
        self.ring = Ring(maps["ring"])
        self.samples = Samples(maps)
        self.copies = Copies(maps)
        self._capturing = False
        self._explainer = Explainer(self._object.programs, maps)
        self.standing = standing
        self.tenants: dict[str, model.Tenant] = {}
        self._ports, self._egress = Ports(maps["ports"]), Array(maps["egress"])
        self._tenants, self._policers, self._services = (
            Array(maps["tenants"]),
            Array(maps["policers"]),
            Array(maps["services"]),
        )
        self.attached: dict[int, Attached] = {}

    # ---- settings -----------------------------------------------------------------------

    def set_policers(self, rates: Mapping[abi.Policer, abi.PolicerRate]) -> None:
        for policer, rate in rates.items():
            self._policers.put(policer, rate.pack())

    def set_services(self, services: Sequence[abi.Service]) -> None:
        for index in range(abi.SERVICE_MAX):
            row = services[index] if index < len(services) else abi.Service(0, 0)
            self._services.put(index, row.pack())

    def set_tenant(self, tenant: model.Tenant, row: abi.Tenant) -> None:
        self.tenants[tenant.name] = tenant
        self._tenants.put(tenant.number, row.pack())

    def local_number(self, tenant: model.Tenant, address: IPv4Address) -> int | None:
        """The number under which an address stands as the gateway's own (`rows.project_local`), if it does."""
        slot = self.tables.hosts4.get(abi.Host4Key(tenant.number, address).pack())
        id_ = abi.Slot.unpack(slot).id if slot is not None else 0
        return id_ - FIRST_LOCAL_ID if id_ >= FIRST_LOCAL_ID else None

    # ---- ports --------------------------------------------------------------------------

    def attach(
        self,
        number: int,
        kind: abi.PortKind,
        device: str,
        ifindex: int,
        mac: Mac,
        mtu: int,
        tenant: int,
        xdp: str,
        shared: bool = False,
        pppoe: bool = False,
    ) -> bool:
        """Put a device to work as port `number`; True if its program stood there already and was only exchanged.

        `shared`: many lines share a VLAN there; `pppoe`: it serves PPPoE.

        Raises: objects.LoadError.
        """
        port = abi.Port(number, kind, tenant, ifindex, mac, mtu, int(shared), int(pppoe))
        self._ports.remove(number, but=ifindex)
        self._ports.put(port)
        self._egress.put(number, ifindex.to_bytes(4, "little"))
        try:
            link = objects.attach(self._program(kind), ifindex, _MODES[xdp], pins.path_of(self.instance, number))
        except objects.LoadError:
            if number not in self.attached:
                self._forget(number)
            raise
        before = self.attached.get(number)
        if before is not None:
            os.close(before.link)
        self.attached[number] = Attached(device, ifindex, port, xdp, link.fd)
        return link.reused

    def detach(self, number: int) -> None:
        """Take the program off a port, and forget it; what comes by it is the kernel's again."""
        at = self.attached.pop(number)
        pins.path_of(self.instance, number).unlink(missing_ok=True)
        self._forget(number)
        os.close(at.link)

    def _forget(self, number: int) -> None:
        self._egress.put(number, bytes(4))
        self._ports.remove(number)

    def _program(self, kind: abi.PortKind) -> int:
        name = ACCESS if kind is abi.PortKind.SUBSCRIBER else CORE
        return self._object.programs[PROGRAMS[name] if self._capturing else name]

    def capture(self, wanted: abi.CaptureFilter | None) -> None:
        """Have one client's packets copied into `copies` from now on, or nobody's; no packet is lost in between."""
        if wanted is None:
            self.copies.end()
        else:
            self.copies.choose(wanted)
        self._capturing = wanted is not None
        for number, port in self.attached.items():
            try:
                syscall.link_update(port.link, self._program(abi.PortKind(port.port.kind)))
            except OSError as error:
                if error.errno != errno.ENOLINK:  # the device went: it gets its program when it is made anew
                    log.error("program-not-exchanged", port=number, device=port.device, why=error.strerror)

    def explain(self, number: int, frame: bytes) -> Explanation:
        """Tell what would become of a frame that came in by an attached port. Raises: ValueError, KeyError."""
        port = self.attached[number].port
        return self._explainer.explain(frame, port.ifindex, abi.PortKind(port.kind))

    def abandon(self) -> None:
        """Undo a start that was refused. A data plane that stood before goes on as it was."""
        self.close()
        self._unpin_new()

    def _unpin_new(self) -> None:
        if not self.resumed:
            objects.unpin(self._maps_folder)
        if not self._stood_before:
            objects.unpin(self._folder)

    def detached(self, find: Callable[[str], int | None]) -> list[int]:
        """Return the numbers of ports whose device is gone or is not the one the program sits on.

        `find` gives a device's ifindex by name.
        """
        return [
            number
            for number, port in self.attached.items()
            if syscall.link_info(port.link).ifindex != port.ifindex or find(port.device) != port.ifindex
        ]

    def forget_others(self) -> None:
        """Drop pins of an older layout, and ports that are no longer configured."""
        for number in self._ports.numbers() - set(self.attached):
            self._ports.remove(number)
        for path in self._folder.iterdir():
            if path.name.startswith("maps-") and path != self._maps_folder:
                objects.unpin(path)
        links = self._folder / "links"
        keep = {f"port-{number}" for number in self.attached}
        for path in links.iterdir() if links.exists() else ():
            if path.name not in keep:
                path.unlink()

    # ---- session.ports.Plane ------------------------------------------------------------

    def rows(self, session: model.Session) -> Rows:
        return project(session, self._tenant_of(session), self.standing(session))

    def _tenant_of(self, session: model.Session) -> model.Tenant:
        assert session.service is not None
        return self.tenants[session.service.tenant]

    def install(self, sessions: Sequence[model.Session], now: BootNs) -> None:
        self.begin(sessions)
        self._write([self.rows(session) for session in sessions], now)

    def refresh(self, sessions: Sequence[model.Session], now: BootNs) -> int:
        changed = self.changed(sessions)
        self._write(changed, now)
        return len(changed)

    def _write(self, rows: Iterable[Rows], now: BootNs) -> None:
        try:
            self.tables.install(rows, now)
        except TableFull as error:
            raise PlaneFull(str(error)) from error

    def changed(
        self,
        sessions: Iterable[model.Session],
        standing: Callable[[model.Session], StandingReply | None] | None = None,
    ) -> list[Rows]:
        """Return the rows of these sessions that are not what stands; `standing` as at another configuration."""
        told = standing or self.standing
        wanted = (project(session, self._tenant_of(session), told(session)) for session in sessions)
        return [rows for rows in wanted if not self.tables.stands(rows)]

    def begin(self, sessions: Iterable[model.Session]) -> None:
        """Have usage count from here on for those of whom nothing was counted yet."""
        for session in sessions:
            self.counters.begin(session.id, session.since)

    def remove(self, ids: Iterable[int], now: BootNs) -> None:
        self.tables.remove(ids, now)

    def seen(self, id_: int) -> BootNs:
        return self.counters.seen(id_)

    def counted(self, id_: int) -> model.Used:
        found = self.counters.under(id_)
        return model.Used(found.up_octets, found.up_packets, found.down_octets, found.down_packets)

    def renewed(self, id_: int) -> BootNs:
        return self.counters.renewed(id_)

    def close(self) -> None:
        """Let go; what is pinned goes on."""
        for port in self.attached.values():
            os.close(port.link)
        self.attached.clear()
        self._object.close()
        os.close(self._claim)


def settings_of_kernel() -> abi.Settings:
    """Return the load-time settings this kernel allows.

    bpf_fib_lookup takes a table id from kernel 6.5 on; before that only the main table can be used.
    """
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    return abi.Settings(fib_by_table=int(release >= (6, 5)))
