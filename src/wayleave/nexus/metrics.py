"""/metrics: what a process of Nexus counts, for Prometheus. A row of `METRICS` is a whole metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, cast

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family

from wayleave import __version__
from wayleave.nexus.feed import Feed

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Samples = Iterable[tuple[tuple[str, ...], float]]


class Counts:
    """What has happened since the process began."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.answers: Counter[tuple[str, str]] = Counter()
        """By the role of who asked, and the status."""
        self.refused: Counter[str] = Counter()
        """Those who were not let on, by OpenSSL's reason."""
        self.holds = 0
        """As many as there were at the last look."""
        self.ended = 0


class Metric(Struct, frozen=True):
    """A row. `read` yields the values of the labels with the value."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    read: Callable[[Counts], Samples]


METRICS = (
    Metric("nexus_info", "gauge", "1, with the version", ("version",), lambda _: [((__version__,), 1)]),
    Metric(
        "nexus_answers", "counter", "answers, by who asked and HTTP's status", ("role", "status"),
        lambda now: now.answers.items(),
    ),
    Metric(
        "nexus_handshakes_refused", "counter", "connections that did not come about, by OpenSSL's reason", ("reason",),
        lambda now: (((reason,), count) for reason, count in now.refused.items()),
    ),
    Metric("nexus_holds", "gauge", "holds of gateways", (), lambda now: [((), now.holds)]),
    Metric("nexus_holds_ended", "counter", "holds ended that nobody renewed", (), lambda now: [((), now.ended)]),
    Metric("nexus_streams", "gauge", "streams of changes that listen", (), lambda now: [((), now.feed.streams)]),
    Metric("nexus_streams_cut", "counter", "those cut off, too slow", (), lambda now: [((), now.feed.cut)]),
    Metric("nexus_revision", "gauge", "the store's, as seen", (), lambda now: [((), now.feed.position)]),
)  # fmt: skip


class _Collector:
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            kind: Any = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(f"wayleave_{metric.name}", metric.help, labels=metric.labels)
            for labels, value in metric.read(self._counts):
                family.add_metric(labels, value)
            yield cast("Family", family)


def exposition(counts: Counts) -> bytes:
    """Return everything in Prometheus' text format, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(cast("Any", _Collector(counts)))
    return generate_latest(registry)
