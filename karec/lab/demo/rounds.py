"""Compares two rounds of towers on the same pools and test days: did learning from served requests help?

Pools are those of shadow requests: the recalled works, or a sample of them, scored by the ranker. Their users
taught neither round. The towers of both rounds order the same works, and the ranker is the same.

kept         fraction of the ranker's best 10 or 100 of a pool that the inner product lets through, if it
             passes the same fraction of the pool as prerank
AUC          of the towers on the test days, by task
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.metrics.agreement import hit_rate
from karec.evaluate.tables import format_measure
from karec.features.user_vectors import VECTOR
from karec.index import ItemIndex
from karec.lab.report import Table
from karec.logs.read import RankLog
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request

TOPS = (10, 100)


def kept_by_towers(
    cascade: Cascade, index: ItemIndex, pools: Sequence[RankLog], share: float
) -> dict[int, NDArray[Any]]:
    """Returns {top: (P,)} of the towers of ``cascade`` on shadow ``pools``, of which prerank passes
    ``share``.

    NaN for a pool that is not larger than the top. Requests are hydrated again with this cascade's user
    vector.
    ``index``: its index, of one model version.

    Cost: O(N log N) a pool.
    """
    kept: dict[int, list[float]] = {top: [] for top in TOPS}
    for pool in pools:
        logged_request = Request(
            int(pool.user_id[0]), scene=str(pool.scene[0]), time_ms=int(pool.time_ms[0]), request_id="pool"
        )
        with index.pinned() as view:
            request, _ = cascade.hydrate(logged_request.with_view(view))
        scores = index.scores(request.features[VECTOR][0], ids=pool.item_id)
        scores = np.where(np.isneginf(scores), np.finfo(np.float32).min, scores)
        for top in TOPS:
            n = len(pool)
            cut = min(max(round(share * n), 1), n)
            kept[top].append(float(hit_rate(scores, pool.fused, top, cut)) if n > top else np.nan)
    return {top: np.array(values) for top, values in kept.items()}


def compare_rounds(
    users: NDArray[Any],
    rounds: tuple[Mapping[int, NDArray[Any]], Mapping[int, NDArray[Any]]],
    aucs: Mapping[str, Any],
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns {"first", "second", "gain"}: measures with 95 % intervals over users, paired for the gain.

    ``users`` (P,) of the pools; ``rounds``: ``kept_by_towers`` of both; ``aucs``: ``quality_table`` of the
    rows
    "first" and "second" of towers, in this order.
    """
    measures: dict[str, dict[str, Any]] = {"first": {}, "second": {}, "gain": {}}
    for top in TOPS:
        first, second = (kept[top] for kept in rounds)
        for name, values in (("first", first), ("second", second), ("gain", second - first)):
            measures[name][f"kept.top{top}"] = _mean(values, users, resamples, seed)
    for task in aucs["first"]:
        for name in ("first", "second"):
            measures[name][f"{task}.auc"] = {
                "value": aucs[name][task]["auc"],
                "ci": aucs[name][task]["auc_ci"],
            }
        difference = aucs["first"][task]
        measures["gain"][f"{task}.auc"] = {
            "value": difference["auc_behind"],
            "ci": difference["auc_behind_ci"],
        }
    return measures


def _mean(values: NDArray[Any], users: NDArray[Any], resamples: int, seed: int) -> dict[str, Any]:
    is_finite = np.isfinite(values)
    if not is_finite.any():
        return {"value": None, "ci": None}
    bootstrap = UserBootstrap(users[is_finite], resamples, seed)
    return bootstrap.mean_with_interval(values[is_finite])


def rounds_table(rounds: Mapping[str, Any]) -> Table:
    """Returns a row for each measure: first round, second round, paired gain."""
    training, pools = rounds["taught_by"], rounds["measured_on"]
    outcomes = f" and the feedback to {training['outcomes']:,} impressions" if training["outcomes"] else ""
    rows = []
    for name in rounds["first"]:
        top = name.removeprefix("kept.top")
        label = f"{name.removesuffix('.auc')}, AUC of towers" if top == name else f"ranker's top {top} kept"
        cells = (
            format_measure(rounds[part][name]["value"], rounds[part][name]["ci"], signed=part == "gain")
            for part in ("first", "second", "gain")
        )
        rows.append((label, *cells))
    return Table(
        "Second round of towers",
        ("measure", "first round", "second round", "gain, paired"),
        rows,
        f"Towers taught by {training['requests']:,} served requests{outcomes}; pools of {pools['pool']:,} "
        f"works of {pools['requests']:,} other users, of which prerank passes {pools['share']:.1%}. "
        "In brackets: 95 % intervals over users.",
    )
