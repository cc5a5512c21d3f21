"""/metrics: what the gateway counts, for Prometheus. Aggregates only: never a series a session.

A row of `METRICS` is a whole metric: name, kind, help, labels, and how it is read. The reference page follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family

from wayleave import __version__

if TYPE_CHECKING:
    from wayleave.api.routes import Running

Samples = Iterable[tuple[tuple[str, ...], float]]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(Struct, frozen=True):
    """A row. `read` yields the values of the labels with the value; counters count since the maps or bng began."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    read: Callable[[Reading], Samples]


class Reading:
    """One look at a gateway, so that all metrics of an answer are of one moment."""

    def __init__(self, gateway: Running) -> None:
        self.gateway = gateway
        self.counters = gateway.plane.counters
        self.happenings: dict[str, Any] = gateway.happenings()
        self.pools = gateway.pool_views()

    def counted(self, *path: str) -> Samples:
        """A table of names and counts among the happenings."""
        found: Any = self.happenings
        for step in path:
            found = found[step]
        return _flat(found)


def _flat(counts: dict[str, int]) -> Samples:
    return (((name,), count) for name, count in counts.items())


def _nested(table: dict[str, dict[str, int]]) -> Samples:
    return (((outer, inner), count) for outer, row in table.items() for inner, count in row.items())


def _addresses(now: Reading) -> Samples:
    for pool in now.pools:
        for state in ("size", "held", "quarantined"):
            yield (pool.name, pool.tenant, state), getattr(pool, state)


def _phases(now: Reading) -> Samples:
    return (((phase.value,), count) for phase, count in now.gateway.table.phases.items())


METRICS = (
    Metric("wayleave_info", "gauge", "1, with the version", ("version",), lambda _: [((__version__,), 1)]),
    Metric(
        "wayleave_ready", "gauge", "whether /readyz says yes", (), lambda now: [((), float(not now.gateway.unready()))]
    ),
    Metric(
        "wayleave_received_packets", "counter", "frames that entered the data plane, by kind of port", ("port",),
        lambda now: _flat(now.counters.received()),
    ),
    Metric(
        "wayleave_packets", "counter", "where and how packets ended; in all as many as were received",
        ("stage", "outcome"), lambda now: _nested(now.counters.outcomes()),
    ),
    Metric(
        "wayleave_dropped_packets", "counter", "packets dropped, by reason (drops.md)", ("reason",),
        lambda now: _flat(now.counters.drops()),
    ),
    Metric(
        "wayleave_drop_samples", "counter", "dropped packets, by what became of them as samples", ("result",),
        lambda now: _flat(now.counters.samples()),
    ),
    Metric(
        "wayleave_punts", "counter", "messages for Python, by class and what became of them", ("class", "result"),
        lambda now: _nested(now.counters.punts()),
    ),
    Metric(
        "wayleave_dhcp4_data_plane", "counter", "DHCP in the data plane: answers, and why messages went up (dhcp4.md)",
        ("result",), lambda now: _flat(now.counters.dhcp4()),
    ),
    Metric(
        "wayleave_dhcp4_heard", "counter", "DHCP messages that Python took up, by kind", ("kind",),
        lambda now: now.counted("dhcp4", "heard"),
    ),
    Metric(
        "wayleave_dhcp4_said", "counter", "DHCP messages that Python sent, by type", ("type",),
        lambda now: now.counted("dhcp4", "said"),
    ),
    Metric(
        "wayleave_dhcp4_ignored", "counter", "DHCP messages that Python did not answer, by reason", ("reason",),
        lambda now: now.counted("dhcp4", "ignored"),
    ),
    Metric(
        "wayleave_standing_replies", "gauge", "different DHCP replies that the data plane gives by itself", (),
        lambda now: [((), len(now.gateway.plane.tables.replies))],
    ),
    Metric("wayleave_sessions", "gauge", "sessions, by phase", ("phase",), _phases),
    Metric(
        "wayleave_sessions_opened", "counter", "sessions that came up", (),
        lambda now: [((), now.happenings["sessions"]["opened"])],
    ),
    Metric(
        "wayleave_sessions_closed", "counter", "sessions that ended, by cause", ("cause",),
        lambda now: now.counted("sessions", "closed"),
    ),
    Metric(
        "wayleave_sessions_refused", "counter", "clients refused, by reason", ("reason",),
        lambda now: now.counted("sessions", "refused"),
    ),
    Metric(
        "wayleave_unexpected_events", "counter", "bugs of ours: events that made no sense to a session", ("event",),
        lambda now: now.counted("sessions", "unexpected"),
    ),
    Metric("wayleave_pool_addresses", "gauge", "addresses of a pool", ("pool", "tenant", "state"), _addresses),
    Metric(
        "wayleave_frames", "counter", "frames that Python sent, or could not send", ("result",),
        lambda now: now.counted("frames"),
    ),
    Metric(
        "wayleave_ring_waiting_bytes", "gauge", "octets that wait in the punt ring", (),
        lambda now: [((), now.gateway.plane.ring.waiting)],
    ),
    Metric(
        "wayleave_loop_lag_seconds", "gauge", "how late the event loop ran its timers in the last minute",
        ("quantile",),
        lambda now: (((name,), value / 1e6) for name, value in now.happenings["loop_lag_us"].items()),
    ),
    Metric(
        "wayleave_store_groups", "counter", "groups of writes that reached the disk", (),
        lambda now: [((), now.happenings["store_groups"])],
    ),
)  # fmt: skip


class _Collector:
    """What prometheus_client asks for its metrics."""

    def __init__(self, gateway: Running) -> None:
        self._gateway = gateway

    def describe(self) -> Iterable[Family]:
        return ()  # or it would collect once to find out

    def collect(self) -> Iterator[Family]:
        now = Reading(self._gateway)
        for metric in METRICS:
            family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(
                metric.name, metric.help, labels=metric.labels
            )
            for labels, value in metric.read(now):
                family.add_metric(labels, value)
            yield family


def exposition(gateway: Running) -> bytes:
    """Return everything in Prometheus' text format, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(gateway))
    return generate_latest(registry)
