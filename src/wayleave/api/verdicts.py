"""What is wrong with one client: the first rule that applies is the verdict; what else is odd stands beside it. Pure.

A rule is added to one of `api/rules`, and nowhere else.
"""

from __future__ import annotations

from msgspec import Struct

from wayleave.api.facts import Facts
from wayleave.api.rules import attaching, everybody, outward, radius, served
from wayleave.api.rules.rule import Rule

RULES: list[Rule] = [*everybody.RULES, *radius.RULES, *attaching.RULES, *served.RULES, *outward.RULES]


class Diagnosis(Struct, frozen=True):
    """The verdict. `says` is what was seen, `means` and `cure` are the rule's.

    `notes`: what is odd about the client as well, and need not be why it has trouble.
    """

    name: str
    says: str
    means: str
    cure: str
    notes: list[str]


def diagnose(facts: Facts) -> Diagnosis:
    """Return the first verdict that applies; the last rule always does."""
    for rule in RULES:
        says = rule.finds(facts)
        if says is not None:
            odd = (
                facts.subscriber_elsewhere,
                facts.reservation_elsewhere,
                facts.heard_elsewhere,
                facts.over_rate,
                facts.partitioned,
            )
            beside = [note for note in odd if note not in (None, says)]
            return Diagnosis(rule.name, says, rule.means, rule.cure_for(facts), beside)
    raise AssertionError("the last rule applies to everybody")
