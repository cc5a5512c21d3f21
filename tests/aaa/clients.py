"""Clients, sessions and configurations that the tests of this room share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from msgspec.structs import replace

from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization
from wayleave.aaa.policy import Known
from wayleave.aaa.radius import Deciders, Terms
from wayleave.aaa.request import Caller
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.auth import ChapMd5, Credentials
from wayleave.session.model import Client, Lease, Line, Link, Phase, Rate, Service, Session, Subnet

NETWORK = IPv4Network("10.0.0.0/24")
SUBNET = Subnet(NETWORK, NETWORK[1])
GOLD = Service(tenant="", pool="", name="gold", up=Rate.of(20_000_000), down=Rate.of(100_000_000))
KNOWN = Known({"gold": GOLD}, {"residential": (NETWORK, "isp")}, frozenset(("isp", "other")))
CALLER = Caller(identifier="nas-1", gateway="bng1", address=IPv4Address("192.0.2.1"))

CHALLENGE = bytes.fromhex("5b5d7c7d7b3f2f3e3c2c602132262628")
PEER_CHALLENGE = bytes.fromhex("21402324255e262a28295f2b3a337c7e")
NT_RESPONSE = bytes.fromhex("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df")
PROOF = b"S=407A5589115FD0D6209F510FE9C04566932CDA56"
"""RFC 2759 9.2: of User, whose password is clientPass."""


def chap(name: bytes, password: bytes, identifier: int = 7) -> ChapMd5:
    """What a client says to a challenge that knows a password."""
    response = hashlib.md5(bytes((identifier,)) + password + CHALLENGE).digest()
    return ChapMd5(name, identifier, CHALLENGE, response)


def terms(**how: object) -> Terms:
    return Terms(**{"name": "group", "caller": CALLER, "pool": "residential", **how})


def deciders(group: Terms | None = None, realms: Iterable[str] = ()) -> Deciders:
    """Port 1 is tenant isp's, whose clients `group` decides about; port 2 is of a tenant that has none."""
    group = group or terms()
    tenants = {1: "isp", 2: "other"}
    local = LocalAuthorization(AuthorizationSettings(default="homes"), (), tenants, {"homes": "other"}, {})
    return Deciders(
        local=local,
        tenants=tenants,
        protocols=dict.fromkeys(tenants, ("ipoe", "pppoe")),
        groups={"isp": group},
        realms=dict.fromkeys(realms, group),
        known=KNOWN,
        trusted=frozenset((1,)),
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


def dialing(credentials: Credentials | None, number: int = 1, pppoe: int = 77, **how: object) -> Session:
    """A client of PPP that was not decided about; None: nobody asked it who it is."""
    of = session(number, phase=Phase.AUTHORIZING, service=None, lease=None, **how)
    name = "" if credentials is None else credentials.name.decode("utf-8", "backslashreplace")
    return replace(
        of, client=replace(of.client, pppoe=pppoe), link=Link(name=name, service="internet"), credentials=credentials
    )
