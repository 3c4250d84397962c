"""Source of new items, with exploration of items and creators that were rarely shown.

Thompson sampling: each of the newest items draws its probability to be enjoyed, and the best draws are taken.

    creator  θ_c ~ Beta(m·r + p_c, m·(1 − r) + n_c − p_c)       r: mean rate of all items, m = PRIOR_SHOWS
    item     θ_i ~ Beta(m·θ_c + p_i, m·(1 − θ_c) + n_i − p_i)   p of n impressions were enjoyed

Few impressions give a wide distribution, so that little known items appear in some requests. ``draws`` orders
are drawn once per bundle. The request's id chooses one of them, so that a request can be replayed.

Source: W. R. Thompson, Biometrika 25, 1933; O. Chapelle, L. Li, An empirical evaluation of Thompson sampling,
2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karec.aggregates.rates import PRIOR_SHOWS, mean_rate
from karec.catalog import schema
from karec.catalog.schema import CREATOR, PUBLISHED
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.allowed_works import allowed_works, first_allowed, works_at
from karec.steps.shared.fixed_list import FixedList
from karec.steps.shared.postings import descending, newest, uploads_of

MIN_MEAN = 0.01  # of a platform without enjoyed items


class Fresh(Source):
    """The ``quota`` best draws of the ``pool`` newest items by Thompson sampling.

    Rarely shown items and creators appear in some requests. Items uploaded after the snapshot come first,
    newest first. Without counters of items, or with ``draws = 0``, the source returns the newest items. If
    the request restricts items, older items follow those of the pool.

    Settings:
        pool: number of newest items that take part in the draws. Absent: twice the quota.
        draws: number of orders that are drawn once per bundle; the request's id chooses one.

    Cost: O(1) per request, O(draws · pool · log pool) to build.
    """

    is_verified = True  # tests/steps/sources/test_fresh.py
    reason = "new, preferring little known items"

    def __init__(self, snapshot: Snapshot, quota: int, pool: int | None = None, draws: int = 16) -> None:
        if PUBLISHED not in snapshot.works.columns:
            raise ValueError(
                f"the source fresh needs the column {PUBLISHED!r} of works, the time when each was published"
            )
        pool = 2 * quota if pool is None else pool
        if quota <= 0 or pool < quota or draws < 0:
            raise ValueError(
                f"fresh needs quota > 0, pool ≥ quota and draws ≥ 0, got {quota}, {pool} and {draws}"
            )
        self.snapshot = snapshot
        self.quota = quota
        self.pool = pool
        self.draws = draws
        self.orders = snapshot.built.get(
            ("fresh", quota, pool, draws), lambda: _orders(snapshot, quota, pool, draws)
        )

    def recall(self, request: Request) -> Candidates:
        draw = self.orders[request.seed % len(self.orders)]
        uploads, allowed = uploads_of(request), allowed_works(request, self.snapshot)
        best = (
            draw.best.candidates(request) if allowed is None else self._allowed(request, draw.rows, allowed)
        )
        if uploads is None:
            return best
        new_rows, allowed_new = newest(uploads), allowed_works(request, uploads)
        if allowed_new is not None:
            new_rows = new_rows[allowed_new[new_rows]]
        new = np.asarray(uploads.works.ids)[new_rows]
        return Candidates.from_ids(np.concatenate([new, best.ids])[: self.quota])

    def _allowed(self, request: Request, drawn: Array, allowed: Array) -> Candidates:
        """Returns the first allowed items: the pool by its draws, then older items, newest first."""
        rows = first_allowed(drawn, allowed, self.quota)
        older = first_allowed(newest(self.snapshot)[len(drawn) :], allowed, self.quota - len(rows))
        return works_at(request, self.snapshot, np.concatenate([rows, older]))


@dataclass(frozen=True, eq=False)
class Draw:
    """``rows`` of the pool (N,) int32 by their draws, and the ``best`` of them, as many as the quota."""

    rows: Array
    best: FixedList


def _orders(snapshot: Snapshot, quota: int, pool: int, draws: int) -> tuple[Draw, ...]:
    works, ids = snapshot.works, np.asarray(snapshot.works.ids)
    latest = newest(snapshot)[:pool]
    counters = [
        name for label in snapshot.meaning.enjoyed if (name := schema.counter(label)) in works.columns
    ]
    if not draws or not counters or schema.EXPOSED not in works.columns or not len(latest):
        return (Draw(latest, FixedList.from_ids(ids[latest[:quota]])),)
    positives, shows = (np.asarray(works[name], np.float64) for name in (counters[-1], schema.EXPOSED))
    mean = min(max(mean_rate(positives, shows), MIN_MEAN), 1.0 - MIN_MEAN)
    maker = np.array(works[CREATOR], np.int64) if CREATOR in works.columns else np.full(len(works), -1)
    is_unknown = maker < 0  # unknown creator: the item says nothing about other items
    maker[is_unknown] = maker.max(initial=-1) + 1 + np.arange(np.count_nonzero(is_unknown))
    creators, maker = np.unique(maker, return_inverse=True)
    p_c, n_c = (np.bincount(maker, weights=values, minlength=len(creators)) for values in (positives, shows))
    creators_of_latest, of_latest = np.unique(maker[latest], return_inverse=True)
    orders = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        rate = _beta(
            rng, p_c[creators_of_latest], n_c[creators_of_latest], np.full(len(creators_of_latest), mean)
        )[of_latest]
        rows = latest[descending(_beta(rng, positives[latest], shows[latest], rate))]
        orders.append(Draw(rows, FixedList.from_ids(ids[rows[:quota]])))
    return tuple(orders)


def _beta(rng: np.random.Generator, positives: Array, shows: Array, mean: Array) -> Array:
    mean = np.clip(mean, 1e-6, 1.0 - 1e-6)
    return rng.beta(
        PRIOR_SHOWS * mean + positives, PRIOR_SHOWS * (1.0 - mean) + np.maximum(shows - positives, 0.0)
    )
