"""/metrics: what the gateway counts, for Prometheus. Aggregates only: never a series a session.

A row of `METRICS` is a whole metric: name, kind, help, labels, and how it is read. The reference page follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from wayleave import __version__
from wayleave.api.radius import exchanges, servers, view_radius
from wayleave.proto.radius.exchange import BUCKETS_MS, Peer

if TYPE_CHECKING:
    from wayleave.api.routes import Running


class Spread(Struct, frozen=True):
    """What a histogram has of one set of labels: counts up to each bound, the last without one; and their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


Samples = Iterable[tuple[tuple[str, ...], float | Spread]]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(Struct, frozen=True):
    """A row. `read` yields the values of the labels with the value; counters count since the maps or bng began."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
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
        self.nexus = gateway.nexus_view()
        self.radius = view_radius(gateway.authority, gateway.clock.boot())

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


def _pppoe(now: Reading) -> Samples:
    calls = now.gateway.pppoe.calls
    return [(("up",), len(calls) - calls.dialing), (("dialing",), calls.dialing)]


_SERVER = ("group", "server", "purpose")


def _of_servers(name: str) -> Callable[[Reading], Samples]:
    """A field of every server."""

    def read(now: Reading) -> Samples:
        return (((item.group, item.server, item.purpose), float(getattr(item, name))) for item in now.radius.servers)

    return read


def _kinds_of_servers(name: str) -> Callable[[Reading], Samples]:
    """A table of names and counts of every server."""

    def read(now: Reading) -> Samples:
        for item in now.radius.servers:
            for kind, count in getattr(item, name).items():
                yield (item.group, item.server, item.purpose, kind), count

    return read


def _waiting(now: Reading) -> Samples:
    return (((group, purpose), len(exchange.waiting)) for group, purpose, exchange in exchanges(now.gateway.authority))


def _latency(now: Reading) -> Samples:
    return ((asked.labels, _spread(asked.peer)) for asked in servers(now.gateway.authority))


def _spread(peer: Peer) -> Spread:
    return Spread(tuple(most / 1000 for most in BUCKETS_MS), tuple(peer.latency), peer.latency_ns / 1e9)


def _backlog(now: Reading) -> Samples:
    for item in now.radius.backlogs:
        yield (item.group, "memory"), item.in_memory
        yield (item.group, "disk"), item.waiting - item.in_memory


def _oldest(now: Reading) -> Samples:
    return (((item.group,), item.oldest_s or 0) for item in now.radius.backlogs)


def _nexus(name: str) -> Callable[[Reading], Samples]:
    """A field of what Nexus is to the gateway; nothing where there is none."""
    return lambda now: [] if now.nexus is None else [((), float(getattr(now.nexus, name)))]


def _shares(now: Reading) -> Samples:
    for share in now.nexus.shares if now.nexus is not None else ():
        for what in ("size", "held", "spare", "reserve"):
            yield (share.pool, what), getattr(share, what)


def _blocks(now: Reading) -> Samples:
    return (((share.pool,), len(share.blocks)) for share in (now.nexus.shares if now.nexus is not None else ()))


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
        "wayleave_pppoe_sessions", "gauge", "PPPoE session-ids that are given out, by whether they have an address",
        ("state",), _pppoe,
    ),
    Metric(
        "wayleave_pppoe_heard", "counter", "discovery that Python took up, and PPP's network protocols", ("kind",),
        lambda now: now.counted("pppoe", "heard"),
    ),
    Metric(
        "wayleave_pppoe_said", "counter", "PPPoE and PPP packets that Python sent, by kind", ("kind",),
        lambda now: now.counted("pppoe", "said"),
    ),
    Metric(
        "wayleave_pppoe_ignored", "counter", "PPPoE and PPP packets that Python did not answer, by reason", ("reason",),
        lambda now: now.counted("pppoe", "ignored"),
    ),
    Metric(
        "wayleave_pppoe_ended", "counter", "PPPoE sessions that ended, by reason", ("reason",),
        lambda now: now.counted("pppoe", "ended"),
    ),
    Metric(
        "wayleave_standing_replies", "gauge", "different DHCP replies that the data plane gives by itself", (),
        lambda now: [((), len(now.gateway.plane.tables.replies))],
    ),
    Metric("wayleave_nexus_partitioned", "gauge", "whether Nexus does not answer", (), _nexus("partitioned")),
    Metric(
        "wayleave_nexus_hold_seconds", "gauge", "how long the gateway's blocks are its own if Nexus stays silent", (),
        _nexus("hold_s"),
    ),
    Metric(
        "wayleave_nexus_waiting_sessions", "gauge", "sessions that wait until Nexus confirms their blocks", (),
        _nexus("waiting"),
    ),
    Metric("wayleave_nexus_blocks", "gauge", "blocks that the gateway has, by shared pool", ("pool",), _blocks),
    Metric(
        "wayleave_nexus_addresses", "gauge", "addresses of these blocks, and what is to be in hand", ("pool", "state"),
        _shares,
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
    Metric(
        "wayleave_radius_server_alive", "gauge", "1, or 0 for a RADIUS server that is left out as dead", _SERVER,
        _of_servers("alive"),
    ),
    Metric(
        "wayleave_radius_in_flight", "gauge", "packets to RADIUS servers that may still be answered", _SERVER,
        _of_servers("in_flight"),
    ),
    Metric("wayleave_radius_requests", "counter", "packets sent to RADIUS servers", _SERVER, _of_servers("requests")),
    Metric("wayleave_radius_repeated", "counter", "those of them that were repeated", _SERVER, _of_servers("repeated")),
    Metric(
        "wayleave_radius_timeouts", "counter", "waits for an answer that ended without one", _SERVER,
        _of_servers("timeouts"),
    ),
    Metric(
        "wayleave_radius_deaths", "counter", "how often a RADIUS server was found dead", _SERVER, _of_servers("deaths")
    ),
    Metric(
        "wayleave_radius_answers", "counter", "answers of RADIUS servers, by kind", (*_SERVER, "answer"),
        _kinds_of_servers("answers"),
    ),
    Metric(
        "wayleave_radius_doubts", "counter", "what came from RADIUS servers and was not believed, by reason",
        (*_SERVER, "reason"), _kinds_of_servers("doubts"),
    ),
    Metric(
        "wayleave_radius_latency_seconds", "histogram", "from the first transmission to the answer", _SERVER, _latency
    ),
    Metric(
        "wayleave_radius_waiting", "gauge", "questions that wait until they may be sent", ("group", "purpose"),
        _waiting,
    ),
    Metric(
        "wayleave_accounting_waiting", "gauge",
        "records that no server has acknowledged: on disk alone, or also in memory", ("group", "where"), _backlog,
    ),
    Metric(
        "wayleave_accounting_oldest_seconds", "gauge", "for how long the oldest of them has waited", ("group",),
        _oldest,
    ),
    Metric(
        "wayleave_accounting_acknowledged", "counter", "records that servers have acknowledged", ("group",),
        lambda now: (((item.group,), item.acknowledged) for item in now.radius.backlogs),
    ),
    Metric(
        "wayleave_accounting_shortened", "counter", "records too long for a packet, sent without their longest parts",
        ("group",), lambda now: (((item.group,), item.shortened) for item in now.radius.backlogs),
    ),
    Metric(
        "wayleave_dynauth", "counter", "CoA and Disconnect requests, by what became of them", ("result",),
        lambda now: _flat(now.radius.controllers),
    ),
    Metric(
        "wayleave_radius_rejected_clients", "gauge", "clients that were rejected, and are not asked about again yet",
        (), lambda now: [((), now.radius.rejected)],
    ),
    Metric(
        "wayleave_sessions_provisional", "gauge", "sessions that go by what was granted last", (),
        lambda now: [((), now.radius.provisional)],
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
            yield _family(metric, metric.read(now))


def _family(metric: Metric, samples: Samples) -> Family:
    family: Any = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if isinstance(value, Spread):
            names = [*map(str, value.bounds), "+Inf"]
            family.add_metric(labels, list(zip(names, accumulate(value.counts), strict=True)), value.total)
        else:
            family.add_metric(labels, value)
    return cast("Family", family)


_FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def exposition(gateway: Running) -> bytes:
    """Return everything in Prometheus' text format, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(gateway))
    return generate_latest(registry)
