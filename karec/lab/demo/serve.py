"""Serves the demo's requests and measures the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.catalog.dataset import Dataset
from karec.catalog.schema import CREATOR, ERA, PUBLISHED, SONG, TAG, TYPE
from karec.catalog.snapshot import Snapshot
from karec.config import load_cascade, open_bundle
from karec.config.project import main_scene
from karec.evaluate.funnel import funnel_loss, recalled_pools
from karec.lab.studies.page_sources import page_sources
from karec.pipeline.cascade import Cascade
from karec.pipeline.side_effects import SideEffectCounts
from karec.pipeline.types import Page, Request
from karec.times import HOUR_MS, Progress

WARM_UP = 5  # requests before those that are timed
WHOLE_POOLS = 10  # requests whose whole pool is ranked: half a second each for 1e5 items


@dataclass(frozen=True)
class Served:
    """Pages of many requests, the cascade that made them, and its side-effect counts until it was closed."""

    cascade: Cascade
    bundle: Bundle
    requests: tuple[Request, ...]
    pages: tuple[Page, ...]
    side_effects: tuple[SideEffectCounts, ...]


def users_of_test_days(dataset: Dataset, n: int) -> NDArray[np.int64]:
    """Returns at most ``n`` users, drawn with a fixed seed."""
    return np.random.default_rng(0).permutation(np.unique(dataset.split()[2].user_id))[:n]


def serve(dataset: Dataset, config: Path, n_requests: int, progress: Progress | None = None) -> Served:
    """Serves a page at the start of the test days to ``n_requests`` of their users.

    User and item ids are numbers, as in the dataset.
    """
    bundle = open_bundle(config)
    scene = main_scene(dataset)
    cascade = replace(load_cascade(config, scene, bundle), naming=None)
    requests = tuple(
        Request(int(user), scene=scene, time_ms=dataset.valid_until_ms, request_id=f"demo-{user}")
        for user in users_of_test_days(dataset, n_requests)
    )
    for request in requests[:WARM_UP]:
        cascade.run(request)
    pages = []
    for done, request in enumerate(requests, 1):
        pages.append(cascade.run(request))
        if progress is not None:
            progress(done, len(requests), "serving requests")
    return Served(cascade, bundle, requests, tuple(pages), cascade.close())


def measure_funnel(served: Served, progress: Progress | None = None) -> dict[str, Any]:
    """Returns the funnel loss on the whole pools of the first WHOLE_POOLS requests."""
    cascade, requests = replace(served.cascade, side_effects=()), served.requests[:WHOLE_POOLS]
    return funnel_loss(recalled_pools(cascade, served.bundle.index, requests, progress))


def measure_pages(dataset: Dataset, served: Served) -> dict[str, Any]:
    """Returns the parts of the report that the pages determine (``karec.lab.demo.report``)."""
    works = served.bundle.snapshot.works
    return {
        "data": {
            "name": dataset.name,
            "items": len(works),
            "users": len(dataset.snapshot.users),
            "impressions": len(dataset.exposures),
        },
        "tasks": list(dataset.tasks),
        "requests": len(served.pages),
        "funnel": _funnel(served.pages, len(works)),
        "total_ms": float(np.median([page.trace.total_ms for page in served.pages])),
        "sources": page_sources(served.pages),
        "side_effects": [counts.to_dict() for counts in served.side_effects],
        "versions": dict(served.pages[0].versions),
        "page": _page_sample(served),
    }


def _funnel(pages: Sequence[Page], n_items: int) -> list[dict[str, Any]]:
    """Returns medians over pages: items in and out of each stage, and its milliseconds."""
    traces = [page.trace for page in pages]
    rows, items_in = [], n_items
    for stage in traces[0].stage_ms():
        row = {"stage": stage, "ms": float(np.median([trace.stage_ms()[stage] for trace in traces]))}
        if stage != "request":  # query hydrators have no items
            items_out = int(np.median([trace.stage_sizes()[stage] for trace in traces]))
            row |= {"items_in": items_in, "items_out": items_out}
            items_in = items_out
        rows.append(row)
    return rows


def _page_sample(served: Served) -> dict[str, Any]:
    """Returns the first page with the platform's ids, and the columns of its items as texts."""
    page, naming, snapshot = served.pages[0], served.bundle.naming, served.bundle.snapshot
    user: int | str = page.request.user_number
    if naming is not None:
        user = naming.users.names([page.request.user_number])[0]
        page = naming.to_ids(page, page.request)
    ranker_order = _ranker_order(page)
    items = []
    for item, number in zip(page, page.candidates.ids.tolist(), strict=True):
        row = int(snapshot.works.lookup(np.array([number]))[0])
        items.append(
            {
                "item_id": item.item_id,
                "score": item.score,
                "sources": list(item.sources),
                "place_by_ranker": ranker_order[number],
                "creator": _label(snapshot, CREATOR, row),
                "song": _label(snapshot, SONG, row),
                "tags": [text for column in (TAG, ERA, TYPE) if (text := _label(snapshot, column, row))],
                "age_h": _age_h(snapshot, row),
            }
        )
    return {"user": user, "scene": page.request.scene, "candidates": len(ranker_order), "items": items}


def _ranker_order(page: Page) -> dict[int, int]:
    """Returns {item: place from 1 by the ranker's fused score}."""
    ranked = page.scored["rank"]
    order = ranked.ids[np.argsort(-ranked.scores, kind="stable")]
    return {item: place for place, item in enumerate(order.tolist(), 1)}


def _label(snapshot: Snapshot, column: str, row: int) -> str | None:
    """Returns the value of an item as text. None if items have no such column, or the value is missing."""
    if row < 0 or column not in snapshot.works.columns:
        return None
    code, names = int(snapshot.works[column][row]), snapshot.labels.get(column)
    if names is None:
        return str(code) if code >= 0 else None
    return str(names[code]) if 0 <= code < len(names) else None


def _age_h(snapshot: Snapshot, row: int) -> float | None:
    if row < 0 or PUBLISHED not in snapshot.works.columns or snapshot.works[PUBLISHED][row] <= 0:
        return None
    return max(snapshot.time_ms - int(snapshot.works[PUBLISHED][row]), 0) / HOUR_MS
