"""The text of /metrics: the numbers of all workers as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from karec.pipeline.types import Array
from karec.serve.metrics import names
from karec.serve.metrics.between_workers import Summed, Told
from karec.serve.metrics.counted import CALLS, FAILED, HISTOGRAM, MS, N_IN, N_OUT, Labels
from karec.serve.metrics.histogram import cumulated

OF_STEPS = dict(zip(names.STEPS, (CALLS, N_IN, N_OUT, FAILED), strict=True))
OF_STAGES = dict(zip(names.STAGES, (N_IN, N_OUT), strict=True))
OF_ANSWERS = dict(zip(names.ANSWERS, (CALLS, FAILED, N_IN, N_OUT), strict=True))

Windows = Mapping[str, Mapping[str, Any]]
"""{"10m", "1h", "24h": measures}"""


def text_of(living: Sequence[Told], ended: Told, windows: Mapping[str, Windows]) -> bytes:
    """``windows``: {what counts as an exposure: its windows}."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(_families(Summed([ended, *living]), living, windows))))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _families(summed: Summed, living: Sequence[Told], windows: Mapping[str, Windows]) -> Iterator[Metric]:
    steps: dict[Labels, Array] = {key: row for key, row in summed.total.items() if key[2]}
    stages: dict[Labels, Array] = {key[:2]: row for key, row in summed.total.items() if key[1] and not key[2]}
    answers: dict[Labels, Array] = {key[:1]: row for key, row in summed.total.items() if not key[1]}
    for metrics, rows, columns in (
        (names.ANSWERS, answers, OF_ANSWERS),
        (names.STAGES, stages, OF_STAGES),
        (names.STEPS, steps, OF_STEPS),
    ):
        for name, metric in metrics.items():
            yield _counter(metric, {labels: float(row[columns[name]]) for labels, row in rows.items()})
    yield _histogram(names.ANSWER_SECONDS, answers, names.REQUESTS_EDGES)
    yield _histogram(names.STAGE_SECONDS, stages, names.STEPS_EDGES)
    yield _histogram(names.STEP_SECONDS, steps, names.STEPS_EDGES)
    for name, metric in names.NAMED.items():
        yield _counter(metric, summed.named.get(name, {}))
    for name, values in over_workers(living).items():
        yield _gauge(names.READ[name], values)
    for name, values in _of_windows(windows).items():
        yield _gauge(names.ECOSYSTEM[name], values)


def over_workers(living: Sequence[Told]) -> dict[str, dict[Labels, float]]:
    """The gauges of all living workers, by the rule of each."""
    found: dict[str, dict[Labels, float]] = {name: {} for name in names.READ}
    for told in living:
        for name, values in told.read.items():
            if name not in names.READ:  # of another version of karec
                continue
            over = names.READ[name].over
            for labels, value in values.items():
                there = found[name].get(labels)
                if there is None or over is names.Over.EACH:
                    found[name][labels] = value
                else:
                    found[name][labels] = there + value if over is names.Over.SUM else max(there, value)
    return found


def _of_windows(windows: Mapping[str, Windows]) -> dict[str, dict[Labels, float]]:
    found: dict[str, dict[Labels, float]] = {name: {} for name in names.ECOSYSTEM}
    for exposure, of in windows.items():
        for window, measures in of.items():
            at = exposure, window
            for name in ("exposures", "creators_gini", "creators", "works", "works_first"):
                if measures[name] is not None:
                    found[f"karec_ecosystem_{name}"][at] = measures[name]
            for hours in ("24", "72"):
                if measures[f"young_{hours}h"] is not None:
                    found["karec_ecosystem_young_share"][*at, hours] = measures[f"young_{hours}h"]
            for type_, share in measures["types"].items():
                found["karec_ecosystem_type_share"][*at, type_] = share
    return found


def _counter(metric: names.Metric, values: Mapping[Labels, float]) -> Metric:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _gauge(metric: names.Metric, values: Mapping[Labels, float]) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(metric: names.Metric, rows: Mapping[Labels, Array], each: int) -> Metric:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, row in rows.items():
        family.add_metric(labels, cumulated(row[HISTOGRAM:], each), float(row[MS]) / 1e3)
    return family
