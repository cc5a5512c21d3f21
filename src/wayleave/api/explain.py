"""`bng explain` behind the API: a packet given or made up, and what the data plane would do with it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Literal
from typing import Protocol as Interface

from pydantic import BaseModel, Field, model_validator

from wayleave.dataplane.abi import PortKind
from wayleave.dataplane.counters import spoken
from wayleave.dataplane.explain import Explanation
from wayleave.net.frame import ETHERTYPE_IPV4, MINIMUM, encode_l2
from wayleave.net.ipv4 import Address4
from wayleave.net.mac import Mac
from wayleave.net.probe import describe, probe
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe.packet import encode_session
from wayleave.session.model import Session

if TYPE_CHECKING:
    from wayleave.api.schema import PoolView
    from wayleave.dataplane.plane import Attached, DataPlane
    from wayleave.session.table import Table

_SOMEBODY = Mac(b"\2\0\0\0\0\1")
"""Who a made-up packet from the network is from."""


class Explaining(Interface):
    """What it needs of a gateway."""

    table: Table
    plane: DataPlane

    def pool_views(self) -> list[PoolView]: ...


class Question(BaseModel):
    """A whole frame on a port, or a packet in words: from a session, or from an address on the network side."""

    port: int | None = Field(default=None, description="number of the port it comes in by; absent: what fits")
    frame: str | None = Field(default=None, description="a whole Ethernet frame in hexadecimal")
    protocol: Literal["udp", "tcp", "icmp"] = "icmp"
    session: int | None = Field(default=None, description="id of the session it is from")
    source: Address4 | None = Field(default=None, description="absent: the session's own address")
    destination: Address4 | None = None
    sport: int = Field(default=40000, ge=0, le=65535)
    dport: int = Field(default=0, ge=0, le=65535)

    @model_validator(mode="after")
    def _whole(self) -> Question:
        if self.frame is not None and self.port is None:
            raise ValueError("say the port that the frame comes in by")
        if self.frame is None and (self.destination is None or (self.session is None and self.source is None)):
            raise ValueError("a packet needs a sender (a session or a source address) and a destination")
        return self


class Verdict(BaseModel):
    """What would become of it. Stages in the order they ran; the last one ended it."""

    port: int
    device: str
    came: str = Field(description="the frame as it came, in words")
    stages: list[str]
    outcome: str
    reason: str | None = Field(description="why it is dropped")
    dhcp4: str | None = Field(description="what the data plane made of a DHCP message")
    session: int | None = Field(description="id of the client it is from; on network ports: for")
    receiver: int | None = Field(description="id of the client it is delivered to")
    out: int | None = Field(description="number of the port it leaves by")
    out_device: str | None
    leaves: str = Field(description="the frame as it would leave, in words")
    frame: str
    rewritten: str


class Absent(ValueError):
    """There is no such port or session; the text says which there are."""


def answer(gateway: Explaining, asked: Question) -> Verdict:
    """Ask the data plane.

    Raises: Absent, ValueError with what is wrong with the question.
    """
    if asked.frame is not None:
        number, frame = asked.port or 0, _octets(asked.frame)
    else:
        number, frame = _made_up(gateway, asked)
    at = gateway.plane.attached.get(number)
    if at is None:
        raise Absent(f"there is no port {number}: attached are {_numbers(gateway.plane.attached)}")
    return _verdict(gateway, at, frame, gateway.plane.explain(number, frame))


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("the frame is not hexadecimal: two digits an octet") from None


def _numbers(attached: dict[int, Attached]) -> str:
    return ", ".join(map(str, sorted(attached))) or "none"


def _made_up(gateway: Explaining, asked: Question) -> tuple[int, bytes]:
    assert asked.destination is not None
    session = None if asked.session is None else gateway.table.get(asked.session)
    if asked.session is not None and session is None:
        raise Absent(f"there is no session {asked.session}")
    if session is None and asked.source is not None:
        _refuse_absent_client(gateway, asked.source)
    source = asked.source or (session.lease.address if session is not None and session.lease is not None else None)
    if source is None:
        raise ValueError(f"session {asked.session} has no address yet: say the source")
    packet = probe(asked.protocol, source, asked.destination, asked.sport, asked.dport)
    return from_client(session, packet) if session is not None else _from_network(gateway, asked.port, packet)


def _refuse_absent_client(gateway: Explaining, source: IPv4Address) -> None:
    """An address of a pool is a client's, and without one there is no line that its packet could come from."""
    for pool in gateway.pool_views():
        if source in IPv4Network(pool.network):
            raise ValueError(
                f"{source} is of pool {pool.name}, and no client has it: what comes from it is dropped (no-session, or "
                "spoofed-ipv4 from another client); to have a captured frame explained say --hex or --pcap, and --port"
            )


def from_client(session: Session, packet: bytes) -> tuple[int, bytes]:
    """Return port and frame of a client's packet: behind its encapsulation, the other way round."""
    header, client = session.encapsulation, session.client
    carried = encode_session(client.pppoe, Protocol.IPV4, packet) if client.pppoe else packet
    return client.line.port, (header[6:12] + header[:6] + header[12:] + carried).ljust(MINIMUM, b"\0")


def _from_network(gateway: Explaining, number: int | None, packet: bytes) -> tuple[int, bytes]:
    networks = {n: at for n, at in gateway.plane.attached.items() if at.port.kind == PortKind.NETWORK}
    chosen = number if number is not None else min(networks, default=None)
    if chosen is None or chosen not in networks:
        raise Absent(f"port {chosen} is no network port: those are {_numbers(networks)}")
    header = encode_l2(networks[chosen].port.mac, _SOMEBODY, (), ETHERTYPE_IPV4)
    return chosen, (header + packet).ljust(MINIMUM, b"\0")


def _verdict(gateway: Explaining, at: Attached, frame: bytes, told: Explanation) -> Verdict:
    out = gateway.plane.attached.get(told.out) if told.out is not None else None
    known = {item.id for item in map(gateway.table.get, (told.session or 0, told.receiver or 0)) if item is not None}
    return Verdict(
        port=at.port.number,
        device=at.device,
        came=describe(frame),
        stages=[spoken(stage.name) for stage in told.stages],
        outcome=spoken(told.outcome.name),
        reason=spoken(told.reason.name) if told.reason is not None else None,
        dhcp4=spoken(told.dhcp4.name) if told.dhcp4 is not None else None,
        session=told.session if told.session in known else None,
        receiver=told.receiver if told.receiver in known else None,
        out=told.out,
        out_device=out.device if out is not None else None,
        leaves=describe(told.packet),
        frame=frame.hex(),
        rewritten=told.packet.hex(),
    )
