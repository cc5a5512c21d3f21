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
        terms, of = self.terms, self.access_node
        return None if terms is None or of is None else request.fit(request.fill(template(terms), of))

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
    "NAS-Port-Id": lambda of: request.fit(str(of.session.client.line)),
    "NAS-Port": lambda of: request.nas_port(of.session.client.line),
    "Acct-Multi-Session-Id": lambda of: of.line,
    "ADSL-Agent-Circuit-Id": lambda of: of.access_node and request.fit_agent(of.access_node.circuit),
    "ADSL-Agent-Remote-Id": lambda of: of.access_node and request.fit_agent(of.access_node.remote),
}
"""What tells sessions apart, and what it is of one session, as servers are told it; nothing: it has none."""

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
Holder = Callable[[IPv4Address], Session | None]


def understand(
    exploded: Iterable[tuple[Attribute, bytes]],
    disconnects: bool,
    table: Table,
    holder: Holder,
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
    callers = [terms.caller for terms in deciders.terms_of_all]
    if name == "NAS-Identifier":
        return any(octets == caller.identifier.encode() for caller in callers)
    return any(caller.address is None or octets == caller.address.packed for caller in callers)


def _find(
    identifying: Avps, table: Table, holder: Holder, deciders: Deciders, groups: frozenset[str] | None
) -> Session | Refused:
    """Find the one session of which everything is true."""
    try:
        said = {attribute.name: attribute.decode(octets) for attribute, octets in identifying}
    except Malformed as error:
        return Refused(ErrorCause.INVALID_ATTRIBUTE_VALUE, str(error))
    by = next((name for name in SELECTING if name in said), None)
    if by is None:
        return Refused(ErrorCause.MISSING_ATTRIBUTE, f"none of {', '.join(SELECTING)} says which session is meant")
    candidates = SELECTING[by](said[by], table, holder)
    served = [session for session in candidates if session.phase in _SERVED and _may(session, groups)]
    untrue = [(session, _untrue(Whom(session, deciders), identifying)) for session in served]
    found = [session for session, wrong in untrue if not wrong]
    if len(found) == 1:
        return found[0]
    if found:
        why = f"{len(found)} sessions are that"
        return Refused(ErrorCause.MULTIPLE_SESSION_SELECTION_UNSUPPORTED, why)
    if not candidates:
        why = f"no session has {by} {said[by]}"
    elif not served:
        why = f"the session with {by} {said[by]} has no address yet, or is not this controller's"
    else:
        session, wrong = min(untrue, key=lambda item: len(item[1]))
        why = f"session {session.id} has {by} {said[by]}, but {', '.join(wrong)}"
    return Refused(ErrorCause.SESSION_CONTEXT_NOT_FOUND, why)


_SERVED = (Phase.RECORDING, Phase.INSTALLING, Phase.ACTIVE)
"""Where a client that has its address may stand: with each renewal it goes through all of them."""

SELECTING: dict[str, Callable[[Any, Table, Holder], list[Session]]] = {
    "Acct-Session-Id": lambda said, table, _: _some(table.accounted(said)),
    "Framed-IP-Address": lambda said, _, holder: _some(holder(said)),
    "User-Name": lambda said, table, _: table.of_subscriber(said),
    "NAS-Port-Id": lambda said, table, _: _on_line(said, table),
    "Calling-Station-Id": lambda said, table, _: _of_mac(said, table),
}
"""One of these has to be there, and the first counts: by them sessions are found, without looking at all of them."""


def _some(session: Session | None) -> list[Session]:
    return [] if session is None else [session]


def _on_line(said: str, table: Table) -> list[Session]:
    try:
        return table.on_line(Line.parse(said))
    except ValueError:
        return []


def _of_mac(said: str, table: Table) -> list[Session]:
    mac = _mac(said)
    return [] if mac is None else table.of_mac(mac)


def _mac(text: str) -> Mac | None:
    """A MAC, however its digits are set apart; None: it is none."""
    found = _MAC.fullmatch(text)
    return Mac(bytes.fromhex("".join(found.groups()))) if found else None


_MAC = re.compile("[:.-]?".join(["([0-9A-Fa-f]{2})"] * 6))


def _may(session: Session, groups: frozenset[str] | None) -> bool:
    return groups is None or (session.service is not None and session.service.authority in groups)


def _untrue(whom: Whom, identifying: Avps) -> list[str]:
    """What is said of a session and is not so, in words."""
    wrong = []
    for attribute, octets in identifying:
        value, said = IDENTIFYING[attribute.name](whom), attribute.decode(octets)
        if value in (None, "", b""):
            wrong.append(f"it has no {attribute.name}")
        elif attribute.type.encode(value) != octets and not _same_station(attribute.name, value, said):
            wrong.append(f"its {attribute.name} is {attribute.show(value)}, not {attribute.show(said)}")
    return wrong


def _same_station(name: str, value: str, said: str) -> bool:
    """Whether both are the same MAC: everybody writes it in another way (RFC 3580 3.21)."""
    return name == "Calling-Station-Id" and _mac(value) is not None and _mac(value) == _mac(said)


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
