"""Two rounds of towers on the same pools and the same test days: did learning from what was served help?

Pools are those of shadow requests: what recall found, or a sample of it, scored by the ranker. Their users
taught neither round. Both rounds' towers order the same works, and the ranker is the same.

kept         share of the ranker's best 10, 100 of a pool among the works that the inner product would let
through:
             the same share of the pool as prerank lets through
AUC          of the towers on the test days, by task
distinct     works in the users' top tens of the whole catalogue by the inner product
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from karec.cascade import Cascade
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.metrics.agreement import hit_rate
from karec.features.user_vector import VECTOR
from karec.index import ItemIndex
from karec.logs.rank_log import RankLog
from karec.types import Array, Request

TOPS = (10, 100)


@dataclass(frozen=True, eq=False)
class RoundOnPools:
    """What one round's towers do on P pools: ``kept {top: (P,)}``, NaN in a pool that is not larger than the
    top, and ``top_tens (P, 10)`` ids of works."""

    kept: Mapping[int, Array]
    top_tens: Array


def towers_on_pools(
    cascade: Cascade, index: ItemIndex, pools: Sequence[RankLog], share: float
) -> RoundOnPools:
    """The towers that ``cascade`` serves, on shadow ``pools``, of which prerank lets the ``share`` through.

    Requests are hydrated anew: they have this cascade's user vector. ``index`` is its own, of one model
    version. O(N log N) a pool, and a scan of the index.
    """
    kept: dict[int, list[float]] = {top: [] for top in TOPS}
    vectors = []
    for pool in pools:
        asked = Request(
            int(pool.user_id[0]), scene=str(pool.scene[0]), time_ms=int(pool.time_ms[0]), request_id="pool"
        )
        with index.pinned() as view:
            request, _ = cascade.hydrated(asked.with_view(view))
        vectors.append(request.features[VECTOR][0])
        scores = index.scores(vectors[-1], ids=pool.item_id)
        scores = np.where(np.isneginf(scores), np.finfo(np.float32).min, scores)
        for top in TOPS:
            n = len(pool)
            cut = min(max(round(share * n), 1), n)
            kept[top].append(float(hit_rate(scores, pool.fused, top, cut)) if n > top else np.nan)
    tens = index.search_all(np.stack(vectors), k=10).ids
    return RoundOnPools({top: np.array(values) for top, values in kept.items()}, tens)


def compare_rounds(
    users: Array,
    rounds: tuple[RoundOnPools, RoundOnPools],
    aucs: Mapping[str, Any],
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """{"first", "second", "gain"}: measures with 95 % intervals over users; those of the gain are paired.

    ``users (P,)`` of the pools; ``aucs``: ``quality_table`` of the rows "first" and "second" of towers, in
    this order.
    """
    found: dict[str, dict[str, Any]] = {"first": {}, "second": {}, "gain": {}}
    for top in TOPS:
        first, second = (each.kept[top] for each in rounds)
        for name, values in (("first", first), ("second", second), ("gain", second - first)):
            found[name][f"kept.top{top}"] = _mean(values, users, resamples, seed)
    for task in aucs["first"]:
        for name in ("first", "second"):
            found[name][f"{task}.auc"] = {"value": aucs[name][task]["auc"], "ci": aucs[name][task]["auc_ci"]}
        behind = aucs["first"][task]
        found["gain"][f"{task}.auc"] = {"value": behind["auc_behind"], "ci": behind["auc_behind_ci"]}
    distinct = [len(np.unique(each.top_tens)) for each in rounds]
    for name, value in zip(("first", "second", "gain"), (*distinct, distinct[1] - distinct[0]), strict=True):
        found[name]["distinct_works"] = {"value": value, "ci": None}
    return found


def _mean(values: Array, users: Array, resamples: int, seed: int) -> dict[str, Any]:
    there = np.isfinite(values)
    if not there.any():
        return {"value": None, "ci": None}
    bootstrap = UserBootstrap(users[there], resamples, seed)
    return {"value": float(values[there].mean()), "ci": bootstrap_interval(bootstrap.mean(values[there]))}
