"""What a RADIUS server is told of a client: its name, its line, and what it has used.

Source: RFC 2865 5, RFC 2866 5, RFC 2869 5 (NAS-Port-Id, gigawords), RFC 4679 3.3 (what an access node says of a line).
NAS-Port-Type of PPPoE: RFC 4603 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from wayleave.aaa import credentials as proofs
from wayleave.net.errors import Malformed
from wayleave.net.units import SECOND, Ns
from wayleave.proto.dhcp4 import relay
from wayleave.proto.ppp.auth import Credentials
from wayleave.proto.pppoe import line as pppoe
from wayleave.proto.pppoe.line import Figure
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.proto.radius.packet import LONGEST, LONGEST_PASSWORD, STATE, USER_PASSWORD, Avp
from wayleave.session.model import Client, CloseCause, Line, Session, Used

# ---- Names ------------------------------------------------------------------------------


class Subject(Struct, frozen=True):
    """Who is asked about. `circuit`, `remote` and `figures` are what its access node says, where that is believed.

    `user` is what it says it is called, empty where nobody asked; `service` the one of PPPoE that it asked for.
    """

    client: Client
    gateway: str
    circuit: bytes = b""
    remote: bytes = b""
    figures: tuple[tuple[str, int], ...] = ()
    """Attributes, and bits a second or milliseconds."""
    ppp: bool = False
    user: str = ""
    service: str = ""


def _text(octets: bytes) -> str:
    """What an access node says may be anything; what is made of it is text, on the wire and off it (RFC 8044 3.4)."""
    return octets.decode("utf-8", "backslashreplace")


PLACEHOLDERS: dict[str, Callable[[Subject], str]] = {
    "mac": lambda of: str(of.client.mac),
    "mac-dashed": lambda of: str(of.client.mac).upper().replace(":", "-"),
    "mac-bare": lambda of: str(of.client.mac).replace(":", ""),
    "gateway": lambda of: of.gateway,
    "port": lambda of: str(of.client.line.port),
    "svid": lambda of: str(of.client.line.svid),
    "cvid": lambda of: str(of.client.line.cvid),
    "circuit": lambda of: _text(of.circuit),
    "remote": lambda of: _text(of.remote),
    "pppoe-service": lambda of: of.service,
}
"""What a template may name. One row is the whole placeholder."""

_PLACE = re.compile(r"\{([^{}]*)\}")


def check_template(text: str) -> None:
    """Raises: ValueError for a placeholder that is none."""
    for name in _PLACE.findall(text):
        if name not in PLACEHOLDERS:
            raise ValueError(f"{{{name}}} is no placeholder: these are: {', '.join(PLACEHOLDERS)}")


def fill(template: str, of: Subject) -> str:
    """Fill in a template. Octets that are no UTF-8 are written as `\\xff`."""
    return _PLACE.sub(lambda match: PLACEHOLDERS[match[1]](of), template)


def subject(session: Session, gateway: str, trusted: bool) -> Subject:
    """Return who a session is about; `trusted`: what its access node says is believed."""
    of, link = Subject(session.client, gateway, session.client.line.circuit), session.link
    if link is not None:
        of = replace(of, ppp=True, user=link.name, service=link.service)
    if not trusted or not session.agent:
        return of
    try:
        agent = relay.decode(session.agent) if link is None else pppoe.decode(session.agent)
    except Malformed:
        return of
    of = replace(of, circuit=of.circuit or agent.circuit_id or b"", remote=agent.remote_id or b"")
    return of if isinstance(agent, relay.RelayAgent) else replace(of, figures=_figures(agent))


_KBIT, _MS = 1000, 1
"""What an access node says is in kbit/s, or in ms; a server is told of bit/s, and of ms."""

FIGURES = {
    Figure.ACTUAL_UPSTREAM: ("Actual-Data-Rate-Upstream", _KBIT),
    Figure.ACTUAL_DOWNSTREAM: ("Actual-Data-Rate-Downstream", _KBIT),
    Figure.MINIMUM_UPSTREAM: ("Minimum-Data-Rate-Upstream", _KBIT),
    Figure.MINIMUM_DOWNSTREAM: ("Minimum-Data-Rate-Downstream", _KBIT),
    Figure.ATTAINABLE_UPSTREAM: ("Attainable-Data-Rate-Upstream", _KBIT),
    Figure.ATTAINABLE_DOWNSTREAM: ("Attainable-Data-Rate-Downstream", _KBIT),
    Figure.MAXIMUM_UPSTREAM: ("Maximum-Data-Rate-Upstream", _KBIT),
    Figure.MAXIMUM_DOWNSTREAM: ("Maximum-Data-Rate-Downstream", _KBIT),
    Figure.LOW_POWER_UPSTREAM: ("Minimum-Data-Rate-Upstream-Low-Power", _KBIT),
    Figure.LOW_POWER_DOWNSTREAM: ("Minimum-Data-Rate-Downstream-Low-Power", _KBIT),
    Figure.MAXIMUM_DELAY_UPSTREAM: ("Maximum-Interleaving-Delay-Upstream", _MS),
    Figure.ACTUAL_DELAY_UPSTREAM: ("Actual-Interleaving-Delay-Upstream", _MS),
    Figure.MAXIMUM_DELAY_DOWNSTREAM: ("Maximum-Interleaving-Delay-Downstream", _MS),
    Figure.ACTUAL_DELAY_DOWNSTREAM: ("Actual-Interleaving-Delay-Downstream", _MS),
}
"""What a line is trained to and was configured for, as attributes. Source: RFC 4679 3.3.3 to 3.3.16."""


def _figures(line: pppoe.LineInfo) -> tuple[tuple[str, int], ...]:
    """What is said of a line, as it is told: of rates 32 bits hold 4.29 Gbit/s."""
    said = ((*row, line.figures.get(figure)) for figure, row in FIGURES.items())
    return tuple((name, min(figure * times, 0xFFFFFFFF)) for name, times, figure in said if figure is not None)


# ---- Attributes -------------------------------------------------------------------------


class Caller(Struct, frozen=True, kw_only=True):
    """How a group wants clients and the gateway to be called. `address`: NAS-IP-Address.

    `username` is of clients that nobody asked who they are; `stripped`: realms that are taken off the names of others.
    """

    identifier: str
    gateway: str
    address: IPv4Address | None = None
    username: str = "{mac}"
    calling: str = "{mac-dashed}"
    called: str = "{gateway}"
    stripped: frozenset[str] = frozenset()


def realm_of(user: str) -> str:
    """The realm of a name, as names are compared: `isp.example` of `alice@ISP.example`; empty: it has none.

    Source: RFC 7542 2.2; capitals are of no account, as in DNS.
    """
    return user.rpartition("@")[2].lower() if "@" in user else ""


def _avp(name: str, value: Any) -> Avp:
    return STANDARD[name].encode(value)


def fit(text: str) -> str:
    """What a client or an access node writes may be longer than an attribute."""
    return text.encode()[:LONGEST].decode(errors="ignore")


def fit_agent(octets: bytes) -> bytes:
    """What an access node says of a line, as long as its attribute may be (RFC 4679 3.3.1)."""
    return octets[:63]


def username(of: Subject, caller: Caller) -> str:
    """What a client is called: as it says, else by its line; empty where that lacks what the template names."""
    if of.user:
        return of.user.rpartition("@")[0] if realm_of(of.user) in caller.stripped else of.user
    if not all(PLACEHOLDERS[name](of) for name in _PLACE.findall(caller.username)):
        return ""
    return fit(fill(caller.username, of))


def access(
    of: Subject,
    caller: Caller,
    session_id: str,
    hide: Callable[[bytes], bytes],
    password: bytes | None,
    state: bytes = b"",
    credentials: Credentials | None = None,
) -> list[Avp]:
    """Return the attributes of an Access-Request.

    `credentials`: what the client says proves who it is; where nobody asked, `password` goes with its name: None: the
    User-Name is its own. `state`: what the server said when it granted what is asked about again.
    """
    name = username(of, caller)
    if credentials is not None:
        proof = proofs.attributes(credentials, hide)
    else:
        proof = [(USER_PASSWORD, hide(password if password is not None else name.encode()[:LONGEST_PASSWORD]))]
    return [
        _avp("User-Name", name),
        *proof,
        _avp("Service-Type", 2),
        _avp("Acct-Session-Id", session_id),
        *([(STATE, state)] if state else []),
        *_where(of, caller),
    ]


def _where(of: Subject, caller: Caller) -> list[Avp]:
    """Who the gateway is, and which line this is. What is empty is not said (RFC 2865 5)."""
    line = of.client.line
    found = [
        _avp("NAS-Identifier", caller.identifier),
        _avp("NAS-Port", nas_port(line)),
        _avp("NAS-Port-Type", port_type(of)),
        _avp("NAS-Port-Id", fit(str(line))),
        _avp("Calling-Station-Id", fit(fill(caller.calling, of))),
        _avp("Called-Station-Id", fit(fill(caller.called, of))),
    ]
    if caller.address is not None:
        found.append(_avp("NAS-IP-Address", caller.address))
    if of.circuit:
        found.append(_avp("ADSL-Agent-Circuit-Id", fit_agent(of.circuit)))
    if of.remote:
        found.append(_avp("ADSL-Agent-Remote-Id", fit_agent(of.remote)))
    found += [_avp(name, figure) for name, figure in of.figures]
    if of.ppp:
        found.append(_avp("Framed-Protocol", 1))
    return [(code, octets) for code, octets in found if octets]


def port_type(of: Subject) -> int:
    """NAS-Port-Type: Ethernet, or PPPoE over Ethernet, over a VLAN or over QinQ."""
    if not of.ppp:
        return 15
    return 32 + (of.client.line.svid > 0) + (of.client.line.cvid > 0)


def nas_port(line: Line) -> int:
    """NAS-Port: port, S-VID and C-VID in 8, 12 and 12 bits; of ports over 255 the lower 8."""
    return line.port << 24 & 0xFF000000 | line.svid << 12 | line.cvid


def line_name(caller: Caller, session: Session) -> str:
    """Acct-Multi-Session-Id: the same for all sessions of a line (RFC 2866 5.11)."""
    return fit(f"{caller.identifier}/{session.client.line}")


# ---- Accounting -------------------------------------------------------------------------


class Status(IntEnum):
    """Acct-Status-Type (RFC 2866 5.1)."""

    START = 1
    STOP = 2
    INTERIM = 3
    ON = 7
    OFF = 8


TERMINATED = {
    CloseCause.USER_REQUEST: 1,
    CloseCause.LEASE_EXPIRED: 2,  # Lost-Carrier: the client is gone without a word
    CloseCause.DECLINED: 17,  # User-Error
    CloseCause.OFFER_LAPSED: 1,
    CloseCause.DISPLACED: 13,  # Port-Preempted
    CloseCause.ADMIN_RESET: 6,
    CloseCause.REFUSED: 15,  # Service-Unavailable
    CloseCause.NO_ADDRESS: 9,  # NAS-Error
    CloseCause.STORE_FAILED: 9,
    CloseCause.TABLE_FULL: 9,
    CloseCause.SESSION_TIMEOUT: 5,
    CloseCause.IDLE_TIMEOUT: 4,
    CloseCause.DISCONNECTED: 6,
    CloseCause.STOPPED: 7,  # Admin-Reboot
    CloseCause.REBOOTED: 11,  # NAS-Reboot
    CloseCause.LOST_CARRIER: 2,
    CloseCause.NOT_NEGOTIATED: 8,  # Port-Error
    CloseCause.RECONFIGURED: 10,  # NAS-Request
    CloseCause.BLOCK_LOST: 10,
}
"""Acct-Terminate-Cause of every way in which a session ends (RFC 2866 5.10)."""


def accounting(
    session: Session,
    of: Subject,
    caller: Caller,
    status: Status,
    used: Used,
    lasted: Ns,
) -> list[Avp]:
    """Return the attributes of an Accounting-Request, all but when it was and how long ago that is.

    `lasted`: how long the session has been there.
    """
    service, lease = session.service, session.lease
    assert service is not None
    assert lease is not None
    found = [
        _avp("Acct-Status-Type", status),
        _avp("Acct-Session-Id", session.accounting),
        _avp("Acct-Multi-Session-Id", line_name(caller, session)),
        _avp("User-Name", service.subscriber or username(of, caller)),
        _avp("Acct-Authentic", 1),
        _avp("Framed-IP-Address", lease.address),
        _avp("Service-Type", 2),
        *_where(of, caller),
        *(_avp("Class", value) for value in service.classes),
    ]
    if service.name:
        found.append(_avp("Filter-Id", fit(service.name)))
    if status is Status.START:
        return found
    found += [
        _avp("Acct-Session-Time", lasted // SECOND),
        *_counted("Acct-Input", used.up_octets, used.up_packets),
        *_counted("Acct-Output", used.down_octets, used.down_packets),
    ]
    if status is Status.STOP:
        assert session.cause is not None
        found.append(_avp("Acct-Terminate-Cause", TERMINATED[session.cause]))
    return found


def _counted(way: str, octets: int, packets: int) -> list[Avp]:
    """RFC 2866 5.3, RFC 2869 5.1: octets are 64 bits in two attributes; input is what the client sends."""
    return [
        _avp(f"{way}-Octets", octets & 0xFFFFFFFF),
        _avp(f"{way}-Gigawords", octets >> 32),
        _avp(f"{way}-Packets", packets & 0xFFFFFFFF),
    ]


def on_off(status: Status, caller: Caller) -> list[Avp]:
    """Return the attributes of Accounting-On and -Off: the gateway has begun anew, or ends all sessions."""
    found = [_avp("Acct-Status-Type", status), _avp("NAS-Identifier", caller.identifier), _avp("Acct-Authentic", 1)]
    if caller.address is not None:
        found.append(_avp("NAS-IP-Address", caller.address))
    return found
