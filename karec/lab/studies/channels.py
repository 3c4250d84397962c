"""Recall of each source of a scene, alone and together with the others.

For each K every source is asked for K works. Then all are asked with proportional quotas and floors,
and merged to K works as in the scene. Of a reference (``karec.lab.studies.recall``: favourites by the known
truth, works enjoyed on the test days):

alone      fraction in the source's K works
together   fraction in the merged K works
sole       fraction in the merged works that only this source found
without    fraction that is lost if the source is left out and the others fill its places
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.catalog.dataset import Dataset
from karec.config import scaled_recall
from karec.config.scenes import Config
from karec.errors import DataError
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.tables import format_measure
from karec.lab.studies.recall import ENJOYED, FAVOURITES, Truth, best_by_truth, enjoyed_later
from karec.pipeline.cascade import Cascade, Recall
from karec.pipeline.checks import merge, recall
from karec.pipeline.types import Candidates, Request
from karec.times import Progress

AT = (1_000, 10_000, 100_000)
TOGETHER = "together"


@dataclass(frozen=True, eq=False)
class Found:
    """Results for one user within K works.

    ``alone`` {source: ids}, ``merged`` with the bits of sources, ``without`` {source: merged ids of the
    others}.
    """

    user_id: int
    k: int
    references: Mapping[str, NDArray[Any]]
    alone: Mapping[str, NDArray[Any]]
    merged: Candidates
    without: Mapping[str, NDArray[Any]]


def found_by_channels(
    config: Config,
    cascade: Cascade,
    bundle: Bundle,
    dataset: Dataset,
    *,
    n_users: int,
    at: Sequence[int] = AT,
    truth: Truth | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Iterator[Found]:
    """Yields results of ``n_users`` users of the bundle, drawn from ``seed``, at the bundle's moment.

    Each is asked within every K of ``at`` that is smaller than the library. Without ``truth``: users who
    enjoyed something on the test days.

    Raises:
        DataError: the bundle's users are not the dataset's, or the library is not larger than the smallest K.
    """
    snapshot = bundle.snapshot
    if not np.array_equal(snapshot.users.ids, dataset.snapshot.users.ids):
        raise DataError(f"{bundle.path}: not made from {dataset.name}, the users differ")
    at = [k for k in at if k < len(snapshot.works)]
    if not at:
        raise DataError(f"the library has {len(snapshot.works)} works, expected more than the smallest K")
    together = {k: scaled_recall(config, cascade.scene, k, bundle) for k in at}
    alone = {k: scaled_recall(config, cascade.scene, k, bundle, quota=k) for k in at}
    enjoyed = enjoyed_later(dataset)
    rows = np.random.default_rng(seed).permutation(len(snapshot.users))
    if truth is None:
        rows = rows[np.isin(snapshot.users.ids[rows], list(enjoyed))]
    rows = rows[:n_users]
    for done, row in enumerate(rows.tolist()):
        user = int(snapshot.users.ids[row])
        request = Request(user, scene=cascade.scene, time_ms=snapshot.time_ms, request_id=f"recall-{user}")
        views = [None if index is None else index.pinned() for index in (bundle.index, bundle.recall_index)]
        request, _ = cascade.hydrate(request.with_view(*views))
        references = {ENJOYED: enjoyed.get(user, np.empty(0, np.int64))}
        if truth is not None:
            references[FAVOURITES] = best_by_truth(truth, dataset, bundle, row, cascade)
        for k in at:
            lists = {source.name: recall(source, request)[0].ids for source in alone[k].sources}
            yield Found(user, k, references, lists, *_merge_sources(together[k], request))
        if progress is not None:
            progress(done + 1, len(rows), "asking each source")


def channel_study(found: Iterator[Found], resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Returns means over users with 95 % intervals; users with an empty reference do not count for it.

    {"users", "measures": [{"reference", "k", "users", "together", "channels": {source: {"alone", "sole",
    "without", "ahead"}}}]}, each of these {"value", "ci"}; ``ahead``: together minus alone, paired.
    """
    rows: dict[tuple[str, int], list[tuple[int, dict[str, float]]]] = {}
    users, sources = set(), []
    for result in found:
        users.add(result.user_id)
        sources = list(result.alone)
        for name, reference_ids in result.references.items():
            if len(reference_ids):
                rows.setdefault((name, result.k), []).append(
                    (result.user_id, _recalls(result, reference_ids))
                )
    if not users:
        raise DataError("no users")
    measures = []
    for (reference, k), user_rows in sorted(rows.items()):
        bootstrap = UserBootstrap(np.array([user for user, _ in user_rows]), resamples, seed)
        measured = {
            name: bootstrap.mean_with_interval(np.array([shares[name] for _, shares in user_rows]))
            for name in user_rows[0][1]
        }
        by_channel = {
            source: {
                measure: measured[f"{source} {measure}"] for measure in ("alone", "sole", "without", "ahead")
            }
            for source in sources
        }
        row = {"reference": reference, "k": k, "users": len(user_rows), TOGETHER: measured[TOGETHER]}
        measures.append({**row, "channels": by_channel})
    return {"users": len(users), "measures": measures}


def channel_rows(report: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns (head, rows) of a table of the report."""
    rows: list[tuple[str, ...]] = []
    for measure in report["measures"]:
        about = measure["reference"], f"{measure['k']:,}", f"{measure['users']:,}"
        rows.append(
            (
                *about,
                TOGETHER,
                format_measure(measure[TOGETHER]["value"], measure[TOGETHER]["ci"], 3),
                "",
                "",
                "",
            )
        )
        for source, results in measure["channels"].items():
            values = (
                format_measure(results[name]["value"], results[name]["ci"], 3)
                for name in ("alone", "ahead", "sole")
            )
            rows.append(
                (
                    *about,
                    source,
                    *values,
                    format_measure(results["without"]["value"], results["without"]["ci"], 3),
                )
            )
    return ("recall of", "@", "users", "source", "found", "together ahead by", "sole", "lost without"), rows


def _merge_sources(together: Recall, request: Request) -> tuple[Candidates, dict[str, NDArray[Any]]]:
    """Returns what all sources find together, and what they find without each."""
    parts = [recall(source, request)[0] for source in together.sources]
    merged = merge(together.merger, request, parts)[0]
    without = {}
    for left_out, source in enumerate(together.sources):
        others = [Candidates.empty() if place == left_out else part for place, part in enumerate(parts)]
        without[source.name] = merge(together.merger, request, others)[0].ids
    return merged, without


def _recalls(result: Found, reference: NDArray[Any]) -> dict[str, float]:
    is_merged = np.isin(result.merged.ids, reference)
    together = float(is_merged.sum() / len(reference))
    recalls = {TOGETHER: together}
    for bit, (source, ids) in enumerate(result.alone.items()):
        alone = float(np.isin(reference, ids).mean())
        only = is_merged & (result.merged.sources == 1 << bit)
        recalls[f"{source} alone"] = alone
        recalls[f"{source} ahead"] = together - alone
        recalls[f"{source} sole"] = float(only.sum() / len(reference))
        recalls[f"{source} without"] = together - float(np.isin(reference, result.without[source]).mean())
    return recalls
