"""Expected value of a scene's pages: of its cascade, of the most popular items, of random items.

All three fill the same requests from the same items, those that the scene's own filters pass (open rooms,
works of followed creators). Users are resampled with the same weights, so differences are paired.

Cost: one pass of the filters over all items a request; O(R·U) for R resamples of U users.
Source: B. Efron, Bootstrap methods, Annals of Statistics 7 (1979): percentile intervals.
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
from karec.pipeline.stage import Stage
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
"""``value_of(request, ids)``: (N,) expected value of the scene's objective for the request's user."""


@dataclass(frozen=True)
class Filled:
    """Mean values of the lists of U requests.

    values    {method: (U,)}
    eligible  (U,) number of candidates
    empty     number of requests without candidates, which are skipped
    page      ids of the cascade's page for the first request
    """

    values: Mapping[str, NDArray[Any]]
    eligible: NDArray[Any]
    empty: int
    page: tuple[int, ...] = ()


def fill(
    cascade: Cascade,
    popular: Callable[[Request, Candidates], NDArray[Any]],
    requests: Iterable[Request],
    value_of: ValueOf,
    ids: NDArray[Any],
) -> Filled:
    """Makes three lists for each request.

    ``popular(request, candidates)`` scores items by their popularity; ``ids``: all items. The iteration of
    ``requests`` may change which items are open.
    """
    filters = Stage(
        "eligible", tuple(s for stage in cascade.stages for s in stage.steps if s.name in ELIGIBLE)
    )
    values: dict[str, list[float]] = {method: [] for method in WAYS}
    sizes, empty, page = [], 0, None
    for request in requests:
        assert cascade.index is not None  # scenes of a config have one
        view = cascade.index.pinned()
        candidates = filters.run(request.with_view(view), Candidates.from_ids(ids)).candidates
        view.close()
        if not len(candidates):
            empty += 1
            continue
        order = np.random.default_rng([request.user_number, request.time_ms or 0]).permutation(
            len(candidates)
        )
        best = np.argsort(-popular(request, candidates), kind="stable")
        lists = {"random": candidates.ids[order[: request.k]], "popular": candidates.ids[best[: request.k]]}
        lists["cascade"] = cascade.run(request).candidates.ids
        page = lists["cascade"] if page is None else page
        for method, item_ids in lists.items():
            values[method].append(float(np.mean(value_of(request, item_ids))) if len(item_ids) else 0.0)
        sizes.append(len(candidates))
    means = {method: np.array(mean) for method, mean in values.items()}
    return Filled(means, np.array(sizes, np.int64), empty, () if page is None else tuple(page.tolist()))


def scene_row(filled: Filled, objective: str, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Returns the report's ``scenes[name]``. Deterministic.

    It has each method's mean with its interval, the gain of the cascade over the others in percent, and the
    first page.
    """
    n = len(filled.eligible)
    row: dict[str, Any] = {"what": objective, "requests": n, "without_items": filled.empty}
    row["page"] = list(filled.page)
    if not n:
        return row
    weights = resampling_weights(n, resamples, seed)
    sums = {method: Sums(values, np.ones(n)) for method, values in filled.values.items()}
    means = resample(sums, weights)
    row["eligible"] = int(np.median(filled.eligible))
    row["ways"] = {method: {key: summarize(means[method])[key] for key in ("value", "ci")} for method in WAYS}
    row["gain"] = {}
    for method in WAYS[:2]:
        gain = summarize(means["cascade"], means[method])
        row["gain"][method] = {"percent": gain["relative"], "ci": gain["relative_ci"]}
    return row


def scenes_table(scenes: Mapping[str, Mapping[str, Any]]) -> Table:
    """Returns one row per scene; dashes if no request had a candidate."""
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
        "Value of scenes",
        ("scene", "for", "requests", "items each", *WAYS, "against popular, %"),
        rows,
        "Mean objective of the scene over a page, by the true probabilities of the world. All methods select "
        "from the items that the scene's filters pass. In brackets: 95 % intervals over users; the last "
        "column is paired.",
    )


def scene_pages_table(scenes: Mapping[str, Mapping[str, Any]]) -> Table:
    """Returns one row per scene: the ids of the first page, best first."""
    rows = [(name, *map(str, scene["page"])) for name, scene in scenes.items()]
    width = max((len(row) for row in rows), default=1)
    padded = [(*row, *[""] * (width - len(row))) for row in rows]
    return Table("The page of one user in each scene", ("scene", *map(str, range(1, width))), padded)
