"""The main job, end to end: data → ranker → rank log → towers → index → bundle → cascade → report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from karec._clock import Progress
from karec._files import write_text_aside
from karec.bundle import Bundle
from karec.cascade import Cascade
from karec.config import load_cascade, open_bundle
from karec.config.host_stage import export_stage
from karec.config.scene_templates import scene_text
from karec.config.starting import starting_config
from karec.evaluate.diversity import Pool, diversity_curve
from karec.evaluate.feed_channels import channels_of_feeds
from karec.evaluate.funnel import funnel_loss, recalled_pools
from karec.evaluate.fusion import TruthOf
from karec.evaluate.measures.diversity import intra_list_distance
from karec.evaluate.quality import read_run
from karec.evaluate.reach import Lists, compare_reach
from karec.evaluate.top_tens import distinct_in_top_tens
from karec.observer_queue import ObserverCounts
from karec.platform.dataset import Dataset
from karec.platform.folds.advance import advance
from karec.platform.snapshot import Snapshot
from karec.recommendation import Recommendation
from karec.refresh.kinds import KindOfWorks
from karec.refresh.publish import KEEP, publish_bundle
from karec.refresh.roll_in import roll_in
from karec.types import Array, Candidates, Request

KindsOf = Callable[[Snapshot], Mapping[str, KindOfWorks]]

WARM_UP = 5
TRUE = {  # what the report tells of a synthetic world's outcomes
    "play_time": "true play of a work, s",
    "long_view": "true long views of a work",
    "like": "true likes of a work",
}
WHOLE_POOLS = 20  # requests whose whole pool is ranked, half a second each of 1e5 works
TOP_TENS = 400  # users whose best ten works are compared


@dataclass(frozen=True)
class Served:
    """The feeds of many requests, the cascade that made them, and what its observers counted until it was
    closed."""

    cascade: Cascade
    bundle: Bundle
    feeds: tuple[Recommendation, ...]
    observed: tuple[ObserverCounts, ...]


def set_up(
    dataset: Dataset,
    run: Path,
    out: Path,
    progress: Progress | None = None,
    *,
    ids: Path | None = None,
    keep: int = KEEP,
    signing_key: Path | None = None,
    lists: bool = True,
    scenes: Sequence[str] = (),
    kinds_of: KindsOf | None = None,
    rolling: bool = False,
) -> Path:
    """Publish the models of ``run`` over the platform as test begins; write ``out/karec.toml`` where there is
    none.

    ``keep`` and ``lists`` as ``publish_bundle``. Beside a new ``karec.toml`` lies its prerank for C++ hosts;
    whoever edits it calls ``karec export stage`` again. ``ids`` is a folder with the maps of the platform's
    ids, where they are not the dataset's numbers. ``scenes``: templates that a new config has beside its main
    scene; ``kinds_of``: what they recommend beside works, songs and creators, as of the snapshot that is
    published. ``rolling``: beside the version in service (``karec.refresh.roll_in``), in place of a bundle of
    its own vectors alone.
    """
    snapshot = advance(dataset.snapshot, dataset.exposures, dataset.valid_until_ms).released()
    kinds = {} if kinds_of is None else kinds_of(snapshot)
    published: dict[str, Any] = {
        "ids": ids,
        "keep": keep,
        "signing_key": signing_key,
        "kinds": kinds,
        "lists": lists,
    }
    publisher = roll_in if rolling else publish_bundle
    folder = publisher(run, snapshot, out / "bundles", progress, **published)
    config = out / "karec.toml"
    if not config.exists():  # its owner may have changed it
        scene = main_scene(dataset)
        settings = read_run(run)["settings"]
        by_towers = dataset.drawn is not None and settings["distil"]["recipe"] == "retrieval"
        text = starting_config(scene, snapshot, settings["fusion"], by_towers=by_towers)
        write_text_aside(config, "\n".join([text, *_texts(scenes, scene, Bundle.open(folder, verify=False))]))
        export_stage(config, scene, "prerank", out / f"prerank-{scene}.txt")
    return config


def _texts(scenes: Sequence[str], main: str, bundle: Bundle) -> list[str]:
    """The templates of ``scenes``, for the items that ``bundle`` holds."""
    kinds = {name: bundle.kind(name).index.columns.keys() for name in bundle.kinds}
    return [scene_text(name, main, kinds) for name in scenes if name != main]


def main_scene(dataset: Dataset) -> str:
    """The name of the scene with the most exposures."""
    scene = dataset.exposures.scene  # −1: a scene that the data do not name, of an event log
    return dataset.snapshot.labels["scene"][int(np.bincount(scene[scene >= 0], minlength=1).argmax())]


def asked_users(dataset: Dataset, n: int) -> Array:
    """(n,) users of the test days, drawn with a fixed seed."""
    return np.random.default_rng(0).permutation(np.unique(dataset.split()[2].user_id))[:n]


def serve(
    dataset: Dataset, config: Path, n_requests: int, k: int = 10, progress: Progress | None = None
) -> Served:
    """Ask for a feed for ``n_requests`` users of the test days, drawn with a fixed seed, at the moment test
    begins.

    Users and works are numbers here, as in the dataset.
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


def loss_of(served: Served, progress: Progress | None = None) -> dict[str, Any]:
    """The funnel's loss, on the pools of the first WHOLE_POOLS of the requests that were served."""
    cascade = replace(served.cascade, observers=())
    asked = [feed.request for feed in served.feeds[:WHOLE_POOLS]]
    requests = [
        Request(r.user_id, k=r.k, scene=r.scene, time_ms=r.time_ms, request_id=r.request_id) for r in asked
    ]
    return funnel_loss(recalled_pools(cascade, served.bundle.index, requests, progress=progress))


def top_tens_of(dataset: Dataset, served: Served) -> dict[str, int]:
    """How different the best tens of TOP_TENS users of the test days are, at the moment test begins."""
    scene, now = served.cascade.scene, dataset.valid_until_ms
    users = asked_users(dataset, TOP_TENS).tolist()
    requests = [Request(user, scene=scene, time_ms=now, request_id=f"ten-{user}") for user in users]
    return distinct_in_top_tens(served.cascade, served.bundle.index, requests)


def report_on(
    dataset: Dataset,
    served: Served,
    quality: dict[str, Any],
    loss: dict[str, Any],
    top_tens: dict[str, int],
    truth_of: TruthOf | None = None,
) -> dict[str, Any]:
    """The report of a run; every key is documented in docs/formats.md.

    ``truth_of``: a synthetic world's outcomes; there the closed loop says what diversity gives, and no curve
    of predicted relevance.
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
        "top_tens": top_tens,
        "quality": quality["models"],
        "quality_by_history": quality["by_history"],
        "reach": reach(dataset, served, truth_of),
        "feed_channels": channels_of_feeds(served.feeds),
        "diversity_curve": _curve(served) if truth_of is None else None,
        "observers": [counts.as_dict() for counts in served.observed],
        "versions": dict(served.feeds[0].versions),
        "feed": [
            {
                "position": item.position,
                "id": item.id,
                "score": item.score,
                "recalled_by": list(item.recalled_by),
            }
            for item in _named(served, served.feeds[0])
        ],
    }


def _named(served: Served, feed: Recommendation) -> Recommendation:
    """``feed`` with the platform's ids."""
    naming = served.bundle.naming
    return feed if naming is None else naming.named(feed, feed.request)


def _top_k(feed: Recommendation) -> Candidates:
    """What plain top-k by the ranker's fused score would have shown in place of ``feed``."""
    ranked = feed.scored["rank"]
    return ranked.take(np.argsort(-ranked.scores, kind="stable")[: feed.request.k])


def reach(dataset: Dataset, served: Served, truth_of: TruthOf | None) -> dict[str, Any]:
    """The report's ``reach``: the feeds, against plain top-k by the ranker's fused score in their place."""
    works, moment = served.bundle.snapshot.works, served.feeds[0].request.time_ms or 0
    feeds = _lists(dataset, served, [feed.candidates for feed in served.feeds], truth_of)
    plain = _lists(dataset, served, [_top_k(feed) for feed in served.feeds], truth_of)
    return compare_reach(feeds, plain, works, moment)


def _lists(dataset: Dataset, served: Served, lists: Sequence[Candidates], truth_of: TruthOf | None) -> Lists:
    """``truth_of(names, user rows, work rows, time_ms, scene)`` where the data's true outcomes are known."""
    user = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    ids = np.concatenate([one.ids for one in lists])
    outcomes: dict[str, Array] = {}
    if truth_of is not None:
        asked = [feed.request for feed in served.feeds]
        users = dataset.snapshot.users.lookup(np.array([request.user_number for request in asked]))
        moments = np.array([request.time_ms or 0 for request in asked])
        codes = {name: code for code, name in enumerate(dataset.snapshot.labels["scene"])}
        scenes = np.array([codes[request.scene] for request in asked])
        true = truth_of([*TRUE], users[user], dataset.snapshot.works.lookup(ids), moments[user], scenes[user])
        outcomes = dict(zip(TRUE.values(), true.T, strict=True))
    scores = np.concatenate([one.scores for one in lists])
    distance = np.array([intra_list_distance(_vectors(served, one)) for one in lists])
    return Lists(user, served.bundle.snapshot.works.lookup(ids), scores, distance, outcomes)


def _curve(served: Served) -> list[dict[str, float]]:
    ranked = [feed.scored["rank"] for feed in served.feeds[:50]]
    return diversity_curve(
        [Pool(scored.ids, scored.scores, _vectors(served, scored), {}) for scored in ranked], k=10
    )


def _vectors(served: Served, candidates: Candidates) -> Array:
    return served.bundle.index.embeddings(candidates.rows)
