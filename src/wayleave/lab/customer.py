"""Customer equipment: an untagged device behind the access node, with the distribution's own DHCP clients, or PPPoE.

DHCP clients run in the foreground under the lab's eye and call a small script of ours, which sets address and route
(dhcpcd does so itself) and writes what the client told it, one file an event. dhclient runs from a copy of its binary,
because distributions confine it by path to /var/lib/dhcp. dhcpcd's paths are compiled in and named after the interface,
which is eth0 with every customer: it sees folders of its own there. PPPoE's client is ours (lab/pppoe_client.py).
"""

from __future__ import annotations

import shutil
import signal
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Literal

from wayleave.lab.access_node import AccessNode, Line, Port
from wayleave.lab.host import Host
from wayleave.lab.namespace import Namespace
from wayleave.lab.ppp_device import OVERHEAD, remove
from wayleave.lab.pppoe import Connection, Dialled
from wayleave.lab.process import Process
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac
from wayleave.proto.pppoe.packet import PLAIN_MRU

Client = Literal["udhcpc", "dhclient", "dhcpcd"]

_RECORD = """
number=$(($(cat "$LAB_EVENTS/count" 2>/dev/null || echo 0) + 1))
echo "$number" >"$LAB_EVENTS/count"
{ echo "event=${reason:-$1}"; env; } >"$LAB_EVENTS/part"
mv "$LAB_EVENTS/part" "$LAB_EVENTS/$number"
"""

_UDHCPC_SCRIPT = """#!/bin/sh
# udhcpc calls: SCRIPT EVENT, with the lease in the environment.
case "$1" in
deconfig)
	ip -4 addr flush dev "$interface"
	ip link set "$interface" up
	;;
bound|renew)
	ip addr replace "$ip/$mask" dev "$interface"
	for gateway in $router; do
		ip route replace default via "$gateway" dev "$interface"
		break
	done
	;;
esac
"""

_DHCLIENT_SCRIPT = """#!/bin/sh
# dhclient calls: SCRIPT, with the event in $reason and the lease in $new_*.
case "$reason" in
PREINIT)
	ip link set "$interface" up
	;;
BOUND|RENEW|REBIND|REBOOT)
	[ -n "$old_ip_address" ] && [ "$old_ip_address" != "$new_ip_address" ] && ip -4 addr flush dev "$interface"
	ip addr replace "$new_ip_address/$new_subnet_mask" dev "$interface"
	for gateway in $new_routers; do
		ip route replace default via "$gateway" dev "$interface"
		break
	done
	;;
EXPIRE|FAIL|RELEASE|STOP)
	ip -4 addr flush dev "$interface"
	;;
esac
"""

_DHCPCD_SCRIPT = """#!/bin/sh
# dhcpcd calls: SCRIPT, with the event in $reason and the lease in $new_*; it has set address and routes before.
"""

_DHCLIENT_CONF = """
timeout 30;
retry 1;
initial-interval 1;
backoff-cutoff 2;
select-timeout 0;
request subnet-mask, routers, domain-name-servers, dhcp-lease-time, interface-mtu;
"""

_DHCPCD_CONF = """
# As Debian ships it, but for the kind of DUID, which would be the machine's, and so the same for all;
duid ll
persistent
vendorclassid
option domain_name_servers, domain_name, domain_search
option classless_static_routes
option interface_mtu
option host_name
option rapid_commit
require dhcp_server_identifier
# and without a second's wait at first, and without five seconds of ARP probes (RFC 5227) before it takes an address.
nodelay
noarp
"""

_DHCPCD_ROOT = """
mount --bind "$1" /var/lib/dhcpcd
mount --bind "$2" /run
shift 2
exec "$@"
"""
"""Run a command with its files in two folders of ours, in a mount namespace that ends with it."""

_RENEW: dict[Client, int] = {"udhcpc": signal.SIGUSR1, "dhcpcd": signal.SIGUSR1}
_RELEASE: dict[Client, int] = {"udhcpc": signal.SIGUSR2, "dhcpcd": signal.SIGALRM}

_GOT = frozenset(("bound", "renew", "BOUND", "RENEW", "REBIND", "REBOOT"))
_GONE = frozenset(("deconfig", "RELEASE", "EXPIRE", "STOP", "FAIL"))


class NoLease(Exception):
    """The client ended, or gave up, without a lease; the text is what it wrote."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a client was given, in its own words."""

    interface: IPv4Interface
    router: IPv4Address | None
    dns: tuple[IPv4Address, ...]
    seconds: int
    server: IPv4Address | None

    @property
    def address(self) -> IPv4Address:
        """The leased address."""
        return self.interface.ip


def _lease(event: dict[str, str]) -> Lease:
    def first(*names: str) -> str:
        return next((event[name] for name in names if event.get(name)), "")

    router, server = first("router", "new_routers").split(), first("serverid", "new_dhcp_server_identifier")
    address, mask = first("ip", "new_ip_address"), first("subnet", "new_subnet_mask")
    return Lease(
        IPv4Interface(f"{address}/{mask}"),
        IPv4Address(router[0]) if router else None,
        tuple(map(IPv4Address, first("dns", "new_domain_name_servers").split())),
        int(first("lease", "new_dhcp_lease_time") or 0),
        IPv4Address(server) if server else None,
    )


class Customer(Host):
    """One customer: a namespace with `eth0`, plugged into a port of the access node. `xdp` is eth0's XDP link."""

    def __init__(self, namespace: Namespace, folder: Path, node: AccessNode, port: Port, xdp: int) -> None:
        super().__init__(namespace, "eth0", folder)
        self._node, self.port, self._xdp = node, port, xdp
        self.lease: Lease | None = None
        self.dialled: Dialled | None = None
        self._client: Process | None = None
        self._kind: Client = "udhcpc"
        self._runs = 0
        self._events = folder

    @property
    def line(self) -> Line:
        """Where it is plugged in."""
        return self.port.line

    def move(self, line: Line) -> None:
        """Plug it into another line."""
        self.port = self._node.change(self.port, line)

    def change_mac(self, mac: Mac) -> None:
        """Give the device another MAC, as new equipment has. Routes and address go."""
        self.forget()
        self.namespace.ip(f"link set {self.device} down", f"link set {self.device} address {mac}")
        self.namespace.ip(f"link set {self.device} up")
        self.lease = None

    def dhcp(
        self,
        client: Client = "udhcpc",
        *options: str,
        timeout: float = 20.0,
        request: IPv4Address | str | None = None,
        keep: bool = True,
    ) -> Lease:
        """Run a DHCP client until it has a lease; `keep` leaves it running, so that it renews and can release.

        `options` are added to the client's command line. `request` asks for an address as INIT-REBOOT or option 50 do.

        Raises: NoLease if it ends without one; TimeoutError.
        """
        self.dhcp_start(client, *options, request=request)
        lease = self.wait_lease(timeout)
        if not keep:
            self.stop_client()
        return lease

    def dhcp_start(self, client: Client = "udhcpc", *options: str, request: IPv4Address | str | None = None) -> Process:
        """Start a DHCP client and return at once."""
        self.stop_client()
        self._runs += 1
        self._kind = client
        self._events = self.folder / f"{self.namespace.name}-{self._runs}-{client}"
        self._events.mkdir()
        words = {"udhcpc": self._udhcpc, "dhclient": self._dhclient, "dhcpcd": self._dhcpcd}[client](request)
        self._client = self.spawn("env", f"LAB_EVENTS={self._events}", *words, *options, log=client)
        return self._client

    def _udhcpc(self, request: IPv4Address | str | None) -> list[str]:
        script = self._script("udhcpc", _UDHCPC_SCRIPT)
        wanted = ("-r", str(request)) if request else ()
        return ["udhcpc", "-f", "-n", "-t", "10", "-T", "1", *wanted, "-s", str(script), "-i", self.device]

    def _dhclient(self, request: IPv4Address | str | None) -> list[str]:
        binary = self.folder / "dhclient"
        if not binary.exists():
            shutil.copy(shutil.which("dhclient") or "/sbin/dhclient", binary)
        script = self._script("dhclient", _DHCLIENT_SCRIPT)
        conf = self._events / "conf"
        conf.write_text(_DHCLIENT_CONF + (f"send dhcp-requested-address {request};\n" if request else ""))
        (self.lease_file).touch()
        return [
            *(str(binary), "-4", "-d", "-1", self.device, "-cf", str(conf), "-sf", str(script)),
            *("-lf", str(self.lease_file), "-pf", str(self._events / "pid"), "-e", f"LAB_EVENTS={self._events}"),
        ]

    def _dhcpcd(self, request: IPv4Address | str | None) -> list[str]:
        script = self._script("dhcpcd", _DHCPCD_SCRIPT)
        conf = self._events / "conf"
        conf.write_text(_DHCPCD_CONF)
        runs = self._events / "run"
        for folder in (self._dhcpcd_leases, runs):
            folder.mkdir(exist_ok=True)
        wanted = ("-r", str(request)) if request else ()
        return [
            *("unshare", "--mount", "sh", "-ec", _DHCPCD_ROOT, "sh", str(self._dhcpcd_leases), str(runs)),
            *("dhcpcd", "-4", "-B", "-f", str(conf), "-c", str(script), "-e", f"LAB_EVENTS={self._events}"),
            *(*wanted, self.device),
        ]

    def _script(self, client: Client, text: str) -> Path:
        path = self.folder / f"{client}-script"
        if not path.exists():
            path.write_text(text + _RECORD)
            path.chmod(0o755)
        return path

    @property
    def lease_file(self) -> Path:
        """dhclient's lease database, kept over its runs as real equipment does; delete it to forget."""
        return self.folder / f"{self.namespace.name}.leases"

    @property
    def _dhcpcd_leases(self) -> Path:
        """What dhcpcd keeps over its runs: its lease, and the DUID that it names itself by."""
        return self.folder / f"{self.namespace.name}-dhcpcd"

    @property
    def events(self) -> list[dict[str, str]]:
        """What the running client told its script, in order: `event` and the environment."""
        files = sorted((int(path.name), path) for path in self._events.iterdir() if path.name.isdecimal())
        return [dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line) for _, path in files]

    def wait_lease(self, timeout: float = 20.0, after: int = 0) -> Lease:
        """Wait for a lease or renewal among the events after the first `after`.

        Raises: NoLease if the client ends without one; TimeoutError.
        """
        client = self._client
        assert client is not None, "no DHCP client was started"

        def got() -> dict[str, str] | None:
            alive = client.alive
            found = [event for event in self.events[after:] if event["event"] in _GOT]
            if not found and not alive:
                raise NoLease(client.output()[-2000:])
            return found[-1] if found else None

        event = wait_until(got, lambda: f"lease; {self._kind} wrote:\n{client.output()[-2000:]}", timeout)
        assert event is not None
        self.lease = _lease(event)
        return self.lease

    def renew(self, timeout: float = 10.0) -> Lease:
        """Have the client renew now. dhclient cannot be told, but does so at its T1: give it a short lease."""
        assert self._client is not None, "no DHCP client is running"
        before = len(self.events)
        if self._kind in _RENEW:
            self._client.signal(_RENEW[self._kind])
        return self.wait_lease(timeout, after=before)

    def release(self, timeout: float = 10.0) -> None:
        """Have the client send DHCPRELEASE, and end it.

        They take their address away at once: a release that still waits for ARP would be lost, so ARP goes first.
        """
        assert self._client is not None, "no DHCP client is running"
        before = len(self.events)
        if self.lease is not None and self.lease.server is not None:
            self.ping(self.lease.server, count=1, timeout=1)
        if self._kind in _RELEASE:
            self._client.signal(_RELEASE[self._kind])
        else:
            self._wait_written(timeout)  # or it releases nothing
            words = self._dhclient(None)
            self.run("env", f"LAB_EVENTS={self._events}", *[w for w in words if w not in ("-d", "-1")], "-r")
        wait_until(
            lambda: any(event["event"] in _GONE for event in self.events[before:]),
            lambda: f"release by {self._kind}",
            timeout,
        )
        self.stop_client()
        self.lease = None

    def pppoe(self, user: str, secret: str, *options: str, mru: int = PLAIN_MRU, timeout: float = 20.0) -> Connection:
        """Dial, until a session is up: from then on all traffic takes `ppp0`. The client goes on to run.

        `options` are added to its command line (`python -m wayleave.lab.pppoe_client --help`).

        Raises: NoConnection if it comes to nothing; TimeoutError.
        """
        return self.pppoe_start(user, secret, *options, mru=mru).wait_up(timeout)

    def pppoe_start(self, user: str, secret: str, *options: str, mru: int = PLAIN_MRU) -> Dialled:
        """Start to dial and return at once, beside DHCP if that runs; an earlier session is cut off without a word.

        An MRU of more than 1,492 has the cable take larger frames (RFC 4638).
        """
        self._cut()
        if mru > PLAIN_MRU:
            self._node.namespace.ip(f"link set {self.port.device} mtu {mru + OVERHEAD}")
            self.namespace.ip(f"link set {self.device} mtu {mru + OVERHEAD}")
        self._runs += 1
        events, key = (self.folder / f"{self.namespace.name}-{self._runs}-{name}" for name in ("ppp", "secret"))
        key.write_text(secret)
        process = self.spawn(
            *(sys.executable, "-m", "wayleave.lab.pppoe_client", self.device, "--events", str(events)),
            *("--user", user, "--secret", str(key), "--mru", str(mru), "--link", str(self._xdp), *options),
            log="pppoe",
            inherit=[self._xdp],
        )
        self.dialled = Dialled(process, events)
        return self.dialled

    def _wait_written(self, timeout: float = 10.0) -> None:
        """Wait until a lease that is remembered over a reboot is on the disk: dhclient calls its script before that."""
        if self._kind == "dhclient" and self.lease is not None:
            line = f"fixed-address {self.lease.address};"
            wait_until(lambda: line in self.lease_file.read_text(), f"{line} in {self.lease_file}", timeout)

    def stop_client(self) -> None:
        """Kill the DHCP client without a word to the server; address and route stay."""
        if self._client is not None:
            self._client.kill()
            self._client = None

    def _cut(self) -> None:
        """Kill the PPPoE client without a word; ppp0 goes."""
        if self.dialled is not None:
            self.dialled.process.kill()
            self.namespace.call(remove)
            self.dialled = None

    def reboot(self) -> None:
        """Kill the clients and take the addresses away, as pulling the power does; what it has on disk stays."""
        self._wait_written()
        self._unplug()

    def forget(self) -> None:
        """Kill the clients, take the addresses away, and what they have on disk: a reset to factory settings."""
        self._unplug()
        self.lease_file.unlink(missing_ok=True)
        shutil.rmtree(self._dhcpcd_leases, ignore_errors=True)

    def _unplug(self) -> None:
        self.stop_client()
        self._cut()
        self.namespace.ip(f"addr flush dev {self.device}")
        self.lease = None
