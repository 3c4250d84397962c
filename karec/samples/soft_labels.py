"""Soft labels: the ranker's logits of each exposure, read from the rank log.

User and time identify a request in exposures and log; the request id depends on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.errors import LogSchemaError
from karec.logs.read import RankLog, read_rank_log


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """Logits (M, T) and fused scores (M,) of M exposures, 0 unless ``known (M,) bool``."""

    logits: NDArray[Any]
    fused: NDArray[Any]
    known: NDArray[Any]

    def or_else(self, other: SoftLabels) -> SoftLabels:
        """Returns these, with ``other`` for exposures that are unknown here."""
        logits = np.where(self.known[:, None], self.logits, other.logits)
        fused = np.where(self.known, self.fused, other.fused)
        return replace(self, logits=logits, fused=fused, known=self.known | other.known)

    def pad_unknown(self, n: int) -> SoftLabels:
        """Returns these with ``n`` more, unknown exposures."""
        arrays = self.logits, self.fused, self.known
        logits, fused, known = (
            np.concatenate([array, np.zeros((n, *array.shape[1:]), array.dtype)]) for array in arrays
        )
        return SoftLabels(logits, fused, known)


def read_soft_labels(exposures: Impressions, folder: Path, tasks: Sequence[str]) -> SoftLabels:
    """Joins the rank log in ``folder`` to ``exposures`` by (request, item). O((M + log) log).

    Order and repeated rows of the log do not matter. Shadow rows are left out. Exposures without a row are
    unknown. Raises LogSchemaError like ``read_teacher_log``.
    """
    return join_soft_labels(exposures, read_teacher_log(folder, tasks))


def join_soft_labels(exposures: Impressions, log: RankLog) -> SoftLabels:
    """Joins a log to ``exposures``, see ``read_soft_labels``."""
    log = log.take(~log.shadow)
    n = len(log)
    request = _pair_keys(np.r_[log.user_id, exposures.user_id], np.r_[log.time_ms, exposures.time_ms])
    key = _pair_keys(request, np.r_[log.item_id, exposures.work_id])
    logged, keys = key[:n], key[n:]
    order = np.argsort(logged, kind="stable")
    index = np.minimum(np.searchsorted(logged[order], keys), max(n - 1, 0))
    known = logged[order][index] == keys if n else np.zeros(len(keys), bool)
    logits, fused = np.zeros((len(keys), len(log.tasks)), np.float32), np.zeros(len(keys), np.float32)
    rows = order[index[known]]
    logits[known], fused[known] = log.logits[rows], log.fused[rows]
    return SoftLabels(logits, fused, known)


def read_teacher_log(folder: Path, tasks: Sequence[str]) -> RankLog:
    """Returns the rank log in ``folder``, whose ranker is the teacher of the towers.

    Raises LogSchemaError for rows of several model versions, since logits of two rankers are not comparable,
    and like ``read_rank_log``.
    """
    log = read_rank_log(folder, tasks)
    versions = np.unique(log.model_version)
    if len(versions) > 1:
        raise LogSchemaError(f"{folder}: rows have the model versions {versions.tolist()}, expected one")
    return log


def _pair_keys(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    _, first_codes = np.unique(first, return_inverse=True)
    values, second_codes = np.unique(second, return_inverse=True)
    return np.asarray(first_codes * len(values) + second_codes, np.int64)
