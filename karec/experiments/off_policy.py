"""Estimates the outcomes of another order of pages, from logged pages in random order.

Log         The step random_position puts the first n candidates of a request in uniformly random order. Each
            is at each position with probability 1 / n, the propensity of its row in the rank log.
Policy      It orders these n by its own scores, for example by other fusion weights over the logged logits:
            position p of its page has its p-th best. A policy with other candidates cannot be evaluated,
            since no page shows them. Not the policy but the steps after the ranker (DPP, rules) chose the n.
Assumption  The outcome at a position depends on the item there, not on those at other positions. The pages
            of a policy that puts near duplicates side by side get less than the estimate.
Estimates   For position p, y is the outcome of the shown item, w = n if that is the policy's item, else 0:

                ips    mean of w·y
                snips  Σ w·y / Σ w
                dr     mean of q + w·(y − q)

            q predicts the outcome of the policy's item at p: least squares over the ranker's probabilities,
            fitted on the pages of the other half of the users. dr is unbiased for any q, and has the smallest
            interval if q is good. The value of a page is the sum over its positions.
Intervals   95 %, normal, of the sum of each user's requests, since requests of one user are alike.

Sources: Horvitz and Thompson 1952; Swaminathan and Joachims 2015 (snips); Dudík, Langford and Li 2011 (dr);
Li et al. 2018, "Offline evaluation of ranking policies with click models" (positions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import WORK, Events, Head
from karec.errors import DataError
from karec.logs.read import RankLog
from karec.samples.outcomes import find_logged_outcomes

METHODS = ("ips", "snips", "dr")
Z = 1.959964  # 95 % of a normal distribution
MIN_POSITIVES = 20  # expected, for an interval: with fewer, too few intervals contain the truth
FOLDS = 2


@dataclass(frozen=True, eq=False)
class RandomPages:
    """R requests whose first candidates were in random order; M candidates in all; K positions, L labels.

    user_id   (R,) int64
    starts    (R + 1,) int64: request r has the candidates starts[r] … starts[r + 1] − 1
    logits    (M, T) float32, in the order of ``tasks``
    fused     (M,) float32, the logged score
    shown     (R, K) int64: candidate at each position
    outcomes  (R, K, L) float64: 1 if the user gave the label to the item at the position
    notes     what was left out
    """

    user_id: NDArray[Any]
    starts: NDArray[Any]
    logits: NDArray[Any]
    tasks: tuple[str, ...]
    fused: NDArray[Any]
    shown: NDArray[Any]
    outcomes: NDArray[Any]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PolicyOutcomes:
    """Outcomes of a policy by request.

    values       {method: (R, K, L) float64}; their mean over requests is the estimate
    n_matches    (K,) int64: requests that show the policy's item at the position
    n_positives  (K, L) float64: n_matches · rate of the label at the position on all random pages
    """

    values: dict[str, NDArray[Any]]
    n_matches: NDArray[Any]
    n_positives: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Estimates:
    """value, low, high (K + 1, L) float64, of each position and then of the page; NaN if undetermined."""

    value: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]


def find_random_pages(
    log: RankLog, head: Head, events: Events, labels: Sequence[str], n_positions: int | None = None
) -> RandomPages:
    """Returns the random pages of works in ``log``, with the labels that ``events`` report by request id.

    Left out and counted: requests without one of the random candidates in the log (parts written before
    2026-12 lack those that did not reach the page), with fewer random positions than ``n_positions``
    (default: the most frequent number), or without an impression. Raises DataError if none is left,
    ValueError for unknown labels.
    """
    unknown = sorted(set(labels) - {*head.labels})
    if unknown:
        raise ValueError(f"labels: the events have no {unknown}, only {list(head.labels)}")
    log = log.take(np.isfinite(log.propensity) & ~log.shadow & (log.item_type == WORK))
    if not len(log):
        raise DataError(
            'the rank log has no random positions. Add { use = "random_position", share = 0.01, n = 10 } as '
            "last step of the scene, and a rank_log"
        )
    starts = np.flatnonzero(np.r_[True, log.request_id[1:] != log.request_id[:-1], True])
    begin, n = starts[:-1], np.diff(starts)
    on_page = np.add.reduceat((log.page_position >= 0).astype(np.int64), begin)
    is_complete = n == np.rint(1 / log.propensity[begin])
    if n_positions is None:
        lengths = on_page[is_complete] if is_complete.any() else np.ones(1, np.int64)
        n_positions = int(np.bincount(lengths).argmax())
    request = np.repeat(np.arange(len(n)), n)
    is_first = (log.page_position >= 0) & (log.page_position < n_positions)
    is_long = np.bincount(request[is_first], minlength=len(n)) == n_positions
    bits, is_reported = find_logged_outcomes(log, events, WORK)
    has_impression = np.bincount(request[is_reported], minlength=len(n)) > 0
    kept, notes = _keep_requests(
        {
            "without some of their random candidates in the log": is_complete,
            f"with fewer than {n_positions} random positions": is_long & (n_positions > 0),
            "without a reported impression": has_impression,
        }
    )
    rows = kept[request]
    log, bits, request, is_first = (
        log.take(rows),
        bits[rows],
        np.cumsum(kept)[request[rows]] - 1,
        is_first[rows],
    )
    shown = np.empty((int(kept.sum()), n_positions), np.int64)
    shown[request[is_first], log.page_position[is_first]] = np.flatnonzero(is_first)
    codes = np.array([head.labels.index(label) for label in labels], np.uint64)
    outcomes = (bits[shown][..., None] >> codes & np.uint64(1)).astype(np.float64)
    starts = np.r_[0, np.cumsum(n[kept])]
    users = log.user_id[starts[:-1]]
    return RandomPages(
        users, starts, log.logits, log.tasks, log.fused, shown, outcomes, (*labels,), (*notes,)
    )


def _keep_requests(conditions: Mapping[str, NDArray[np.bool_]]) -> tuple[NDArray[np.bool_], list[str]]:
    """Returns (R,) bool, True if all conditions hold, and a note for each condition that leaves out requests.

    ``conditions``: {reason to leave a request out: (R,) bool, False for such requests}. Raises DataError if
    none is left.
    """
    kept = np.ones(len(next(iter(conditions.values()))), bool)
    notes = []
    for reason, is_good in conditions.items():
        if n_left_out := int((kept & ~is_good).sum()):
            notes.append(f"{n_left_out:,} of {len(kept):,} random requests {reason}, left out")
        kept &= is_good
    if not kept.any():
        raise DataError(f"no random page can be used: {'; '.join(notes)}. Report impressions with request_id")
    return kept, notes


def estimate_policy(pages: RandomPages, scores: NDArray[Any]) -> PolicyOutcomes:
    """Returns the outcomes of the policy that orders each request's candidates by ``scores`` (M,).

    Ties are in the order of the rows. Raises ValueError for scores of another shape, or that are not finite.
    Cost: O(M log M + R·K·(L + T²)).
    """
    if scores.shape != pages.fused.shape or not np.isfinite(scores).all():
        raise ValueError(f"scores: shape {scores.shape}, expected {pages.fused.shape} finite numbers")
    n = np.diff(pages.starts)
    order = np.lexsort((-scores, np.repeat(np.arange(len(n)), n)))
    chosen = order[pages.starts[:-1, None] + np.arange(pages.shown.shape[1])]
    is_match = pages.shown == chosen
    weight = np.where(is_match, n[:, None], 0.0)[..., None]
    y, q = pages.outcomes, _predict(pages, chosen)
    with np.errstate(invalid="ignore", divide="ignore"):  # a position without a match has no snips
        share = weight / weight.mean(axis=0)
        mean = (share * y).mean(axis=0)
        snips = mean + share * (y - mean)
    values = {"ips": weight * y, "snips": snips, "dr": q + weight * (y - q)}
    n_matches = is_match.sum(axis=0)
    return PolicyOutcomes(values, n_matches, n_matches[:, None] * y.mean(axis=0))


def _predict(pages: RandomPages, chosen: NDArray[Any]) -> NDArray[Any]:
    """Returns (R, K, L): predicted outcomes of the candidates ``chosen`` (R, K) at their positions."""
    probabilities = 1 / (1 + np.exp(-np.clip(pages.logits.astype(np.float64), -60, 60)))
    x = np.column_stack([np.ones(len(probabilities)), probabilities])
    fold = np.unique(pages.user_id, return_inverse=True)[1] % FOLDS
    q = np.zeros_like(pages.outcomes)
    for own in range(FOLDS):
        others = fold != own
        for p in range(chosen.shape[1]):
            fit = np.linalg.lstsq(x[pages.shown[others, p]], pages.outcomes[others, p], rcond=None)[0]
            q[fold == own, p] = x[chosen[fold == own, p]] @ fit
    return q


def mean_over_requests(pages: RandomPages, values: NDArray[Any], n_positives: NDArray[Any]) -> Estimates:
    """Returns the means of ``values`` (R, K, L) with intervals over users.

    ``values``: of ``PolicyOutcomes``, or a difference of two with the smaller ``n_positives`` (K, L) of both.
    A position or page with fewer positives than MIN_POSITIVES has no interval. Without a match at a position
    snips is NaN.
    """
    values = np.concatenate([values, values.sum(axis=1, keepdims=True)], axis=1)
    mean = values.mean(axis=0)
    order = np.argsort(pages.user_id, kind="stable")
    users = pages.user_id[order]
    first = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
    sums = np.add.reduceat((values - mean)[order], first, axis=0)
    n_users = len(first)
    correction = n_users / (n_users - 1) if n_users > 1 else np.nan
    half = Z * np.sqrt(correction * (sums**2).sum(axis=0)) / len(users)
    half[np.vstack([n_positives, n_positives.sum(axis=0)]) < MIN_POSITIVES] = np.nan
    return Estimates(mean, mean - half, mean + half)
