"""Sweep of fusion weights: outcomes of the top k of lists, and undominated weights.

Lists are works with a known outcome: a user's impressions of one day with their feedback (``replayed``), or
pools drawn from the catalog with the true probabilities of a synthetic world (``drawn``). For each choice of
weights the ranker's fused score orders every list, and the outcomes of its k best are averaged.

An objective's *fraction* g_o of the fused score is on a simplex grid. Its weight is w_o = g_o / (its mean
predicted probability), so that a rare like and a frequent click of one fraction move the order alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.errors import ConfigError, DataError
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval, user_days
from karec.evaluate.tables import format_measure
from karec.lab.report import BLUE, GREY, ORANGE, Chart, Part, Table, write_report
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.auxiliary_tasks import PLAY_TIME, PLAY_UNIT_MS, auxiliary_labels
from karec.samples.examples import Examples
from karec.samples.replay import pool_logits, ranker_logits
from karec.times import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1  # of fusion.json
UNITS = {PLAY_TIME: "s"}  # of outcomes; others are fractions
TruthOf = Callable[[Sequence[str], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class RankedLists:
    """N works in lists.

    ``logits`` (N, O) and ``outcomes`` (N, O) of the ``objectives``; ``of`` (N,) the list of each work,
    ``user``
    (N,) its user. An outcome is a label, a probability, or seconds of play.
    """

    objectives: tuple[str, ...]
    logits: NDArray[Any]
    outcomes: NDArray[Any]
    of: NDArray[Any]
    user: NDArray[Any]

    def longer_than(self, k: int) -> RankedLists:
        """Returns the lists of more than ``k`` works: shorter ones have the same top k in any order.

        Raises DataError if there is none.
        """
        _, places, sizes = np.unique(self.of, return_inverse=True, return_counts=True)
        is_kept = sizes[places] > k
        if not is_kept.any():
            raise DataError(
                f"no list has more than k = {k} works, the longest has {int(sizes.max(initial=0))}. Lower k."
            )
        return RankedLists(
            self.objectives,
            self.logits[is_kept],
            self.outcomes[is_kept],
            places[is_kept],
            np.asarray(self.user)[is_kept],
        )


def chosen_objectives(ranker: OnnxModel, wanted: Sequence[str]) -> tuple[str, ...]:
    """Returns ``wanted``, by default all that the ranker predicts. Raises ConfigError for others."""
    unknown = sorted(set(wanted) - set(ranker.tasks))
    if unknown:
        raise ConfigError(f"objectives {unknown}: the ranker {ranker.path} predicts {list(ranker.tasks)}")
    return tuple(dict.fromkeys(wanted)) or ranker.tasks


def replayed(examples: Examples, ranker: OnnxModel, objectives: Sequence[str], start_ms: int) -> RankedLists:
    """Returns the examples as lists, one per user and day from ``start_ms``, with the feedback."""
    exposures = examples.exposures
    outcomes = auxiliary_labels(exposures, objectives)
    logits = ranker_logits(examples, ranker)[:, [ranker.tasks.index(name) for name in objectives]]
    of = user_days(exposures.user_id, exposures.time_ms, start_ms)
    return RankedLists(tuple(objectives), logits, _in_seconds(outcomes, objectives), of, exposures.user_id)


def drawn(
    examples: Examples,
    ranker: OnnxModel,
    objectives: Sequence[str],
    truth_of: TruthOf,
    *,
    n_pools: int,
    size: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> RankedLists:
    """Returns pools of ``n_pools`` users of the examples, each at their first moment with ``size`` existing
    works.

    ``truth_of(objectives, user rows, work rows, time_ms, scene)`` gives the true outcomes (N, O). Users and
    works
    are drawn from ``seed``. Raises DataError if fewer than ``size`` works exist.
    """
    exposures = examples.exposures
    generator = np.random.default_rng(seed)
    _, first = np.unique(exposures.user_id, return_index=True)
    rows = np.sort(generator.permutation(first)[:n_pools])
    existing = np.flatnonzero(examples.snapshot.published_ms <= exposures.time_ms[0])
    if len(existing) < size:
        raise DataError(
            f"{len(existing)} works exist when these days begin, pools need {size}. Lower the size."
        )
    columns = [ranker.tasks.index(name) for name in objectives]
    works = np.stack([generator.choice(existing, size, replace=False) for _ in rows])
    logits = []
    for done, (row, pool) in enumerate(zip(rows.tolist(), works, strict=True), 1):
        logits.append(pool_logits(examples, row, pool, ranker)[:, columns])
        if progress is not None:
            progress(done, len(rows), "ranking pools")
    examples_of = np.repeat(rows, size)
    outcomes = truth_of(
        objectives,
        examples.user_rows[examples_of],
        works.ravel(),
        exposures.time_ms[examples_of],
        exposures.scene[examples_of],
    )
    return RankedLists(
        tuple(objectives), np.concatenate(logits), outcomes, examples_of, exposures.user_id[examples_of]
    )


def simplex(n: int, steps: int) -> NDArray[Any]:
    """Returns (W, n) float64: all vectors of multiples of 1/``steps`` with sum 1, W = C(steps + n − 1, n −
    1).
    """

    def counts(places: int, left: int) -> Iterator[tuple[int, ...]]:
        if places == 1:
            yield (left,)
            return
        for first in range(left, -1, -1):
            for rest in counts(places - 1, left - first):
                yield (first, *rest)

    return np.array(list(counts(n, steps)), np.float64) / steps


def fusion_sweep(
    lists: RankedLists,
    own: Mapping[str, float],
    k: int,
    steps: int,
    *,
    resamples: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns the outcomes of the top ``k`` for each choice of weights, and the frontier (docs/formats.md).

    The first row has the weights ``own``. Intervals resample users with the same draws for every row, so
    gains over the first row are paired.

    Raises:
        ConfigError: ``own`` has a weight for an unknown objective.
        DataError: no list has more than ``k`` works.

    Cost: O(W·N log N) for W rows of N works.
    """
    unknown = sorted(set(own) - set(lists.objectives))
    if unknown:
        raise ConfigError(f"the run's fusion has weights for {unknown}. Add them to the objectives.")
    lists = lists.longer_than(k)
    probabilities = 1.0 / (1.0 + np.exp(-np.clip(lists.logits.astype(np.float64), -60, 60)))
    mean = np.maximum(probabilities.mean(axis=0), 1e-12)
    weights = [np.array([own.get(name, 0.0) for name in lists.objectives])]
    weights += list(simplex(len(lists.objectives), steps) / mean)
    starts, sizes = np.unique(lists.of, return_index=True, return_counts=True)[1:]
    bootstrap = UserBootstrap(lists.user[starts], resamples, seed)
    values, draws = [], []
    for done, row_weights in enumerate(weights, 1):
        outcomes = _top(lists, row_weights, k)
        values.append(outcomes.mean(axis=0))
        draws.append(np.stack([bootstrap.mean(column) for column in outcomes.T], axis=1))
        if progress is not None:
            progress(done, len(weights), "sweeping fusion weights")
    is_on_frontier = frontier(np.array(values))
    rows = [
        _row(
            lists.objectives, row_weights, row_weights * mean, value, draw, bool(is_best), values[0], draws[0]
        )
        for row_weights, value, draw, is_best in zip(weights, values, draws, is_on_frontier, strict=True)
    ]
    return {
        "lists": len(starts),
        "users": len(np.unique(lists.user)),
        "works": {"least": int(sizes.min()), "median": int(np.median(sizes)), "most": int(sizes.max())},
        "rows": rows,
    }


def frontier(values: NDArray[Any]) -> NDArray[Any]:
    """Returns (W,) bool: rows of ``values`` (W, O) that no other row dominates."""
    as_good = np.all(values[None] >= values[:, None], axis=2)
    better = np.any(values[None] > values[:, None], axis=2)
    return np.asarray(~np.any(as_good & better, axis=1))


def _top(lists: RankedLists, weights: NDArray[Any], k: int) -> NDArray[Any]:
    """Returns (L, O): mean outcomes of each list's ``k`` best by the fused score, ties by position as in
    TopK.
    """
    score = ObjectiveWeights(dict(zip(lists.objectives, weights.tolist(), strict=True)))(
        lists.logits, lists.objectives
    )
    order = np.lexsort((-score, lists.of))
    of = lists.of[order]
    begins = np.flatnonzero(np.r_[True, of[1:] != of[:-1]])
    place = np.arange(len(of)) - np.repeat(begins, np.diff(np.r_[begins, len(of)]))
    best = lists.outcomes[order[place < k]].astype(np.float64)
    return np.asarray(best.reshape(len(begins), k, -1).mean(axis=1))


def _row(
    objectives: Sequence[str],
    weights: NDArray[Any],
    parts: NDArray[Any],
    value: NDArray[Any],
    draws: NDArray[Any],
    on_frontier: bool,
    own_value: NDArray[Any],
    own_draws: NDArray[Any],
) -> dict[str, Any]:
    gain, gain_draws = value - own_value, draws - own_draws
    return {
        "weights": dict(zip(objectives, (weights / weights.sum()).tolist(), strict=True)),
        "shares": dict(zip(objectives, (parts / parts.sum()).tolist(), strict=True)),
        "on_frontier": on_frontier,
        "values": {
            name: {"value": float(value[column]), "ci": bootstrap_interval(draws[:, column])}
            for column, name in enumerate(objectives)
        },
        "gains": {
            name: {"value": float(gain[column]), "ci": bootstrap_interval(gain_draws[:, column])}
            for column, name in enumerate(objectives)
        },
    }


def _in_seconds(outcomes: NDArray[Any], objectives: Sequence[str]) -> NDArray[Any]:
    """Returns ``auxiliary_labels`` with play time in seconds."""
    scale = np.array([PLAY_UNIT_MS / 1000 if name == PLAY_TIME else 1.0 for name in objectives])
    return np.asarray(outcomes * scale)


def write_fusion(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes fusion.json and fusion.html.

    ``report``: {k, objectives, …, sources: {name: result of ``fusion_sweep``}}, as in docs/formats.md.
    """
    title = "Fusion weights"
    return write_report({"format": FORMAT, **report}, folder, "fusion", title, _parts(report))


def fusion_table(source: str, swept: Mapping[str, Any], k: int, objectives: Sequence[str]) -> Table:
    """Returns the run's own weights, then the frontier, ordered by the first objective: fractions and
    outcomes.
    """
    works = swept["works"]
    own, *others = swept["rows"]
    best = sorted(
        (row for row in others if row["on_frontier"]), key=lambda row: -row["values"][objectives[0]]["value"]
    )
    title = (
        f"{source}: top {k} of {swept['lists']:,} lists of {works['least']:,} to {works['most']:,} works, "
        f"{swept['users']:,} users; {len(swept['rows']):,} choices of weights, of which "
        f"{sum(row['on_frontier'] for row in swept['rows']):,} are on the frontier"
    )
    rows = [
        (
            " : ".join(f"{row['shares'][name]:.2f}" for name in objectives)
            + (" (the run's)" if row is own else ""),
            *(format_measure(row["values"][name]["value"], row["values"][name]["ci"]) for name in objectives),
        )
        for row in (own, *best)
    ]
    named = (f"{name}, {UNITS[name]}" if name in UNITS else name for name in objectives)
    return Table(title, ("fractions of " + " : ".join(objectives), *named), rows)


def _parts(report: Mapping[str, Any]) -> Iterator[Part]:
    first, *others = report["objectives"]
    for source, swept in report["sources"].items():
        for other in others:
            draw = _points(swept["rows"], first, other)
            yield Chart(f"{source}: {other} against {first}", draw, height=3.2)
        yield fusion_table(source, swept, report["k"], report["objectives"])


def _points(rows: Sequence[Mapping[str, Any]], first: str, other: str) -> Callable[[Axes], None]:
    """Returns a function that draws a point for each choice of weights.

    Points are grey, those on the frontier blue, the run's own orange.
    """

    def draw(axes: Axes) -> None:
        for number, row in sorted(enumerate(rows), key=lambda item: (item[0] == 0, item[1]["on_frontier"])):
            colour = ORANGE if number == 0 else BLUE if row["on_frontier"] else GREY
            values = [row["values"][name]["value"] for name in (first, other)]
            axes.plot(*([value] for value in values), "o", color=colour, markersize=7 if number == 0 else 4)
        axes.set_xlabel(first)
        axes.set_ylabel(other)

    return draw
