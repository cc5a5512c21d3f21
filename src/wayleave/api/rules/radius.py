"""What the RADIUS servers of its tenant said, or did not."""

from __future__ import annotations

from wayleave.api.facts import Facts
from wayleave.api.rules.rule import Finds, Rules
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
    "radius-unusable",
    "A RADIUS server lets it on, with something that this gateway cannot do or has not.",
    "have the server send what the gateway knows, or let it pass over the attribute: `radius.groups.ignore`",
)(_for(Reason.RADIUS_UNUSABLE))

RULES.rule(
    "radius-unreachable",
    "No RADIUS server of its group answers.",
    "are the servers up, is there a way to them, and is `radius.servers.secret` theirs? `radius.groups.when_down` says "
    "what becomes of clients meanwhile",
)(_for(Reason.RADIUS_UNREACHABLE))

RULES.rule(
    "radius-busy",
    "More clients wait for an answer of the RADIUS servers than may wait.",
    "they ask again: is a server slow? More may wait with a larger `radius.groups.queue`",
)(_for(Reason.RADIUS_BUSY))

RULES.rule(
    "no-username",
    "Its line has nothing of what its User-Name is made of.",
    "`radius.groups.username`: name something that every line has as well",
)(_for(Reason.NO_USERNAME))
