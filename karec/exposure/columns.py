"""Columns of the item index, checked when a step is built and read by row."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from karec.errors import ContractError
from karec.index import ItemIndex
from karec.pipeline.types import Candidates, Request


def column_of(request: Request, name: str, candidates: Candidates) -> NDArray[Any]:
    """The column for each candidate, in the request's view of the index."""
    if candidates.n_unknown:
        raise ContractError(
            f"{candidates.n_unknown} of {len(candidates)} candidates have no row in the item index: put the "
            f"steps index_rows and has_embedding before the one that reads {name!r}"
        )
    return request.index.gather(name, candidates.rows)


def need_column(index: ItemIndex, name: str) -> None:
    if name not in index.columns:
        raise ValueError(f"the item index has no column {name!r}; it has {sorted(index.columns)}")
