"""The control path under load: perfdhcp against a gateway with many sessions resident.

perfdhcp speaks as a relay agent, so the port has it among its `relays`; policers are off: one sender stands for all.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from wayleave.io.clock import Clock
from wayleave.io.store import Store
from wayleave.lab.access_node import Line as LabLine
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, Ns, after
from wayleave.session import model

RELAY = IPv4Address("172.31.0.2")
NO_POLICERS = """
[punt]
known = { pps = 0, burst = 1 }
new = { pps = 0, burst = 1 }
line = { pps = 0, burst = 1 }
client = { pps = 0, burst = 1 }
"""


def resident(folder: Path, count: int, network: IPv4Network) -> None:
    """Fill a lease store with `count` sessions, one a line."""
    clock = Clock()
    store = Store(folder, clock, "off", lambda _group, _error: None)
    until = after(clock.boot(), Ns(86400 * SECOND))
    subnet = model.Subnet(network, network[1])
    for number in range(count):
        mac = Mac(bytes.fromhex("02aa") + number.to_bytes(4, "big"))
        line = model.Line(1, 2000 + number // 4000, 1 + number % 4000)
        session = model.Session(
            id=number,
            client=model.Client(line, mac),
            phase=model.Phase.ACTIVE,
            since=clock.boot(),
            encapsulation=bytes(22),
            service=model.Service(tenant="default", pool="resident"),
            lease=model.Lease(network[2 + number], "resident", subnet, Ns(3600 * SECOND), Ns(86400 * SECOND), until),
        )
        store.save(session, until)
    store.close()


class Result(msgspec.Struct):
    """What one perfdhcp run saw."""

    sent: int
    received: int
    drops: int
    delays_ms: dict[str, float]
    lag_us: dict[str, int]
    exchanges: float


def exchange(sessions: int, rate: int, seconds: int, durability: str = "full") -> Result:
    """Run perfdhcp for `seconds` at `rate` four-way exchanges a second against `sessions` resident ones."""
    with Lab([LabLine(100, 1)]) as lab:
        customer = lab.customers[0]
        config = lab.config(
            gateway={"sessions": sessions + rate * seconds + 1000, "durability": durability},
            subscriber={"clients": 1_000_000, "relays": [str(RELAY)]},
            pool={"network": "10.0.0.0/12", "gateway": "10.0.0.1"},
            more=NO_POLICERS
            + '[[pools]]\nname = "resident"\nnetwork = "10.32.0.0/12"\ngateway = "10.32.0.1"\nlease = "1h"\n',
        )
        resident(lab.folder / "state", sessions, IPv4Network("10.32.0.0/12"))
        lab.gateway.start(config, timeout=120)
        customer.namespace.ip(f"addr add {RELAY}/24 dev eth0", "route add default dev eth0")
        customer.namespace.ip(f"neigh add 10.0.0.1 lladdr {GATEWAY_ACCESS_MAC} dev eth0")
        text = customer.run(
            "perfdhcp", "-4", "-r", str(rate), "-R", str(rate * seconds), "-p", str(seconds), "-W", "1000000",
            "-l", "eth0", "-x", "t", "10.0.0.1", timeout=seconds * 3 + 30, check=False,
        )  # fmt: skip
        counters = lab.gateway.get("/counters")
        Path("/tmp/perfdhcp.txt").write_text(text)
        Path("/tmp/bng.log").write_text(lab.gateway.log[-3000:])
    return _read(text, counters["loop_lag_us"], seconds)


def _read(text: str, lag: dict[str, int], seconds: int) -> Result:
    sent = [int(found) for found in re.findall(r"sent packets: (\d+)", text)]
    received = [int(found) for found in re.findall(r"received packets: (\d+)", text)]
    drops = [int(found) for found in re.findall(r"drops: (-?\d+)", text)]
    return Result(sum(sent), sum(received), sum(drops), delays(text), lag, received[-1] / seconds)


def delays(text: str) -> dict[str, float]:
    """Return quantiles of each exchange's delay in ms, from perfdhcp's time stamps."""
    found: dict[str, float] = {}
    for kind in ("DISCOVER-OFFER", "REQUEST-ACK"):
        part = text.partition(f"***Timestamps for packets: {kind}***")[2].partition("***")[0]
        pairs = re.findall(r"sent / received: (\d+\.\d+) / (\d+\.\d+)", part)
        spent = sorted((float(back) - float(out)) * 1000 for out, back in pairs)
        for share in (0.5, 0.99, 1.0):
            found[f"{kind} p{share * 100:.0f}"] = (
                round(spent[min(len(spent) - 1, int(share * len(spent)))], 2) if spent else 0
            )
    return found


if __name__ == "__main__":
    import sys

    print(exchange(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
