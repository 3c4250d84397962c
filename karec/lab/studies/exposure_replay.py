"""Exposure control against the bound of its loss: one pass over users, beside simple policies.

exposure control  ``ExposureController`` and the step ``exposure_control`` of the package; each guarantee is a
                  target share with ``minimum``. All items are candidates
top-k             the k best scores
cap               at most a number of items of one group on a page, the smallest number that fills pages
max-min           score + weight · gradient of the softened least exposure, min_g (share_g / guarantee_g).
                  The best of WEIGHTS that keeps 0.95 of all guarantees, chosen on the same users
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.exposure.constraints import ExposureSettings, Target
from karec.exposure.controller import MERGE_SECONDS, ExposureController
from karec.exposure.counters import PageImpressions
from karec.index import ItemIndex
from karec.lab.report import Table
from karec.lab.studies.exposure_bound import ExposureProblem, bound_loss
from karec.pipeline.types import Candidates, Request
from karec.steps.scorers.exposure_control import ExposureControl
from karec.steps.selectors.top_k import TopK
from karec.times import Progress

START_MS = 1_800_000_000_000
PAGES_PER_SECOND = 40  # of all processes
PROCESSES = 4
DRIFT = 0.1  # a group's scores change by up to this fraction, in one sine wave over the users
MAX_RATIO, MAX_EXCESS = 1.25, 0.003  # goal: loss at most 1.25 · bound, or bound + 0.003
MIN_FULFILMENT = 0.95  # goal: least share / guarantee
WEIGHTS = tuple(
    float(weight) for weight in np.geomspace(0.002, 0.128, 25)
)  # of max-min, of the mean top score
SOFTNESS = 0.1  # of max-min's minimum, in guarantees
ORDERS = ("random", "mean score", "favourite group", "time with drift")


@dataclass(frozen=True)
class Outcome:
    """What pages lose and give.

    loss        fraction of the relevance of top-k pages
    fulfilment  least share / guarantee of all groups
    score_us    mean processor time of a page in the scorer, µs; None: not measured
    count_us    the same in the counters
    """

    loss: float
    fulfilment: float
    score_us: float | None = None
    count_us: float | None = None


def measure_exposure(
    scores: NDArray[np.float32],
    groups: NDArray[Any],
    guarantees: Sequence[float],
    *,
    k: int = 10,
    rate: float = 0.005,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Returns a row for each guarantee, policy and order: the fields of ``Outcome``, the bound and the goal.

    Args:
        guarantees: of an equal share; 0.5 gives each of G groups at least 0.5/G of the impressions.
        rate: of the exposure control.

    Raises:
        ValueError: the arguments are not those of an ``ExposureProblem``.
    """
    n_groups = int(groups.max()) + 1
    problems = [ExposureProblem(scores, groups, np.full(n_groups, part / n_groups), k) for part in guarantees]
    rng = np.random.default_rng(seed)
    moved_scores = drift_scores(scores, groups, rng)
    orders = user_orders(scores, groups, rng)
    rows = []
    for done, (part, problem) in enumerate(zip(guarantees, problems, strict=True)):
        moved = problem.with_scores(moved_scores)
        bounds = dict.fromkeys(ORDERS, bound_loss(problem).loss)
        bounds["time with drift"] = bound_loss(moved).loss
        for policy, order, outcome in _outcomes(problem, moved, orders, rate):
            if progress is not None:
                progress(done, len(problems), f"guarantees, {policy}")
            bound = bounds[order]
            is_reached = outcome.loss <= max(MAX_RATIO * bound, bound + MAX_EXCESS)
            rows.append(
                {
                    "guarantee": part,
                    "policy": policy,
                    "order": order,
                    "bound": bound,
                    **vars(outcome),
                    "is_reached": bool(is_reached and outcome.fulfilment >= MIN_FULFILMENT),
                }
            )
    return rows


def _outcomes(
    problem: ExposureProblem, moved: ExposureProblem, orders: Mapping[str, NDArray[Any]], rate: float
) -> Iterator[tuple[str, str, Outcome]]:
    """Yields (policy, order, outcome)."""
    for order in ORDERS:
        shown = moved if order == "time with drift" else problem
        yield "exposure control", order, control(shown, orders[order], rate)
    shared = control(problem, orders["random"], rate, n_processes=PROCESSES)
    yield f"exposure control, {PROCESSES} processes", "random", shared
    yield "top-k", "random", top_k(problem)
    yield "cap", "random", cap(problem)
    yield "max-min", "random", max_min(problem, orders["random"])


def control(problem: ExposureProblem, order: NDArray[Any], rate: float, *, n_processes: int = 1) -> Outcome:
    """Returns the outcome of exposure control.

    Several processes serve users in turn, PAGES_PER_SECOND together. Each counts its own pages at once. Once
    in MERGE_SECONDS, all continue from the pages of all.
    """
    ids = np.arange(len(problem.groups))
    vectors = np.ones((len(ids), 1), np.float32)
    index = ItemIndex.build(ids, vectors, columns={"group": problem.groups.astype(np.int32)})
    shares = {str(group): share for group, share in enumerate(problem.shares.tolist())}
    settings = ExposureSettings(targets=(Target(column="group", share=shares, minimum=True),), rate=rate)
    merged, *processes = (ExposureController(settings, index) for _ in range(n_processes + 1))
    scorer, selector = ExposureControl(), TopK()
    all_items = Candidates.from_ids(ids).with_rows(index.lookup(ids))
    assert not all_items.n_unknown  # counted once, as by an earlier stage
    pages = np.empty((len(order), problem.k), np.int64)
    waiting: list[PageImpressions] = []
    score_ns, count_ns = 0, 0
    with index.pinned() as view:
        for i, user in enumerate(order.tolist()):
            process = processes[i % n_processes]
            time_ms = START_MS + i * 1_000 // PAGES_PER_SECOND
            request = Request(user, problem.k, time_ms=time_ms, view=view, dual_variables=process.newest)
            candidates = all_items.with_scores(problem.scores[user])
            begin_ns = time.thread_time_ns()
            scored = scorer.score(request, candidates)
            score_ns += time.thread_time_ns() - begin_ns
            best = selector.select(request, candidates.with_scores(scored.value))
            page = candidates.take(best.indices)
            begin_ns = time.thread_time_ns()
            process.add_page(request, page)
            count_ns += time.thread_time_ns() - begin_ns
            pages[i] = page.rows
            if n_processes > 1:
                waiting.append(process.page_impressions(request, page))
                if len(waiting) >= PAGES_PER_SECOND * MERGE_SECONDS:
                    _merge(merged, processes, waiting)
    outcome = _outcome(problem, order, pages)
    if n_processes > 1:
        return outcome
    n = 1_000 * len(order)
    return Outcome(outcome.loss, outcome.fulfilment, score_ns / n, count_ns / n)


def _merge(
    merged: ExposureController, processes: Sequence[ExposureController], pages: list[PageImpressions]
) -> None:
    """Gives the state with all pages to all processes, as the exchange by an online store does."""
    merged.add_pages(pages)
    for process in processes:
        process.apply_pending()
        process.restore(merged.to_json(), pages[-1].time_ms)
    pages.clear()


def top_k(problem: ExposureProblem) -> Outcome:
    """Returns the outcome of plain top-k pages."""
    pages = np.argpartition(problem.scores, -problem.k, axis=1)[:, -problem.k :]
    return _outcome(problem, np.arange(len(pages)), pages)


def cap(problem: ExposureProblem) -> Outcome:
    """Returns the outcome of pages with a cap for each group; the smallest cap that fills pages."""
    sizes = np.bincount(problem.groups)
    most = next(n for n in range(1, problem.k + 1) if np.minimum(sizes, n).sum() >= problem.k)
    best_first = np.argsort(-problem.scores, axis=1, kind="stable")
    pages = np.empty((len(problem.scores), problem.k), np.int64)
    for page, items in zip(pages, best_first, strict=True):
        groups = problem.groups[items]
        by_group = np.argsort(groups, kind="stable")
        starts = np.cumsum(sizes) - sizes
        place = np.empty(len(items), np.int64)  # of an item among those of its group
        place[by_group] = np.arange(len(items)) - np.repeat(starts, sizes)
        page[:] = items[place < most][: problem.k]
    return _outcome(problem, np.arange(len(pages)), pages)


def max_min(problem: ExposureProblem, order: NDArray[Any]) -> Outcome:
    """Returns the outcome of the best weight of max-min: least loss among those that keep MIN_FULFILMENT."""
    mean_score = problem.best / problem.n_impressions
    outcomes = [_max_min(problem, order, weight * mean_score) for weight in WEIGHTS]
    kept = [outcome for outcome in outcomes if outcome.fulfilment >= MIN_FULFILMENT]
    if kept:
        return min(kept, key=lambda outcome: outcome.loss)
    return max(outcomes, key=lambda outcome: outcome.fulfilment)


def _max_min(problem: ExposureProblem, order: NDArray[Any], weight: float) -> Outcome:
    counts = np.zeros(len(problem.shares))
    pages = np.empty((len(order), problem.k), np.int64)
    for i, user in enumerate(order.tolist()):
        fulfilment = counts / np.maximum(problem.shares * max(i, 1) * problem.k, 1e-12)
        soft = np.exp(-(fulfilment - fulfilment.min()) / SOFTNESS)
        boosts = weight * soft / soft.sum() / np.maximum(problem.shares, 1e-12)
        pages[i] = np.argpartition(problem.scores[user] + boosts[problem.groups], -problem.k)[-problem.k :]
        counts += np.bincount(problem.groups[pages[i]], minlength=len(counts))
    return _outcome(problem, order, pages)


def _outcome(problem: ExposureProblem, order: NDArray[Any], pages: NDArray[Any]) -> Outcome:
    """Returns the outcome of ``pages (U, k)`` of the users ``order (U,)``."""
    relevance = float(problem.scores[order[:, None], pages].sum(dtype=np.float64))
    counts = np.bincount(problem.groups[pages].ravel(), minlength=len(problem.shares))
    is_guaranteed = problem.shares > 0
    due = problem.shares[is_guaranteed] * problem.n_impressions
    return Outcome(1.0 - relevance / problem.best, float(np.min(counts[is_guaranteed] / due, initial=np.inf)))


def user_orders(
    scores: NDArray[np.float32], groups: NDArray[Any], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Returns {order: users (U,)}. Users of "time with drift" come as they are numbered."""
    return {
        "random": rng.permutation(len(scores)),
        "mean score": np.argsort(scores.mean(axis=1), kind="stable"),
        "favourite group": np.argsort(groups[scores.argmax(axis=1)], kind="stable"),
        "time with drift": np.arange(len(scores)),
    }


def drift_scores(
    scores: NDArray[np.float32], groups: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Returns ``scores`` · (1 + DRIFT · sin(2π(user/U + phase of the group)))."""
    phases = rng.random(int(groups.max()) + 1)
    moments = np.arange(len(scores))[:, None] / len(scores)
    factors = 1.0 + DRIFT * np.sin(2.0 * np.pi * (moments + phases))  # (U, G)
    return (scores * factors[:, groups]).astype(np.float32)


def exposure_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns the rows of ``measure_exposure`` as a table."""
    head = ("policy, order of users", "guarantee", "bound", "loss", "least / guarantee", "µs a page", "goal")
    note = (
        "loss: fraction of the relevance of top-k pages. Guarantee: of an equal share. Goal: loss ≤ "
        f"{MAX_RATIO} · bound or bound + {MAX_EXCESS}, least group ≥ {MIN_FULFILMENT} of its guarantee. µs: "
        f"scorer + counters, processor time. {PROCESSES} processes: together {PAGES_PER_SECOND} pages a "
        "second, merged once a second."
    )
    return Table("Exposure control against its bound", head, [_cells(row) for row in rows], note)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    is_timed = row["score_us"] is not None
    return (
        f"{row['policy']}: {row['order']}",
        f"{row['guarantee']:g}",
        f"{row['bound']:.4f}",
        f"{row['loss']:.4f}",
        f"{row['fulfilment']:.3f}",
        f"{row['score_us']:.0f} + {row['count_us']:.0f}" if is_timed else "",
        "reached" if row["is_reached"] else "missed",
    )
