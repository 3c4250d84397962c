"""Splits scores into an item part and a personal part, and measures what pre-ranking loses of each.

    score of user u and item i = mean of u + item part i + personal part ui

The item part is the mean over users of the scores minus each user's mean. All users score the whole library,
so both parts are exact for these users. Measured on pools that are recalled for the users:

swap     the fraction of the ranker's best items that stay at pre-ranking's cut if one part of pre-ranking's
         score is the ranker's
effects  how much a cross feature adds to pre-ranking's personal part, as a fraction of what it adds to the
         ranker's: slopes of a linear regression on all features, within users
shares   the mean true value of the ranker's best ten items if a share of the item part is taken off
slopes   of the true logit on both parts of the ranker's score, within users, by depth. Both are 1 for a
         balanced and calibrated ranker. Above 1 the ranker weighs the part too little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.evaluate.metrics.accuracy import bootstrap_interval, resampling_weights
from karec.evaluate.metrics.agreement import ranks
from karec.features.encoder import Encoder
from karec.features.pool_scores import PoolScorer, find_stage
from karec.index import ItemIndex
from karec.lab.simulate.world import World
from karec.lab.simulate.world.tastes import SCENES
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Candidates, Request
from karec.samples.threads import map_in_order
from karec.steps.scorers.fusion import Fusion
from karec.times import Progress

EFFECTS = {
    "followed creator": "creator_followed",
    "friend": "creator_is_friend",
    "creator in history": "creator_id_in_history",
    "song in history": "song_id_in_history",
    "tag in history": "tag_in_history",
}
SHARES = (0.0, 0.25, 0.5)  # of the item part that is taken off
BEST = 10
DEPTHS = (0, 1000, 300, 100)  # the ranker's best items of a pool; 0: the whole pool
RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class LibraryScores:
    """Scores of U users for the N items of a library that the ranker and pre-ranking can score.

    ranker    (U, N) float64 logits of the fused score
    prerank   (U, N) float64 scores by the towers
    truth     (U, N) float64 logits of the fused true probabilities, without satiation
    features  (U, N, F) float32 cross features of ``names``
    pool      (U, N) bool: recalled for the user
    n_passed  (U,) int64 items that pre-ranking selects
    """

    ranker: NDArray[Any]
    prerank: NDArray[Any]
    truth: NDArray[Any]
    features: NDArray[Any]
    names: Sequence[str]
    pool: NDArray[Any]
    n_passed: NDArray[Any]


def measure_parts(scores: LibraryScores) -> dict[str, Any]:
    """Returns {"swap", "effects", "shares", "slopes"}. A figure is (value, low, high), 95 % over users."""
    ranker = split(scores.ranker)
    scale = _spread(scores.ranker, scores.pool) / _spread(scores.prerank, scores.pool)
    prerank = split(scores.prerank * scale)
    swaps = {
        "both parts of pre-ranking": prerank[0] + prerank[1],
        "item part of the ranker": ranker[0] + prerank[1],
        "personal part of the ranker": prerank[0] + ranker[1],
    }
    kept = {
        name: {top: _mean(kept_fractions(scores, swapped, top)) for top in (10, 100)}
        for name, swapped in swaps.items()
    }
    prerank_slopes, ranker_slopes = (
        within_user_slopes(part, scores.features, scores.pool) for part in (prerank[1], ranker[1])
    )
    effects = {
        name: _figure(prerank_slopes[:, f] / ranker_slopes[:, f]) for f, name in enumerate(scores.names)
    }
    both = np.stack(np.broadcast_arrays(ranker[0][None], ranker[1]), axis=-1)
    order = ranks(np.where(scores.pool, scores.ranker, -np.inf))
    slopes = {}
    for depth in DEPTHS:
        rows = scores.pool & (order < (depth or order.shape[1]))
        found = within_user_slopes(scores.truth, both, rows)
        slopes[depth] = {"item": _figure(found[:, 0]), "personal": _figure(found[:, 1])}
    values = {share: true_value(scores, scores.ranker - share * ranker[0]) for share in SHARES}
    taken_off = {
        share: {"value": _mean(value), "change": _mean(value - values[0.0])}
        for share, value in values.items()
    }
    return {"swap": kept, "effects": effects, "shares": taken_off, "slopes": slopes}


def split(scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the item part (N,) and the personal part (U, N) of ``scores (U, N)``."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    item = centred.mean(axis=0)
    return item, centred - item


def kept_fractions(scores: LibraryScores, cut_by: NDArray[Any], top: int) -> NDArray[Any]:
    """Returns (U,) fractions of the ranker's best ``top`` of each pool among its best ``n_passed`` items by
    ``cut_by (U, N)``; NaN for a smaller pool."""
    best = ranks(np.where(scores.pool, scores.ranker, -np.inf)) < top
    stays = ranks(np.where(scores.pool, cut_by, -np.inf)) < scores.n_passed[:, None]
    return np.where(scores.pool.sum(axis=1) < top, np.nan, (best & stays).sum(axis=1) / top)


def true_value(scores: LibraryScores, order_by: NDArray[Any]) -> NDArray[Any]:
    """Returns (U,) means of the true fused probability of the BEST items by ``order_by``; NaN for a smaller
    pool."""
    best = np.argsort(-np.where(scores.pool, order_by, -np.inf), axis=1, kind="stable")[:, :BEST]
    value = 1.0 / (1.0 + np.exp(-np.take_along_axis(scores.truth, best, axis=1)))
    return np.where(scores.pool.sum(axis=1) < BEST, np.nan, value.mean(axis=1))


def within_user_slopes(y: NDArray[Any], x: NDArray[Any], rows: NDArray[Any], seed: int = 0) -> NDArray[Any]:
    """Returns (1 + RESAMPLES, F) slopes of y (U, N) on x (U, N, F) within users, over ``rows (U, N)`` bool.

    Entry 0 is the estimate; the others resample users. NaN for a feature that never varies.
    """
    n_users, n_features = len(y), x.shape[2]
    squares, products = np.zeros((n_users, n_features, n_features)), np.zeros((n_users, n_features))
    for user, chosen in enumerate(rows):
        if chosen.sum() > 1:
            features = x[user, chosen].astype(np.float64)
            features -= features.mean(axis=0)
            squares[user] = features.T @ features
            products[user] = features.T @ (y[user, chosen] - y[user, chosen].mean())
    weights = np.vstack([np.ones(n_users), resampling_weights(n_users, RESAMPLES, seed)])
    varies = np.diagonal(squares.sum(axis=0)) > 0
    slopes = np.full((len(weights), n_features), np.nan)
    total = np.einsum("ru,ufg->rfg", weights, squares)[:, varies][:, :, varies]
    slopes[:, varies] = np.einsum("rfg,rg->rf", np.linalg.pinv(total), (weights @ products)[:, varies])
    return slopes


def score_library(
    world: World,
    cascade: Cascade,
    index: ItemIndex,
    encoder: Encoder,
    snapshot: Snapshot,
    requests: Sequence[Request],
    progress: Progress | None = None,
) -> LibraryScores:
    """Scores the library for each request. Cost: the ranker for requests × items.

    Items that the ranker's stage filters out for one of the users, or that have no vector, are left out.
    """
    scorer = PoolScorer(cascade.stages)
    fusion = next(step for step in find_stage(cascade.stages, "rank").steps if isinstance(step, Fusion))
    scene = SCENES.index(requests[0].scene)

    def score(request: Request) -> dict[str, NDArray[Any]]:
        with index.pinned() as view:
            request, _ = cascade.hydrate(request.with_view(view))
            recalled, _ = cascade.recall.run(request)
            outcome = find_stage(cascade.stages, "prerank").run(request, recalled)
            ids = np.sort(view.ids)
            nothing = np.zeros(len(ids), np.float32)
            library = Candidates(ids, view.lookup(ids), nothing, nothing.astype(np.uint32))
            ranked, prerank = scorer.score(request, library)
        n, moment = len(ranked), request.time_ms
        assert moment is not None  # of ``requests_of_known_users``
        rows = snapshot.works.lookup(ranked.ids)
        crosses = encoder.encode_crosses(request.features, encoder.encode_items(snapshot, rows, moment))
        user = np.repeat(snapshot.users.lookup(np.array([request.user_number])), n)
        true = world.outcomes(fusion.tasks, user, rows, np.full(n, moment), np.full(n, scene))
        return {
            "ids": ranked.ids,
            "ranker": _logit(fusion.fusion.fuse(ranked.columns["logits"], fusion.weights)),
            "prerank": prerank.astype(np.float64),
            "truth": _logit(fusion.fusion.fuse(true_logits(true, fusion.tasks), fusion.weights)),
            "features": crosses["crosses"][:, columns],
            "pool": np.isin(ranked.ids, outcome.scored.ids),
            "n_passed": np.array(len(outcome.candidates)),
        }

    cross_names = encoder.names["crosses"]
    names = [name for name, column in EFFECTS.items() if column in cross_names]
    columns = [cross_names.index(EFFECTS[name]) for name in names]
    found = []
    for done, one in enumerate(map_in_order(score, requests), 1):
        found.append(one)
        if progress is not None:
            progress(done, len(requests), "ranking the library")
    common = found[0]["ids"]
    for one in found:
        common = np.intersect1d(common, one["ids"][np.isfinite(one["prerank"])])
    at = [np.flatnonzero(np.isin(one["ids"], common)) for one in found]
    arrays = {
        name: np.stack([one[name][rows] for one, rows in zip(found, at, strict=True)])
        for name in ("ranker", "prerank", "truth", "features", "pool")
    }
    return LibraryScores(**arrays, names=names, n_passed=np.array([one["n_passed"] for one in found]))


def true_logits(true: NDArray[Any], tasks: Sequence[str]) -> NDArray[Any]:
    """Returns (N, T) logits; ``true``: (N, T) probabilities, or seconds for play_time: log(seconds / 10)."""
    columns = [
        np.log(np.maximum(true[:, t], 1e-6) / 10.0) if task == "play_time" else _logit(true[:, t])
        for t, task in enumerate(tasks)
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _logit(p: NDArray[Any]) -> NDArray[Any]:
    p = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p))


def _spread(scores: NDArray[Any], pool: NDArray[Any]) -> float:
    return float(np.mean([scores[user, rows].std() for user, rows in enumerate(pool) if rows.any()]))


def _mean(values: NDArray[Any]) -> tuple[float, float, float]:
    values = values[np.isfinite(values)]
    weights = resampling_weights(len(values), RESAMPLES, 0)
    return float(values.mean()), *bootstrap_interval(weights @ values / weights.sum(axis=1))


def _figure(samples: NDArray[Any]) -> tuple[float, float, float]:
    return float(samples[0]), *bootstrap_interval(samples[1:])
