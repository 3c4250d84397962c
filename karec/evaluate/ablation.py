"""The ablation's table: what each piece of teaching gives, from what every model said of the same rows and pools.

A *cell* is one model of one seed: its probabilities of the measured rows and its scores of whole pools. Measures are
means over seeds; intervals resample users, the same draws for every cell, so that a difference of two rows is paired.
Sources as in ``karec.evaluate.measures.accuracy`` and ``karec.evaluate.measures.agreement``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from karec.evaluate.measures.accuracy import UserBootstrap, auc, bootstrap_interval, ece, gauc, user_days
from karec.evaluate.measures.agreement import ndcg_against, normalised_hit_rate
from karec.platform.events import Exposures
from karec.types import Array

HITS = ((10, 10), (10, 50), (50, 50), (50, 100))
NDCG_AT = 50


@dataclass(frozen=True)
class Row:
    """A row of the table: ``towers`` "full" or "static" (None: no towers), ``parent`` the row it is compared with."""

    name: str
    title: str
    parent: str | None
    towers: str | None = None


@dataclass(frozen=True, eq=False)
class Cell:
    """What a model of one seed said: ``logits (M, T)``, ``pools (P, N)``; what it cost."""

    logits: Array
    pools: Array
    seconds: float
    peak_gib: float


@dataclass(frozen=True, eq=False)
class Measured:
    """A measure's value and its bootstrap draws (R,)."""

    value: float
    draws: Array

    def told(self) -> dict[str, Any]:
        return {"value": self.value, "ci": bootstrap_interval(self.draws)}

    def less(self, other: Measured) -> Measured:
        return Measured(self.value - other.value, self.draws - other.draws)


@dataclass(frozen=True, eq=False)
class Bench:
    """What all cells are measured on: M exposures, and P pools of N works, ``pool_users (P,)`` all different.

    ``truth (P, N)`` is what users really think of the pools' works, where that is known.
    """

    exposures: Exposures
    tasks: tuple[str, ...]
    start_ms: int
    pool_users: Array
    truth: Array | None = None
    resamples: int = 200
    seed: int = 0


def measure(cell: Cell, teacher: Cell, bench: Bench) -> dict[str, Measured]:
    """Every measure of one cell: ``<task>.auc``, ``.gauc``, ``.ece``, and of its pools against its own teacher's."""
    exposures = bench.exposures
    bootstrap = UserBootstrap(exposures.user_id, bench.resamples, bench.seed)
    group = user_days(exposures.user_id, exposures.time_ms, bench.start_ms)
    found: dict[str, Measured] = {}
    for at, task in enumerate(bench.tasks):
        y = exposures.labels[task]
        p = 1.0 / (1.0 + np.exp(-cell.logits[:, at].astype(np.float64)))
        found[f"{task}.auc"] = Measured(auc(y, p), bootstrap.auc(y, p))
        found[f"{task}.gauc"] = Measured(gauc(y, p, group), bootstrap.gauc(y, p, group))
        found[f"{task}.ece"] = Measured(ece(y, p), bootstrap.ece(y, p))
    by_pool = {
        f"hit {m} in {k}": normalised_hit_rate(cell.pools, teacher.pools, m, k)
        for m, k in HITS
        if k < cell.pools.shape[1]
    }
    by_pool[f"NDCG@{NDCG_AT}"] = ndcg_against(cell.pools, teacher.pools, NDCG_AT)
    if bench.truth is not None:
        by_pool["NDCG of truth"] = ndcg_against(cell.pools, bench.truth, NDCG_AT)
    generator = np.random.default_rng(bench.seed)
    n = len(bench.pool_users)
    drawn = np.stack([np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(bench.resamples)]) / n
    return found | {name: Measured(float(values.mean()), drawn @ values) for name, values in by_pool.items()}


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
    """A dict a row that was measured: its measures, its gains over its parent, and, for towers, the share of the gap
    between hard labels and the ranker that it closes, each with an interval. JSON may hold it.
    """
    table = []
    for row in rows:
        mine = measured.get(row.name)
        if mine is None:
            continue
        told: dict[str, Any] = {"name": row.name, "title": row.title, "towers": row.towers, "parent": row.parent}
        told["measures"] = {name: value.told() for name, value in mine.items()}
        parent = measured.get(row.parent or "")
        if parent is not None:
            told["gains"] = {name: value.less(parent[name]).told() for name, value in mine.items()}
        told["gap_closed"] = _gap_closed(row, measured, tasks)
        table.append({**told, **costs[row.name]})
    return table


def _gap_closed(
    row: Row, measured: Mapping[str, Mapping[str, Measured]], tasks: Sequence[str]
) -> dict[str, dict[str, Any]]:
    hard, teacher = measured.get(f"hard-{row.towers}"), measured.get("teacher")
    if row.towers is None or hard is None or teacher is None or row.name == f"hard-{row.towers}":
        return {}
    closed = {}
    for name in (f"{task}.auc" for task in tasks):
        gap, gain = teacher[name].less(hard[name]), measured[row.name][name].less(hard[name])
        closed[name] = Measured(gain.value / gap.value, gain.draws / gap.draws).told() if gap.value > 0 else {}
    return closed
