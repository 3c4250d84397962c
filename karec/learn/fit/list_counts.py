"""Counts of codes in the users' lists, computed once per training because lists change only at a refresh.

Matching towers add the vectors of a list's codes. A product of these counts with the table needs no codes in
the batch. ``CodeEmbedding.sum_of_list`` would compute the same counts for each batch.

Memory  V bytes per distinct (user, moment) and list, at most MAX_BYTES; above that, nothing is counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.learn._torch import Tensor, torch
from karec.learn.nets.layers import MAX_COUNTED_CODES
from karec.samples.examples import Examples

MAX_BYTES = 1 << 26  # per list
MAX_LENGTH = 255  # of a list: a count is one byte
CHUNK = 1_000_000  # counts computed at once


class ListCounts:
    """Code counts of the lists of M examples; V is the number of rows of a table over all item codes."""

    def __init__(self, moment: Tensor, counts: dict[str, Tensor]) -> None:
        self._moment, self._counts = moment, counts

    def select(self, name: str, rows: Tensor | slice) -> Tensor:
        """Returns the counts (B, V) float32 of list ``name`` for the examples ``rows``."""
        return self._counts[name].index_select(0, self._moment[rows]).to(torch.float32)

    def concat(self, other: ListCounts) -> ListCounts:
        moment = torch.cat([self._moment, other._moment + len(next(iter(self._counts.values())))])
        return ListCounts(
            moment, {name: torch.cat([counts, other._counts[name]]) for name, counts in self._counts.items()}
        )

    @classmethod
    def from_lists(cls, examples: Examples, lists: dict[str, NDArray[Any]]) -> ListCounts | None:
        """Returns None if V is above MAX_COUNTED_CODES, or lists or counts are too large.

        ``lists``: {name: (M, H) item rows, −1 for an empty slot}.
        """
        sizes = np.array(examples.encoder.sizes["item_ids"])
        width = int(sizes.sum())
        moments = np.stack([examples.user_rows, examples.as_of])
        _, first, group = np.unique(moments, axis=1, return_index=True, return_inverse=True)
        longest = max((rows.shape[1] for rows in lists.values()), default=0)
        if not lists or width > MAX_COUNTED_CODES or longest > MAX_LENGTH or len(first) * width > MAX_BYTES:
            return None
        codes = examples.encoder.tables(examples.snapshot).works.ids
        is_item = codes.max(axis=1) > 0
        table_rows = np.where(codes < sizes, codes, 0) + np.r_[0, sizes[:-1]].cumsum()
        counts = {
            name: torch.from_numpy(_counts(rows[first], table_rows, is_item, width))
            for name, rows in lists.items()
        }
        return cls(torch.from_numpy(group.ravel()), counts)


def _counts(items: NDArray[Any], table_rows: NDArray[Any], is_item: NDArray[Any], width: int) -> NDArray[Any]:
    """Returns (U, V) uint8: counts of the codes ``table_rows`` of the items in the lists ``items (U, H)``."""
    counts = np.empty((len(items), width), np.uint8)
    step = max(CHUNK // width, 1)
    for begin in range(0, len(items), step):
        part = items[begin : begin + step]
        list_index, slot = np.nonzero(is_item[part])
        flat = list_index[:, None] * width + table_rows[part[list_index, slot]]
        counts[begin : begin + step] = np.bincount(flat.ravel(), minlength=len(part) * width).reshape(
            -1, width
        )
    return counts
