"""Rows and measures of the ablation: the effect of each piece of distillation.

Pieces are added one at a time: hard labels, + model distillation, + feature distillation, + soft labels of
whole pools, + their order (*list*). All towers learn from the row "teacher", the ranker of the kind in the
settings; "teacher-again" is the same ranker with another seed.

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
TOPS, PASSED_FRACTION = (10, 100), 0.01  # share of the ranker's top among a model's best 1 % of the library
COMPARED_WITH = ("lr", "lightgbm", "hard", "teacher")


@dataclass(frozen=True)
class Row:
    """One model of the study: a row of the table."""

    name: str
    title: str


TOWERS = (
    Row("hard", "hard labels"),
    Row("model-distillation", "+ model distillation"),
    Row("feature-distillation", "+ feature distillation"),
    Row("pools", "+ feature distillation of whole pools"),
    Row("list", "+ the pools' order (list)"),
)
ROWS = (
    Row("lr", "LR"),
    Row("lightgbm", "LightGBM"),
    *TOWERS,
    Row("mmoe", "MMoE"),
    Row("teacher", "ranker"),
    Row("teacher-again", "ranker, re-seeded"),
)


@dataclass(frozen=True, eq=False)
class ModelScores:
    """Scores of one model and seed.

    logits   (M, T) of the measured impressions
    pools    (P, N)
    library  (W, L) of the library for W users, by the ranker and towers
    """

    logits: NDArray[Any]
    pools: NDArray[Any]
    seconds: float
    peak_gib: float
    library: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Measure:
    """Value of a measure and its bootstrap draws (R,)."""

    value: float
    draws: NDArray[Any]

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "ci": bootstrap_interval(self.draws)}

    def minus(self, other: Measure) -> Measure:
        return Measure(self.value - other.value, self.draws - other.draws)


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Data that all models are measured on: M impressions, and P pools of N works.

    start_ms  begin of the days of GAUC
    truth     (P, N) true scores of the pools' works, if known
    """

    exposures: Impressions
    tasks: tuple[str, ...]
    start_ms: int
    truth: NDArray[Any] | None = None
    resamples: int = 200
    seed: int = 0


def measure(model: ModelScores, teacher: ModelScores, evaluation: EvaluationSet) -> dict[str, Measure]:
    """Returns ``<task>.auc``, ``.gauc`` and ``.ece``, and the agreement of pools and library with the
    teacher."""
    exposures = evaluation.exposures
    bootstrap = UserBootstrap(exposures.user_id, evaluation.resamples, evaluation.seed)
    group = user_days(exposures.user_id, exposures.time_ms, evaluation.start_ms)
    measures: dict[str, Measure] = {}
    for column, task in enumerate(evaluation.tasks):
        y = exposures.labels[task]
        p = 1.0 / (1.0 + np.exp(-model.logits[:, column].astype(np.float64)))
        measures[f"{task}.auc"] = Measure(auc(y, p), bootstrap.auc(y, p))
        measures[f"{task}.gauc"] = Measure(gauc(y, p, group), bootstrap.gauc(y, p, group))
        measures[f"{task}.ece"] = Measure(ece(y, p), bootstrap.ece(y, p))
    agreement = {
        f"hit {m} in {k}": normalised_hit_rate(model.pools, teacher.pools, m, k)
        for m, k in HITS
        if k < model.pools.shape[1]
    }
    agreement[f"NDCG@{NDCG_AT}"] = ndcg_against(model.pools, teacher.pools, NDCG_AT)
    if evaluation.truth is not None:
        agreement["NDCG of truth"] = ndcg_against(model.pools, evaluation.truth, NDCG_AT)
    measures |= _means_over_users(agreement, evaluation)
    if model.library is not None and teacher.library is not None:
        n = teacher.library.shape[1]
        cut = max(round(PASSED_FRACTION * n), 1)
        shares = {
            f"ranker's top {top} kept": hit_rate(model.library, teacher.library, top, cut)
            for top in TOPS
            if top <= n
        }
        measures |= _means_over_users(shares, evaluation)
    return measures


def _means_over_users(values: Mapping[str, NDArray[Any]], evaluation: EvaluationSet) -> dict[str, Measure]:
    """Returns means of ``values`` {name: (n,), one per user}, with draws over users."""
    if not values:
        return {}
    generator, n = np.random.default_rng(evaluation.seed), len(next(iter(values.values())))
    resamples = [generator.integers(n, size=n) for _ in range(evaluation.resamples)]
    weights = np.stack([np.bincount(users, minlength=n) for users in resamples]) / n
    return {name: Measure(float(pools.mean()), weights @ pools) for name, pools in values.items()}


def mean_over_seeds(measures_of_seeds: Sequence[Mapping[str, Measure]]) -> dict[str, Measure]:
    """Returns the mean over seeds, draw by draw."""
    return {
        name: Measure(
            float(np.mean([measures[name].value for measures in measures_of_seeds])),
            np.mean([measures[name].draws for measures in measures_of_seeds], axis=0),
        )
        for name in measures_of_seeds[0]
    }


def ablation_table(
    rows: Sequence[Row],
    measures: Mapping[str, Mapping[str, Measure]],
    costs: Mapping[str, Mapping[str, float]],
) -> list[dict[str, Any]]:
    """Returns a dict for each row: measures and gains over COMPARED_WITH, with intervals."""
    table = []
    for row in rows:
        own = measures[row.name]
        table.append(
            {
                "name": row.name,
                "title": row.title,
                "measures": {name: value.to_dict() for name, value in own.items()},
                "over": {
                    other: _gains_over(own, measures[other])
                    for other in COMPARED_WITH
                    if other in measures and other != row.name
                },
                **costs[row.name],
            }
        )
    return table


def _gains_over(own: Mapping[str, Measure], other: Mapping[str, Measure]) -> dict[str, dict[str, Any]]:
    """Returns the gain over another row in each AUC and in the agreement with the truth."""
    names = [name for name in own if name in other and (name.endswith(".auc") or name == "NDCG of truth")]
    return {name: own[name].minus(other[name]).to_dict() for name in names}
