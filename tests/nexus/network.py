"""A small network: two providers, lines of two gateways, and what gateways are told of its subscribers."""

from __future__ import annotations

import msgspec

from wayleave.nexus import model
from wayleave.nexus.holding import Holding
from wayleave.nexus.lines import Lines
from wayleave.nexus.model import Line, Provider, Subscriber
from wayleave.nexus.providers import Providers
from wayleave.nexus.store.port import Store
from wayleave.nexus.subscribers import Subscribers
from wayleave.nexus.views import View

from .driven import run

ACME = Provider("acme", "acme", "acme-home", "fast", ("acme.example",))
BETA = Provider("beta", "beta", "beta-home", realms=("beta.example", "b.example"))
LINES = [Line(f"line-{number}", f"edge-{1 + number % 2}", 1, 100, number, ont=f"ONT{number}") for number in range(1, 5)]
ALICE = Subscriber("alice", "acme", "line-1")
BOB = Subscriber("bob", "beta", "line-2", user="bob", realm="beta.example", service="slow", limit=2)


class Network:
    """The resources of a store, called by name."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.providers, self.lines, self.subscribers = (
            Providers(store),
            Lines(store),
            Subscribers(store, Holding(store).own),
        )
        for provider in (ACME, BETA):
            run(self.providers.put(provider, 0))
        for line in LINES:
            run(self.lines.put(line, 0))

    def views(self) -> dict[str, View]:
        """What gateways are told, by NODE/SUBSCRIBER."""
        entries = run(self.store.page(model.VIEWS)).entries
        return {entry.key.removeprefix(model.VIEWS): msgspec.json.decode(entry.value, type=View) for entry in entries}

    def stored(self) -> set[str]:
        return {entry.key for entry in run(self.store.page("")).entries}
