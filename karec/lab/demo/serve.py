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
from karec.config import load_cascade, open_bundle
from karec.config.project import main_scene
from karec.evaluate.funnel import funnel_loss, recalled_pools
from karec.evaluate.metrics.diversity import intra_list_distance
from karec.lab.studies.feed_channels import channels_of_feeds
from karec.lab.studies.fusion import TruthOf
from karec.lab.studies.reach import Lists, compare_reach
from karec.pipeline.cascade import Cascade
from karec.pipeline.side_effects import SideEffectCounts
from karec.pipeline.types import Candidates, Page, Request
from karec.times import Progress

WARM_UP = 5
TRUE_OUTCOMES = {  # of a synthetic world, with their labels in the report
    "play_time": "true play of a work, s",
    "long_view": "true long views of a work",
    "like": "true likes of a work",
}
WHOLE_POOLS = 20  # requests whose whole pool is ranked: half a second each for 1e5 works


@dataclass(frozen=True)
class Served:
    """Pages of many requests, the cascade that made them, and its side-effect counts until it was closed."""

    cascade: Cascade
    bundle: Bundle
    feeds: tuple[Page, ...]
    observed: tuple[SideEffectCounts, ...]


def asked_users(dataset: Dataset, n: int) -> NDArray[Any]:
    """Returns (n,) users of the test days, drawn with a fixed seed."""
    return np.random.default_rng(0).permutation(np.unique(dataset.split()[2].user_id))[:n]


def serve(
    dataset: Dataset, config: Path, n_requests: int, k: int = 10, progress: Progress | None = None
) -> Served:
    """Serves a page for ``n_requests`` users of the test days, drawn with a fixed seed, at the begin of the
    test.

    User and item ids are numbers, as in the dataset.
    """
    bundle = open_bundle(config)
    scene = main_scene(dataset)
    cascade = replace(load_cascade(config, scene, bundle), naming=None)
    requests = [
        Request(
            user_id=int(user), k=k, scene=scene, time_ms=dataset.valid_until_ms, request_id=f"demo-{user}"
        )
        for user in asked_users(dataset, n_requests)
    ]
    for request in requests[:WARM_UP]:
        cascade.run(request)
    feeds = []
    for done, request in enumerate(requests, 1):
        feeds.append(cascade.run(request))
        if progress is not None:
            progress(done, len(requests), "serving requests")
    return Served(cascade, bundle, tuple(feeds), cascade.close())


def funnel_loss_of(served: Served, progress: Progress | None = None) -> dict[str, Any]:
    """Returns the funnel's loss on the pools of the first WHOLE_POOLS served requests."""
    cascade = replace(served.cascade, side_effects=())
    served_requests = [feed.request for feed in served.feeds[:WHOLE_POOLS]]
    requests = [
        Request(
            request.user_id,
            k=request.k,
            scene=request.scene,
            time_ms=request.time_ms,
            request_id=request.request_id,
        )
        for request in served_requests
    ]
    return funnel_loss(recalled_pools(cascade, served.bundle.index, requests, progress=progress))


def report_on(
    dataset: Dataset,
    served: Served,
    quality: dict[str, Any],
    loss: dict[str, Any],
    truth_of: TruthOf | None = None,
) -> dict[str, Any]:
    """Returns the report of a run; docs/formats.md documents the keys.

    ``truth_of``: true outcomes of a synthetic world.
    """
    traces = [feed.trace for feed in served.feeds]
    stages = list(traces[0].stage_sizes())
    ms = {stage: float(np.median([t.stage_ms()[stage] for t in traces])) for stage in traces[0].stage_ms()}
    ms["total"] = float(np.median([t.total_ms for t in traces]))
    works = served.bundle.snapshot.works
    return {
        "data": {
            "name": dataset.name,
            "works": len(works),
            "users": len(dataset.snapshot.users),
            "exposures": len(dataset.exposures),
        },
        "tasks": list(dataset.tasks),
        "requests": len(served.feeds),
        "funnel": {
            "catalogue": len(works),
            **{s: int(np.median([t.stage_sizes()[s] for t in traces])) for s in stages if s != "request"},
        },
        "timings_ms": ms,
        "funnel_loss": loss,
        "quality": quality["models"],
        "quality_by_history": quality["by_history"],
        "reach": reach(dataset, served, truth_of),
        "feed_channels": channels_of_feeds(served.feeds),
        "observers": [counts.to_dict() for counts in served.observed],
        "versions": dict(served.feeds[0].versions),
        "feed": [
            {
                "position": item.position,
                "id": item.item_id,
                "score": item.score,
                "recalled_by": list(item.sources),
            }
            for item in _named(served, served.feeds[0])
        ],
    }


def _named(served: Served, feed: Page) -> Page:
    """Returns ``feed`` with the platform's ids."""
    naming = served.bundle.naming
    return feed if naming is None else naming.to_ids(feed, feed.request)


def _top_k(feed: Page) -> Candidates:
    """Returns the plain top-k by the ranker's fused score for the same request."""
    ranked = feed.scored["rank"]
    return ranked.take(np.argsort(-ranked.scores, kind="stable")[: feed.request.k])


def reach(dataset: Dataset, served: Served, truth_of: TruthOf | None) -> dict[str, Any]:
    """Returns the report's ``reach``: the pages against plain top-k by the ranker's fused score."""
    works, moment = served.bundle.snapshot.works, served.feeds[0].request.time_ms or 0
    feeds = _lists(dataset, served, [feed.candidates for feed in served.feeds], truth_of)
    plain = _lists(dataset, served, [_top_k(feed) for feed in served.feeds], truth_of)
    return compare_reach(feeds, plain, works, moment)


def _lists(dataset: Dataset, served: Served, lists: Sequence[Candidates], truth_of: TruthOf | None) -> Lists:
    """``truth_of(names, user rows, work rows, time_ms, scene)`` if the true outcomes are known."""
    user = np.repeat(np.arange(len(lists)), [len(candidates) for candidates in lists])
    ids = np.concatenate([candidates.ids for candidates in lists])
    outcomes: dict[str, NDArray[Any]] = {}
    if truth_of is not None:
        requests = [feed.request for feed in served.feeds]
        users = dataset.snapshot.users.lookup(np.array([request.user_number for request in requests]))
        moments = np.array([request.time_ms or 0 for request in requests])
        codes = {name: code for code, name in enumerate(dataset.snapshot.labels["scene"])}
        scenes = np.array([codes[request.scene] for request in requests])
        true = truth_of(
            [*TRUE_OUTCOMES], users[user], dataset.snapshot.works.lookup(ids), moments[user], scenes[user]
        )
        outcomes = dict(zip(TRUE_OUTCOMES.values(), true.T, strict=True))
    scores = np.concatenate([candidates.scores for candidates in lists])
    distance = np.array([intra_list_distance(_vectors(served, candidates)) for candidates in lists])
    return Lists(user, served.bundle.snapshot.works.lookup(ids), scores, distance, outcomes)


def _vectors(served: Served, candidates: Candidates) -> NDArray[Any]:
    return served.bundle.index.embeddings(candidates.rows)
