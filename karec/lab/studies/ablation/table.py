"""The ablation's table: what each piece of distillation gives, from all models' scores of the same rows and
pools.

Measures are means over seeds; intervals resample users, with the same draws for every model, so that the
difference of two rows is paired. Sources as in ``karec.evaluate.metrics.accuracy`` and
``karec.evaluate.metrics.agreement``.
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
KEPT, PASSED = (10, 100), 0.01  # of the ranker's best so many works of a library, those among the best 1 %
TOPS = "works in top tens"
COMPARED_WITH = ("lr", "lightgbm", "hard-full", "teacher")


@dataclass(frozen=True)
class Row:
    """A row of the table: ``towers`` are "full" or "static", None for other models; ``parent`` is the row it
    is compared with."""

    name: str
    title: str
    parent: str | None
    towers: str | None = None


@dataclass(frozen=True, eq=False)
class ModelScores:
    """One model of one seed: ``logits (M, T)`` of the measured rows, scores ``pools (P, N)``, and what it
    cost. Of ranker and towers also ``whole (W, L)``, scores of a library, and of towers ``tops``, each user's
    best works.
    """

    logits: NDArray[Any]
    pools: NDArray[Any]
    seconds: float
    peak_gib: float
    whole: NDArray[Any] | None = None
    tops: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """A measure's value and its bootstrap draws (R,)."""

    value: float
    draws: NDArray[Any]

    def as_dict(self) -> dict[str, Any]:
        return {"value": self.value, "ci": bootstrap_interval(self.draws)}

    def minus(self, other: Measured) -> Measured:
        return Measured(self.value - other.value, self.draws - other.draws)


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """What all models are measured on: M exposures, and P pools of N works, ``pool_users (P,)`` all
    different.

    ``start_ms`` is where the days of GAUC begin. ``truth (P, N)`` are the true scores of the pools' works,
    where they are known, as on a synthetic platform.
    """

    exposures: Impressions
    tasks: tuple[str, ...]
    start_ms: int
    pool_users: NDArray[Any]
    truth: NDArray[Any] | None = None
    resamples: int = 200
    seed: int = 0


def measure(model: ModelScores, teacher: ModelScores, on: EvaluationSet) -> dict[str, Measured]:
    """Every measure of a model: ``<task>.auc``, ``.gauc``, ``.ece``, and of its pools against its
    teacher's."""
    exposures = on.exposures
    bootstrap = UserBootstrap(exposures.user_id, on.resamples, on.seed)
    group = user_days(exposures.user_id, exposures.time_ms, on.start_ms)
    found: dict[str, Measured] = {}
    for at, task in enumerate(on.tasks):
        y = exposures.labels[task]
        p = 1.0 / (1.0 + np.exp(-model.logits[:, at].astype(np.float64)))
        found[f"{task}.auc"] = Measured(auc(y, p), bootstrap.auc(y, p))
        found[f"{task}.gauc"] = Measured(gauc(y, p, group), bootstrap.gauc(y, p, group))
        found[f"{task}.ece"] = Measured(ece(y, p), bootstrap.ece(y, p))
    by_pool = {
        f"hit {m} in {k}": normalised_hit_rate(model.pools, teacher.pools, m, k)
        for m, k in HITS
        if k < model.pools.shape[1]
    }
    by_pool[f"NDCG@{NDCG_AT}"] = ndcg_against(model.pools, teacher.pools, NDCG_AT)
    if on.truth is not None:
        by_pool["NDCG of truth"] = ndcg_against(model.pools, on.truth, NDCG_AT)
    found |= _by_pool(by_pool, on)
    if model.whole is not None and teacher.whole is not None:
        n = teacher.whole.shape[1]
        cut = max(round(PASSED * n), 1)
        kept = {
            f"ranker's top {top} kept": hit_rate(model.whole, teacher.whole, top, cut)
            for top in KEPT
            if top <= n
        }
        found |= _by_pool(kept, on)
    if model.tops is not None:
        distinct = float(len(np.unique(model.tops)))
        found[TOPS] = Measured(distinct, np.full(on.resamples, distinct))
    return found


def _by_pool(values: Mapping[str, NDArray[Any]], on: EvaluationSet) -> dict[str, Measured]:
    """Means over pools, one a user, whose draws are of users; ``values`` (n,) each, of the same n pools."""
    if not values:
        return {}
    generator, n = np.random.default_rng(on.seed), len(next(iter(values.values())))
    drawn = (
        np.stack([np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(on.resamples)]) / n
    )
    return {name: Measured(float(each.mean()), drawn @ each) for name, each in values.items()}


def over_seeds(of_seeds: Sequence[Mapping[str, Measured]]) -> dict[str, Measured]:
    """The mean over seeds, draw by draw."""
    return {
        name: Measured(
            float(np.mean([one[name].value for one in of_seeds])),
            np.mean([one[name].draws for one in of_seeds], axis=0),
        )
        for name in of_seeds[0]
    }


def ablation_table(
    rows: Sequence[Row],
    measured: Mapping[str, Mapping[str, Measured]],
    costs: Mapping[str, Mapping[str, float]],
    tasks: Sequence[str],
) -> list[dict[str, Any]]:
    """A dict for each row that was measured, as JSON holds it: its measures, its gains over its parent, and,
    for towers, the share of the gap between hard labels and the ranker that it closes, each with an interval.
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
        entry["measures"] = {name: value.as_dict() for name, value in mine.items()}
        parent = measured.get(row.parent or "")
        if parent is not None:
            entry["gains"] = {
                name: value.minus(parent[name]).as_dict() for name, value in mine.items() if name in parent
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
    """The gain over another row in each AUC and in agreement with the truth."""
    names = [name for name in mine if name in other and (name.endswith(".auc") or name == "NDCG of truth")]
    return {name: mine[name].minus(other[name]).as_dict() for name in names}


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
            Measured(gain.value / gap.value, gain.draws / gap.draws).as_dict() if gap.value > 0 else {}
        )
    return closed
