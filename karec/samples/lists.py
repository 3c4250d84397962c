"""Lists of the rank log: whole pools that the ranker scored; most of their items were not shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.logs.read import RankLog
from karec.samples.examples import Examples
from karec.samples.soft_labels import read_teacher_log

CHUNK = 1000
DRAWS = 8  # lists sampled from one served pool: its best items, and each time other ones of the rest
BEST_FRACTION = 0.25  # of a list that is taken from the top of a larger pool


@dataclass(frozen=True, eq=False)
class LoggedLists:
    """L lists of N items.

    rows      (L,) the example of the list's request
    items     (L, N) item rows
    numbers   (L, N, J) item_numbers at the time of the request
    logits    (L, N, T) of the ranker
    fused     (L, N) of the ranker
    """

    rows: NDArray[Any]
    items: NDArray[Any]
    numbers: NDArray[Any]
    logits: NDArray[Any]
    fused: NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def concat(cls, parts: Sequence[LoggedLists]) -> LoggedLists:
        """Returns the lists of ``parts``, all with the same number of items, concatenated."""
        return cls(*[np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)])


def read_lists(examples: Examples, folder: Path, tasks: Sequence[str], size: int, seed: int) -> LoggedLists:
    """Returns the rank log's lists, also shadow pools, of at least ``size`` items in ``examples``.

    From a longer list ``size`` items are taken: the ``size``/4 best and a random sample of the rest. Items
    that the snapshot lacks are left out. Raises LogSchemaError like ``read_teacher_log``.
    """
    return select_lists(examples, read_teacher_log(folder, tasks), size, seed)


def select_lists(examples: Examples, log: RankLog, size: int, seed: int, draws: int = 1) -> LoggedLists:
    """Returns the lists of a log, see ``read_lists``. A list longer than ``size`` gives ``draws`` lists."""
    log = log.take(examples.snapshot.works.lookup(log.item_id) >= 0)
    starts, ends = list_bounds(log)
    row = find_examples(examples, log.user_id[starts], log.time_ms[starts])
    chosen = np.flatnonzero((ends - starts >= size) & (row >= 0))
    chosen = np.repeat(chosen, np.where(ends - starts > size, draws, 1)[chosen])
    generator = np.random.default_rng(seed)
    log_rows = np.empty((len(chosen), size), np.int64)
    for out, start, end in zip(log_rows, starts[chosen], ends[chosen], strict=True):
        order = start + np.argsort(-log.fused[start:end], kind="stable")
        n_best = size if end - start == size else round(BEST_FRACTION * size)
        out[:n_best] = order[:n_best]
        out[n_best:] = generator.choice(order[n_best:], size - n_best, replace=False)
    items = examples.snapshot.works.lookup(log.item_id[log_rows.ravel()]).reshape(log_rows.shape)
    return LoggedLists(
        row[chosen],
        items,
        item_numbers(examples, row[chosen], items),
        log.logits[log_rows],
        log.fused[log_rows],
    )


def list_bounds(log: RankLog) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns (starts, ends) of the log's lists: a request's ranked items, and its whole pool."""
    new = np.ones(len(log), bool)
    new[1:] = (log.request_id[1:] != log.request_id[:-1]) | (log.shadow[1:] != log.shadow[:-1])
    starts = np.flatnonzero(new)
    return starts, np.r_[starts[1:], len(log)].astype(np.int64)


def item_numbers(examples: Examples, rows: NDArray[Any], items: NDArray[Any]) -> NDArray[Any]:
    """Returns (L, N, J) float32: item_numbers of ``items (L, N)`` as of ``rows (L,)``."""
    width = len(examples.encoder.names["item_numbers"])
    numbers = np.empty((*items.shape, width), np.float32)
    for begin in range(0, len(rows), CHUNK):
        part = items[begin : begin + CHUNK]
        example_rows = np.repeat(rows[begin : begin + CHUNK], items.shape[1])
        numbers[begin : begin + CHUNK] = examples.items(example_rows, part.ravel())["item_numbers"].reshape(
            *part.shape, width
        )
    return numbers


def item_crosses(examples: Examples, rows: NDArray[Any], items: NDArray[Any]) -> NDArray[Any]:
    """Returns (L, N, X) float32: cross features of ``items (L, N)`` with the users of examples ``rows (L,)``.

    Users are as of their example. Cost: O(L·N·X).
    """
    crosses = np.empty((*items.shape, len(examples.encoder.names["crosses"])), np.float32)
    for out, row, list_items in zip(crosses, rows.tolist(), items, strict=True):
        out[:] = examples.pool(row, list_items)["crosses"]
    return crosses


def find_examples(examples: Examples, user_id: NDArray[Any], time_ms: NDArray[Any]) -> NDArray[Any]:
    """Returns (R,) the first example of each (user, time), −1 if there is none."""
    exposures = examples.exposures
    _, time = np.unique(np.concatenate([exposures.time_ms, time_ms]), return_inverse=True)
    users, user = np.unique(np.concatenate([exposures.user_id, user_id]), return_inverse=True)
    key = time * len(users) + user
    known, queries = key[: len(exposures)], key[len(exposures) :]
    order = np.argsort(known, kind="stable")
    index = np.minimum(np.searchsorted(known[order], queries), len(known) - 1)
    return np.where(known[order][index] == queries, order[index], -1)
