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
from dataclasses import dataclass, field, replace
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.pipeline.trace import RELAXED, Shortfall, StepTrace, Trace, degradations
from karec.pipeline.types import Array, Candidates, Page, Request

if TYPE_CHECKING:
    from karec.pipeline.cascade import Cascade

STAGE, STEP = "mix", "item_types"
ROUNDING = 1e-9  # 0.07 · 100 is 7.000000000000001 in float64


@dataclass(frozen=True)
class ScoreCalibration:
    """P(the user enjoys an item) = σ(scale · score in ``stage`` + bias). ``rate``: if its fallback ran."""

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
        """Returns (N,) probabilities of the items of ``page``, which has the scores of the stage."""
        ids = page.candidates.ids
        if page.trace.has_fallback(self.stage) or not len(ids):
            return np.full(len(ids), self.rate)
        scored = page.scored[self.stage]
        order = np.argsort(scored.ids, kind="stable")
        return self.apply(scored.scores[order[np.searchsorted(scored.ids, ids, sorter=order)]])

    def apply(self, scores: Array) -> NDArray[np.float64]:
        """Returns (N,) probabilities of ``scores`` (N,)."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.scale * scores.astype(np.float64) + self.bias))))


@dataclass(frozen=True)
class TypeShare:
    """Constraints of one item type: see the module. ``cap`` and ``guarantee`` are fractions of the page."""

    positions: tuple[int, ...] = ()
    cap: float = 1.0
    guarantee: float = 0.0


@dataclass(frozen=True)
class MixedPart:
    """One item type of a mixed scene. ``cascade``: of its scene; None: the mixed scene itself."""

    cascade: Cascade | None
    calibration: ScoreCalibration
    share: TypeShare = field(default_factory=TypeShare)


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
    limits = {name: min(len(scores[name]), floor(share.cap * k + ROUNDING)) for name, share in shares.items()}
    relaxed: dict[str, None] = {}
    while sum(limits.values()) < n:
        spare = [name for name in shares if limits[name] < len(scores[name])]
        name = max(spare, key=lambda name: scores[name][limits[name]])
        limits[name] += 1
        relaxed[f"cap of {name}"] = None
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


def run_mixed(own: Cascade, request: Request, deadline: float | None) -> Page:
    """Returns the page of the mixed scene ``own``. ``request`` has an id and a time.

    Each part runs as a request of its scene for k items, and its side effects see the items that are on the
    page. Of ``shown``, ``exclude_ids`` and ``only_ids`` a part reads the ids of its kind, integer or string.
    """
    cascades = {name: part.cascade or own for name, part in own.mix.items()}
    requests = {name: _request_of(cascade, request) for name, cascade in cascades.items()}
    made: dict[str, tuple[Request, Page]] = {}
    later_ms = sum(part.min_ms for part in own.parts)
    for name, cascade in cascades.items():
        later_ms -= 0.0 if cascade is own else cascade.min_ms
        part_deadline = None if deadline is None else deadline - later_ms / 1e3
        try:
            made[name] = cascade.make_page(requests[name], part_deadline)
        except BaseException:  # a stored traceback would keep the index generations in memory
            for seen, _ in made.values():
                if seen.view is not None:
                    seen.view.close()
            raise
    scores = {name: own.mix[name].calibration.read(page) for name, (_, page) in made.items()}
    shares = {name: part.share for name, part in own.mix.items()}
    order, relaxed = mix_item_types(scores, shares, request.k)
    pages = {}
    for name, cascade in cascades.items():
        seen, page = made[name]
        places = tuple(place for place, other in enumerate(order) if other == name)
        candidates = page.candidates.with_scores(scores[name]).take(np.arange(len(places)))
        logged = replace(page.request, scene=request.scene)  # events report the scene of the page
        page = replace(page, request=logged, candidates=candidates, places=places)
        cascade.offer(replace(seen, scene=request.scene), page)
        pages[name] = page if cascade.naming is None else cascade.naming.to_ids(page, requests[name])
    n_items = {name: len(values) for name, values in scores.items()}
    notes: dict[str, Any] = {"n_items": n_items, **({RELAXED: relaxed} if relaxed else {})}
    mixed = StepTrace(STAGE, STEP, "selector", sum(n_items.values()), len(order), 0.0, notes=notes)
    steps = (
        *(
            step if cascades[name] is own else step._replace(stage=f"{cascades[name].scene}.{step.stage}")
            for name, page in pages.items()
            for step in page.trace.steps
        ),
        mixed,
    )
    detail = f"{mixed.place} has only these items: {', '.join(f'{name} {n}' for name, n in n_items.items())}"
    is_short = len(order) < request.k
    shortfall = Shortfall(request.k, len(order), mixed.place, "exhausted", detail) if is_short else None
    joined = np.argsort([place for page in pages.values() for place in page.places or ()])
    own_page = next(iter(pages.values()))
    listed = {name: getattr(request, name) for name in ("user_id", "shown", "exclude_ids", "only_ids")}
    mixed_page = replace(
        own_page,
        request=replace(own_page.request, **listed),
        candidates=Candidates.from_ids(
            np.concatenate([page.candidates.ids for page in pages.values()])[joined],
            np.concatenate([page.candidates.scores for page in pages.values()])[joined],
        ),
        trace=Trace(steps),
        source_names=(),
        degraded=degradations(steps),
        shortfall=shortfall,
        causes={},
        places=None,
        parts=pages,
    )
    return replace(mixed_page, item_ids=tuple(item.item_id for item in mixed_page.items))


def _request_of(cascade: Cascade, request: Request) -> Request:
    """Returns the request of a part, with the ids of its kind."""
    is_text = cascade.naming is not None and cascade.naming.kind == "string"

    def of_kind(ids: Sequence[int | str] | Array) -> Sequence[int | str] | Array:
        if isinstance(ids, np.ndarray) and ids.dtype == np.int64:
            return () if is_text else ids
        return tuple(id for id in ids if isinstance(id, str) == is_text)

    return replace(
        request,
        scene=cascade.scene,
        shown=tuple(of_kind(request.shown)),
        exclude_ids=of_kind(request.exclude_ids),
        only_ids=None if request.only_ids is None else of_kind(request.only_ids),
    )
