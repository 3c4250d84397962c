"""How often each code stands in the users' lists, counted once a training: a user's lists change once a
refresh.

Towers that match add up the vectors of a list's codes. As a product of counts with the table that needs no
code of a batch; what is counted here is what ``CodeEmbedding.sum_of_list`` would count for each batch anew.

Memory  V bytes for each different (user, moment) and list, MOST at most; else nothing is counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.learn._torch import Tensor, torch
from karec.learn.nets.layers import COUNTED
from karec.samples.examples import Examples

MOST = 1 << 26  # bytes a list
LONGEST = 255  # of a list: a count is one byte
CHUNK = 1_000_000  # counts made at once


class ListCounts:
    """Of M examples: ``of(name, rows)`` is (B, V) float32, V the rows of a table over all codes of works."""

    def __init__(self, moment: Tensor, counts: dict[str, Tensor]) -> None:
        self._moment, self._counts = moment, counts

    def of(self, name: str, rows: Tensor | slice) -> Tensor:
        return self._counts[name].index_select(0, self._moment[rows]).to(torch.float32)

    def followed_by(self, other: ListCounts) -> ListCounts:
        """Those of these examples, then those of the ``other`` ones."""
        moment = torch.cat([self._moment, other._moment + len(next(iter(self._counts.values())))])
        return ListCounts(
            moment, {name: torch.cat([own, other._counts[name]]) for name, own in self._counts.items()}
        )

    @classmethod
    def made(cls, examples: Examples, lists: dict[str, NDArray[Any]]) -> ListCounts | None:
        """``lists`` {name: (M, H) rows of works, −1 where a slot is empty}. None where V is above
        ``COUNTED``, or lists or counts are too long."""
        sizes = np.array(examples.encoder.sizes["item_ids"])
        width = int(sizes.sum())
        moments = np.stack([examples.user_rows, examples.as_of])
        _, first, of = np.unique(moments, axis=1, return_index=True, return_inverse=True)
        longest = max((each.shape[1] for each in lists.values()), default=0)
        if not lists or width > COUNTED or longest > LONGEST or len(first) * width > MOST:
            return None
        codes = examples.encoder.tables(examples.snapshot).works.ids
        there = codes.max(axis=1) > 0
        table_rows = np.where(codes < sizes, codes, 0) + np.r_[0, sizes[:-1]].cumsum()
        counts = {
            name: torch.from_numpy(_counts(each[first], table_rows, there, width))
            for name, each in lists.items()
        }
        return cls(torch.from_numpy(of.ravel()), counts)


def _counts(works: NDArray[Any], table_rows: NDArray[Any], there: NDArray[Any], width: int) -> NDArray[Any]:
    """(U, V) uint8: of the lists ``works (U, H)`` whose works have the ``table_rows`` and are ``there``."""
    counts = np.empty((len(works), width), np.uint8)
    step = max(CHUNK // width, 1)
    for begin in range(0, len(works), step):
        part = works[begin : begin + step]
        at, slot = np.nonzero(there[part])
        flat = at[:, None] * width + table_rows[part[at, slot]]
        counts[begin : begin + step] = np.bincount(flat.ravel(), minlength=len(part) * width).reshape(
            -1, width
        )
    return counts
