"""The first rank log: a new ranker scores every past exposure, as if it had served them.

Serving appends to a log of the same form (``logs.rank_log``); this one stands in while nothing has been
served. The ranker runs in ONNX Runtime, as in serving. For a share of the requests it also ranks a whole
pool, as shadow requests do: works drawn uniformly from those uploaded by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.logs.read import RankLog
from karec.logs.write import RankLogWriter
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.samples.lists import list_bounds
from karec.samples.threads import in_order
from karec.times import Progress

BATCH = 256  # of 2048 rows with long histories ONNX Runtime holds gigabytes, and takes twice the time


def ranker_logits(
    examples: Examples, ranker: OnnxModel, progress: Progress | None = None, threads: int = 0
) -> NDArray[Any]:
    """(M, T) float32: the ranker's logits of every example, in ONNX Runtime, batch by batch; ``threads`` as
    ``in_order``.
    """
    return logits_of_rankers(examples, [ranker], progress, threads)[0]


def logits_of_rankers(
    examples: Examples, rankers: Sequence[OnnxModel], progress: Progress | None = None, threads: int = 0
) -> list[NDArray[Any]]:
    """``ranker_logits`` of each: examples are encoded once for all, which takes longer than most rankers
    do."""
    n, dense = len(examples), any("dense" in ranker.inputs for ranker in rankers)

    def of_batch(begin: int) -> list[NDArray[Any]]:
        inputs = examples.inputs(np.arange(begin, min(begin + BATCH, n)))
        if dense:
            inputs["dense"] = examples.encoder.dense(inputs)
        return [ranker.run(inputs, "logits")[0] for ranker in rankers]

    batches: list[list[NDArray[Any]]] = []
    for done, found in enumerate(in_order(of_batch, range(0, n, BATCH), threads), 1):
        batches.append(found)
        if progress is not None:
            progress(min(done * BATCH, n), n, "ranker over past exposures")
    empty = [np.empty((0, len(ranker.tasks)), np.float32) for ranker in rankers]
    return [np.concatenate(parts) for parts in zip(*(batches or [empty]), strict=True)]


def write_rank_log(
    examples: Examples,
    ranker: OnnxModel,
    fusion: ObjectiveWeights,
    folder: Path,
    progress: Progress | None = None,
    threads: int = 0,
) -> None:
    """Rank every example and log it, in order of time. Impressions of one user at one moment are one
    request."""
    exposures = examples.exposures
    logits = ranker_logits(examples, ranker, progress, threads)
    fused = fusion(logits, ranker.tasks)
    scenes = examples.snapshot.labels.get("scene", [])
    order = np.lexsort((exposures.user_id, exposures.time_ms))
    user, moment = exposures.user_id[order], exposures.time_ms[order]
    cuts = np.flatnonzero((user[1:] != user[:-1]) | (moment[1:] != moment[:-1])) + 1
    bounds = np.concatenate([[0], cuts, [len(order)]])
    with RankLogWriter(folder, ranker.tasks, ranker=ranker.fingerprint) as writer:
        for begin, end in pairwise(bounds):
            rows = order[begin:end]
            scene = int(exposures.scene[rows[0]])
            writer.append(
                request_id=f"u{user[begin]}-{moment[begin]}",
                user_id=int(user[begin]),
                item_ids=exposures.work_id[rows],
                scene=scenes[scene] if 0 <= scene < len(scenes) else str(scene),
                time_ms=int(moment[begin]),
                model_version=ranker.model_version,
                logits=logits[rows],
                fused=fused[rows],
            )


def pool_requests(
    exposures: Impressions, share: float, most: int, generator: np.random.Generator
) -> NDArray[Any]:
    """(P,) in order: an exposure of each request whose whole pool is logged: a ``share`` of all, ``most`` at
    most."""
    requests = np.unique(np.stack([exposures.time_ms, exposures.user_id]), axis=1, return_index=True)[1]
    return np.sort(generator.permutation(requests)[: min(round(share * len(requests)), most)])


def write_shadow_log(
    examples: Examples,
    ranker: OnnxModel,
    fusion: ObjectiveWeights,
    folder: Path,
    *,
    share: float,
    most: int,
    works: int,
    seed: int,
    progress: Progress | None = None,
    threads: int = 0,
) -> None:
    """Log the ranker's logits of ``works`` works for a ``share`` of the examples' requests, ``most`` of them
    at most.

    Requests and works are drawn from ``seed``.
    """
    generator = np.random.default_rng(seed)
    exposures, snapshot = examples.exposures, examples.snapshot
    chosen = pool_requests(exposures, share, most, generator)
    upload_ms = snapshot.published_ms
    by_upload = np.argsort(upload_ms, kind="stable")
    n_there = np.searchsorted(upload_ms[by_upload], exposures.time_ms[chosen], side="right")
    scenes = snapshot.labels.get("scene", [])
    drawn = (
        (row, by_upload[generator.choice(there, min(works, there), replace=False)])
        for row, there in zip(chosen.tolist(), n_there.tolist(), strict=True)
    )

    def ranked(request: tuple[int, NDArray[Any]]) -> tuple[int, NDArray[Any], NDArray[Any]]:
        row, pool = request
        return row, pool, pool_logits(examples, row, pool, ranker)

    with RankLogWriter(folder, ranker.tasks, ranker=ranker.fingerprint) as writer:
        for done, (row, pool, logits) in enumerate(in_order(ranked, drawn, threads), 1):
            user, moment, scene = (
                int(column[row]) for column in (exposures.user_id, exposures.time_ms, exposures.scene)
            )
            writer.append(
                request_id=f"u{user}-{moment}",
                user_id=user,
                item_ids=snapshot.works.ids[pool],
                scene=scenes[scene] if 0 <= scene < len(scenes) else str(scene),
                time_ms=moment,
                model_version=ranker.model_version,
                logits=logits,
                fused=fusion(logits, ranker.tasks),
                shadow=True,
            )
            if progress is not None and (done % 50 == 0 or done == len(chosen)):
                progress(done, len(chosen), "ranker over whole pools")


def pool_logits(examples: Examples, row: int, works: NDArray[Any], ranker: OnnxModel) -> NDArray[Any]:
    """(N, T) float32: the ranker's logits of ``works (N,)``, rows of works, for example ``row``'s user and
    moment."""
    inputs = examples.pool(row, works)
    if "dense" in ranker.inputs:
        inputs["dense"] = examples.encoder.dense(inputs)
    return np.asarray(ranker.run(inputs, "logits")[0])


def write_served_pools(
    examples: Examples,
    served: RankLog,
    rows: NDArray[Any],
    ranker: OnnxModel,
    fusion: ObjectiveWeights,
    folder: Path,
    progress: Progress | None = None,
    threads: int = 0,
) -> None:
    """Log a new ranker's logits of the works that served requests had, pool by pool, as whole pools.

    The pool of example ``rows[p]`` is the p-th list of ``served``, whose works the snapshot holds.
    """
    starts, ends = list_bounds(served)
    works = examples.snapshot.works.lookup(served.item_id)

    def ranked(at: int) -> tuple[int, NDArray[Any]]:
        return at, pool_logits(examples, int(rows[at]), works[starts[at] : ends[at]], ranker)

    with RankLogWriter(folder, ranker.tasks, ranker=ranker.fingerprint) as writer:
        for done, (at, logits) in enumerate(in_order(ranked, range(len(rows)), threads), 1):
            begin = starts[at]
            writer.append(
                request_id=f"{at} {served.request_id[begin]}",
                user_id=int(served.user_id[begin]),
                item_ids=served.item_id[begin : ends[at]],
                scene=str(served.scene[begin]),
                time_ms=int(served.time_ms[begin]),
                model_version=ranker.model_version,
                logits=logits,
                fused=fusion(logits, ranker.tasks),
                shadow=True,
            )
            if progress is not None and (done % 50 == 0 or done == len(rows)):
                progress(done, len(rows), "ranker over served pools")
