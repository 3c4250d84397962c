"""What a scene is for, expected of its feeds: of its cascade, of the most popular items, of items drawn at
random.

All three fill the same requests from the same items, those that the scene's own filters let through (rooms
that are on, works of followed creators), and users are resampled with the same weights, so that the
differences are paired.

Cost  one pass of the filters over all items a request; O(R·U) for R resamples of U users.
Source  B. Efron, Bootstrap methods, Annals of Statistics 7 (1979): percentile intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.accuracy import resampling_weights
from karec.evaluate.metrics.exposure import Sums, resample, summarize
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.pipeline.cascade import Cascade
from karec.pipeline.step import Stage
from karec.pipeline.types import Candidates, Request

ELIGIBLE = (
    "index_rows",
    "has_embedding",
    "is_open",
    "followed",
    "not_followed",
    "not_own",
    "same_as_user",
    "tone",
)
WAYS = ("random", "popular", "cascade")
RESAMPLES = 400

ValueOf = Callable[[Request, NDArray[Any]], NDArray[Any]]
"""``value_of(request, ids)``: (N,) what the scene is for, expected of each item for the request's user."""


@dataclass(frozen=True)
class Filled:
    """For each of U requests the mean value of a list: ``values`` {way: (U,)}; ``eligible (U,)`` items to
    choose from.

    ``empty``: requests that found nothing to choose from, which are left out.
    """

    values: Mapping[str, NDArray[Any]]
    eligible: NDArray[Any]
    empty: int


def fill(
    cascade: Cascade,
    popular: Callable[[Request, Candidates], NDArray[Any]],
    requests: Iterable[Request],
    value_of: ValueOf,
    ids: NDArray[Any],
) -> Filled:
    """Three lists for each request. ``popular(request, candidates)`` scores items by how they
    do with everybody; ``ids`` are all items.
    ``requests`` may change who is on between two of them.
    """
    filters = Stage(
        "eligible", tuple(s for stage in cascade.stages for s in stage.steps if s.name in ELIGIBLE)
    )
    values: dict[str, list[float]] = {way: [] for way in WAYS}
    sizes, empty = [], 0
    for request in requests:
        assert cascade.index is not None  # scenes of a config have one
        view = cascade.index.pinned()
        there = filters.run(request.with_view(view), Candidates.from_ids(ids)).candidates
        view.close()
        if not len(there):
            empty += 1
            continue
        order = np.random.default_rng([request.user_number, request.time_ms or 0]).permutation(len(there))
        best = np.argsort(-popular(request, there), kind="stable")
        shown = {"random": there.ids[order[: request.k]], "popular": there.ids[best[: request.k]]}
        shown["cascade"] = cascade.run(request).candidates.ids
        for way in WAYS:
            values[way].append(float(np.mean(value_of(request, shown[way]))) if len(shown[way]) else 0.0)
        sizes.append(len(there))
    told = {way: np.array(mean) for way, mean in values.items()}
    return Filled(told, np.array(sizes, np.int64), empty)


def scene_row(filled: Filled, what: str, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """The report's ``scenes[name]``: each way's mean with its interval, and the cascade against the other
    two, in percent of the other. Deterministic.
    """
    n = len(filled.eligible)
    row: dict[str, Any] = {"what": what, "requests": n, "without_items": filled.empty}
    if not n:
        return row
    weights = resampling_weights(n, resamples, seed)
    sums = {way: Sums(values, np.ones(n)) for way, values in filled.values.items()}
    means = resample(sums, weights)
    row["eligible"] = int(np.median(filled.eligible))
    row["ways"] = {way: {key: summarize(means[way])[key] for key in ("value", "ci")} for way in WAYS}
    row["gain"] = {}
    for way in WAYS[:2]:
        told = summarize(means["cascade"], means[way])
        row["gain"][way] = {"percent": told["relative"], "ci": told["relative_ci"]}
    return row


def scenes_table(scenes: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a scene; dashes if no request found an item."""
    rows: list[tuple[str, ...]] = []
    for name, scene in scenes.items():
        head = (name, scene["what"], str(scene["requests"]))
        if "ways" not in scene:
            rows.append((*head, *["–"] * 5))
            continue
        digits = 1 if scene["ways"]["cascade"]["value"] >= 10.0 else 4
        ways = (format_measure(way["value"], way["ci"], digits) for way in scene["ways"].values())
        gain = scene["gain"]["popular"]
        rows.append((*head, f"{scene['eligible']:,}", *ways, format_measure(gain["percent"], gain["ci"], 0)))
    return Table(
        "What scenes are worth",
        ("scene", "for", "requests", "items each", *WAYS, "against popular, %"),
        rows,
        "The mean over a feed of what its scene is for, by the world's own chances. All ways choose from "
        "the items that the scene's filters let through. In brackets: 95 % intervals over users; the last "
        "column is paired.",
    )
