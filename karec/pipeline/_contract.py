"""What each role's result must be. ``karec.pipeline.step`` asks after every step; a broken contract is always
raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from karec.errors import ContractError
from karec.pipeline.types import Array, Candidates, Selection

if TYPE_CHECKING:
    from karec.index import IndexView

MOST_ROWS = 2**31  # Candidates.rows are int32


class Named(Protocol):
    """A step: what a message names, and what it says that it gives."""

    @property
    def role(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def gives(self) -> tuple[str, ...]: ...


def wrong(step: Named, message: str) -> ContractError:
    return ContractError(f"{step.role} {step.name!r}: {message}")


def check_features(step: Named, features: Any) -> None:
    """{str: array}, with every feature that the step declares."""
    if not isinstance(features, Mapping):
        raise wrong(step, f"returned {type(features).__name__}, expected {{name: array}}")
    for name, value in features.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise wrong(
                step, f"the feature {name!r} is {type(value).__name__}, expected a name and a NumPy array"
            )
    check_gives(step, {f"request.{name}" for name in features})


def check_found(step: Named, found: Any, quota: int, unique: bool = False) -> None:
    """Candidates with finite scores, at most ``quota``, and with unique ids unless they are known to be
    ``unique``."""
    _check_candidates(step, found)
    if len(found) > quota:
        raise wrong(step, f"found {len(found)} works, its quota is {quota}")
    if not unique:
        _check_unique(step, found)


def check_merged(step: Named, merged: Any, parts: Sequence[Candidates], limit: int | None) -> None:
    """``check_merged_size``, and: ids are unique and each from a channel; ``sources`` holds the bits of all
    channels that gave it. O(M log M) for M works of all channels."""
    check_merged_size(step, merged, limit)
    _check_unique(step, merged)
    given = np.zeros(len(merged), np.uint32)
    for channel, part in enumerate(parts):
        given |= np.isin(merged.ids, part.ids).astype(np.uint32) << np.uint32(channel)
    made_up = np.flatnonzero(given == 0)
    if len(made_up):
        raise wrong(step, f"the work {merged.ids[made_up[0]]} at position {made_up[0]} comes from no channel")
    other = np.flatnonzero(given != merged.sources)
    if len(other):
        bits, of = merged.sources[other[0]], given[other[0]]
        raise wrong(
            step,
            f"the work {merged.ids[other[0]]} has sources {bits:#b}, the channels that gave it are {of:#b}",
        )


def check_merged_size(step: Named, merged: Any, limit: int | None) -> None:
    """Candidates with finite scores, at most ``limit``."""
    _check_candidates(step, merged)
    if limit is not None and len(merged) > limit:
        raise wrong(step, f"left {len(merged)} works, its limit is {limit}")


def check_columns(step: Named, given: Any, n: int, view: IndexView | None) -> dict[str, Any]:
    """{name: (n, …)}, with every column that the step declares; "rows" as ``_check_rows`` says. A dict of its
    own."""
    if not isinstance(given, Mapping):
        raise wrong(step, f"returned {type(given).__name__}, expected {{column: array}}")
    for name, column in given.items():
        if np.ndim(column) == 0 or len(column) != n:
            raise wrong(step, f"column {name!r} has shape {np.shape(column)} for {n} candidates")
    if "rows" in given:
        _check_rows(step, np.asarray(given["rows"]), view)
    check_gives(step, {"rows" if name == "rows" else f"column.{name}" for name in given})
    return dict(given)


def _check_rows(step: Named, rows: Array, view: IndexView | None) -> None:
    """(N,) integers in −1 … n_rows − 1 of the view; where the request has none, in what int32 holds."""
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise wrong(
            step, f"rows have dtype {rows.dtype} and shape {rows.shape}, expected int32 ({len(rows)},)"
        )
    end = MOST_ROWS if view is None else view.n_rows
    if len(rows) and (rows.min() < -1 or rows.max() >= end):
        at = int(np.argmax((rows < -1) | (rows >= end)))
        raise wrong(step, f"the row at position {at} is {rows[at]}; rows lie in −1 … {end - 1}")


def check_gives(step: Named, given: set[str]) -> None:
    """Every name that the step declares in ``gives``."""
    missing = [name for name in step.gives if name not in given]
    if missing:
        raise wrong(
            step, f"declares that it gives {missing[0]!r} and did not return it; it returned {sorted(given)}"
        )


def check_mask(step: Named, given: Any, n: int) -> Array:
    """(n,) bool."""
    keep = np.asarray(given)
    if keep.dtype != np.bool_ or keep.shape != (n,):
        raise wrong(step, f"keep has dtype {keep.dtype} and shape {keep.shape}, expected bool ({n},)")
    return keep


def check_selection(step: Named, selection: Any, n: int, k: int) -> Array:
    """A Selection; its indices: (≤ k,) integers in 0 … n − 1, distinct."""
    if not isinstance(selection, Selection):
        raise wrong(step, f"returned {type(selection).__name__}, expected Selection")
    indices = np.asarray(selection.indices)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise wrong(
            step, f"indices have dtype {indices.dtype} and shape {indices.shape}, expected int64 (k,)"
        )
    if len(indices) and (indices.min() < 0 or indices.max() >= n):
        raise wrong(step, f"an index lies outside 0 … {n - 1}")
    chosen = np.zeros(n, bool)
    chosen[indices] = True
    if np.count_nonzero(chosen) < len(indices):
        raise wrong(step, "an index stands twice")
    if len(indices) > k:
        raise wrong(step, f"selected {len(indices)} works, its k is {k}")
    return indices


def check_scores(step: Named, given: Any, n: int) -> Array:
    """(n,) real numbers, finite as float32: as such they are returned."""
    scores = np.asarray(given)
    if scores.shape != (n,):
        raise wrong(step, f"scores have shape {scores.shape}, expected ({n},)")
    if scores.dtype.kind not in "fiu":
        raise wrong(step, f"scores have dtype {scores.dtype}, expected float32")
    served = scores
    if scores.dtype != np.float32:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf
            served = scores.astype(np.float32)
    # no comparison holds of NaN; no array of n is made
    if n and not -np.inf < served.min() <= served.max() < np.inf:
        raise _not_finite(step, int(np.argmin(np.isfinite(served))), scores)
    return served


def _not_finite(step: Named, at: int, scores: Array) -> ContractError:
    return wrong(step, f"the score at position {at} is {scores[at]}; scores must be finite float32")


def _check_candidates(step: Named, value: Any) -> None:
    if not isinstance(value, Candidates):
        raise wrong(step, f"returned {type(value).__name__}, expected Candidates")
    if value.not_finite is not None:
        raise _not_finite(step, value.not_finite, value.scores)


def _check_unique(step: Named, candidates: Candidates) -> None:
    if candidates.repeated_id is not None:
        raise wrong(step, f"the id {candidates.repeated_id} stands twice")
