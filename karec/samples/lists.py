"""LoggedLists of the rank log: whole pools that the ranker ordered, most of whose works were not shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.logs.read import RankLog
from karec.samples.examples import Examples
from karec.samples.soft_labels import read_teacher_log

CHUNK = 1000
DRAWS = 8  # lists from one served pool: its best works, and other ones of the rest each time
BEST = 0.25  # share of a list taken from the top of its pool, where the pool is larger


@dataclass(frozen=True, eq=False)
class LoggedLists:
    """L lists of N works: ``rows (L,)`` the example of the list's request, ``works (L, N)`` rows of works,
    ``numbers (L, N, J)`` their item_numbers at that moment, ``logits (L, N, T)`` and ``fused (L, N)`` the
    ranker's.
    """

    rows: NDArray[Any]
    works: NDArray[Any]
    numbers: NDArray[Any]
    logits: NDArray[Any]
    fused: NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def joined(cls, parts: Sequence[LoggedLists]) -> LoggedLists:
        """The lists of ``parts``, all of the same number of works, one after the other."""
        return cls(*[np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)])


def read_lists(
    examples: Examples,
    folder: Path,
    tasks: Sequence[str],
    size: int,
    seed: int,
    model_versions: Collection[int] | None = None,
) -> LoggedLists:
    """The rank log's lists of at least ``size`` works, shadow pools or not, of requests that ``examples``
    hold.

    From a longer list, ``size`` works are taken: the ``size``/4 best, and the rest at random from ``seed``.
    Works that the snapshot does not hold are left out. Raises LogSchemaError as ``read_teacher_log`` does.
    """
    return lists_of(examples, read_teacher_log(folder, tasks, model_versions), size, seed)


def lists_of(examples: Examples, log: RankLog, size: int, seed: int, draws: int = 1) -> LoggedLists:
    """``read_lists`` of a log that has been read; a list that is longer than ``size`` gives ``draws`` of
    them."""
    log = log.take(examples.snapshot.works.lookup(log.item_id) >= 0)
    starts, ends = list_bounds(log)
    row = example_of(examples, log.user_id[starts], log.time_ms[starts])
    wanted = np.flatnonzero((ends - starts >= size) & (row >= 0))
    wanted = np.repeat(wanted, np.where(ends - starts > size, draws, 1)[wanted])
    generator = np.random.default_rng(seed)
    taken = np.empty((len(wanted), size), np.int64)
    for out, start, end in zip(taken, starts[wanted], ends[wanted], strict=True):
        order = start + np.argsort(-log.fused[start:end], kind="stable")
        n_best = size if end - start == size else round(BEST * size)
        out[:n_best] = order[:n_best]
        out[n_best:] = generator.choice(order[n_best:], size - n_best, replace=False)
    works = examples.snapshot.works.lookup(log.item_id[taken.ravel()]).reshape(taken.shape)
    return LoggedLists(
        row[wanted], works, item_numbers(examples, row[wanted], works), log.logits[taken], log.fused[taken]
    )


def list_bounds(log: RankLog) -> tuple[NDArray[Any], NDArray[Any]]:
    """(starts, ends) of the log's lists: of each request what was ranked, and apart from it its whole
    pool."""
    new = np.ones(len(log), bool)
    new[1:] = (log.request_id[1:] != log.request_id[:-1]) | (log.shadow[1:] != log.shadow[:-1])
    starts = np.flatnonzero(new)
    return starts, np.r_[starts[1:], len(log)].astype(np.int64)


def item_numbers(examples: Examples, rows: NDArray[Any], works: NDArray[Any]) -> NDArray[Any]:
    """(L, N, J) float32: item_numbers of ``works (L, N)`` as of the moments of the examples ``rows (L,)``."""
    width = len(examples.encoder.names["item_numbers"])
    numbers = np.empty((*works.shape, width), np.float32)
    for begin in range(0, len(rows), CHUNK):
        part = works[begin : begin + CHUNK]
        of = np.repeat(rows[begin : begin + CHUNK], works.shape[1])
        numbers[begin : begin + CHUNK] = examples.items(of, part.ravel())["item_numbers"].reshape(
            *part.shape, width
        )
    return numbers


def example_of(examples: Examples, user_id: NDArray[Any], time_ms: NDArray[Any]) -> NDArray[Any]:
    """(R,) the first example of each (user, moment), −1 where there is none."""
    exposures = examples.exposures
    _, moment = np.unique(np.concatenate([exposures.time_ms, time_ms]), return_inverse=True)
    users, user = np.unique(np.concatenate([exposures.user_id, user_id]), return_inverse=True)
    key = moment * len(users) + user
    known, asked = key[: len(exposures)], key[len(exposures) :]
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known[order], asked), len(known) - 1)
    return np.where(known[order][at] == asked, order[at], -1)
