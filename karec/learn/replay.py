"""The first rank log: a new ranker says what it thinks of every past exposure, as if it had served them.

Serving appends to a log of this very form (``karec.rank.log``); before it ever served there is nothing to learn from,
and this fills the gap. The ranker runs in ONNX Runtime, as in serving.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from karec.learn.examples import Examples
from karec.onnx_model import OnnxModel
from karec.rank.fusion import Fusion
from karec.rank.log import RankLogWriter
from karec.types import Array

Progress = Callable[[int, int, str], None]
BATCH = 2048  # a larger one costs ONNX Runtime hundreds of MiB and gains no time


def ranker_logits(examples: Examples, ranker: OnnxModel, progress: Progress | None = None) -> Array:
    """(M, T) float32: the ranker's logits of every example, in ONNX Runtime, batch by batch."""
    rows = np.arange(len(examples))
    logits = []
    for begin in range(0, len(rows), BATCH):
        inputs = examples.inputs(rows[begin : begin + BATCH])
        if "dense" in ranker.inputs:
            inputs["dense"] = examples.encoder.dense(inputs)
        logits.append(ranker.run(inputs, "logits")[0])
        if progress is not None:
            progress(min(begin + BATCH, len(rows)), len(rows), "ranker over past exposures")
    return np.concatenate(logits) if logits else np.empty((0, len(ranker.tasks)), np.float32)


def write_rank_log(
    examples: Examples, ranker: OnnxModel, fusion: Fusion, folder: Path, progress: Progress | None = None
) -> None:
    """Rank every example and log it, in order of time: what was shown to one user at one moment was one request."""
    exposures = examples.exposures
    logits = ranker_logits(examples, ranker, progress)
    fused = fusion(logits, ranker.tasks)
    scenes = examples.snapshot.labels.get("scene", [])
    order = np.lexsort((exposures.user_id, exposures.time_ms))
    user, moment = exposures.user_id[order], exposures.time_ms[order]
    cuts = np.flatnonzero((user[1:] != user[:-1]) | (moment[1:] != moment[:-1])) + 1
    bounds = np.concatenate([[0], cuts, [len(order)]])
    with RankLogWriter(folder, ranker.tasks) as writer:
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
