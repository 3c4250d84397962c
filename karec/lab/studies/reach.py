"""Results of lists for users, works and creators of a library, compared for two methods.

Measures of users are resampled over users, the others over creators with all their works. Both methods use
the same resamples, so differences are paired. Works and creators in no list count.

Cost: as in ``karec.evaluate.metrics.exposure``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR, PUBLISHED
from karec.catalog.table import Table
from karec.evaluate.metrics.accuracy import resampling_weights
from karec.evaluate.metrics.exposure import Concentration, Sums, resample, summarize
from karec.evaluate.tables import format_measure
from karec.lab.report import Table as TextTable
from karec.times import HOUR_MS

RESAMPLES = 400
YOUNG_HOURS = (24, 72)
WAYS = ("cascade", "top_k", "change")
LARGE = 10.0  # larger values are shown with one decimal


@dataclass(frozen=True, eq=False)
class Lists:
    """One list for each of U users, N works in all.

    user      (N,) from 0 to U − 1
    work      (N,) rows of the library
    scores    (N,)
    distance  (U,) of each list
    outcomes  {name: (N,) expected outcome}, empty if no truth is known
    """

    user: NDArray[Any]
    work: NDArray[Any]
    scores: NDArray[Any]
    distance: NDArray[Any]
    outcomes: Mapping[str, NDArray[Any]]


def compare_reach(
    cascade: Lists, top_k: Lists, works: Table, time_ms: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Returns the report's ``reach``: measures of both, and ``cascade`` minus ``top_k``. Deterministic.

    ``works``: the library; ``time_ms``: the moment of all requests.
    """
    unit, is_creator = _units(works)
    users = resampling_weights(len(cascade.distance), resamples, seed)
    creators = resampling_weights(len(is_creator), resamples, seed + 1)
    measures = []
    for lists in (cascade, top_k):
        of_users = resample(_of_users(lists, works, time_ms), users)
        measures.append({**of_users, **resample(_of_creators(lists, works, unit, is_creator), creators)})
    changes = {name: summarize(measures[0][name], measures[1][name]) for name in measures[0]}
    top_k_values = {name: summarize(measures[1][name]) for name in measures[0]}
    return {
        "library": {
            "works": len(works),
            "creators": int(is_creator.sum()) if CREATOR in works.columns else None,
        },
        "cascade": {name: {"value": m["value"], "ci": m["ci"]} for name, m in changes.items()},
        "top_k": {name: {"value": m["value"], "ci": m["ci"]} for name, m in top_k_values.items()},
        "change": {name: {"value": m["change"], "ci": m["change_ci"]} for name, m in changes.items()},
    }


def reach_table(reach: Mapping[str, Any]) -> TextTable:
    """Returns a row per measure of ``compare_reach``: cascade, top-k, difference, with 95 % intervals."""
    library = reach["library"]
    creators = "" if library["creators"] is None else f" and {library['creators']:,} creators"
    has_truth = any(name.startswith("true ") for name in reach["cascade"])
    truth_note = "True values are the world's probabilities without satiation. " if has_truth else ""
    rows = []
    for name, measure in reach["cascade"].items():
        digits = 1 if (measure["value"] or 0.0) >= LARGE else 4
        cells = (
            format_measure(reach[way][name]["value"], reach[way][name]["ci"], digits, signed=way == "change")
            for way in WAYS
        )
        rows.append((name, *cells))
    return TextTable(
        "Reach of the pages",
        ("measure", "cascade", "top-k by relevance", "cascade minus top-k, paired"),
        rows,
        f"All {library['works']:,} works{creators} in the library count. Top-k: the best ranked works by the "
        f"fused score. {truth_note}In brackets: 95 % intervals over users, or over creators.",
    )


def _units(works: Table) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (unit (works,), named (units,)): a unit is a creator, or a work without a known creator."""
    rows = np.arange(len(works))
    if CREATOR not in works.columns:
        return rows, np.zeros(len(works), bool)
    creator = np.asarray(works[CREATOR], np.int64)
    units, unit = np.unique(np.where(creator < 0, -1 - rows, creator), return_inverse=True)
    return unit, units >= 0


def _of_users(lists: Lists, works: Table, time_ms: int) -> dict[str, Sums]:
    users = len(lists.distance)

    def of_users(values: NDArray[Any] | None = None) -> NDArray[Any]:
        return np.bincount(lists.user, weights=values, minlength=users).astype(np.float64)

    n_shown = of_users()
    measures = {name: Sums(of_users(values), n_shown) for name, values in lists.outcomes.items()}
    measures["relevance (mean fused score)"] = Sums(of_users(lists.scores), n_shown)
    measures["intra-list distance"] = Sums(lists.distance, np.ones(users))
    if PUBLISHED in works.columns:
        age_ms = time_ms - np.asarray(works[PUBLISHED])[lists.work]
        for hours in YOUNG_HOURS:
            measures[f"share younger than {hours} h"] = Sums(of_users(age_ms < hours * HOUR_MS), n_shown)
    return measures


def _of_creators(
    lists: Lists, works: Table, unit: NDArray[Any], is_creator: NDArray[Any]
) -> dict[str, Sums | Concentration]:
    exposure = np.bincount(lists.work, minlength=len(works))
    reached_works = np.bincount(unit, weights=exposure > 0, minlength=len(is_creator))
    measures: dict[str, Sums | Concentration] = {
        "works reached": Sums(reached_works),
        "Gini over all works": Concentration(exposure, unit),
    }
    if CREATOR in works.columns:
        impressions = np.bincount(unit, weights=exposure, minlength=len(is_creator))
        creators = np.flatnonzero(is_creator)
        measures["creators reached"] = Sums((impressions > 0) & is_creator)
        measures["Gini over all creators"] = Concentration(impressions[creators], creators)
    return measures
