"""Two rounds of towers on the same pools and the same test days: did learning from what was served help?

Pools are those of shadow requests: what recall found, or a sample of it, scored by the ranker. Their users
taught neither round. Both rounds' towers order the same works, and the ranker is the same.

kept         share of the ranker's best 10, 100 of a pool among the works that the inner product would let
through:
             the same share of the pool as prerank lets through
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
    """{top: (P,)} of the towers that ``cascade`` serves, on shadow ``pools``, of which prerank lets the
    ``share`` through; NaN for a pool that is not larger than the top.

    Requests are hydrated again: they have this cascade's user vector. ``index`` is its own, of one model
    version. O(N log N) a pool.
    """
    kept: dict[int, list[float]] = {top: [] for top in TOPS}
    for pool in pools:
        asked = Request(
            int(pool.user_id[0]), scene=str(pool.scene[0]), time_ms=int(pool.time_ms[0]), request_id="pool"
        )
        with index.pinned() as view:
            request, _ = cascade.hydrate(asked.with_view(view))
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
    """{"first", "second", "gain"}: measures with 95 % intervals over users; those of the gain are paired.

    ``users (P,)`` of the pools; ``rounds``: ``kept_by_towers`` of both; ``aucs``: ``quality_table`` of the
    rows "first" and "second" of towers, in this order.
    """
    found: dict[str, dict[str, Any]] = {"first": {}, "second": {}, "gain": {}}
    for top in TOPS:
        first, second = (each[top] for each in rounds)
        for name, values in (("first", first), ("second", second), ("gain", second - first)):
            found[name][f"kept.top{top}"] = _mean(values, users, resamples, seed)
    for task in aucs["first"]:
        for name in ("first", "second"):
            found[name][f"{task}.auc"] = {"value": aucs[name][task]["auc"], "ci": aucs[name][task]["auc_ci"]}
        behind = aucs["first"][task]
        found["gain"][f"{task}.auc"] = {"value": behind["auc_behind"], "ci": behind["auc_behind_ci"]}
    return found


def _mean(values: NDArray[Any], users: NDArray[Any], resamples: int, seed: int) -> dict[str, Any]:
    there = np.isfinite(values)
    if not there.any():
        return {"value": None, "ci": None}
    bootstrap = UserBootstrap(users[there], resamples, seed)
    return bootstrap.mean_with_interval(values[there])


def rounds_table(rounds: Mapping[str, Any]) -> Table:
    """A row for each measure: first round, second round, paired gain."""
    taught, measured = rounds["taught_by"], rounds["measured_on"]
    outcomes = f", and what happened to {taught['outcomes']:,} works shown" if taught["outcomes"] else ""
    rows = []
    for name in rounds["first"]:
        top = name.removeprefix("kept.top")
        told = f"{name.removesuffix('.auc')}, AUC of towers" if top == name else f"ranker's top {top} kept"
        cells = (
            format_measure(rounds[part][name]["value"], rounds[part][name]["ci"], signed=part == "gain")
            for part in ("first", "second", "gain")
        )
        rows.append((told, *cells))
    return Table(
        "What the second round learned",
        ("measure", "first round", "second round", "gain, paired"),
        rows,
        f"Towers taught by {taught['requests']:,} served requests{outcomes}; pools of {measured['pool']:,} "
        f"works of {measured['requests']:,} other users, of which prerank lets {measured['share']:.1%} "
        "through. In brackets: 95 % intervals over users.",
    )
