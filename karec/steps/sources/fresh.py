"""Fresh recall: new works, with a bonus for works and creators that were hardly shown.

Thompson sampling. Of the newest works each draws its chance to be enjoyed from what is known of it, and the
best draws win:

    creator  θ_c ~ Beta(m·r + p_c, m·(1 − r) + n_c − p_c)             r: mean rate of all, m = PRIOR_SHOWS
             imagined shows
    work     θ_w ~ Beta(m·θ_c + p_w, m·(1 − θ_c) + n_w − p_w)         p of n shows were enjoyed

The fewer the shows, the wider the draw: works and creators of whom little is known come up in some requests,
and what was shown often in vain in none. ``draws`` such orders are made once a bundle; the request's id says
which one it gets, so that a request can be replayed.

Source   W. R. Thompson, Biometrika 25, 1933; O. Chapelle, L. Li, An empirical evaluation of Thompson
         sampling, 2011.
"""

from __future__ import annotations

import numpy as np

from karec.aggregates.rates import PRIOR_SHOWS, mean_rate
from karec.catalog import schema
from karec.catalog.schema import CREATOR, PUBLISHED
from karec.catalog.snapshot import Snapshot
from karec.pipeline.step import Source
from karec.pipeline.types import Array, Candidates, Request
from karec.steps.shared.fixed_list import FixedList
from karec.steps.shared.postings import descending, newest

LEAST_MEAN = 0.01  # of a platform where nothing was enjoyed yet


class Fresh(Source):
    """The ``quota`` best draws of the ``pool`` works that were published last (twice the quota, unless told).
    Before them those that came since the bundle was made, newest first.

    Where works have no counters, or ``draws = 0``, the ``quota`` works that were published last. O(1) a
    request; building takes O(draws · pool · log pool).
    """

    is_verified = True  # tests/steps/sources/test_fresh.py
    reason = "new works, those the more of which little is known"

    def __init__(self, snapshot: Snapshot, quota: int, pool: int | None = None, draws: int = 16) -> None:
        if PUBLISHED not in snapshot.works.columns:
            raise ValueError("fresh recall needs the moment when works were published; these works have none")
        pool = 2 * quota if pool is None else pool
        if quota <= 0 or pool < quota or draws < 0:
            raise ValueError(
                f"fresh needs quota > 0, pool ≥ quota and draws ≥ 0, got {quota}, {pool} and {draws}"
            )
        self.quota = quota
        self.pool = pool
        self.draws = draws
        self.orders = snapshot.built.get(
            ("fresh", quota, pool, draws), lambda: _orders(snapshot, quota, pool, draws)
        )

    def recall(self, request: Request) -> Candidates:
        drawn = self.orders[request.seed % len(self.orders)]
        came = None if request.online is None else request.online.items.uploads
        if came is None or not len(came.works):
            return drawn.seen_by(request)
        new = np.asarray(came.works.ids)[newest(came)[: self.quota]]
        return Candidates.from_ids(
            np.concatenate([new, drawn.ids])[: self.quota]
        )  # the snapshot has none of them


def _orders(snapshot: Snapshot, quota: int, pool: int, draws: int) -> tuple[FixedList, ...]:
    works, ids = snapshot.works, np.asarray(snapshot.works.ids)
    latest = newest(snapshot)[:pool]
    counted = [name for label in snapshot.meaning.enjoyed if (name := schema.counter(label)) in works.columns]
    if not draws or not counted or schema.EXPOSED not in works.columns or not len(latest):
        return (FixedList.of(ids[latest[:quota]]),)
    positives, shows = (np.asarray(works[name], np.float64) for name in (counted[-1], schema.EXPOSED))
    mean = min(max(mean_rate(positives, shows), LEAST_MEAN), 1.0 - LEAST_MEAN)
    maker = np.array(works[CREATOR], np.int64) if CREATOR in works.columns else np.full(len(works), -1)
    alone = maker < 0  # nobody knows who made it: it says nothing of another such work
    maker[alone] = maker.max(initial=-1) + 1 + np.arange(np.count_nonzero(alone))
    creators, maker = np.unique(maker, return_inverse=True)
    p_c, n_c = (np.bincount(maker, weights=values, minlength=len(creators)) for values in (positives, shows))
    drawn, of_latest = np.unique(maker[latest], return_inverse=True)
    orders = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        rate = _beta(rng, p_c[drawn], n_c[drawn], np.full(len(drawn), mean))[of_latest]
        best = descending(_beta(rng, positives[latest], shows[latest], rate))[:quota]
        orders.append(FixedList.of(ids[latest[best]]))
    return tuple(orders)


def _beta(rng: np.random.Generator, positives: Array, shows: Array, mean: Array) -> Array:
    mean = np.clip(mean, 1e-6, 1.0 - 1e-6)
    return rng.beta(
        PRIOR_SHOWS * mean + positives, PRIOR_SHOWS * (1.0 - mean) + np.maximum(shows - positives, 0.0)
    )
