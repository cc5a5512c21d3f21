"""What the RADIUS servers of its tenant said, or did not."""

from __future__ import annotations

from wayleave.api.facts import Facts
from wayleave.api.rules.rule import Finds, Rules
from wayleave.net.duration import spoken_duration
from wayleave.net.units import SECOND
from wayleave.session.refusal import Reason

RULES = Rules()


def _for(*reasons: Reason) -> Finds:
    def says(facts: Facts) -> str | None:
        entry = facts.refused(*reasons)
        return entry.says if entry is not None else None

    return says


RULES.rule(
    "radius-rejected",
    "A RADIUS server does not let it on.",
    "ask its provider: the server's log has the question; a rejection is remembered for `radius.groups.hold_rejects`",
)(_for(Reason.RADIUS_REJECTED, Reason.RADIUS_CHALLENGED))

RULES.rule(
    "radius-decides",
    "It was let on by the configuration, which leaves that to RADIUS servers by now.",
    "nothing: it is asked about when it asks next",
)(_for(Reason.RADIUS_DECIDES))

RULES.rule(
    "radius-unusable",
    "A RADIUS server lets it on, with something that this gateway cannot do or has not.",
    "have the server send what the gateway knows, or let it pass over the attribute: `radius.groups.ignore`",
)(_for(Reason.RADIUS_UNUSABLE))

RULES.rule(
    "radius-unsigned",
    "A RADIUS server answers without a Message-Authenticator: anybody on the way could have changed the answer.",
    "have the server sign: `docs/operations/radius.md`. `radius.servers.message_authenticator` as false believes it "
    "all the same, and then also who forges (CVE-2024-3596)",
)(_for(Reason.RADIUS_UNSIGNED))

RULES.rule(
    "radius-doubted",
    "What a RADIUS server answers was made with another secret than the gateway's (wrong secret?).",
    "write the server's own secret for this client into the file that `radius.servers.secret` names; if it is right, "
    "somebody forges answers",
)(_for(Reason.RADIUS_DOUBTED))


def _stands(facts: Facts) -> str:
    """How the servers are by now."""
    told = []
    for item in facts.servers:
        heard = "never heard" if item.heard_s is None else f"heard {_ago(item.heard_s)} ago"
        dead = "no connection yet" if item.dead_s is None else f"dead for {_ago(item.dead_s)}"
        state = "lives" if item.alive else dead
        told.append(f"{item.server} {state}, {heard}")
    return "; ".join(told)


def _ago(seconds: int) -> str:
    return spoken_duration(seconds * SECOND)


def _silent(facts: Facts) -> str | None:
    entry = facts.refused(Reason.RADIUS_UNREACHABLE)
    return None if entry is None else f"{entry.says}; now: {_stands(facts)}" if facts.servers else entry.says


@RULES.rule(
    "radius-never-answered",
    "No RADIUS server of its group has said anything since the gateway started (wrong secret?).",
    "a server says nothing to who has another secret, or is no client of its: look into its log, and at "
    "`radius.servers.secret`, `radius.servers.address` and the firewalls",
)
def _never_answered(facts: Facts) -> str | None:
    never = facts.servers and all(item.heard_s is None for item in facts.servers)
    return _silent(facts) if never else None


RULES.rule(
    "radius-unreachable",
    "No RADIUS server of its group answers.",
    "are the servers up, is there a way to them, and is `radius.servers.secret` still theirs? "
    "`radius.groups.when_down` says what becomes of clients meanwhile",
)(_silent)

RULES.rule(
    "radius-busy",
    "More clients wait for an answer of the RADIUS servers than may wait.",
    "they ask again: is a server slow? `bng show radius` tells; more may wait with a larger `radius.groups.queue`",
)(_for(Reason.RADIUS_BUSY))

RULES.rule(
    "no-username",
    "Its line has nothing of what its User-Name is made of.",
    "`radius.groups.username`: name something that every line has as well",
)(_for(Reason.NO_USERNAME))
