"""What a gateway has to know of a subscriber: projected from the subscriber, its line and its provider.

An entry is written in the commit that changes any of the three, or, of a provider's many subscribers, soon behind it
(`providers`). It has the keys of an entry of the gateway's own subscribers file.
"""

from __future__ import annotations

from msgspec import Struct

from wayleave.nexus.model import Line, Provider, Subscriber


class View(Struct, frozen=True, omit_defaults=True):
    """An entry of `view/NODE/SUBSCRIBER`; what is empty is left out."""

    name: str
    user: str = ""
    mac: str = ""
    line: str = ""
    pool: str = ""
    tenant: str = ""
    service: str = ""
    address: str = ""
    limit: int = 0
    blocked: bool = False


def project(subscriber: Subscriber, line: Line, provider: Provider) -> View:
    """Return what the gateway at which the line ends has to know."""
    return View(
        name=subscriber.name,
        user=subscriber.login,
        mac=subscriber.mac,
        line=line.place,
        pool=subscriber.pool or provider.pool,
        tenant=provider.tenant,
        service=subscriber.service or provider.service,
        address=subscriber.address,
        limit=subscriber.limit,
        blocked=subscriber.blocked,
    )
