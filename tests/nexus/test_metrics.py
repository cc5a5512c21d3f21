"""What Prometheus is told: every metric, with the values that were counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from wayleave.nexus.metrics import METRICS, Counts, exposition


def test_every_metric_is_told() -> None:
    feed: Any = SimpleNamespace(streams=3, cut=2, position=70)
    counts = Counts(feed)
    counts.answers["node", "200"] += 5
    counts.refused["HTTP_REQUEST"] += 6
    counts.holds, counts.ended = 4, 1
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposition(counts).decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert len({name for name, *_ in told}) == len(METRICS)
    assert told[("wayleave_nexus_answers_total", "node", "200")] == 5
    assert told[("wayleave_nexus_handshakes_refused_total", "HTTP_REQUEST")] == 6
    assert {name.removeprefix("wayleave_nexus_"): value for (name, *rest), value in told.items() if not rest} == {
        "holds": 4, "holds_ended_total": 1, "streams": 3, "streams_cut_total": 2, "revision": 70,
    }  # fmt: skip
