"""Measures pages of users without stored events, whose request has the first items that they enjoyed.

Users are held out whole: training, the bundle and the simple methods lack their attributes, lists and events.
The truth is what they enjoyed later in the log. Simple methods are tuned on other held-out users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from karec.catalog.dataset import Dataset
from karec.config import open_hot_swap
from karec.config.project import main_scene, set_up
from karec.errors import DataError
from karec.evaluate.als import factorize
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.pages import K, PageRequests, page_rows
from karec.evaluate.past_log import PastLog
from karec.evaluate.quality import read_run
from karec.evaluate.simple_methods import METHODS, TIE_BONUS, fit_popularity, similar_by_counts
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.pipeline.types import Request
from karec.times import HOUR_MS, Progress

EVENTS, MAX_USERS, RESAMPLES = 5, 1_000, 1_000  # EVENTS: of a session
Events = tuple[dict[str, Any], ...]  # rows of POST /v1/events
Scorer = Callable[[csr_array], NDArray[Any]]
"""Returns (B, N) scores of all items for the items of sessions (B, N)."""


def compare_sessions(
    dataset: Dataset, settings: TrainSettings, out: Path, progress: Progress | None = None
) -> Table:
    """Returns measures of pages, and how far the page is above the others, paired.

    A bundle that ``out`` has is measured again.
    """
    rest, *parts = hold_out(dataset, settings.seed)
    (tuning, _), (tested, events) = (_sessions(dataset, rows) for rows in parts)
    run, config = out / "run", out / "karec.toml"
    if not config.exists():
        train(rest, settings.with_online_inputs(), run, progress, evaluate=False)
        set_up(rest, run, read_run(run)["settings"], out, progress)
    pages = {
        "page": _cascade_pages(rest, config, events),
        "page without events": _cascade_pages(rest, config, [()] * len(events)),
    }
    for name, scorers in _simple_methods(PastLog.from_dataset(rest, rest.end_ms)):
        best = max(scorers, key=lambda scorer: tuning.score(scorer(tuning.owned).__getitem__))
        pages[name] = tested.make_pages(best(tested.owned).__getitem__)
    mean = UserBootstrap(tested.users, RESAMPLES, settings.seed).mean_with_interval
    measures = {name: tested.measure(page) for name, page in pages.items()}
    rows = []
    for name, own in measures.items():
        cells = [name]
        for measure in ("recall", "ndcg"):
            cells.append(format_measure(*mean(own[measure]).values()))
            gain = mean(measures["page"][measure] - own[measure])
            cells.append(format_measure(*gain.values(), signed=True))
        rows.append(cells)
    title = f"Pages after a session of {EVENTS} events, {len(tested):,} users held out whole"
    return Table(title, ("", f"recall@{K}", "page above it", f"NDCG@{K}", "page above it"), rows)


def hold_out(dataset: Dataset, seed: int) -> tuple[Dataset, list[NDArray[Any]], list[NDArray[Any]]]:
    """Returns the data without held-out users, and rows of the items that each of them enjoyed, by time.

    Of the users with more than EVENTS items, a tenth is held out for tuning and a fifth for the test, at most
    MAX_USERS each.
    """
    snapshot, log = dataset.snapshot, dataset.exposures
    user, item = snapshot.users.lookup(log.user_id), snapshot.works.lookup(log.work_id)
    is_usable = snapshot.meaning.is_enjoyed(log.labels) & (snapshot.published_ms[item] <= dataset.end_ms)
    rows = np.flatnonzero(is_usable & (user >= 0) & (item >= 0))
    rows = np.sort(rows[np.unique(np.stack([user[rows], item[rows]]), axis=1, return_index=True)[1]])
    eligible = np.flatnonzero(np.bincount(user[rows]) > EVENTS)
    if len(eligible) < 10:
        raise DataError(f"{len(eligible)} users enjoyed more than {EVENTS} items in the log, expected 10")
    drawn = np.random.default_rng(seed).permutation(eligible)
    n_tuning, n_tested = (min(len(eligible) // part, MAX_USERS) for part in (10, 5))
    users = drawn[: n_tuning + n_tested]
    own = [rows[user[rows] == one] for one in users.tolist()]
    rest = replace(
        dataset,
        snapshot=snapshot.take_users(~np.isin(np.arange(len(snapshot.users)), users)),
        exposures=log.take(~np.isin(user, users)),
    )
    return rest, own[:n_tuning], own[n_tuning:]


def _sessions(dataset: Dataset, rows: list[NDArray[Any]]) -> tuple[PageRequests, list[Events]]:
    """Returns requests that own the items of the sessions, and the events of each session."""
    log, works, n = dataset.exposures, dataset.snapshot.works, len(rows)
    event, events = {"event": "impression", "scene": main_scene(dataset)}, []
    for own in rows:
        labels = [[name for name, label in log.labels.items() if label[row]] for row in own[:EVENTS]]
        pairs = zip(log.work_id[own[:EVENTS]].tolist(), labels, strict=True)
        events.append(tuple({**event, "item_id": item_id, "labels": names} for item_id, names in pairs))
    user = np.repeat(np.arange(n), [len(own) for own in rows])
    item = works.lookup(log.work_id[np.concatenate(rows)])
    later = np.concatenate([np.arange(len(own)) >= EVENTS for own in rows])
    owned = csr_array((np.ones(n * EVENTS, np.float32), (user[~later], item[~later])), (n, len(works)))
    is_published = dataset.snapshot.published_ms <= dataset.end_ms
    held, times = (user[later], item[later]), np.full(n, dataset.end_ms + HOUR_MS)
    is_new, is_warm = np.zeros(len(works), bool), np.ones(n, bool)
    requests = PageRequests(
        dataset.end_ms, np.arange(n), times, *held, owned, is_published, is_new=is_new, is_warm=is_warm
    )
    return requests, events


def _cascade_pages(dataset: Dataset, config: Path, events: list[Events]) -> NDArray[Any]:
    scene, time_ms = main_scene(dataset), dataset.end_ms + HOUR_MS
    unknown = int(dataset.snapshot.users.ids.max()) + 1  # the id of the first session
    with open_hot_swap(config, scene) as live:
        cascade = replace(live.cascades[scene], side_effects=())  # a page must not change the next ones
        pages = [
            cascade.run(Request(user, K, scene, time_ms, request_id=f"page-{user}", events=rows))
            for user, rows in enumerate(events, unknown)
        ]
    return page_rows(dataset.snapshot.works, [[int(item.item_id) for item in page] for page in pages])


def _simple_methods(log: PastLog) -> Iterator[tuple[str, list[Scorer]]]:
    """Yields (method, a scorer for each setting)."""
    rates, counts = fit_popularity(log)(np.zeros(1, np.int64)), log.taken.sum(axis=0)[None]
    bonus = TIE_BONUS * counts / counts.max()

    def popular(scores: NDArray[Any]) -> Scorer:
        return lambda sessions: np.broadcast_to(scores, sessions.shape)

    def knn(neighbours: int, shrinkage: float) -> Scorer:
        similar = csr_array(similar_by_counts(log.profiles, neighbours, shrinkage).T)
        return lambda sessions: (sessions @ similar).toarray() + bonus

    def als(factors: int, weight: float, penalty: float) -> Scorer:
        items = factorize(log.profiles, factors, weight, penalty)[1]
        gram = items.T @ items + penalty * np.eye(factors)

        def fold_in(sessions: csr_array) -> NDArray[Any]:
            own = items[sessions.indices].reshape(-1, EVENTS, factors)
            grams = gram + weight * own.transpose(0, 2, 1) @ own
            return np.linalg.solve(grams, own.sum(axis=1)[:, :, None])[:, :, 0] @ items.T

        return fold_in

    yield "popularity", [popular(rates), popular(counts)]
    for name, fit in (("item-kNN", knn), ("ALS fold-in", als)):
        yield name, [fit(**setting) for setting in METHODS[name.removesuffix(" fold-in")].grid(log)]
