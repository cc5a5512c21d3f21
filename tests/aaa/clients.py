"""Clients, sessions and configurations that the tests of this room share."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization
from wayleave.aaa.policy import Known
from wayleave.aaa.radius import Deciders, Terms
from wayleave.aaa.request import Caller
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session.model import Client, Lease, Line, Phase, Rate, Service, Session, Subnet

NETWORK = IPv4Network("10.0.0.0/24")
SUBNET = Subnet(NETWORK, NETWORK[1])
GOLD = Service(tenant="", pool="", name="gold", up=Rate.of(20_000_000), down=Rate.of(100_000_000))
KNOWN = Known({"gold": GOLD}, {"residential": (NETWORK, "isp")}, frozenset(("isp", "other")))
CALLER = Caller(identifier="nas-1", gateway="bng1", address=IPv4Address("192.0.2.1"))


def terms(**how: object) -> Terms:
    return Terms(**{"name": "group", "caller": CALLER, "pool": "residential", **how})


def deciders(group: Terms | None = None) -> Deciders:
    """Port 1 is tenant isp's, whose clients `group` decides about; port 2 is of a tenant that has none."""
    tenants = {1: "isp", 2: "other"}
    local = LocalAuthorization(AuthorizationSettings(default="homes"), (), tenants, {"homes": "other"}, {})
    return Deciders(
        local=local, tenants=tenants, groups={"isp": group or terms()}, known=KNOWN, trusted=frozenset((1,))
    )


def session(
    number: int = 1, line: Line = Line(1, 100, 7), subscriber: str = "bob", authority: str = "group", **how: object
) -> Session:
    """An active session with an address of its own."""
    fields: dict[str, object] = {
        "id": number,
        "client": Client(line, Mac(b"\2\0\0\0\0" + bytes((number,)))),
        "phase": Phase.ACTIVE,
        "since": BootNs(number * SECOND),
        "accounting": f"00000001{number:08x}",
        "opened_at": BootNs(number * SECOND),
        "service": Service(tenant="isp", pool="residential", subscriber=subscriber, authority=authority),
        "lease": Lease(NETWORK[10 + number], "residential", SUBNET, Ns(3600 * SECOND), Ns(86400 * SECOND)),
        **how,
    }
    return Session(**fields)  # type: ignore[arg-type]
