"""Tables of a query: what the codes of an item add to its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native as library
from karec.errors import nearest

Queries = list[tuple[int | None, NDArray[Any]]]
NativeTables = list[list[list[tuple[NDArray[Any], NDArray[Any], float]]]]


@dataclass(frozen=True, eq=False)
class CodeTable:
    """What the codes of one code column add to scores: ``values[i]`` for ``codes[i]``, else ``other``.

    codes   (S,) uint32, ascending, without repetition
    values  (S,) float32, finite
    """

    codes: NDArray[Any]
    values: NDArray[Any]
    other: float = 0.0


QueryTables = Mapping[str, CodeTable]
Tables = QueryTables | Sequence[QueryTables] | Mapping[int, QueryTables | Sequence[QueryTables] | None]


def list_tables(
    tables: Tables | None, queries: Queries, native: library.ItemIndex | library.IndexView
) -> NativeTables:
    """Returns the tables for each version of ``queries``, each query and each code column of ``native``.

    Raises ValueError unless ``tables`` has the form of ``queries``, with one table for each code column.
    """
    if tables is None:
        return []
    versions = [version for version, _ in queries]
    by_version: Mapping[Any, Any] = {None: tables}
    if versions != [None]:
        if not isinstance(tables, Mapping) or set(tables) != set(versions):
            raise ValueError(f"tables must be {{model version: tables}} of {versions}, as queries")
        by_version = tables
    code_columns = native.code_columns
    found: NativeTables = []
    for version, array in queries:
        given = by_version[version]
        if given is not None and isinstance(given, Mapping) != (array.ndim == 1):
            raise ValueError("tables must be one mapping for one query, and a list of mappings for several")
        by_query = [] if given is None else [given] if isinstance(given, Mapping) else given
        if given is not None and len(by_query) != (1 if array.ndim == 1 else len(array)):
            raise ValueError(f"tables has {len(by_query)} entries for {len(array)} queries")
        found.append([_order_tables(query, code_columns) for query in by_query])
    return found


def _order_tables(tables: Any, code_columns: Sequence[str]) -> list[tuple[NDArray[Any], NDArray[Any], float]]:
    if not isinstance(tables, Mapping) or not all(isinstance(one, CodeTable) for one in tables.values()):
        raise ValueError(f"the tables of a query must be {{code column: CodeTable}}, got {tables!r:.100}")
    for name in tables:
        if name not in code_columns:
            raise ValueError(f"the index has no code column {name!r}{nearest(str(name), code_columns)}")
    for name in code_columns:
        if name not in tables:
            raise ValueError(f"tables has no table for the code column {name!r}, it has {sorted(tables)}")
    ordered = [tables[name] for name in code_columns]
    return [(np.asarray(table.codes), np.asarray(table.values), float(table.other)) for table in ordered]
