"""What a portable index is given, checked: columns, queries, candidates, and what they have to do with each
other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karec.kernels.portable.arrays import (
    Float32,
    Int32,
    Int64,
    bool_input,
    float32_input,
    generation_of,
    int64_input,
    rows_input,
)
from karec.kernels.portable.generation import Generation
from karec.kernels.portable.index_layout import CODE_OF_TYPE, damaged
from karec.kernels.portable.search import Candidates, Query, check_rows

Columns = Sequence[tuple[str, NDArray[Any]]]
Queries = Sequence[tuple[int | None, NDArray[Any]]]


def column_inputs(columns: Columns, ids: Int64) -> dict[str, NDArray[Any]]:
    values = {}
    for name, column in columns:
        if column.shape != ids.shape:
            raise ValueError(
                f"column '{name}' has shape {column.shape}, expected {ids.shape} as ids has shape {ids.shape}"
            )
        if column.dtype.name not in CODE_OF_TYPE:
            raise ValueError(
                f"column '{name}' has dtype {column.dtype}, expected an integer, floating or boolean one"
            )
        values[name] = np.ascontiguousarray(column, column.dtype.name)
    return values


def check_known_columns(g: Generation, ids: Int64, values: dict[str, NDArray[Any]]) -> None:
    """ValueError: a column that g has not, or in another dtype; a new work without every column."""
    for name, given in values.items():
        if name not in g.columns:
            raise ValueError(f"the index has no column '{name}'")
        if given.dtype != g.columns[name].dtype:
            raise ValueError(
                f"column '{name}' is given as {given.dtype}, the index holds {g.columns[name].dtype}"
            )
    missing = next((name for name in g.columns if name not in values), None)
    fresh = np.flatnonzero(g.id_map.find(ids) < 0)
    if missing is not None and len(fresh):
        raise ValueError(
            f"column '{missing}' is missing, and id {ids[fresh[0]]} (at {fresh[0]}) is new: "
            "a new work needs every column"
        )


def check_unique(ids: Int64) -> None:
    firsts = np.unique(ids, return_index=True)[1]
    if len(firsts) == len(ids):
        return
    again = np.ones(len(ids), np.bool_)
    again[firsts] = False
    at = int(np.flatnonzero(again)[0])
    raise ValueError(f"ids must be unique, {ids[at]} stands twice (again at {at})")


def check_map(g: Generation) -> None:
    if not g.map_verified and not g.id_map.matches(g.ids):
        raise damaged("its id map does not fit its ids, or too many of them meet in one bucket")


def query_input(given: Queries, g: Generation) -> Query:
    return [
        (version, float32_input(array, _query_name("query", version), (g.format.dim,)))
        for version, array in given
    ]


def queries_input(given: Queries, g: Generation) -> list[Query]:
    arrays: list[Float32] = []
    for version, array in given:
        n = len(arrays[0]) if arrays else "B"
        arrays.append(float32_input(array, _query_name("queries", version), (n, g.format.dim)))
    versions = [version for version, _ in given]
    return [list(zip(versions, each, strict=True)) for each in zip(*arrays, strict=True)]


def _query_name(name: str, version: int | None) -> str:
    return name if version is None else f"{name} of model version {version}"


def candidate_input(ids: ArrayLike | None, rows: ArrayLike | None) -> Candidates:
    if rows is None:
        return Candidates(int64_input(ids, "ids", ("N",)))
    return Candidates(None, rows_input(rows), generation_of(rows))


def rows_in(g: Generation, rows: ArrayLike) -> Int32:
    candidates = candidate_input(None, rows)
    check_rows(g, candidates)
    return candidates.rows_in(g)


def mask_input(mask: ArrayLike, g: Generation) -> NDArray[np.bool_]:
    """(n_rows,) a mask of g, or of an earlier generation, whose missing rows are left out."""
    kept = bool_input(mask, "mask", ("n_rows",))
    if len(kept) == 0 < g.n_rows:
        raise ValueError(f"mask has 0 entries, the index has {g.n_rows} rows")
    if not g.n_first_rows <= len(kept) <= g.n_rows:
        raise ValueError(
            f"mask has {len(kept)} entries, generation {g.number} of the index has {g.n_rows} rows: "
            "make the mask and search on one view (pinned())"
        )
    return np.append(kept, np.zeros(g.n_rows - len(kept), np.bool_))
