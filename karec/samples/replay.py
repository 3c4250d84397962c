"""First rank log: a new ranker scores all past exposures as if it had served them.

It has the form of a served log (``logs.rank_log``) and replaces it until something was served. The ranker
runs in ONNX Runtime, as in serving. For a fraction of the requests it also ranks a whole pool, like shadow
requests: items sampled uniformly from those published by then.
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
from karec.samples.threads import map_in_order
from karec.times import Progress

BATCH = 256  # with 2048 rows and long histories ONNX Runtime needs gigabytes and twice the time


def ranker_logits(
    examples: Examples, ranker: OnnxModel, progress: Progress | None = None, threads: int = 0
) -> NDArray[Any]:
    """Returns (M, T) float32: the ranker's logits of each example. ``threads``: see ``map_in_order``."""
    return logits_of_rankers(examples, [ranker], progress, threads)[0]


def logits_of_rankers(
    examples: Examples, rankers: Sequence[OnnxModel], progress: Progress | None = None, threads: int = 0
) -> list[NDArray[Any]]:
    """Returns ``ranker_logits`` of each; encoding, the slow part, is done once."""
    n, dense = len(examples), any("dense" in ranker.inputs for ranker in rankers)

    def run_batch(begin: int) -> list[NDArray[Any]]:
        inputs = examples.inputs(np.arange(begin, min(begin + BATCH, n)))
        if dense:
            inputs["dense"] = examples.encoder.dense(inputs)
        return [ranker.run(inputs, "logits")[0] for ranker in rankers]

    batches: list[list[NDArray[Any]]] = []
    for done, logits in enumerate(map_in_order(run_batch, range(0, n, BATCH), threads), 1):
        batches.append(logits)
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
    """Ranks and logs each example in order of time. Exposures of one user at one time are one request."""
    exposures = examples.exposures
    logits = ranker_logits(examples, ranker, progress, threads)
    fused = fusion(logits, ranker.tasks)
    scenes = examples.snapshot.labels.get("scene", [])
    order = np.lexsort((exposures.user_id, exposures.time_ms))
    user, time = exposures.user_id[order], exposures.time_ms[order]
    cuts = np.flatnonzero((user[1:] != user[:-1]) | (time[1:] != time[:-1])) + 1
    bounds = np.concatenate([[0], cuts, [len(order)]])
    with RankLogWriter(folder, ranker.tasks, ranker=ranker.fingerprint) as writer:
        for begin, end in pairwise(bounds):
            rows = order[begin:end]
            scene = int(exposures.scene[rows[0]])
            writer.append(
                request_id=f"u{user[begin]}-{time[begin]}",
                user_id=int(user[begin]),
                item_ids=exposures.work_id[rows],
                scene=scenes[scene] if 0 <= scene < len(scenes) else str(scene),
                time_ms=int(time[begin]),
                model_version=ranker.model_version,
                logits=logits[rows],
                fused=fused[rows],
            )


def pool_requests(
    exposures: Impressions, share: float, max_requests: int, generator: np.random.Generator
) -> NDArray[Any]:
    """Returns (P,) ascending: one exposure of each request whose pool is logged."""
    requests = np.unique(np.stack([exposures.time_ms, exposures.user_id]), axis=1, return_index=True)[1]
    return np.sort(generator.permutation(requests)[: min(round(share * len(requests)), max_requests)])


def write_shadow_log(
    examples: Examples,
    ranker: OnnxModel,
    fusion: ObjectiveWeights,
    folder: Path,
    *,
    share: float,
    max_requests: int,
    n_items: int,
    seed: int,
    progress: Progress | None = None,
    threads: int = 0,
) -> None:
    """Logs logits of ``n_items`` items for a ``share`` of requests, at most ``max_requests``.

    Requests and items are sampled with ``seed``.
    """
    generator = np.random.default_rng(seed)
    exposures, snapshot = examples.exposures, examples.snapshot
    chosen = pool_requests(exposures, share, max_requests, generator)
    upload_ms = snapshot.published_ms
    by_upload = np.argsort(upload_ms, kind="stable")
    n_published_by = np.searchsorted(upload_ms[by_upload], exposures.time_ms[chosen], side="right")
    scenes = snapshot.labels.get("scene", [])
    pools = (
        (row, by_upload[generator.choice(n_published, min(n_items, n_published), replace=False)])
        for row, n_published in zip(chosen.tolist(), n_published_by.tolist(), strict=True)
    )

    def rank_pool(request: tuple[int, NDArray[Any]]) -> tuple[int, NDArray[Any], NDArray[Any]]:
        row, pool = request
        return row, pool, pool_logits(examples, row, pool, ranker)

    with RankLogWriter(folder, ranker.tasks, ranker=ranker.fingerprint) as writer:
        for done, (row, pool, logits) in enumerate(map_in_order(rank_pool, pools, threads), 1):
            user, time, scene = (
                int(column[row]) for column in (exposures.user_id, exposures.time_ms, exposures.scene)
            )
            writer.append(
                request_id=f"u{user}-{time}",
                user_id=user,
                item_ids=snapshot.works.ids[pool],
                scene=scenes[scene] if 0 <= scene < len(scenes) else str(scene),
                time_ms=time,
                model_version=ranker.model_version,
                logits=logits,
                fused=fusion(logits, ranker.tasks),
                shadow=True,
            )
            if progress is not None and (done % 50 == 0 or done == len(chosen)):
                progress(done, len(chosen), "ranker over whole pools")


def pool_logits(examples: Examples, row: int, items: NDArray[Any], ranker: OnnxModel) -> NDArray[Any]:
    """Returns (N, T) float32: the logits of ``items (N,)`` for the request of example ``row``."""
    inputs = examples.pool(row, items)
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
    """Logs a new ranker's logits of served pools, as whole pools.

    The pool of example ``rows[p]`` is list p of ``served``, whose items are in the snapshot.
    """
    starts, ends = list_bounds(served)
    items = examples.snapshot.works.lookup(served.item_id)

    def rank_pool(pool: int) -> tuple[int, NDArray[Any]]:
        return pool, pool_logits(examples, int(rows[pool]), items[starts[pool] : ends[pool]], ranker)

    with RankLogWriter(folder, ranker.tasks, ranker=ranker.fingerprint) as writer:
        for done, (pool, logits) in enumerate(map_in_order(rank_pool, range(len(rows)), threads), 1):
            begin = starts[pool]
            writer.append(
                request_id=f"{pool} {served.request_id[begin]}",
                user_id=int(served.user_id[begin]),
                item_ids=served.item_id[begin : ends[pool]],
                scene=str(served.scene[begin]),
                time_ms=int(served.time_ms[begin]),
                model_version=ranker.model_version,
                logits=logits,
                fused=fusion(logits, ranker.tasks),
                shadow=True,
            )
            if progress is not None and (done % 50 == 0 or done == len(rows)):
                progress(done, len(rows), "ranker over served pools")
