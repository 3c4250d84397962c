"""What each recall channel of a scene finds of the works that a user should get: alone, together, and alone
among all.

For each K every channel is asked for K works, and then all of them with their quotas and floors in
proportion, merged to K works as the scene merges them. Of a reference (``karec.lab.studies.recall``:
favourites by the known truth, works enjoyed on the test days):

alone      the share that the channel's K works hold
together   the share that the merged K works hold
sole       the share that the merged works hold and only this channel found
without    the share that is lost when the channel is left out and the others fill its places
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
    """What was found for one user within K works: ``alone`` {channel: ids}, ``merged`` with the channels'
    bits, and ``without`` {channel: ids of the others, merged}."""

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
    """``n_users`` of the bundle, drawn from ``seed``, at the bundle's moment, each within every K of ``at``
    that the library exceeds. Without ``truth`` users who enjoyed something on the test days.

    DataError: the bundle's users are not the dataset's, or the library has no more works than the least K.
    """
    snapshot = bundle.snapshot
    if not np.array_equal(snapshot.users.ids, dataset.snapshot.users.ids):
        raise DataError(f"{bundle.path} was not made of {dataset.name}: its users are others")
    at = [k for k in at if k < len(snapshot.works)]
    if not at:
        raise DataError(
            f"the library has {len(snapshot.works)} works: within so many every channel finds all it has"
        )
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
            yield Found(user, k, references, lists, *_merged(together[k], request))
        if progress is not None:
            progress(done + 1, len(rows), "asking each channel")


def channel_study(found: Iterator[Found], resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Means over users with 95 % intervals from resampling them; a user whose reference is empty does not
    count for it.

    {"users", "measures": [{"reference", "k", "users", "together", "channels": {channel: {"alone", "sole",
    "without", "ahead"}}}]}, each of these {"value", "ci"}; ``ahead``: together less alone, paired.
    """
    rows: dict[tuple[str, int], list[tuple[int, dict[str, float]]]] = {}
    users, channels = set(), []
    for one in found:
        users.add(one.user_id)
        channels = list(one.alone)
        for name, wanted in one.references.items():
            if len(wanted):
                rows.setdefault((name, one.k), []).append((one.user_id, _shares(one, wanted)))
    if not users:
        raise DataError("no user to ask for")
    measures = []
    for (reference, k), of_users in sorted(rows.items()):
        bootstrap = UserBootstrap(np.array([user for user, _ in of_users]), resamples, seed)
        measured = {
            name: bootstrap.mean_with_interval(np.array([shares[name] for _, shares in of_users]))
            for name in of_users[0][1]
        }
        by_channel = {
            channel: {what: measured[f"{channel} {what}"] for what in ("alone", "sole", "without", "ahead")}
            for channel in channels
        }
        told = {"reference": reference, "k": k, "users": len(of_users), TOGETHER: measured[TOGETHER]}
        measures.append({**told, "channels": by_channel})
    return {"users": len(users), "measures": measures}


def channel_rows(report: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(head, rows) of a table of the report."""
    rows: list[tuple[str, ...]] = []
    for each in report["measures"]:
        about = each["reference"], f"{each['k']:,}", f"{each['users']:,}"
        rows.append(
            (*about, TOGETHER, format_measure(each[TOGETHER]["value"], each[TOGETHER]["ci"], 3), "", "", "")
        )
        for channel, of in each["channels"].items():
            values = (
                format_measure(of[what]["value"], of[what]["ci"], 3) for what in ("alone", "ahead", "sole")
            )
            rows.append(
                (*about, channel, *values, format_measure(of["without"]["value"], of["without"]["ci"], 3))
            )
    return ("recall of", "@", "users", "channel", "found", "together ahead by", "sole", "lost without"), rows


def _merged(together: Recall, request: Request) -> tuple[Candidates, dict[str, NDArray[Any]]]:
    """What all channels find together, and what they find without each."""
    parts = [recall(source, request)[0] for source in together.sources]
    merged = merge(together.merger, request, parts)[0]
    without = {}
    for left_out, source in enumerate(together.sources):
        others = [Candidates.empty() if at == left_out else part for at, part in enumerate(parts)]
        without[source.name] = merge(together.merger, request, others)[0].ids
    return merged, without


def _shares(one: Found, wanted: NDArray[Any]) -> dict[str, float]:
    there = np.isin(one.merged.ids, wanted)
    together = float(there.sum() / len(wanted))
    shares = {TOGETHER: together}
    for bit, (channel, ids) in enumerate(one.alone.items()):
        alone = float(np.isin(wanted, ids).mean())
        only = there & (one.merged.sources == 1 << bit)
        shares[f"{channel} alone"] = alone
        shares[f"{channel} ahead"] = together - alone
        shares[f"{channel} sole"] = float(only.sum() / len(wanted))
        shares[f"{channel} without"] = together - float(np.isin(wanted, one.without[channel]).mean())
    return shares
