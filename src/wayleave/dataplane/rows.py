"""What the data plane must know of a session: `project(session) -> Rows`, pure.

Derived state is projected, never updated: start-up, live changes and repair all hand the result to
`tables.Tables`. Adding something that the program needs of a session means a member in bpf/abi.h and its value here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from wayleave.dataplane import abi
from wayleave.dataplane.abi import METER_COST_BITS, ClientKey, Encapsulation, Host4Key, Meter, Session, SessionFlag
from wayleave.dataplane.digest import digest_agent, digest_form
from wayleave.net.frame import ETHERNET_MTU
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.dhcp4.standing import StandingReply
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe.packet import encode_session
from wayleave.session import model

FOREVER = BootNs(0xFFFF_FFFF_FFFF_FFFF)
FIRST_LOCAL_ID = 0xFFFF_0000
"""LOCAL rows have ids past every table: nothing is counted under them."""

NOT_METERED = Meter(0, 0)

_NO_CLIENT = ClientKey(0, 0, 0, 0, Mac(bytes(6)))
_NO_ENCAPSULATION = Encapsulation(0, 0, 0, b"", b"")


class Rows(Struct, frozen=True, gc=False):
    """One session as packed keys and value; generation, row index and reply index are given when it is placed.

    `client` is None where nothing upstream is claimed (LOCAL rows, clients behind a relay). `reply` is the DHCP reply
    that the row refers to; None: Python answers.
    """

    id: int
    client: bytes | None
    host: bytes
    session: bytes
    reply: bytes | None = None


def project(session: model.Session, tenant: model.Tenant, standing: StandingReply | None = None) -> Rows:
    """Return the rows of an addressed session, with what the program may say to its client by itself.

    The caller asks only for sessions that have a lease. Source: architecture, "The data plane".
    """
    lease, service = session.lease, session.service
    assert lease is not None
    assert service is not None
    client, line = session.client, session.client.line
    key = ClientKey(line.port, line.svid, line.cvid, client.pppoe, client.mac)
    header = session.encapsulation + (encode_session(client.pppoe, Protocol.IPV4, b"") if client.pppoe else b"")
    magic = session.link.magic if session.link is not None else b""
    row = Session(
        promise_until=min(lease.promise_until, session.ends_at or FOREVER),
        generation=0,
        id=session.id,
        client=key,
        address=lease.address,
        netmask=lease.subnet.netmask,
        tenant=tenant.number,
        table=tenant.table,
        flags=_flags(session, service),
        mtu=session.mtu,
        reply=0,
        up=meter(service.up),
        encapsulation=Encapsulation(line.port, len(header), int(client.pppoe > 0), header, magic),
        form=digest_form(session.form or b"") if standing is not None else 0,
        agent=digest_agent(session.agent) if standing is not None else 0,
        down=meter(service.down),
    )
    packed_key = None if session.relayed else key.pack()
    host = Host4Key(tenant.number, lease.address).pack()
    return Rows(session.id, packed_key, host, row.pack(), pack_reply(standing) if standing is not None else None)


def _flags(session: model.Session, service: model.Service) -> int:
    flags = SessionFlag.CHECK_SOURCE if service.antispoof else SessionFlag(0)
    if session.client.pppoe and session.mtu < ETHERNET_MTU:  # which the other end of TCP counts on (RFC 2516 7)
        flags |= SessionFlag.CLAMP_MSS
    return flags


def meter(rate: model.Rate | None) -> Meter:
    """Return what the program charges an octet; None: nothing.

    Rounded down, so the client gets what `rate` says or up to 1/cost of it more (bpf/abi.h, struct meter).
    """
    if rate is None:
        return NOT_METERED
    return Meter((8 * SECOND << METER_COST_BITS) // rate.bits_s, rate.burst)


@lru_cache(maxsize=abi.REPLY_SLOTS)
def pack_reply(standing: StandingReply) -> bytes | None:
    """Return the row of `replies`; None if the options are more than it holds."""
    options = standing.options
    if len(options) > abi.REPLY_OPTIONS_MAX:
        return None
    words = struct.unpack(f"<{len(options) + 1 >> 1}H", options + b"\0" * (len(options) & 1))
    return abi.Reply(
        lease_ns=standing.lease_s * SECOND,
        server=standing.server,
        sum=sum(words),
        length=len(options),
        room=standing.room,
        options=options,
    ).pack()


def project_local(number: int, address: IPv4Address, tenant: model.Tenant) -> Rows:
    """Return the rows of one of the gateway's own addresses; `number` counts them from 0."""
    row = Session(
        promise_until=FOREVER,
        generation=0,
        id=FIRST_LOCAL_ID + number,
        client=_NO_CLIENT,
        address=address,
        netmask=IPv4Address("255.255.255.255"),
        tenant=tenant.number,
        table=tenant.table,
        flags=SessionFlag.LOCAL,
        mtu=0,
        reply=0,
        up=NOT_METERED,
        encapsulation=_NO_ENCAPSULATION,
        form=0,
        agent=0,
        down=NOT_METERED,
    )
    return Rows(row.id, None, Host4Key(tenant.number, address).pack(), row.pack())


def pack_prefixes(networks: Iterable[IPv4Network]) -> tuple[int, bytes]:
    """Return what a tenant's row says of the addresses that it may know: how many prefixes, and these."""
    packed = [abi.Prefix(network.network_address, network.netmask).pack() for network in networks]
    if len(packed) > abi.PREFIX_MAX:
        return abi.PREFIX_ALL, b""
    return len(packed), b"".join(packed)
