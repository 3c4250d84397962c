"""Recall of the source ``model``, by the vectors of recall and by those of prerank.

For each user the ``K`` nearest works of the whole library are taken in each space, and the ``K`` most popular
works for comparison. Recall@K is the fraction of a reference among them. The references:

favourites            the TOP works of the library by true value, if the truth is known
ranker's top          the TOP works of the library by the ranker's fused score
enjoyed on test days  works that the user enjoyed there, which depends on what was shown
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.catalog.dataset import Dataset
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.tables import format_measure
from karec.features.pool_scores import PoolScorer, find_stage
from karec.pipeline.cascade import Cascade
from karec.pipeline.checks import recall
from karec.pipeline.step import Source
from karec.pipeline.types import Candidates, Request
from karec.steps.sources.model import Model
from karec.steps.sources.popular import Popular
from karec.times import Progress

FORMAT = 1  # of the JSON
TOP = 100
AT = (1_000, 10_000)
FAVOURITES, RANKED, ENJOYED = "favourites", f"ranker's top {TOP}", "enjoyed on test days"
OWN, PRERANK, POPULAR = "recall's vectors", "prerank's vectors", "popularity"
# Lengths of the history.
KNOWN = {"nothing": (0, 0), "1 to 10": (1, 10), "11 to 50": (11, 50), "more": (51, np.inf)}
Truth = Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Asked:
    """One user: ``references`` {name: ids}, ``found`` {source: ids, best first}, ``known``: length of the
    history.
    """

    user_id: int
    known: int
    references: Mapping[str, NDArray[Any]]
    found: Mapping[str, NDArray[Any]]


def asked_users(
    cascade: Cascade,
    bundle: Bundle,
    dataset: Dataset,
    *,
    n_users: int,
    n_ranked: int,
    truth: Truth | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Iterator[Asked]:
    """Yields ``n_users`` users of the bundle, drawn from ``seed``, at the bundle's moment.

    For the first ``n_ranked`` the ranker scores the whole library, some seconds each. ``truth(user rows, work
    rows, time_ms, scene) → (N, tasks)``: true probabilities by rows of the dataset's snapshot. Raises
    DataError if the bundle's users are not the dataset's.
    """
    snapshot, known = bundle.snapshot, bundle.snapshot.relations.get("history")
    if not np.array_equal(snapshot.users.ids, dataset.snapshot.users.ids):
        raise DataError(f"{bundle.path}: not made from {dataset.name}, the users differ")
    sources = _channels(bundle)
    enjoyed = enjoyed_later(dataset)
    rows = np.random.default_rng(seed).permutation(len(snapshot.users))[:n_users]
    for number, row in enumerate(rows.tolist()):
        user = int(snapshot.users.ids[row])
        request = Request(user, scene=cascade.scene, time_ms=snapshot.time_ms, request_id=f"recall-{user}")
        views = [None if index is None else index.pinned() for index in (bundle.index, bundle.recall_index)]
        request, _ = cascade.hydrate(request.with_view(*views))  # the request keeps the views open
        references = {ENJOYED: enjoyed.get(user, np.empty(0, np.int64))}
        if number < n_ranked:
            references[RANKED] = _top(*_ranked(cascade, bundle, request))
        if truth is not None:
            references[FAVOURITES] = best_by_truth(truth, dataset, bundle, row, cascade)
        found_ids = {name: recall(source, request)[0].ids for name, source in sources.items()}
        history = 0 if known is None else int(known.indptr[row + 1] - known.indptr[row])
        yield Asked(user, history, references, found_ids)
        if progress is not None:
            progress(number + 1, len(rows), "searching each space")


def recall_study(
    users: Iterator[Asked], at: Sequence[int] = AT, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Returns recall@K of each source by reference and length of the history, with 95 % intervals over users.

    {"users", "measures": [{"reference", "k", "known", "users", "recall": {source: {"value", "ci"}}, "gain":
    {"value", "ci"}}]}. ``known`` is None for all users; ``gain``: own vectors minus prerank's, paired, None
    without own vectors. Users with an empty reference do not count for it.
    """
    rows: dict[tuple[str, int], list[tuple[int, int, dict[str, float]]]] = {}
    n = 0
    for user in users:
        n += 1
        for name, reference in user.references.items():
            for k in at if len(reference) else ():
                recalls = {
                    source: float(np.isin(reference, ids[:k]).mean()) for source, ids in user.found.items()
                }
                rows.setdefault((name, k), []).append((user.user_id, user.known, recalls))
    if not n:
        raise DataError("no users")
    measures = []
    for (name, k), user_rows in sorted(rows.items()):
        for known, (minimum, maximum) in ((None, (0, np.inf)), *KNOWN.items()):
            part = [row for row in user_rows if minimum <= row[1] <= maximum]
            if part:
                measures.append(
                    {"reference": name, "k": k, "known": known, **_measured(part, resamples, seed)}
                )
    return {"users": n, "measures": measures}


def recall_json(report: Mapping[str, Any]) -> str:
    return json.dumps({"format": FORMAT, **report}, indent=1)


def recall_rows(report: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns (head, rows) of a table of the report."""
    sources = list(report["measures"][0]["recall"])
    rows = []
    for measure in report["measures"]:
        shown = measure["recall"] | ({} if measure["gain"] is None else {"gain": measure["gain"]})
        values = (format_measure(value["value"], value["ci"], 3) for value in shown.values())
        known = "all" if measure["known"] is None else measure["known"]
        rows.append((measure["reference"], f"{measure['k']:,}", known, f"{measure['users']:,}", *values))
    gain = ("own − prerank's",) if OWN in sources else ()
    return ("recall of", "@", "works in history", "users", *sources, *gain), rows


def _measured(part: list[tuple[int, int, dict[str, float]]], resamples: int, seed: int) -> dict[str, Any]:
    bootstrap = UserBootstrap(np.array([user for user, _, _ in part]), resamples, seed)
    shares = {source: np.array([recalls[source] for _, _, recalls in part]) for source in part[0][2]}
    gain = bootstrap.mean_with_interval(shares[OWN] - shares[PRERANK]) if OWN in shares else None
    return {
        "users": len(part),
        "recall": {name: bootstrap.mean_with_interval(values) for name, values in shares.items()},
        "gain": gain,
    }


def _channels(bundle: Bundle) -> dict[str, Source]:
    channels: dict[str, Source] = {
        PRERANK: Model(bundle.index.schema, max(AT)),
        POPULAR: Popular(bundle.snapshot, max(AT)),
    }
    if bundle.recall_index is not None:
        own = Model(bundle.index.schema, max(AT), bundle.recall_index.schema, bundle.recall_user_towers)
        channels = {OWN: own, **channels}
    return channels


def _ranked(cascade: Cascade, bundle: Bundle, request: Request) -> tuple[NDArray[Any], NDArray[Any]]:
    ids = np.asarray(bundle.snapshot.works.ids)
    pool = Candidates.from_ids(ids).with_rows(request.index.lookup(ids))
    ranked, _ = PoolScorer(find_stage(cascade.stages, "rank")).score(request, pool)
    return ranked.ids, ranked.scores


def best_by_truth(
    truth: Truth, dataset: Dataset, bundle: Bundle, user_row: int, cascade: Cascade
) -> NDArray[Any]:
    """Returns (TOP,) ids of the bundle's works with the largest true value."""
    ids = np.asarray(bundle.snapshot.works.ids)
    return _top(ids, values_of(truth, dataset, bundle, user_row, cascade, ids))


def values_of(
    truth: Truth, dataset: Dataset, bundle: Bundle, user_row: int, cascade: Cascade, ids: NDArray[Any]
) -> NDArray[Any]:
    """Returns (N,) true values of ``ids``: Σ weight · probability over the tasks, weighted as for pages."""
    snapshot, n = bundle.snapshot, len(ids)
    scene = snapshot.labels["scene"].index(cascade.scene)
    works = dataset.snapshot.works.lookup(ids)
    chances = truth(np.full(n, user_row), works, np.full(n, snapshot.time_ms), np.full(n, scene))
    return np.asarray(chances @ np.array(list(dataset.objectives.values())))


def _top(ids: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(ids[np.argsort(-scores, kind="stable")[:TOP]])


def enjoyed_later(dataset: Dataset) -> dict[int, NDArray[Any]]:
    """Returns {user: works enjoyed on the test days}."""
    test = dataset.split()[2]
    test = test.take(dataset.snapshot.meaning.is_enjoyed(test.labels))
    order = np.argsort(test.user_id, kind="stable")
    users, starts = np.unique(test.user_id[order], return_index=True)
    return dict(zip(users.tolist(), map(np.unique, np.split(test.work_id[order], starts[1:])), strict=True))
