"""A rule: its name, what it means, what to do, and how it is found. Pure; the reference page follows from it."""

from __future__ import annotations

from collections.abc import Callable
from string import Formatter

from msgspec import Struct

from wayleave.api.facts import Facts
from wayleave.dataplane.counters import spoken
from wayleave.dataplane.samples import Drop
from wayleave.net.probe import describe

Finds = Callable[[Facts], str | None]


class Rule(Struct, frozen=True):
    """One thing that can be wrong. `finds` says in words what it has found, or nothing.

    `cure` names what is at hand as `{device}` and the like, of `Facts.names`. What stands in backticks is a command, a
    file of the documentation or a key of the configuration: a test looks whether each exists.
    """

    name: str
    means: str
    cure: str
    finds: Finds

    def cure_for(self, facts: Facts) -> str:
        """What to do about it here."""
        return self.cure.format_map(facts.names)

    def cure_in_general(self) -> str:
        """What to do about it, with what is to be named in capitals."""
        return self.cure.format_map({name: name.upper() for _, name, _, _ in Formatter().parse(self.cure) if name})


class Rules(list[Rule]):
    """Some rules, from the root to the leaves."""

    def rule(self, name: str, means: str, cure: str) -> Callable[[Finds], Finds]:
        """Add what this decorates, behind those that are there."""

        def add(finds: Finds) -> Finds:
            self.append(Rule(name, means, cure, finds))
            return finds

        return add


def seen_dropped(drop: Drop) -> str:
    """A drop in words."""
    return f"{spoken(drop.reason.name)}: {describe(drop.octets, drop.length)}"
