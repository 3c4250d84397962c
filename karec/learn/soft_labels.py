"""Soft labels: what the ranker said of each exposure when it ranked it, read back from its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from karec.learn.replay import request_ids
from karec.rank.log import read_rank_log
from karec.snapshot import Exposures
from karec.types import Array


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """For M exposures: ``logits (M, T)``, ``fused (M,)``, and ``known (M,) bool``: the log has a row; else zeros."""

    logits: Array
    fused: Array
    known: Array


def read_soft_labels(exposures: Exposures, folder: Path, tasks: Sequence[str]) -> SoftLabels:
    """Join the rank log in ``folder`` to ``exposures`` by (request, item). O((M + log) log).

    Order and repeats in the log do not matter; a row that is missing leaves its exposure unknown. Raises
    LogSchemaError as ``read_rank_log`` does.
    """
    log = read_rank_log(folder, tasks)
    requests = request_ids(exposures.user_id, exposures.time_ms)
    _, code = np.unique(np.concatenate([log.request_id, requests]).astype(str), return_inverse=True)
    items, item = np.unique(np.concatenate([log.item_id, exposures.work_id]), return_inverse=True)
    key = code.astype(np.int64) * len(items) + item
    logged, wanted = key[: len(log)], key[len(log) :]
    order = np.argsort(logged, kind="stable")
    at = order[np.minimum(np.searchsorted(logged[order], wanted), len(order) - 1)]
    known = logged[at] == wanted
    return SoftLabels(
        logits=np.where(known[:, None], log.logits[at], 0.0).astype(np.float32),
        fused=np.where(known, log.fused[at], 0.0).astype(np.float32),
        known=known,
    )
