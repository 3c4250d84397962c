"""Each role's step asked once: what it returned, held to its role's contract, as the next step reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from karec.pipeline import _contract
from karec.pipeline.types import EMPTY, Array, Candidates, Request, StepOutput

Notes = Mapping[str, Any]  # for the trace
V = TypeVar("V")
Role = Any  # one of karec.pipeline.step, which imports this module


def _plain(result: V | StepOutput[V]) -> tuple[V, Notes]:
    return (result.value, result.notes) if isinstance(result, StepOutput) else (result, EMPTY)


def hydrate_request(step: Role, request: Request) -> tuple[Mapping[str, Array], Notes]:
    """What ``step`` gives, checked, and its notes."""
    features, notes = _plain(step.hydrate_request(request))
    _contract.check_features(step, features)
    return features, notes


def recall(step: Role, request: Request) -> tuple[Candidates, Notes]:
    """What ``step`` finds, checked, and its notes."""
    found, notes = _plain(step.recall(request))
    _contract.check_found(step, found, step.quota, unique="is_verified" in vars(type(step)))
    return found, notes


def merge(step: Role, request: Request, parts: Sequence[Candidates]) -> tuple[Candidates, Notes]:
    """What ``step`` makes of ``parts``, checked, and its notes."""
    merged, notes = _plain(step.merge(request, parts))
    if "is_verified" in vars(type(step)):
        _contract.check_merged_size(step, merged, step.limit)
    else:
        _contract.check_merged(step, merged, parts, step.limit)
    pinned = [part.ids[part.pinned] for part in parts if part.pinned is not None]
    return (merged.with_pinned(np.isin(merged.ids, np.concatenate(pinned))) if pinned else merged), notes


def _hydrate(step: Role, request: Request, candidates: Candidates) -> tuple[Candidates, Notes]:
    given, notes = _plain(step.hydrate(request, candidates))
    columns = _contract.check_columns(step, given, len(candidates), request.view)
    rows = columns.pop("rows", None)
    hydrated = candidates if rows is None else candidates.with_rows(rows)
    return hydrated.with_columns(columns), notes


def _filter(step: Role, request: Request, candidates: Candidates) -> tuple[Candidates, Notes]:
    given, notes = _plain(step.keep(request, candidates))
    keep = _contract.check_mask(step, given, len(candidates))
    _contract.check_gives(step, set())
    return (candidates if keep.all() else candidates.take(keep)), notes


def _score(step: Role, request: Request, candidates: Candidates) -> tuple[Candidates, Notes]:
    given, notes = _plain(step.score(request, candidates))
    scores = _contract.check_scores(step, given, len(candidates))
    _contract.check_gives(step, {"scores"})
    return candidates.with_scores(scores), notes


def _select(step: Role, request: Request, candidates: Candidates) -> tuple[Candidates, Notes]:
    selection = step.select(request, candidates)
    indices = _contract.check_selection(
        step, selection, len(candidates), request.k if step.k is None else step.k
    )
    _contract.check_gives(step, set() if selection.scores is None else {"scores"})
    scores = selection.scores
    if scores is not None:
        scores = _contract.check_scores(step, scores, len(indices))
    if candidates.pinned is not None and step.k is not None:
        indices, scores = _with_pinned(request, candidates, indices, scores, step.k)
    chosen = candidates.take(indices)
    return (chosen if scores is None else chosen.with_scores(scores)), selection.notes


def _with_pinned(
    request: Request, candidates: Candidates, indices: Array, scores: Array | None, k: int
) -> tuple[Array, Array | None]:
    """``indices`` and ``scores`` with the pinned candidates that the selector left out: they replace the last
    candidates that are not pinned, so that at most ``k`` remain.

    A pinned candidate that the request's index does not have, or blocks, stays out. The scores of those that
    are added equal the lowest one of the selector. Only selectors with a k of their own get here: those that
    cut to the request's k decide which pinned candidates the page shows.
    """
    pinned = candidates.pinned
    assert pinned is not None
    is_left_out = pinned.copy()
    is_left_out[indices] = False
    added = np.flatnonzero(is_left_out)
    if len(added) and request.view is not None:
        added = added[request.view.is_open(rows=candidates.rows[added])]
    added = added[: max(k - np.count_nonzero(pinned[indices]), 0)]
    n_dropped = max(len(indices) + len(added) - k, 0)
    unpinned = np.flatnonzero(~pinned[indices])
    kept = np.delete(np.arange(len(indices)), unpinned[len(unpinned) - n_dropped :])
    if scores is not None:
        lowest = scores.min() if len(scores) else candidates.scores[added]
        scores = np.append(scores[kept], np.broadcast_to(lowest, len(added)))
    return np.append(indices[kept], added), scores


OF_A_STAGE: Mapping[str, Callable[[Any, Request, Candidates], tuple[Candidates, Notes]]] = {
    "hydrator": _hydrate,
    "filter": _filter,
    "scorer": _score,
    "selector": _select,
}
