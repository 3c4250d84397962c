"""Each role's step asked once: what it returned, held to its role's contract, as the next step reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

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
    return merged, notes


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
    chosen = candidates.take(indices)
    if selection.scores is not None:
        chosen = chosen.with_scores(_contract.check_scores(step, selection.scores, len(indices)))
    return chosen, selection.notes


OF_A_STAGE: Mapping[str, Callable[[Any, Request, Candidates], tuple[Candidates, Notes]]] = {
    "hydrator": _hydrate,
    "filter": _filter,
    "scorer": _score,
    "selector": _select,
}
