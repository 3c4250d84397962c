"""Balance of a ranker: does it weigh what all users share and what is personal as the outcomes do?

    logit of user u and item i = mean of u + item part i + personal part ui

The item part is the mean over N_USERS users of their logits minus each user's mean. The slope of a part is
1 + γ. γ is the weight that must be added to the part so that the predictions fit the labels best within
users: one Newton step of a logistic regression with the ranker's logit as offset and a constant by user.
Both slopes are 1 for a balanced and calibrated ranker. Above 1 the ranker weighs the part too little.

The impressions are those that the logging policy chose. If it chose by the same scores as the ranker, its
choice lowers both slopes. ``karec lab prerank-cause --parts`` measures slopes against the truth of a world.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.accuracy import bootstrap_interval, resampling_weights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.samples.replay import pool_logits
from karec.samples.threads import map_in_order

PARTS = ("item", "personal")
N_USERS = 300
MIN_WEIGHT = 1e-12  # of a row whose probability is 0 or 1 in float64
MAX_ITEMS = 3_000  # the ranker scores each for N_USERS users
Slopes = dict[str, float | tuple[float, float] | None]


def ranker_balance(
    test: Examples,
    ranker: OnnxModel,
    logits: NDArray[Any],
    *,
    resamples: int,
    seed: int,
    threads: int = 0,
) -> dict[str, Slopes]:
    """Returns {task: {"item", "item_ci", "personal", "personal_ci"}}: slopes, and 95 % intervals over users.

    ``logits (M, T)`` of the ``test`` rows. If they have more than MAX_ITEMS items, a random part of the items
    and their rows are measured. None: the labels do not determine the value. ``threads``: see
    ``map_in_order``.
    """
    rng = np.random.default_rng(seed)
    exposures, tasks = test.exposures, test.encoder.tasks
    row_items = test.snapshot.works.lookup(exposures.work_id)
    items = rng.permutation(np.unique(row_items[row_items >= 0]))[:MAX_ITEMS]
    items.sort()
    _, first = np.unique(exposures.user_id, return_index=True)
    user_rows = rng.permutation(first)[:N_USERS]

    def centred_logits(row: int) -> NDArray[Any]:
        scores = pool_logits(test, row, items, ranker)[:, : len(tasks)].astype(np.float64)
        return np.asarray(scores - scores.mean(axis=0))

    item_part = np.zeros((len(items), len(tasks)))
    for logits_of_user in map_in_order(centred_logits, user_rows.tolist(), threads):
        item_part += logits_of_user / len(user_rows)
    rows = np.flatnonzero(np.isin(row_items, items))
    part_of_row = item_part[np.searchsorted(items, row_items[rows])]
    user = np.unique(exposures.user_id[rows], return_inverse=True)[1]
    return {
        task: measure_slopes(
            exposures.labels[task][rows],
            logits[rows, t],
            part_of_row[:, t],
            user,
            resamples=resamples,
            seed=seed,
        )
        for t, task in enumerate(tasks)
    }


def measure_slopes(
    y: NDArray[Any],
    logit: NDArray[Any],
    item_part: NDArray[Any],
    user: NDArray[Any],
    *,
    resamples: int,
    seed: int,
) -> Slopes:
    """Returns the slopes of both parts for labels ``y`` of M impressions, and 95 % intervals over users.

    All arrays are (M,). ``item_part``: of the impression's item; the rest of ``logit`` is the personal part.
    ``user``: numbers from 0 on without gaps. A slope is None if its part never
    varies within users.
    """
    p = 1.0 / (1.0 + np.exp(-np.asarray(logit, np.float64)))
    weight = np.maximum(p * (1.0 - p), MIN_WEIGHT)
    n_users = int(user.max(initial=-1)) + 1

    def by_user(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(user, weights=values, minlength=n_users)

    def within(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(values - (by_user(weight * values) / by_user(weight))[user])

    parts = [within(item_part), within(logit - item_part)]
    squares = np.stack([[by_user(weight * a * b) for b in parts] for a in parts]).transpose(2, 0, 1)
    products = np.stack([by_user((y - p) * part) for part in parts], axis=1)
    draws = np.vstack([np.ones(n_users), resampling_weights(n_users, resamples, seed)])
    total = np.einsum("ru,ufg->rfg", draws, squares)
    gamma = np.einsum("rfg,rg->rf", np.linalg.pinv(total), draws @ products)
    is_known = np.diagonal(squares.sum(axis=0)) > 1e-12
    found: Slopes = {}
    for f, part in enumerate(PARTS):
        found[part] = 1.0 + float(gamma[0, f]) if is_known[f] else None
        low, high = bootstrap_interval(1.0 + gamma[1:, f])
        found[f"{part}_ci"] = (low, high) if is_known[f] else None
    return found
