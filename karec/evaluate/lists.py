"""What a scene's feeds lose when its channel ``model`` reads lists of works in place of all of them.

Every user is answered twice, with ``exact = true`` and with ``exact = false``:

works of the channel   share of what the exact channel finds that the lists find too
…, after recall        share of the 100 works with the largest true value, and of those enjoyed on the test
days, that
                       leave recall
places of the feed     share of the feed's works that are in the feed of the exact scan too
true value             of the feed's works, mean; where the truth is known, as are the favourites

Means over users; intervals, 95 %, resample users, differences are paired. Of works enjoyed on the test days
those users count who have any.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from karec._asked import recall as recalled_by
from karec._clock import Progress
from karec.bundle import Bundle
from karec.cascade import Cascade, Recall
from karec.errors import DataError
from karec.evaluate.measures.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.page import with_interval
from karec.evaluate.recall import ENJOYED, FAVOURITES, Truth, best_by_truth, enjoyed_later, values_of
from karec.platform.dataset import Dataset
from karec.recall.model import Model
from karec.stage import Source
from karec.types import Array, Request

RESAMPLES = 1000
LISTS_HEAD = ("", "users", "exact scan", "by lists", "by lists, less exact")
WORTH = "true value of a work of the feed"


@dataclass(frozen=True)
class _Way:
    """A cascade, and its channel ``model``."""

    cascade: Cascade
    model: Source


def lists_study(
    cascade: Cascade,
    bundle: Bundle,
    dataset: Dataset,
    *,
    n_users: int,
    k: int = 10,
    truth: Truth | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """{"users", "k", "measures": {name: {"users", "exact", "lists", "difference"}}}, of users drawn from
    ``seed``; each value is {"value", "ci"}.

    DataError: the scene has no channel ``model``, the bundle no lists, or other users than the dataset.
    """
    snapshot = bundle.snapshot
    if not np.array_equal(snapshot.users.ids, dataset.snapshot.users.ids):
        raise DataError(f"{bundle.path} was not made of {dataset.name}: its users are others")
    cascade = replace(cascade, observers=(), naming=None)
    exact, lists = (_way(cascade, exact) for exact in (True, False))
    rows = np.random.default_rng(seed).permutation(len(snapshot.users))[:n_users]
    later, measured = enjoyed_later(dataset), dict[str, list[tuple[float, float]]]()
    for at, row in enumerate(rows.tolist()):
        user = int(snapshot.users.ids[row])
        request = Request(
            user, k=k, scene=cascade.scene, time_ms=snapshot.time_ms, request_id=f"lists-{user}"
        )
        wanted = {ENJOYED: later.get(user, np.empty(0, np.int64))}
        if truth is not None:
            wanted[FAVOURITES] = best_by_truth(truth, dataset, bundle, row, cascade)
        found = [_recalled(way, request) for way in (exact, lists)]
        feeds = [way.cascade.run(request).candidates.ids for way in (exact, lists)]
        told = {"works of the channel": (1.0, _share(found[0][0], found[1][0]))}
        for name, works in wanted.items():
            if len(works):
                told[f"{name}, after recall"] = (_share(works, found[0][1]), _share(works, found[1][1]))
        told["places of the feed"] = (1.0, _share(feeds[0], feeds[1]))
        if truth is not None:
            values = (values_of(truth, dataset, bundle, row, cascade, feed) for feed in feeds)
            first, second = (float(each.mean()) if len(each) else 0.0 for each in values)
            told[WORTH] = (first, second)
        for name, pair in told.items():
            measured.setdefault(name, []).append(pair)
        if progress is not None:
            progress(at + 1, len(rows), "feeds with and without lists")
    if not measured:
        raise DataError("no user to ask for")
    measures = {name: _row(np.array(pairs), resamples, seed) for name, pairs in measured.items()}
    return {"users": len(rows), "k": k, "measures": measures}


def lists_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of a table of the report under LISTS_HEAD."""

    def cell(of: Mapping[str, Any]) -> str:
        return with_interval(of["value"], of["ci"], 4)

    return [
        (name, f"{of['users']:,}", *(cell(of[each]) for each in ("exact", "lists", "difference")))
        for name, of in report["measures"].items()
    ]


def _way(cascade: Cascade, exact: bool) -> _Way:
    sources = tuple(
        copy(source) if isinstance(source, Model) else source for source in cascade.recall.sources
    )
    models = [source for source in sources if isinstance(source, Model)]
    if not models:
        raise DataError(f"the scene {cascade.scene} has no channel model, which alone reads lists")
    for model in models:
        searched = model.index if model.recall_index is None else model.recall_index
        if model.n_probe is None or not searched.n_lists:
            raise DataError("the bundle has no lists: those of 100,000 works or more are published with them")
        model.exact, model.timeout_ms = exact, None
    return _Way(replace(cascade, recall=Recall(sources, cascade.recall.merger)), models[0])


def _recalled(way: _Way, request: Request) -> tuple[Array, Array]:
    """(ids that the channel model finds, ids that leave recall)."""
    cascade = way.cascade
    views = [None if index is None else index.pinned() for index in (cascade.index, cascade.recall_index)]
    request, _ = cascade.hydrated(request.with_view(*views))  # views go with the request
    return recalled_by(way.model, request)[0].ids, cascade.recall.run(request)[0].ids


def _share(wanted: Array, found: Array) -> float:
    return float(np.isin(wanted, found).mean()) if len(wanted) else 1.0


def _row(pairs: Array, resamples: int, seed: int) -> dict[str, Any]:
    bootstrap = UserBootstrap(np.arange(len(pairs)), resamples, seed)
    columns = {"exact": pairs[:, 0], "lists": pairs[:, 1], "difference": pairs[:, 1] - pairs[:, 0]}
    told = {
        name: {"value": float(values.mean()), "ci": bootstrap_interval(bootstrap.mean(values))}
        for name, values in columns.items()
    }
    return {"users": len(pairs), **told}
