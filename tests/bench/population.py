"""The subscribers of the benchmarks, by number. bpf/bench/traffic.bpf.c writes their packets by the same formulas."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from msgspec.structs import replace

from wayleave.dataplane.rows import Rows, project
from wayleave.lab.topology import GATEWAY_ACCESS_MAC
from wayleave.net.frame import ETHERTYPE_PPPOE_SESSION
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.dhcp4.message import encode_options
from wayleave.proto.dhcp4.server import Binding
from wayleave.proto.dhcp4.standing import standing
from wayleave.session import model

ACCESS_PORT, CORE_PORT = 1, 100
TENANT = model.Tenant("default", 0, 254)
NETWORK = IPv4Network("10.64.0.0/12")
SUBNET = model.Subnet(NETWORK, NETWORK[1])
FIRST_ADDRESS = int(NETWORK[256])
CLIENT_MAC = 0x02AA00000000
VIDS_LOG2 = 11
PPPOE_MASK = 0x3FFF
MAGIC = b"\x12\x34\x56\x78"
LEASE = Ns(86400 * SECOND)
DURATION = Ns(3600 * SECOND)
ASKS = ((57, b"\x02\x40"), (55, bytes((1, 3, 6, 12, 15, 28, 42))), (60, b"udhcp 1.35.0"))
"""What every client says besides, as udhcpc does."""
FORM = encode_options(dict(sorted(ASKS)))
STANDING = standing(
    FORM,
    Binding(
        address=NETWORK[2],
        netmask=NETWORK.netmask,
        server_id=NETWORK[1],
        lease_s=DURATION // SECOND,
        routers=(NETWORK[1],),
        dns=(IPv4Address("9.9.9.9"), IPv4Address("1.1.1.1")),
        domain="example.net",
    ),
)


def mac(number: int) -> Mac:
    """The subscriber's MAC."""
    return Mac((CLIENT_MAC + number).to_bytes(6, "big"))


def address(number: int) -> IPv4Address:
    """The subscriber's address."""
    return IPv4Address(FIRST_ADDRESS + number)


def vids(number: int) -> tuple[int, int]:
    """The subscriber's S-VID and C-VID."""
    return 1 + (number >> VIDS_LOG2), 1 + (number & (1 << VIDS_LOG2) - 1)


def pppoe(number: int) -> int:
    """The subscriber's session-id, where it has dialed."""
    return 1 + (number & PPPOE_MASK)


def dialed(number: int, until: BootNs, rate: model.Rate | None = None) -> model.Session:
    """Return the session of a subscriber that has dialed, as `session` does."""
    leased = session(number, until, rate=rate)
    client = replace(leased.client, pppoe=pppoe(number))
    header = leased.encapsulation[:-2] + ETHERTYPE_PPPOE_SESSION.to_bytes(2, "big")
    return replace(leased, client=client, encapsulation=header, form=None, link=model.Link(magic=MAGIC))


def session(number: int, until: BootNs, pool: str = "residential", rate: model.Rate | None = None) -> model.Session:
    """Return the subscriber's session, up and promised `until`; its id is its number. `rate`: both ways."""
    svid, cvid = vids(number)
    client = mac(number)
    tags = b"\x88\xa8" + svid.to_bytes(2, "big") + b"\x81\x00" + cvid.to_bytes(2, "big")
    return model.Session(
        id=number,
        client=model.Client(model.Line(ACCESS_PORT, svid, cvid), client),
        phase=model.Phase.ACTIVE,
        since=BootNs(1),
        encapsulation=client + GATEWAY_ACCESS_MAC + tags + b"\x08\x00",
        service=model.Service(tenant=TENANT.name, pool=pool, up=rate, down=rate),
        form=FORM,
        lease=model.Lease(address(number), pool, SUBNET, DURATION, LEASE, until),
        installed=True,
    )


def rows(sessions: Iterable[model.Session]) -> list[Rows]:
    """Project them all."""
    return [project(item, TENANT, STANDING if item.link is None else None) for item in sessions]
