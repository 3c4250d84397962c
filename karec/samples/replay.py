"""First rank log: a new ranker scores all past exposures as if it had served them.

It has the form of a served log (``logs.rank_log``) and replaces it until something was served. The ranker
runs in ONNX Runtime, as in serving. For a fraction of the requests it also ranks a whole pool, like shadow
requests: items sampled uniformly from those published by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from karec.samples.examples import Examples, parts_by_side
from karec.samples.lists import list_bounds
from karec.samples.threads import map_in_order
from karec.times import Progress

BATCH = 256  # with 2048 rows and long histories ONNX Runtime needs gigabytes and twice the time

Pool = tuple[int, NDArray[Any], dict[str, Any]]  # example of the request, item rows, columns of the log


def ranker_logits(
    examples: Examples, ranker: OnnxModel, progress: Progress | None = None, threads: int = 0
) -> NDArray[Any]:
    """Returns (M, T) float32: the ranker's logits of each example. ``threads``: see ``map_in_order``."""
    return logits_of_rankers(examples, [ranker], progress, threads)[0]


def logits_of_rankers(
    examples: Examples, rankers: Sequence[OnnxModel], progress: Progress | None = None, threads: int = 0
) -> list[NDArray[Any]]:
    """Returns ``ranker_logits`` of each. Rows are encoded once; a user side with several rows runs once."""
    n, dense = len(examples), any("dense" in ranker.inputs for ranker in rankers)
    order = np.argsort(examples.user_sides()[1], kind="stable")

    def run_batch(begin: int) -> list[NDArray[Any]]:
        users, side, items = examples.inputs_by_side(order[begin : begin + BATCH])
        logits = [np.empty((len(side), len(ranker.tasks)), np.float32) for ranker in rankers]
        for at, of in parts_by_side(side):
            inputs = {name: values[of] for name, values in users.items()}
            inputs |= {name: values[at] for name, values in items.items()}
            if dense:
                inputs["dense"] = examples.encoder.dense(inputs)
            for ranker, rows in zip(rankers, logits, strict=True):
                rows[at] = ranker.run(inputs, "logits")[0]
        return logits

    batches: list[list[NDArray[Any]]] = []
    for done, logits in enumerate(map_in_order(run_batch, range(0, n, BATCH), threads), 1):
        batches.append(logits)
        if progress is not None:
            progress(min(done * BATCH, n), n, "ranker over past exposures")
    empty = [np.empty((0, len(ranker.tasks)), np.float32) for ranker in rankers]
    back = np.argsort(order)
    return [np.concatenate(parts)[back] for parts in zip(*(batches or [empty]), strict=True)]


@dataclass(frozen=True, eq=False)
class RankLogReplay:
    """Ranks requests of ``examples`` again and logs them in ``folder``.

    fusion     weights of the fused score
    progress   called while requests are ranked
    threads    see ``map_in_order``
    """

    examples: Examples
    ranker: OnnxModel
    fusion: ObjectiveWeights
    folder: Path
    progress: Progress | None = None
    threads: int = 0

    def write_exposures(self) -> None:
        """Logs each example in order of time. Exposures of one user at one time are one request."""
        examples, ranker, exposures = self.examples, self.ranker, self.examples.exposures
        logits = ranker_logits(examples, ranker, self.progress, self.threads)
        fused = self.fusion(logits, ranker.tasks)
        order = np.lexsort((exposures.user_id, exposures.time_ms))
        user, time = exposures.user_id[order], exposures.time_ms[order]
        cuts = np.flatnonzero((user[1:] != user[:-1]) | (time[1:] != time[:-1])) + 1
        bounds = np.concatenate([[0], cuts, [len(order)]])
        with RankLogWriter(self.folder, ranker.tasks, ranker=ranker.fingerprint) as writer:
            for begin, end in pairwise(bounds):
                rows = order[begin:end]
                writer.append(
                    request_id=f"u{user[begin]}-{time[begin]}",
                    user_id=int(user[begin]),
                    item_ids=exposures.work_id[rows],
                    scene=_scene_name(examples, int(exposures.scene[rows[0]])),
                    time_ms=int(time[begin]),
                    model_version=ranker.model_version,
                    logits=logits[rows],
                    fused=fused[rows],
                )

    def write_pools(self, *, share: float, max_requests: int, n_items: int, seed: int) -> None:
        """Logs pools of ``n_items`` items for a ``share`` of the requests, at most ``max_requests``.

        Requests and items are sampled with ``seed``.
        """
        generator = np.random.default_rng(seed)
        exposures, snapshot = self.examples.exposures, self.examples.snapshot
        chosen = pool_requests(exposures, share, max_requests, generator)
        by_upload = np.argsort(snapshot.published_ms, kind="stable")
        upload_ms = snapshot.published_ms[by_upload]
        n_published = np.searchsorted(upload_ms, exposures.time_ms[chosen], side="right")

        def pools() -> Iterator[Pool]:
            for row, n in zip(chosen.tolist(), n_published.tolist(), strict=True):
                items = by_upload[generator.choice(n, min(n_items, n), replace=False)]
                user, time = int(exposures.user_id[row]), int(exposures.time_ms[row])
                request = {"request_id": f"u{user}-{time}", "user_id": user, "time_ms": time}
                scene = _scene_name(self.examples, int(exposures.scene[row]))
                yield row, items, {**request, "item_ids": snapshot.works.ids[items], "scene": scene}

        self._write(pools(), len(chosen), "ranker over whole pools")

    def write_served_pools(self, served: RankLog, rows: NDArray[Any]) -> None:
        """Logs the ranker's logits of served pools, as whole pools.

        The pool of example ``rows[p]`` is list p of ``served``, whose items are in the snapshot.
        """
        starts, ends = list_bounds(served)
        items = self.examples.snapshot.works.lookup(served.item_id)

        def pools() -> Iterator[Pool]:
            for pool, row in enumerate(rows.tolist()):
                begin, part = starts[pool], slice(starts[pool], ends[pool])
                request: dict[str, Any] = {
                    "request_id": f"{pool} {served.request_id[begin]}",
                    "item_ids": served.item_id[part],
                }
                request |= {"user_id": int(served.user_id[begin]), "time_ms": int(served.time_ms[begin])}
                yield row, items[part], {**request, "scene": str(served.scene[begin])}

        self._write(pools(), len(rows), "ranker over served pools")

    def _write(self, pools: Iterable[Pool], n_pools: int, title: str) -> None:
        ranker = self.ranker

        def rank_pool(pool: Pool) -> tuple[dict[str, Any], NDArray[Any]]:
            row, items, request = pool
            return request, pool_logits(self.examples, row, items, ranker)

        with RankLogWriter(self.folder, ranker.tasks, ranker=ranker.fingerprint) as writer:
            for done, (request, logits) in enumerate(map_in_order(rank_pool, pools, self.threads), 1):
                fused = self.fusion(logits, ranker.tasks)
                writer.append(
                    **request, model_version=ranker.model_version, logits=logits, fused=fused, shadow=True
                )
                if self.progress is not None and (done % 50 == 0 or done == n_pools):
                    self.progress(done, n_pools, title)


def pool_requests(
    exposures: Impressions, share: float, max_requests: int, generator: np.random.Generator
) -> NDArray[Any]:
    """Returns (P,) ascending: one exposure of each request whose pool is logged."""
    requests = np.unique(np.stack([exposures.time_ms, exposures.user_id]), axis=1, return_index=True)[1]
    return np.sort(generator.permutation(requests)[: min(round(share * len(requests)), max_requests)])


def pool_logits(examples: Examples, row: int, items: NDArray[Any], ranker: OnnxModel) -> NDArray[Any]:
    """Returns (N, T) float32: the logits of ``items (N,)`` for the request of example ``row``."""
    inputs = examples.pool(row, items)
    if "dense" in ranker.inputs:
        inputs["dense"] = examples.encoder.dense(inputs)
    return np.asarray(ranker.run(inputs, "logits")[0])


def _scene_name(examples: Examples, code: int) -> str:
    names = examples.snapshot.labels.get("scene", [])
    return str(names[code]) if 0 <= code < len(names) else str(code)
