"""What lists gave to their users, and to all works and creators of a library: two ways to fill them,
compared.

Users are resampled for what a user got, creators with all their works for the rest; both ways meet the same
resamples, so that the difference is paired. Works and creators that stand in no list count.

Cost  as ``measures/exposure.py`` says.
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
LARGE = 10.0  # values from here on are shown with one decimal


@dataclass(frozen=True, eq=False)
class Lists:
    """One list for each of U users, N works in all.

    user (N,) from 0 to U − 1, work (N,) rows of the library, scores (N,), distance (U,) of each list;
    ``outcomes`` {what is expected of a work: (N,)}, empty where no truth is known.
    """

    user: NDArray[Any]
    work: NDArray[Any]
    scores: NDArray[Any]
    distance: NDArray[Any]
    outcomes: Mapping[str, NDArray[Any]]


def compare_reach(
    cascade: Lists, top_k: Lists, works: Table, time_ms: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """The report's ``reach`` (docs/formats.md): both ways' measures, and ``cascade`` less ``top_k``.
    Deterministic.

    ``works`` is the library, ``time_ms`` the moment of all requests.
    """
    unit, named = _units(works)
    users = resampling_weights(len(cascade.distance), resamples, seed)
    creators = resampling_weights(len(named), resamples, seed + 1)
    found = []
    for lists in (cascade, top_k):
        of_users = resample(_of_users(lists, works, time_ms), users)
        found.append({**of_users, **resample(_of_creators(lists, works, unit, named), creators)})
    told = {name: summarize(found[0][name], found[1][name]) for name in found[0]}
    others = {name: summarize(found[1][name]) for name in found[0]}
    return {
        "library": {"works": len(works), "creators": int(named.sum()) if CREATOR in works.columns else None},
        "cascade": {name: {"value": m["value"], "ci": m["ci"]} for name, m in told.items()},
        "top_k": {name: {"value": m["value"], "ci": m["ci"]} for name, m in others.items()},
        "change": {name: {"value": m["change"], "ci": m["change_ci"]} for name, m in told.items()},
    }


def reach_table(reach: Mapping[str, Any]) -> TextTable:
    """A row for each measure of ``compare_reach``: cascade, top-k, difference, with 95 % intervals."""
    library = reach["library"]
    creators = "" if library["creators"] is None else f" and {library['creators']:,} creators"
    true = any(name.startswith("true ") for name in reach["cascade"])
    about_truth = "True values are the world's own chances, with nothing alike shown before. " if true else ""
    rows = []
    for name, measure in reach["cascade"].items():
        digits = 1 if (measure["value"] or 0.0) >= LARGE else 4
        cells = (
            format_measure(reach[way][name]["value"], reach[way][name]["ci"], digits, signed=way == "change")
            for way in WAYS
        )
        rows.append((name, *cells))
    return TextTable(
        "What the feeds reached",
        ("measure", "cascade", "top-k by relevance", "cascade less top-k, paired"),
        rows,
        f"All {library['works']:,} works{creators} in the library count. Top-k: of the works that were "
        f"ranked, the best by the fused score. {about_truth}In brackets: 95 % intervals over users, or over "
        "creators.",
    )


def _units(works: Table) -> tuple[NDArray[Any], NDArray[Any]]:
    """(unit (works,), named (units,)): a unit is a creator, or a work of nobody known."""
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

    shown = of_users()
    measures = {name: Sums(of_users(values), shown) for name, values in lists.outcomes.items()}
    measures["relevance (mean fused score)"] = Sums(of_users(lists.scores), shown)
    measures["intra-list distance"] = Sums(lists.distance, np.ones(users))
    if PUBLISHED in works.columns:
        age_ms = time_ms - np.asarray(works[PUBLISHED])[lists.work]
        for hours in YOUNG_HOURS:
            measures[f"share younger than {hours} h"] = Sums(of_users(age_ms < hours * HOUR_MS), shown)
    return measures


def _of_creators(
    lists: Lists, works: Table, unit: NDArray[Any], named: NDArray[Any]
) -> dict[str, Sums | Concentration]:
    shown = np.bincount(lists.work, minlength=len(works))
    reached = np.bincount(unit, weights=shown > 0, minlength=len(named))
    measures: dict[str, Sums | Concentration] = {
        "works reached": Sums(reached),
        "Gini over all works": Concentration(shown, unit),
    }
    if CREATOR in works.columns:
        of_creators = np.bincount(unit, weights=shown, minlength=len(named))
        creators = np.flatnonzero(named)
        measures["creators reached"] = Sums((of_creators > 0) & named)
        measures["Gini over all creators"] = Concentration(of_creators[creators], creators)
    return measures
