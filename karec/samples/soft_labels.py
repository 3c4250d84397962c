"""Soft labels: the ranker's logits of each exposure, read back from the rank log.

A request is identified by user and moment, which exposures and log both hold; its id is the host's choice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    """For M exposures: ``logits (M, T)``, ``fused (M,)``, and ``known (M,) bool``: the log has them; others
    are 0."""

    logits: NDArray[Any]
    fused: NDArray[Any]
    known: NDArray[Any]

    def or_else(self, other: SoftLabels) -> SoftLabels:
        """These, and what ``other`` knows of the same exposures where these know nothing."""
        logits = np.where(self.known[:, None], self.logits, other.logits)
        fused = np.where(self.known, self.fused, other.fused)
        return replace(self, logits=logits, fused=fused, known=self.known | other.known)

    def followed_by_unknown(self, n: int) -> SoftLabels:
        """These, and ``n`` more exposures of which nothing is known."""
        arrays = self.logits, self.fused, self.known
        logits, fused, known = (
            np.concatenate([own, np.zeros((n, *own.shape[1:]), own.dtype)]) for own in arrays
        )
        return SoftLabels(logits, fused, known)


def read_soft_labels(
    exposures: Impressions, folder: Path, tasks: Sequence[str], model_versions: Collection[int] | None = None
) -> SoftLabels:
    """Join the rank log in ``folder`` to ``exposures`` by (request, item). O((M + log) log).

    The order of the log and repeated rows do not matter. Shadow rows are left out. An exposure without a row
    is unknown. Raises LogSchemaError as ``read_teacher_log`` does.
    """
    return soft_labels_of(exposures, read_teacher_log(folder, tasks, model_versions))


def soft_labels_of(exposures: Impressions, log: RankLog) -> SoftLabels:
    """``read_soft_labels`` of a log that has been read."""
    log = log.take(~log.shadow)
    n = len(log)
    request = _paired(np.r_[log.user_id, exposures.user_id], np.r_[log.time_ms, exposures.time_ms])
    key = _paired(request, np.r_[log.item_id, exposures.work_id])
    logged, wanted = key[:n], key[n:]
    order = np.argsort(logged, kind="stable")
    at = np.minimum(np.searchsorted(logged[order], wanted), max(n - 1, 0))
    known = logged[order][at] == wanted if n else np.zeros(len(wanted), bool)
    logits, fused = np.zeros((len(wanted), len(log.tasks)), np.float32), np.zeros(len(wanted), np.float32)
    rows = order[at[known]]
    logits[known], fused[known] = log.logits[rows], log.fused[rows]
    return SoftLabels(logits, fused, known)


def read_teacher_log(
    folder: Path, tasks: Sequence[str], model_versions: Collection[int] | None = None
) -> RankLog:
    """The rank log in ``folder``, whose ranker is to teach.

    Logits of two rankers are not comparable, so that the log must be of one model version, or of those that
    ``model_versions`` names. Raises LogSchemaError for a log of others, and as ``read_rank_log`` does.
    """
    log = read_rank_log(folder, tasks, model_versions)
    versions = np.unique(log.model_version)
    if model_versions is None and len(versions) > 1:
        raise LogSchemaError(
            f"{folder} is a log of the model versions {versions.tolist()}: say which may teach"
        )
    return log


def _paired(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """(M,) int64: one number for each pair of values."""
    _, one = np.unique(first, return_inverse=True)
    values, other = np.unique(second, return_inverse=True)
    return np.asarray(one * len(values) + other, np.int64)
