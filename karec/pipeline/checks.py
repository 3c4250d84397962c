"""Runs one step and checks that its output satisfies the contract of its role.

There is one function a role. It calls the step, raises ContractError with step and position if the output
breaks the contract, and returns what the next step reads, with the notes for the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from karec.errors import ContractError, Unavailable
from karec.pipeline.deadline import Clock
from karec.pipeline.trace import DROPPED, StepTrace
from karec.pipeline.types import EMPTY, Array, Candidates, Request, Selection, StepOutput

if TYPE_CHECKING:
    from karec.index import IndexView

MAX_ROWS = 2**31  # Candidates.rows are int32
SURVIVABLE = (Unavailable, OSError)  # failures of the world: a step with on_failure = "skip" may have them

Notes = Mapping[str, Any]
Step = Any  # a class of karec.pipeline.step, which imports this module
V = TypeVar("V")


class StepRun(NamedTuple, Generic[V]):
    """One run of a step. ``result`` is None if it failed and may be skipped."""

    result: V | None
    ms: float
    failure: str | None
    notes: Notes

    def to_trace(self, step: Step, stage: str, n_in: int, n_out: int, **fields: Any) -> StepTrace:
        return StepTrace(
            stage,
            step.name,
            step.role,
            n_in,
            n_out,
            self.ms,
            failure=self.failure,
            notes=self.notes,
            **fields,
        )


def run_step(step: Step, call: Callable[[], tuple[V, Notes]], clock: Clock = perf_counter) -> StepRun[V]:
    """Measures ``call()`` for ``step``. Raises its failure unless the step may be skipped."""
    start = clock()
    result: V | None = None
    notes: Notes = EMPTY
    failure = None
    try:
        result, notes = call()
    except SURVIVABLE as error:
        if step.on_failure == "fail":
            raise
        failure = f"{type(error).__name__}: {error}"
    return StepRun(result, (clock() - start) * 1e3, failure, notes)


def hydrate_request(step: Step, request: Request) -> tuple[Mapping[str, Array], Notes]:
    """Returns {name: array} of new request features, with each name that the step declares."""
    features, notes = _split(step.hydrate_request(request))
    if not isinstance(features, Mapping):
        raise _error(step, f"returned {type(features).__name__}, expected {{name: array}}")
    for name, value in features.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            kind = type(value).__name__
            raise _error(step, f"the feature {name!r} is {kind}, expected a name and a NumPy array")
    _check_gives(step, {f"request.{name}" for name in features})
    return features, notes


def recall(step: Step, request: Request) -> tuple[Candidates, Notes]:
    """Returns the source's candidates: finite scores, at most its quota, unique ids."""
    candidates, notes = _split(step.recall(request))
    _check_candidates(step, candidates)
    if len(candidates) > step.quota:
        raise _error(step, f"returned {len(candidates)} items, its quota is {step.quota}")
    if not _is_verified(step):
        _check_unique(step, candidates)
    return candidates, notes


def only_allowed(request: Request, candidates: Candidates) -> Candidates:
    """Returns the candidates that satisfy the request's condition: those of allowed rows of its view."""
    if request.allowed is None:
        return candidates
    view = request.index
    rows = candidates.rows if view.has_rows(candidates.rows) else view.lookup(candidates.ids)
    is_allowed = request.allowed.at(rows)
    return candidates if is_allowed.all() else candidates.take(is_allowed)


def without(candidates: Candidates, ids: Array) -> Candidates:
    """Returns the candidates whose ids are not in ``ids``, distinct ids."""
    return candidates.take(~np.isin(candidates.ids, ids, assume_unique=True))


def merge(step: Step, request: Request, parts: Sequence[Candidates]) -> tuple[Candidates, Notes]:
    """Returns one list of the ``parts``: finite scores, at most the merger's limit, unique ids of the parts.

    ``sources`` has the bit of each part that has the item. An item is pinned if one of them pins it.
    Cost: O(M log M) for M candidates of all parts.
    """
    merged, notes = _split(step.merge(request, parts))
    _check_candidates(step, merged)
    if step.limit is not None and len(merged) > step.limit:
        raise _error(step, f"returned {len(merged)} items, its limit is {step.limit}")
    if not _is_verified(step):
        _check_unique(step, merged)
        _check_sources(step, merged, parts)
    pinned = [part.ids[part.pinned] for part in parts if part.pinned is not None]
    return (merged.with_pinned(np.isin(merged.ids, np.concatenate(pinned))) if pinned else merged), notes


def hydrate(step: Step, request: Request, candidates: Candidates) -> tuple[Candidates, Notes]:
    """Returns ``candidates`` with the hydrator's columns (N, …), and its rows if it returns "rows"."""
    output, notes = _split(step.hydrate(request, candidates))
    n = len(candidates)
    if not isinstance(output, Mapping):
        raise _error(step, f"returned {type(output).__name__}, expected {{column: array}}")
    for name, column in output.items():
        if np.ndim(column) == 0 or len(column) != n:
            raise _error(step, f"column {name!r} has shape {np.shape(column)} for {n} candidates")
    _check_gives(step, {"rows" if name == "rows" else f"column.{name}" for name in output})
    columns = dict(output)
    if "rows" in columns:
        rows = columns.pop("rows")
        _check_rows(step, np.asarray(rows), request.view)
        candidates = candidates.with_rows(rows)
    return candidates.with_columns(columns), notes


def keep(step: Step, request: Request, candidates: Candidates) -> tuple[Candidates, Notes]:
    """Returns the candidates that the filter keeps by its (N,) bool."""
    output, notes = _split(step.keep(request, candidates))
    mask, n = np.asarray(output), len(candidates)
    if mask.dtype != np.bool_ or mask.shape != (n,):
        raise _error(step, f"keep has dtype {mask.dtype} and shape {mask.shape}, expected bool ({n},)")
    _check_gives(step, set())
    if mask.all():
        return candidates, notes
    if request.item_ids is not None:
        notes = {**notes, DROPPED: candidates.ids[~mask].tolist()}
    return candidates.take(mask), notes


def score(step: Step, request: Request, candidates: Candidates) -> tuple[Candidates, Notes]:
    """Returns ``candidates`` with the scorer's (N,) scores, finite as float32."""
    output, notes = _split(step.score(request, candidates))
    scores = _checked_scores(step, output, len(candidates))
    _check_gives(step, {"scores"})
    return candidates.with_scores(scores), notes


def select(step: Step, request: Request, candidates: Candidates) -> tuple[Candidates, Notes]:
    """Returns the candidates at the selector's distinct indices, at most its k (or the request's), in order.

    A selector with a k of its own also keeps pinned candidates, as ``_keep_pinned`` describes. One that cuts
    to the request's k, or keeps rules, decides which pinned candidates the page shows.
    """
    selection = step.select(request, candidates)
    n, k = len(candidates), request.k if step.k is None else step.k
    if not isinstance(selection, Selection):
        raise _error(step, f"returned {type(selection).__name__}, expected Selection")
    indices, scores = np.asarray(selection.indices), selection.scores
    _check_indices(step, indices, n, k)
    _check_gives(step, set() if scores is None else {"scores"})
    if scores is not None:
        scores = _checked_scores(step, scores, len(indices))
    if candidates.pinned is not None and step.k is not None and not step.keeps_rules:
        indices, scores = _keep_pinned(request, candidates, candidates.pinned, indices, scores, k)
    candidates = candidates.take(indices)
    return (candidates if scores is None else candidates.with_scores(scores)), selection.notes


STAGE_ROLES: Mapping[str, Callable[[Step, Request, Candidates], tuple[Candidates, Notes]]] = {
    "hydrator": hydrate,
    "filter": keep,
    "scorer": score,
    "selector": select,
}


def _keep_pinned(
    request: Request,
    candidates: Candidates,
    pinned: NDArray[np.bool_],
    indices: Array,
    scores: Array | None,
    k: int,
) -> tuple[Array, Array | None]:
    """Returns ``indices`` and ``scores`` with the pinned candidates that the selector left out.

    They replace the last candidates that are not pinned, so that at most ``k`` remain. Candidates that the
    request's index does not have, or blocks, are not added. Those that are added get the lowest score of the
    selector.
    """
    is_left_out = pinned.copy()
    is_left_out[indices] = False
    added_indices = np.flatnonzero(is_left_out)
    if len(added_indices) and request.view is not None:
        added_indices = added_indices[request.view.is_open(ids=candidates.ids[added_indices])]
    added_indices = added_indices[: max(k - np.count_nonzero(pinned[indices]), 0)]
    n_dropped = max(len(indices) + len(added_indices) - k, 0)
    unpinned = np.flatnonzero(~pinned[indices])
    kept_positions = np.delete(np.arange(len(indices)), unpinned[len(unpinned) - n_dropped :])
    if scores is not None:
        lowest = scores.min() if len(scores) else candidates.scores[added_indices]
        scores = np.append(scores[kept_positions], np.broadcast_to(lowest, len(added_indices)))
    return np.append(indices[kept_positions], added_indices), scores


def _split(output: V | StepOutput[V]) -> tuple[V, Notes]:
    return (output.value, output.notes) if isinstance(output, StepOutput) else (output, EMPTY)


def _is_verified(step: Step) -> bool:
    return bool(vars(type(step)).get("is_verified"))  # not inherited


def _error(step: Step, message: str) -> ContractError:
    return ContractError(f"{step.role} {step.name!r}: {message}")


def _check_gives(step: Step, names: set[str]) -> None:
    missing = [name for name in step.gives if name not in names]
    if missing:
        raise _error(
            step, f"declares that it gives {missing[0]!r} and did not return it; it returned {sorted(names)}"
        )


def _check_candidates(step: Step, value: Any) -> None:
    if not isinstance(value, Candidates):
        raise _error(step, f"returned {type(value).__name__}, expected Candidates")
    if value.not_finite is not None:
        raise _not_finite(step, value.not_finite, value.scores)


def _check_unique(step: Step, candidates: Candidates) -> None:
    if candidates.repeated_id is not None:
        raise _error(step, f"the id {candidates.repeated_id} appears twice")


def _check_sources(step: Step, merged: Candidates, parts: Sequence[Candidates]) -> None:
    expected = np.zeros(len(merged), np.uint32)
    for bit, part in enumerate(parts):
        expected |= np.isin(merged.ids, part.ids).astype(np.uint32) << np.uint32(bit)
    unknown = np.flatnonzero(expected == 0)
    if len(unknown):
        position = unknown[0]
        raise _error(step, f"the item {merged.ids[position]} at position {position} comes from no source")
    wrong = np.flatnonzero(expected != merged.sources)
    if len(wrong):
        position = wrong[0]
        raise _error(
            step,
            f"the item {merged.ids[position]} has sources {merged.sources[position]:#b}, "
            f"expected {expected[position]:#b}",
        )


def _check_rows(step: Step, rows: Array, view: IndexView | None) -> None:
    """Rows are −1 … n_rows − 1 of the view; any int32 if the request has no view."""
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise _error(
            step, f"rows have dtype {rows.dtype} and shape {rows.shape}, expected int32 ({len(rows)},)"
        )
    end = MAX_ROWS if view is None else view.n_rows
    if len(rows) and (rows.min() < -1 or rows.max() >= end):
        position = int(np.argmax((rows < -1) | (rows >= end)))
        raise _error(step, f"the row at position {position} is {rows[position]}, expected −1 … {end - 1}")


def _check_indices(step: Step, indices: Array, n: int, k: int) -> None:
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise _error(
            step, f"indices have dtype {indices.dtype} and shape {indices.shape}, expected int64 (k,)"
        )
    if len(indices) and (indices.min() < 0 or indices.max() >= n):
        raise _error(step, f"an index is outside 0 … {n - 1}")
    is_selected = np.zeros(n, bool)
    is_selected[indices] = True
    if np.count_nonzero(is_selected) < len(indices):
        raise _error(step, "an index appears twice")
    if len(indices) > k:
        raise _error(step, f"selected {len(indices)} items, its k is {k}")


def _checked_scores(step: Step, output: Any, n: int) -> Array:
    scores = np.asarray(output)
    if scores.shape != (n,):
        raise _error(step, f"scores have shape {scores.shape}, expected ({n},)")
    if scores.dtype.kind not in "fiu":
        raise _error(step, f"scores have dtype {scores.dtype}, expected float32")
    scores32 = scores
    if scores.dtype != np.float32:
        with np.errstate(over="ignore"):  # values beyond float32 become inf
            scores32 = scores.astype(np.float32)
    # comparisons with NaN are False; this makes no array of n
    if n and not -np.inf < scores32.min() <= scores32.max() < np.inf:
        raise _not_finite(step, int(np.argmin(np.isfinite(scores32))), scores)
    return scores32


def _not_finite(step: Step, position: int, scores: Array) -> ContractError:
    return _error(
        step, f"the score at position {position} is {scores[position]}; scores must be finite float32"
    )
