"""Mixes the pages of scenes of several item types into one page, with positions, caps and guarantees by type.

A page of k places holds these constraints of an item type, if its list has as many items:

    cap         at most ⌊cap · k⌋ items
    guarantee   at least ⌈guarantee · k⌉ items
    positions   an item at each of these places, counted from 0

The items of a type keep the order of their scene. Of all pages that hold the constraints, the mixed page has
the best calibrated score at its first place, then at its second, and so on. A page with fewer candidates
than places, or than a constraint needs, gives up constraints and names each that it breaks: caps only to
fill the page, positions before guarantees, later item types before earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.pipeline.trace import RELAXED, Shortfall, StepTrace, Trace, degradations
from karec.pipeline.types import Array, Candidates, IdNames, Page, Request

STAGE, STEP = "mix", "item_types"
ROUNDING = 1e-9  # 0.07 · 100 is 7.000000000000001 in float64


@dataclass(frozen=True)
class ScoreCalibration:
    """P(the user enjoys an item) = σ(scale · score in ``stage`` + bias); ``rate`` without such a score."""

    stage: str
    scale: float
    bias: float
    rate: float

    def __post_init__(self) -> None:
        if self.scale < 0 or not 0 <= self.rate <= 1:
            raise ValueError(
                f"scale is {self.scale}, rate is {self.rate}, expected scale ≥ 0 and a rate in [0, 1]"
            )

    def read(self, page: Page) -> NDArray[np.float64]:
        """Returns (N,) probabilities of the items of ``page``, which has the scores of the stage.

        Items of the reserve have no score of the last stage. After a fallback, or without a failed scorer,
        the scores are on another scale.
        """
        probabilities = np.full(len(page), self.rate)
        if page.trace.has_own_scores(self.stage):
            scored = page.scored[self.stage]
            _, rows, places = np.intersect1d(
                scored.ids, page.candidates.ids, assume_unique=True, return_indices=True
            )
            probabilities[places] = self.apply(scored.scores[rows])
        return probabilities

    def apply(self, scores: Array) -> NDArray[np.float64]:
        """Returns (N,) probabilities of ``scores`` (N,)."""
        return np.exp(-np.logaddexp(0.0, -(self.scale * scores.astype(np.float64) + self.bias)))


@dataclass(frozen=True)
class TypeShare:
    """Constraints of one item type: see the module. ``cap`` and ``guarantee`` are fractions of the page."""

    positions: tuple[int, ...] = ()
    cap: float = 1.0
    guarantee: float = 0.0


def mix_item_types(
    scores: Mapping[str, Array], shares: Mapping[str, TypeShare], k: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the item type of each place, and the names of the constraints that the page breaks.

    Cost: O(k · types²).

    Args:
        scores: {item type: (N,) calibrated scores in the order of its scene}; a tie goes to the first type.
        shares: {item type: its constraints}, of the same types.
        k: places; the page has fewer if there are fewer items.
    """
    n = min(k, sum(map(len, scores.values())))
    caps = {name: min(len(scores[name]), floor(share.cap * k + ROUNDING)) for name, share in shares.items()}
    limits = {name: len(scores[name]) for name in shares}
    for name, cap in caps.items():
        if sum(limits.values()) - limits[name] + cap >= n:
            limits[name] = cap
    for name, cap in caps.items():
        limits[name] = max(cap, limits[name] - sum(limits.values()) + n)
    relaxed: dict[str, None] = {f"cap of {name}": None for name, cap in caps.items() if limits[name] > cap}
    needs, reserved = _reserve(shares, limits, relaxed, n, k)
    counts = dict.fromkeys(shares, 0)
    ahead = {name: sum(other == name for other in reserved.values()) for name in shares}
    order: list[str] = []
    for place in range(n):
        if place in reserved:
            best = reserved[place]
            ahead[best] -= 1
        else:
            best = max(
                (
                    name
                    for name in shares
                    if counts[name] + ahead[name] < limits[name]
                    and _open_needs(needs, counts, ahead, name) < n - place
                ),
                key=lambda name: scores[name][counts[name]],
            )
        counts[best] += 1
        order.append(best)
    return tuple(order), tuple(relaxed)


def _reserve(
    shares: Mapping[str, TypeShare], limits: Mapping[str, int], relaxed: dict[str, None], n: int, k: int
) -> tuple[dict[str, int], dict[int, str]]:
    """Returns the guaranteed items of each type, and {place: type} of reserved places, which a page can hold.

    Adds the names of the others to ``relaxed``.
    """
    needs: dict[str, int] = {}
    for name, share in shares.items():
        wanted = ceil(share.guarantee * k - ROUNDING)
        needs[name] = min(wanted, limits[name], n - sum(needs.values()))
        if needs[name] < wanted:
            relaxed[f"guarantee of {name}"] = None
    none = dict.fromkeys(shares, 0)
    reserved: dict[int, str] = {}
    ahead = dict(none)
    for name, share in shares.items():
        for place in share.positions:
            is_possible = place < n and place not in reserved and ahead[name] < limits[name]
            if is_possible and _open_needs(needs, none, {**ahead, name: ahead[name] + 1}) <= n:
                reserved[place] = name
                ahead[name] += 1
            else:
                relaxed[f"position {place} of {name}"] = None
    return needs, reserved


def _open_needs(
    needs: Mapping[str, int], counts: Mapping[str, int], ahead: Mapping[str, int], chosen: str | None = None
) -> int:
    """Returns how many places guarantees and reserved places still take after an item of the type ``chosen``.

    ``counts``: items placed before it; ``ahead``: reserved places that follow.
    """
    return sum(max(needs[name] - counts[name] - (name == chosen), ahead[name]) for name in needs)


def choose_items(
    pages: Mapping[str, Page],
    scores: Mapping[str, Array],
    shares: Mapping[str, TypeShare],
    request: Request,
) -> tuple[dict[str, Page], StepTrace]:
    """Returns the parts of the page of ``request``: {item type: the items of its page that are on it}, with
    their places, calibrated scores and the scene of the request; and the trace of this step."""
    order, relaxed = mix_item_types(scores, shares, request.k)
    parts = {}
    for name, page in pages.items():
        places = tuple(place for place, other in enumerate(order) if other == name)
        candidates = page.candidates.with_scores(scores[name]).take(np.arange(len(places)))
        logged = replace(page.request, scene=request.scene)  # events report the scene of the page
        parts[name] = replace(page, request=logged, candidates=candidates, places=places)
    n_items = {name: len(values) for name, values in scores.items()}
    notes: dict[str, Any] = {"n_items": n_items, **({RELAXED: relaxed} if relaxed else {})}
    return parts, StepTrace(STAGE, STEP, "selector", sum(n_items.values()), len(order), 0.0, notes=notes)


def join_parts(
    parts: Mapping[str, Page], scenes: Mapping[str, str], mixed: StepTrace, request: Request
) -> Page:
    """Returns the page of ``parts``, which have the platform's ids; the first is that of the own item type.

    ``scenes``: {item type: scene}, which steps of other types have before their stage; ``mixed``: the trace
    of ``choose_items``.
    """
    own = next(iter(parts.values()))
    steps = (
        *(
            step if page is own else step._replace(stage=f"{scenes[name]}.{step.stage}")
            for name, page in parts.items()
            for step in page.trace.steps
        ),
        mixed,
    )
    n_items = ", ".join(f"{name} {n}" for name, n in mixed.notes["n_items"].items())
    detail = f"{mixed.place} has only these items: {n_items}"
    is_short = mixed.n_out < request.k
    joined = np.argsort([place for page in parts.values() for place in page.places or ()])
    listed = {name: getattr(request, name) for name in ("user_id", "shown", "exclude_ids", "only_ids")}
    page = replace(
        own,
        request=replace(own.request, **listed),
        candidates=Candidates.from_ids(
            np.concatenate([page.candidates.ids for page in parts.values()])[joined],
            np.concatenate([page.candidates.scores for page in parts.values()])[joined],
        ),
        trace=Trace(steps),
        source_names=(),
        degraded=degradations(steps),
        shortfall=Shortfall(request.k, mixed.n_out, mixed.place, "exhausted", detail) if is_short else None,
        causes={},
        places=None,
        parts=parts,
        arms={name: arm for page in parts.values() for name, arm in page.arms.items()},
    )
    return replace(page, item_ids=tuple(item.item_id for item in page.items))


def request_of_part(request: Request, scene: str, naming: IdNames | None) -> Request:
    """Returns the request of a part: of ``scene``, with the listed ids of the kind of its items."""
    is_text = naming is not None and naming.kind == "string"

    def of_kind(ids: Sequence[int | str] | Array) -> Sequence[int | str] | Array:
        if isinstance(ids, np.ndarray) and ids.dtype == np.int64:
            return () if is_text else ids
        return tuple(id for id in ids if isinstance(id, str) == is_text)

    return replace(
        request,
        scene=scene,
        shown=tuple(of_kind(request.shown)),
        exclude_ids=of_kind(request.exclude_ids),
        only_ids=None if request.only_ids is None else of_kind(request.only_ids),
    )
