"""Kea in the gateway's place: the same namespace, the same cable, the same pool, as many leases already.

Leases go to a memfile on disk, as durable as Kea makes them: written, not flushed. Its periodic clean-up is off. It is
set up for speed: no reservations to look up, a pool that starts behind the resident leases, one thread without a queue
of its own. What waits, waits in its socket, which `control.roomy_sockets` makes large; with a receiving thread, or with
two that serve, Kea 2.2 loses packets earlier or spends more on each.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from wayleave.lab.process import Process
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

from . import population

BINARY = Path("/usr/sbin/kea-dhcp4")
LEASE_S = 3600
_COLUMNS = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context"


def start(lab: Lab, sessions: int, network: IPv4Network, relay: IPv4Address) -> Process:
    """Run Kea on the gateway's end of the trunk, with `sessions` leases; returns when it serves."""
    folder = lab.folder / "kea"
    folder.mkdir()
    gateway = lab.gateway
    gateway.namespace.offloads("acc0", {"gro": "on"})  # without a program there, else nothing redirected arrives
    gateway.namespace.ip(f"addr add {network[1]}/{network.prefixlen} dev acc0", f"route add {relay}/32 dev acc0")
    leases = folder / "leases.csv"
    leases.write_text("\n".join(_leases(sessions)) + "\n")
    config = folder / "kea.json"
    config.write_text(json.dumps({"Dhcp4": _settings(leases, sessions, network, relay)}))
    binary = folder / BINARY.name  # a copy: its profile lets the packaged one read and write nowhere else
    shutil.copy(BINARY, binary)
    where = [f"{name}={folder}" for name in ("KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR")]
    process = gateway.spawn("env", *where, str(binary), "-c", str(config), log="kea")

    def serves() -> bool:
        if not process.alive:
            raise RuntimeError(f"Kea ended with status {process.status}:\n{process.output()[-2000:]}")
        return "DHCP4_STARTED" in process.output()

    wait_until(serves, lambda: f"Kea that serves; it wrote:\n{process.output()[-2000:]}", 60)
    return process


def _settings(leases: Path, sessions: int, network: IPv4Network, relay: IPv4Address) -> dict[str, object]:
    first, last = population.address(sessions), network[-2]
    return {
        "interfaces-config": {"interfaces": ["acc0"], "dhcp-socket-type": "udp"},
        "lease-database": {"type": "memfile", "persist": True, "name": str(leases), "lfc-interval": 0},
        "multi-threading": {"enable-multi-threading": False},
        "reservations-global": False,
        "reservations-in-subnet": False,
        "valid-lifetime": LEASE_S,
        "subnet4": [
            {
                "id": 1,
                "subnet": str(network),
                "relay": {"ip-addresses": [str(relay)]},
                "pools": [{"pool": f"{first} - {last}"}],
                "option-data": [
                    {"name": "routers", "data": str(network[1])},
                    {"name": "domain-name-servers", "data": "198.51.100.10"},
                ],
            }
        ],
        "loggers": [
            {"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stdout"}]},
            {"name": "kea-dhcp4.dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]},
        ],
    }


def _leases(count: int) -> Iterator[str]:
    """The memfile's lines: what the resident sessions hold."""
    yield _COLUMNS
    expire = int(time.time()) + 86400
    for number in range(count):
        yield f"{population.address(number)},{population.mac(number)},,86400,{expire},1,0,0,,0,"
