"""Rows that the tables of IPoE and of PPPoE both have: a packet from the network to a client."""

from __future__ import annotations

from typing import Any

from wayleave.dataplane.abi import Outcome, Stage

from .frames import INTERNET, Packet, down, into, packet
from .rig import SUB, Case, Subscriber, Use

SIZE = len(packet())


def to(who: Subscriber, ttl: int = 64, size: int = 0, **fields: Any) -> Packet:
    return packet(INTERNET, who.address, ttl, size, **fields)


def delivered(says: str, who: Subscriber, **more: Any) -> Case:
    """A row for a packet from the network to a client, one hop older."""
    row: dict[str, Any] = {
        "sent": into(to(who)),
        "out": down(to(who, ttl=63), who),
        "on": "net",
        "to": SUB,
        "used": {who: Use(down=(1, SIZE))},
    } | more
    return Case(says, ends=(Stage.DELIVER, Outcome.TO_SUBSCRIBER), **row)
