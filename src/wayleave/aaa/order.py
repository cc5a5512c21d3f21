"""What a CoA or Disconnect request is about, and what it wants: a session found, a service changed; all or nothing.

Every attribute that identifies has to be true of the one session that is meant. What cannot be done, cannot be
understood, or is not this controller's to say refuses the whole, with an Error-Cause.

Source: RFC 5176 2.3, 3 (identification: 3; attributes: 3.6; Error-Cause: 3.5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Any

from msgspec import Struct

from wayleave.aaa import policy, request
from wayleave.aaa.policy import Unusable
from wayleave.aaa.radius import Deciders, Terms
from wayleave.net.errors import Malformed
from wayleave.net.mac import Mac
from wayleave.proto.radius.dictionary import Attribute
from wayleave.session.model import Line, Phase, Service, Session
from wayleave.session.table import Table


class ErrorCause(IntEnum):
    """RFC 5176 3.5."""

    UNSUPPORTED_ATTRIBUTE = 401
    MISSING_ATTRIBUTE = 402
    NAS_IDENTIFICATION_MISMATCH = 403
    UNSUPPORTED_SERVICE = 405
    INVALID_ATTRIBUTE_VALUE = 407
    ADMINISTRATIVELY_PROHIBITED = 501
    SESSION_CONTEXT_NOT_FOUND = 503
    RESOURCES_UNAVAILABLE = 506
    MULTIPLE_SESSION_SELECTION_UNSUPPORTED = 508


class Order(Struct, frozen=True):
    """Change a session's service; None: end it. `anew`: its time counts from now."""

    session: Session
    service: Service | None
    anew: bool = False


class Refused(Struct, frozen=True):
    """`why` is for people: the log has it, the controller hears the cause."""

    cause: ErrorCause
    why: str


class Whom(Struct, frozen=True):
    """A session with what it is called where it is accounted to."""

    session: Session
    deciders: Deciders

    @property
    def terms(self) -> Terms | None:
        """How its authority wants it to be called; None: no server decided about it."""
        service = self.session.service
        return self.deciders.terms(service.authority) if service is not None else None

    def called(self, template: Callable[[Terms], str]) -> str | None:
        """What a template makes of it."""
        terms = self.terms
        return None if terms is None else request.fill(template(terms), self.deciders.subject(self.session, terms))

    @property
    def line(self) -> str | None:
        return None if self.terms is None else request.line_name(self.terms.caller, self.session)

    @property
    def access_node(self) -> request.Subject | None:
        return None if self.terms is None else self.deciders.subject(self.session, self.terms)


IDENTIFYING: dict[str, Callable[[Whom], Any]] = {
    "Acct-Session-Id": lambda of: of.session.accounting,
    "User-Name": lambda of: of.session.service and of.session.service.subscriber,
    "Framed-IP-Address": lambda of: of.session.lease and of.session.lease.address,
    "Calling-Station-Id": lambda of: of.called(lambda terms: terms.caller.calling),
    "Called-Station-Id": lambda of: of.called(lambda terms: terms.caller.called),
    "NAS-Port-Id": lambda of: str(of.session.client.line),
    "NAS-Port": lambda of: request.nas_port(of.session.client.line),
    "Acct-Multi-Session-Id": lambda of: of.line,
    "ADSL-Agent-Circuit-Id": lambda of: of.access_node and of.access_node.circuit,
    "ADSL-Agent-Remote-Id": lambda of: of.access_node and of.access_node.remote,
}
"""What tells sessions apart, and what it is of one session; nothing: it has none."""

PASSED_OVER = frozenset(
    (
        "Event-Timestamp",
        "Message-Authenticator",
        "Proxy-State",
        "State",
        "NAS-Port-Type",
        "Reply-Message",
        "Acct-Terminate-Cause",
    )
)
"""What a request may carry and that changes nothing."""

Avps = list[tuple[Attribute, bytes]]


def understand(
    exploded: Iterable[tuple[Attribute, bytes]],
    disconnects: bool,
    table: Table,
    holder: Callable[[IPv4Address], Session | None],
    deciders: Deciders,
    groups: frozenset[str] | None,
) -> Order | Refused:
    """Return what a request wants. `holder` finds who has an address; `groups`: whose sessions are the controller's."""
    identifying: Avps = []
    wanted: Avps = []
    for attribute, octets in exploded:
        name = attribute.name
        if name in ("NAS-Identifier", "NAS-IP-Address"):
            if not _is_this(name, octets, deciders):
                return Refused(ErrorCause.NAS_IDENTIFICATION_MISMATCH, f"{name} is another gateway's")
        elif name in IDENTIFYING:
            identifying.append((attribute, octets))
        elif name not in PASSED_OVER:
            wanted.append((attribute, octets))
    found = _find(identifying, table, holder, deciders, groups)
    if isinstance(found, Refused):
        return found
    if not disconnects:
        if found.phase is not Phase.ACTIVE:
            return Refused(ErrorCause.RESOURCES_UNAVAILABLE, "its lease is on its way to the disk: try again")
        return _changed(found, wanted, deciders)
    if wanted:
        return Refused(ErrorCause.UNSUPPORTED_ATTRIBUTE, f"{wanted[0][0].name} says nothing to a Disconnect")
    return Order(found, None)


def _is_this(name: str, octets: bytes, deciders: Deciders) -> bool:
    callers = [terms.caller for terms in deciders.groups.values()]
    if name == "NAS-Identifier":
        return any(octets == caller.identifier.encode() for caller in callers)
    return any(caller.address is None or octets == caller.address.packed for caller in callers)


def _find(
    identifying: Avps,
    table: Table,
    holder: Callable[[IPv4Address], Session | None],
    deciders: Deciders,
    groups: frozenset[str] | None,
) -> Session | Refused:
    """Find the one session of which everything is true."""
    try:
        candidates = _candidates({row.name: row.decode(octets) for row, octets in identifying}, table, holder)
    except Malformed as error:
        return Refused(ErrorCause.INVALID_ATTRIBUTE_VALUE, str(error))
    if candidates is None:
        return Refused(ErrorCause.MISSING_ATTRIBUTE, f"none of {', '.join(SELECTING)} says which session is meant")
    found = [
        session
        for session in candidates
        if session.phase in _SERVED and _may(session, groups) and _is(Whom(session, deciders), identifying)
    ]
    if not found:
        return Refused(ErrorCause.SESSION_CONTEXT_NOT_FOUND, "no session is all that")
    if len(found) > 1:
        why = f"{len(found)} sessions are that"
        return Refused(ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED, why)
    return found[0]


_SERVED = (Phase.RECORDING, Phase.INSTALLING, Phase.ACTIVE)
"""Where a client that has its address may stand: with each renewal it goes through all of them."""

SELECTING = ("Acct-Session-Id", "Framed-IP-Address", "User-Name", "NAS-Port-Id", "Calling-Station-Id")
"""One of these has to be there: by them sessions are found, without looking at all of them."""


def _candidates(
    said: dict[str, Any], table: Table, holder: Callable[[IPv4Address], Session | None]
) -> list[Session] | None:
    if "Acct-Session-Id" in said:
        return _some(table.accounted(said["Acct-Session-Id"]))
    if "Framed-IP-Address" in said:
        return _some(holder(said["Framed-IP-Address"]))
    if "User-Name" in said:
        return table.of_subscriber(said["User-Name"])
    if "NAS-Port-Id" in said:
        try:
            return table.on_line(Line.parse(said["NAS-Port-Id"]))
        except ValueError:
            return []
    if "Calling-Station-Id" in said:
        digits = re.sub(r"[^0-9A-Fa-f]", "", said["Calling-Station-Id"])
        return table.of_mac(Mac(bytes.fromhex(digits))) if len(digits) == 12 else []
    return None


def _some(session: Session | None) -> list[Session]:
    return [] if session is None else [session]


def _may(session: Session, groups: frozenset[str] | None) -> bool:
    return groups is None or (session.service is not None and session.service.authority in groups)


def _is(whom: Whom, identifying: Avps) -> bool:
    for attribute, octets in identifying:
        value = IDENTIFYING[attribute.name](whom)
        if not value or attribute.type.encode(value) != octets:
            return False
    return True


def _changed(session: Session, wanted: Avps, deciders: Deciders) -> Order | Refused:
    assert session.service is not None
    if not session.service.authority:
        why = "the configuration decides about this client: change it there, and reload"
        return Refused(ErrorCause.ADMINISTRATIVELY_PROHIBITED, why)
    terms = deciders.terms(session.service.authority)
    reading = terms.reading if terms is not None else policy.PLAIN
    for attribute, octets in wanted:
        if attribute.name == "Service-Type" and octets != FRAMED:
            return Refused(ErrorCause.UNSUPPORTED_SERVICE, "only Framed-User is served, and nobody asked about again")
        if not policy.knows(attribute.name, reading):
            return Refused(ErrorCause.UNSUPPORTED_ATTRIBUTE, f"{attribute.name} means nothing here")
    if not wanted:
        return Refused(ErrorCause.MISSING_ATTRIBUTE, "it changes nothing")
    try:
        service = policy.change(session.service, wanted, deciders.known, reading)
    except Unusable as error:
        cause = ErrorCause.INVALID_ATTRIBUTE_VALUE if error.known else ErrorCause.UNSUPPORTED_ATTRIBUTE
        return Refused(cause, str(error))
    anew = any(reading.aliases.get(attribute.name, attribute.name) == "Session-Timeout" for attribute, _ in wanted)
    return Order(session, service, anew)


FRAMED = (2).to_bytes(4, "big")
