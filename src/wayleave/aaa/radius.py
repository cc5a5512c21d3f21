"""Authorization by RADIUS: who is asked about, by which servers, and what their answer makes of a client.

One question a session, at first sight: of the group of servers that the realm of its user has, else of its port's
tenant. Where there is none, the gateway itself decides. Who was rejected is not asked about again for a while; where no
server lives, a group may go by what it was last told of the same client on the same line, unless that has to prove who
it is. Without I/O: the exchanges that it asks are given, and what comes of them is taken with
`outcomes`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, cast
from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace

from wayleave.aaa import credentials as proofs
from wayleave.aaa import policy, request
from wayleave.aaa.local import LocalAuthorization
from wayleave.aaa.policy import PLAIN, Known, Reading, Unusable
from wayleave.aaa.request import Caller, Subject
from wayleave.net.errors import Malformed
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.ppp.auth import Credentials, Pap
from wayleave.proto.radius.dictionary import STANDARD, Dictionary
from wayleave.proto.radius.exchange import Answered, Exchange, Hide, Outcome, Unanswered
from wayleave.proto.radius.packet import Avp, Code, Doubt, Packet
from wayleave.session.model import Client, Dialer, Phase, Service, Session
from wayleave.session.recent import Recent
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.table import Key, Table

REPLY_MESSAGE = 18
ASKED_AGAIN = 100
"""Sessions that servers are asked about again at a time."""
CHALLENGED = Ns(5 * SECOND)
"""For how long at most a rejection by CHAP holds: whether the password is another one by now, no response tells."""
_SILENT = {None: Reason.RADIUS_UNREACHABLE, Doubt.NO_MESSAGE_AUTHENTICATOR: Reason.RADIUS_UNSIGNED}
"""Why there is no answer; what is not here came with another secret."""


class Terms(Struct, frozen=True, kw_only=True):
    """How one group of servers is asked and understood."""

    name: str
    caller: Caller
    pool: str = ""
    tenant: str = ""
    """Whose clients they are that it is asked about by their realm; empty: their port's."""
    interim: Ns = Ns(0)
    reading: Reading = PLAIN
    last_known: Ns = Ns(0)
    """For how long an answer is believed while no server lives; 0: not at all."""
    hold_rejects: Ns = Ns(30 * SECOND)


class Ticket(NamedTuple):
    """Which session waits for a decision: ids are used again, the moment of its beginning with an id is not.

    `again`: it is served already, by what was granted before.
    """

    id: int
    since: BootNs
    again: bool = False


class Last(Struct, frozen=True, gc=False):
    """What a group last granted to a client, and when, on this boot's clock (perhaps before it began)."""

    at: int
    service: Service


class Decision(Struct, frozen=True):
    """`says`: who grants what, for people; `proof`: what the server wants its client to hear."""

    ticket: Ticket
    outcome: Service | Refusal
    says: str = ""
    proof: bytes = b""


class _Rejected(Struct, frozen=True):
    """A client that is not asked about again until a moment, unless it says something else (`credentials.again`).

    Another circuit on its VLAN is another client.
    """

    client: Client | Dialer
    said: bytes
    until: BootNs
    refusal: Refusal


class _Asked(Struct, frozen=True):
    place: Key
    client: Client | Dialer
    station: Client
    tenant: str
    group: str
    username: str
    credentials: Credentials | None

    @property
    def kept(self) -> bool:
        """Whether what is said of it counts for more than this once: not, where a proof is wanted each time."""
        return self.credentials is None


class Deciders(Struct, frozen=True, kw_only=True):
    """Who decides about whom, as a configuration says it. `tenants` maps a port's number, `groups` a tenant.

    `realms` maps the realms of users, whatever port they are on; `trusted`: ports whose access nodes are believed;
    `protocols`: what each port serves.
    """

    local: LocalAuthorization
    tenants: Mapping[int, str]
    protocols: Mapping[int, Collection[str]]
    groups: Mapping[str, Terms]
    realms: Mapping[str, Terms] = {}
    known: Known
    dictionary: Dictionary = STANDARD
    trusted: frozenset[int] = frozenset()

    def group(self, session: Session) -> Terms | None:
        """Who decides about a client; None: the gateway itself."""
        by_realm = self._of_realm(session)
        return self.groups.get(self.tenants.get(session.client.line.port, "")) if by_realm is None else by_realm

    def _of_realm(self, session: Session) -> Terms | None:
        return self.realms.get(request.realm_of(session.link.name)) if session.link is not None else None

    def tenant(self, session: Session) -> str:
        """Whose client it is where a server says nothing of that. Raises: KeyError for a port that is not there."""
        by_realm = self._of_realm(session)
        return by_realm.tenant if by_realm is not None and by_realm.tenant else self.tenants[session.client.line.port]

    @property
    def terms_of_all(self) -> Iterator[Terms]:
        """Of every group that is asked about anybody."""
        return chain(self.groups.values(), self.realms.values())

    def terms(self, name: str) -> Terms | None:
        return next((terms for terms in self.terms_of_all if terms.name == name), None)

    def subject(self, session: Session, terms: Terms) -> Subject:
        return request.subject(session, terms.caller.gateway, session.client.line.port in self.trusted)

    def review(self, session: Session) -> Service | Refusal:
        """What a server decided stands until the session ends; the gateway itself is asked again."""
        service, terms, port = session.service, self.group(session), session.client.line.port
        protocol, spoken = ("ipoe", "IPoE") if session.link is None else ("pppoe", "PPPoE")
        if port in self.protocols and protocol not in self.protocols[port]:
            return Refusal(Reason.PORT_NOT_CONFIGURED, f"port {port} does not serve {spoken} any more")
        if service is not None and service.authority and port in self.tenants:
            return service
        if terms is not None:
            why = f"the servers of {terms.name} decide about this client now: they are asked when it asks again"
            return Refusal(Reason.RADIUS_DECIDES, why)
        return self.local.review(session)


class Authorizer:
    """Implements session.ports.Authorization.

    `exchanges` are those of each group, by its name; `passwords`, too: where there is none, the User-Name is its own.
    """

    def __init__(
        self,
        deciders: Deciders,
        exchanges: Mapping[str, Exchange],
        passwords: Mapping[str, Secret],
        remembers: int = 1 << 17,
    ) -> None:
        """`remembers`: clients whose last answer is kept, at most."""
        self.deciders = deciders
        """What counts from now on; answers that are under way are understood by it, too."""
        self._exchanges, self._passwords, self._remembers = exchanges, passwords, remembers
        self._asked: dict[Ticket, _Asked] = {}
        self._rejected: Recent[_Rejected] = Recent()
        self._last: OrderedDict[Client, Last] = OrderedDict()
        self._learned: dict[Client, Last | None] = {}
        self._doubted: dict[int, None] = {}  # a set in order: served by what was granted last

    def review(self, session: Session) -> Service | Refusal:
        return self.deciders.review(session)

    # ---- questions ----------------------------------------------------------------------

    def decide(self, session: Session, now: BootNs) -> Service | Refusal | None:
        """Return what the client gets, or why nothing; None: a server was asked, and `decisions` will say."""
        deciders = self.deciders
        terms = deciders.group(session)
        if terms is None:
            return deciders.local.decide(session, now)
        held, said = self._rejected.get(_place(session)), proofs.again(_credentials(session))
        if held is not None and now < held.until and (held.client, held.said) == (session.known_as, said):
            return held.refusal
        name = self._ask(Ticket(session.id, session.since), session, terms, now)
        return name if isinstance(name, Refusal) else None

    def _ask(self, ticket: Ticket, session: Session, terms: Terms, now: BootNs) -> str | Refusal:
        """Ask a group about a client, by the name that is returned."""
        of, credentials = self.deciders.subject(session, terms), _credentials(session)
        name = _username(of, terms, credentials)
        if isinstance(name, Refusal):
            return name
        state = session.service.state if session.service is not None else b""
        password = self._passwords.get(terms.name)
        attributes = partial(_access, of, terms, session.accounting, password, state, credentials)
        if not self._exchanges[terms.name].ask(ticket, attributes, now):
            return Refusal(Reason.RADIUS_BUSY, f"too many clients wait for the servers of {terms.name}")
        self._asked[ticket] = _Asked(
            place=_place(session),
            client=session.known_as,
            station=session.client.station,
            tenant=self.deciders.tenant(session),
            group=terms.name,
            username=name,
            credentials=credentials,
        )
        return name

    def reauthorize(self, session: Session) -> None:
        """Have `ask_again` ask about a session whose service is provisional, until it is not."""
        self._doubted[session.id] = None

    @property
    def doubted(self) -> int:
        """How many sessions are served by what was granted last."""
        return len(self._doubted)

    def ask_again(self, table: Table, now: BootNs) -> None:
        """Ask about those that are served by what was granted last, a few at a time, where a server lives."""
        for id_ in list(islice(self._doubted, ASKED_AGAIN)):
            session = table.get(id_)
            if session is None or session.service is None or not session.service.provisional:
                del self._doubted[id_]
            elif session.phase is Phase.ACTIVE:
                self._ask_about(session, now)
                self._doubted[id_] = self._doubted.pop(id_)  # whoever gets no answer comes last

    def _ask_about(self, session: Session, now: BootNs) -> None:
        """Ask about a session that is served, unless that is under way."""
        terms, ticket = self.deciders.group(session), Ticket(session.id, session.since, again=True)
        if terms is not None and ticket not in self._asked and self._exchanges[terms.name].alive:
            self._ask(ticket, session, terms, now)

    def forget(self, session: Session) -> None:
        """A session ended before it was decided about."""
        asked = self._asked.pop(Ticket(session.id, session.since), None)
        if asked is not None:
            self._exchanges[asked.group].forget(Ticket(session.id, session.since))

    # ---- answers ------------------------------------------------------------------------

    def decisions(self, now: BootNs) -> list[Decision]:
        """What was decided since the last call."""
        return [
            decision
            for exchange in self._exchanges.values()
            for outcome in exchange.outcomes()
            if (decision := self._decided(outcome, now)) is not None
        ]

    def _decided(self, outcome: Outcome, now: BootNs) -> Decision | None:
        assert isinstance(outcome.key, Ticket)
        asked = self._asked.pop(outcome.key, None)
        if asked is None:
            return None
        terms = self.deciders.terms(asked.group)
        if terms is None:
            why = f"the servers' group {asked.group} left the configuration meanwhile"
            return Decision(outcome.key, Refusal(Reason.RADIUS_UNREACHABLE, why))
        if not isinstance(outcome, Answered):
            decided = self._without(asked, terms, outcome, now)
            return Decision(outcome.key, decided, _granted(f"as last, {outcome.why}", decided))
        decided, proof = self._told(asked, terms, outcome, now)
        return Decision(outcome.key, decided, _granted(f"by {outcome.server}", decided), proof)

    def _told(self, asked: _Asked, terms: Terms, answer: Answered, now: BootNs) -> tuple[Service | Refusal, bytes]:
        packet = answer.packet
        if packet.code == Code.ACCESS_ACCEPT:
            decided = self._accepted(asked, terms, packet)
            if not isinstance(decided, Refusal):
                self._rejected.pop(asked.place)
                if asked.kept:
                    self._learn(asked.station, Last(now, decided[0]) if terms.last_known else None)
                return decided
        elif packet.code == Code.ACCESS_REJECT:
            if asked.kept:
                self._learn(asked.station, None)
            decided = Refusal(Reason.RADIUS_REJECTED, f"rejected by {answer.server}{_message(packet)}")
        else:
            why = f"{answer.server} sends a challenge, which no client here can answer"
            decided = Refusal(Reason.RADIUS_CHALLENGED, why)
        for_ = terms.hold_rejects if _repeatable(asked.credentials) else min(terms.hold_rejects, CHALLENGED)
        said = proofs.again(asked.credentials)
        self._rejected.put(asked.place, _Rejected(asked.client, said, BootNs(now + for_), decided))
        return decided, b""

    def _accepted(self, asked: _Asked, terms: Terms, packet: Packet) -> tuple[Service, bytes] | Refusal:
        """What an answer grants, and what the client has to hear of it."""
        service = Service(
            tenant=asked.tenant,
            pool=terms.pool,
            subscriber=asked.username,
            interim=terms.interim,
            authority=terms.name,
        )
        try:
            proof = proofs.proof(asked.credentials, packet.attributes)
            exploded = self.deciders.dictionary.explode(packet.attributes)
            return policy.apply(service, exploded, self.deciders.known, terms.reading), proof
        except Malformed as error:
            return Refusal(Reason.RADIUS_UNUSABLE, error.why)
        except Unusable as error:
            return Refusal(Reason.RADIUS_UNUSABLE, f"{error}")

    def _without(self, asked: _Asked, terms: Terms, outcome: Unanswered, now: BootNs) -> Service | Refusal:
        """No server answered: perhaps it is known what they last said."""
        last = self._last.get(asked.station) if asked.kept else None
        if last is not None and last.service.authority == terms.name and now - last.at < terms.last_known:
            return replace(last.service, provisional=True)
        return Refusal(_SILENT.get(outcome.doubt, Reason.RADIUS_DOUBTED), outcome.why)

    def held(self, now: BootNs) -> int:
        """How many clients were rejected, and are not asked about again yet."""
        return self._rejected.count(lambda held: now < held.until)

    # ---- what was last said -------------------------------------------------------------

    def _learn(self, client: Client, last: Last | None) -> None:
        known = self._last.pop(client, None)
        if last is not None:
            self._last[client] = last
        if last is not None or known is not None:
            self._learned[client] = last
        if len(self._last) > self._remembers:
            self._learned[self._last.popitem(last=False)[0]] = None

    def recall(self, client: Client, last: Last) -> None:
        """Take up what an earlier process had learned. The eldest first."""
        self._last[client] = last

    def learned(self) -> dict[Client, Last | None]:
        """What was learned since the last call, by client; None: nothing is believed of it any more."""
        learned, self._learned = self._learned, {}
        return learned


def _credentials(session: Session) -> Credentials | None:
    """What a client says proves who it is; None: nobody asked, or that is decided."""
    return cast("Credentials | None", session.credentials)


def _place(session: Session) -> Key:
    """Where it is kept that a client was rejected: by its line, its MAC, and what it says it is called."""
    name = 0 if session.link is None else 1 + crc32(session.link.name.encode())
    return (*session.client.key[:4], name)


def _repeatable(credentials: Credentials | None) -> bool:
    """Whether it shows if a client says the same once more."""
    return credentials is None or isinstance(credentials, Pap)


def _username(of: Subject, terms: Terms, credentials: Credentials | None) -> str | Refusal:
    """What a server is told that a client is called, or why there is nothing to tell."""
    if credentials is not None:
        user = proofs.user_of(credentials)
        if isinstance(user, Refusal):
            return user
        if why := proofs.why_untellable(credentials):
            return Refusal(Reason.CREDENTIALS_UNUSABLE, why)
    name = request.username(of, terms.caller)
    if name:
        return name
    if credentials is not None:
        return Refusal(Reason.CREDENTIALS_UNUSABLE, f"nothing is left of {of.user} without its realm")
    why = f"its line has nothing for the User-Name {terms.caller.username}: is the port trusted?"
    return Refusal(Reason.NO_USERNAME, why)


def _access(
    of: Subject,
    terms: Terms,
    session_id: str,
    password: Secret | None,
    state: bytes,
    credentials: Credentials | None,
    _at: BootNs,
    hide: Hide,
) -> list[Avp]:
    return request.access(of, terms.caller, session_id, hide, password, state, credentials)


def _message(packet: Packet) -> str:
    """Reply-Message, for people; empty, or behind a colon."""
    said = packet.first(REPLY_MESSAGE)
    text = "".join(char for char in (said or b"").decode("utf-8", "replace") if char.isprintable())
    return f": {text[:120]}" if text else ""


def _granted(by: str, decided: Service | Refusal) -> str:
    """Who granted what, for people; empty: nothing."""
    if isinstance(decided, Refusal):
        return ""
    speeds = (f"up {decided.up}" if decided.up else "", f"down {decided.down}" if decided.down else "")
    return f"{by}: {', '.join(filter(None, (decided.name, *speeds, f'pool {decided.pool}')))}"
