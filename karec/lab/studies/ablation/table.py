"""Table of the ablation: the effect of each piece of distillation, from all models' scores of the same rows.

Measures are means over seeds. Intervals resample users with the same draws for every model, so differences of
rows are paired. Sources: as in ``karec.evaluate.metrics.accuracy`` and ``karec.evaluate.metrics.agreement``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.evaluate.metrics.accuracy import UserBootstrap, auc, bootstrap_interval, ece, gauc, user_days
from karec.evaluate.metrics.agreement import hit_rate, ndcg_against, normalised_hit_rate

HITS = ((10, 10), (10, 50), (50, 50), (50, 100))
NDCG_AT = 50
KEPT, PASSED = (10, 100), 0.01  # how many of the ranker's best 10 and 100 are among the best 1 % of a library
TOPS = "works in top tens"
COMPARED_WITH = ("lr", "lightgbm", "hard-full", "teacher")


@dataclass(frozen=True)
class Row:
    """A row of the table. ``towers``: "full", "static", or None for other models; ``parent``: the row to
    compare with.
    """

    name: str
    title: str
    parent: str | None
    towers: str | None = None


@dataclass(frozen=True, eq=False)
class ModelScores:
    """Scores of one model and seed.

    logits     (M, T) of the measured rows
    pools      (P, N) scores
    whole      (W, L) scores of a library, of rankers and towers
    tops       best works of each user, of towers
    """

    logits: NDArray[Any]
    pools: NDArray[Any]
    seconds: float
    peak_gib: float
    whole: NDArray[Any] | None = None
    tops: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """Value of a measure and its bootstrap draws (R,)."""

    value: float
    draws: NDArray[Any]

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "ci": bootstrap_interval(self.draws)}

    def minus(self, other: Measured) -> Measured:
        return Measured(self.value - other.value, self.draws - other.draws)


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Data that all models are measured on: M impressions, and P pools of N works of different ``pool_users``
    (P,).

    ``start_ms``: begin of the days of GAUC. ``truth`` (P, N): true scores of the pools' works, if known.
    """

    exposures: Impressions
    tasks: tuple[str, ...]
    start_ms: int
    pool_users: NDArray[Any]
    truth: NDArray[Any] | None = None
    resamples: int = 200
    seed: int = 0


def measure(model: ModelScores, teacher: ModelScores, on: EvaluationSet) -> dict[str, Measured]:
    """Returns ``<task>.auc``, ``.gauc`` and ``.ece`` of a model, and the agreement of its pools with the
    teacher's.
    """
    exposures = on.exposures
    bootstrap = UserBootstrap(exposures.user_id, on.resamples, on.seed)
    group = user_days(exposures.user_id, exposures.time_ms, on.start_ms)
    measures: dict[str, Measured] = {}
    for column, task in enumerate(on.tasks):
        y = exposures.labels[task]
        p = 1.0 / (1.0 + np.exp(-model.logits[:, column].astype(np.float64)))
        measures[f"{task}.auc"] = Measured(auc(y, p), bootstrap.auc(y, p))
        measures[f"{task}.gauc"] = Measured(gauc(y, p, group), bootstrap.gauc(y, p, group))
        measures[f"{task}.ece"] = Measured(ece(y, p), bootstrap.ece(y, p))
    by_pool = {
        f"hit {m} in {k}": normalised_hit_rate(model.pools, teacher.pools, m, k)
        for m, k in HITS
        if k < model.pools.shape[1]
    }
    by_pool[f"NDCG@{NDCG_AT}"] = ndcg_against(model.pools, teacher.pools, NDCG_AT)
    if on.truth is not None:
        by_pool["NDCG of truth"] = ndcg_against(model.pools, on.truth, NDCG_AT)
    measures |= _by_pool(by_pool, on)
    if model.whole is not None and teacher.whole is not None:
        n = teacher.whole.shape[1]
        cut = max(round(PASSED * n), 1)
        kept = {
            f"ranker's top {top} kept": hit_rate(model.whole, teacher.whole, top, cut)
            for top in KEPT
            if top <= n
        }
        measures |= _by_pool(kept, on)
    if model.tops is not None:
        distinct = float(len(np.unique(model.tops)))
        measures[TOPS] = Measured(distinct, np.full(on.resamples, distinct))
    return measures


def _by_pool(values: Mapping[str, NDArray[Any]], on: EvaluationSet) -> dict[str, Measured]:
    """Returns means over n pools, one per user, with draws over users; ``values``: (n,) each."""
    if not values:
        return {}
    generator, n = np.random.default_rng(on.seed), len(next(iter(values.values())))
    drawn = (
        np.stack([np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(on.resamples)]) / n
    )
    return {name: Measured(float(pools.mean()), drawn @ pools) for name, pools in values.items()}


def over_seeds(of_seeds: Sequence[Mapping[str, Measured]]) -> dict[str, Measured]:
    """Returns the mean over seeds, draw by draw."""
    return {
        name: Measured(
            float(np.mean([measures[name].value for measures in of_seeds])),
            np.mean([measures[name].draws for measures in of_seeds], axis=0),
        )
        for name in of_seeds[0]
    }


def ablation_table(
    rows: Sequence[Row],
    measured: Mapping[str, Mapping[str, Measured]],
    costs: Mapping[str, Mapping[str, float]],
    tasks: Sequence[str],
) -> list[dict[str, Any]]:
    """Returns a dict for each measured row: measures, gains over the parent, and for towers the closed gap.

    The closed gap is the fraction of the gap between hard labels and the ranker. All have intervals.
    """
    table = []
    for row in rows:
        mine = measured.get(row.name)
        if mine is None:
            continue
        entry: dict[str, Any] = {
            "name": row.name,
            "title": row.title,
            "towers": row.towers,
            "parent": row.parent,
        }
        entry["measures"] = {name: value.to_dict() for name, value in mine.items()}
        parent = measured.get(row.parent or "")
        if parent is not None:
            entry["gains"] = {
                name: value.minus(parent[name]).to_dict() for name, value in mine.items() if name in parent
            }
        entry["over"] = {
            name: _ahead(mine, measured[name])
            for name in COMPARED_WITH
            if name in measured and name != row.name
        }
        entry["gap_closed"] = _gap_closed(row, measured, tasks)
        table.append({**entry, **costs[row.name]})
    return table


def _ahead(mine: Mapping[str, Measured], other: Mapping[str, Measured]) -> dict[str, dict[str, Any]]:
    """Returns the gain over another row in each AUC and in the agreement with the truth."""
    names = [name for name in mine if name in other and (name.endswith(".auc") or name == "NDCG of truth")]
    return {name: mine[name].minus(other[name]).to_dict() for name in names}


def _gap_closed(
    row: Row, measured: Mapping[str, Mapping[str, Measured]], tasks: Sequence[str]
) -> dict[str, dict[str, Any]]:
    hard, teacher = measured.get(f"hard-{row.towers}"), measured.get("teacher")
    if row.towers is None or hard is None or teacher is None or row.name == f"hard-{row.towers}":
        return {}
    closed = {}
    for name in (f"{task}.auc" for task in tasks):
        gap, gain = teacher[name].minus(hard[name]), measured[row.name][name].minus(hard[name])
        closed[name] = (
            Measured(gain.value / gap.value, gain.draws / gap.draws).to_dict() if gap.value > 0 else {}
        )
    return closed
