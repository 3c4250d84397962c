"""The values of a bundle's snapshot, by the rules of ``karec.catalog.schema``, and whether the encoder can
read it.

Every check is one pass over an array that is mapped, in pieces. Refusals are BundleErrors that name file and
row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog import schema
from karec.catalog.relation import Relation
from karec.catalog.snapshot import COUNTERS, Snapshot
from karec.catalog.table import Table
from karec.errors import BundleError

if TYPE_CHECKING:  # they need the compiled kernels, which a host of an index alone may lack
    from karec.features.encoder import Encoder
    from karec.features.table import TableCoder

_PIECE = 1 << 20


def check_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """BundleError naming the file of ``folder`` and the row whose value breaks the rules of its column.
    O(values)."""
    check_items(folder / "works", snapshot.works, snapshot.labels)
    _check_table(folder / "users", snapshot.users, snapshot.labels)
    counters = folder / (COUNTERS if (folder / COUNTERS).is_dir() else "visits")
    for name, values in (snapshot.user_scene_counters or {}).items():
        if not schema.is_counter(name):
            raise BundleError(f"{counters / name}.npy is no counter, count_exposed or count_<label>")
        _check_column(counters / f"{name}.npy", name, values)
    for name, relation in snapshot.relations.items():
        _check_times(folder / "relations" / f"{name}.times.npy", relation)
        if relation.scenes is not None:
            path = folder / "relations" / f"{name}.scenes.npy"
            _expect_kind(path, relation.scenes, "iu", "integers, codes of scenes")
            _check_codes(path, relation.scenes, snapshot.n_scenes)


def check_items(folder: Path, items: Table, labels: Mapping[str, list[str]]) -> None:
    """As ``check_snapshot``, of works or of items of another kind, whose columns are files of ``folder``."""
    _check_table(folder, items, labels)
    for name in schema.ROLES:
        if name in items.columns:
            _expect_kind(folder / f"{name}.npy", items[name], "iu", "integers")


def _check_table(folder: Path, table: Table, labels: Mapping[str, list[str]]) -> None:
    for column, values in table.columns.items():
        path = folder / f"{column}.npy"
        _check_column(path, column, values)
        if column in labels and values.dtype.kind in "iu":
            _check_codes(path, values, len(labels[column]))


def check_columns_read(folder: Path, encoder: Encoder, snapshot: Snapshot) -> None:
    """BundleError naming the file of a column that the encoder reads and that is not there, or of another
    kind."""
    for name, coder, table in (
        ("users", encoder.users, snapshot.users),
        ("works", encoder.works, snapshot.works),
    ):
        for column, kinds, expected in _read_by(coder):
            path = folder / name / f"{column}.npy"
            if column not in table.columns:
                raise BundleError(f"{path} is missing, and the encoder reads it")
            _expect_kind(path, table[column], kinds, f"{expected}, as the encoder reads them")
    if encoder.scene_counters.counted and snapshot.user_scene_counters is None:
        raise BundleError(f"{folder / COUNTERS} is missing, and the encoder reads it")
    for name in encoder.scene_counters.counters:
        if name not in (snapshot.user_scene_counters or {}):
            raise BundleError(f"{folder / COUNTERS / name}.npy is missing, and the encoder reads it")


def _read_by(coder: TableCoder) -> Iterable[tuple[str, str, str]]:
    """(column, NumPy's letters of the kinds that it may be of, what those are)."""
    yield from ((name, "iu", "integers") for name in coder.categories)
    yield from ((number.name, "f", "floating numbers") for number in coder.numbers)
    yield from ((moment.name, "iu", "integers") for moment in coder.moments)
    yield from ((name, "f", "floating numbers") for name in coder.counters)


def _check_column(path: Path, name: str, values: NDArray[Any]) -> None:
    if schema.is_counter(name):
        _expect_kind(path, values, "f", "float32 counters")
        most = np.finfo(np.float32).max  # what the encoder makes of them
        _refuse(
            path,
            values,
            lambda piece: ~((piece >= 0) & (piece <= most)),
            "counters are finite and ≥ 0, in float32",
        )
    elif name.endswith("_ms") and values.dtype.kind in "iu":
        _refuse(path, values, lambda piece: piece > schema.LATEST_MS, "moments lie before the year 10000")
    elif values.dtype == np.uint64:
        _refuse(path, values, lambda piece: piece > np.iinfo(np.int64).max, "categories fit in int64")
    elif values.dtype.kind == "f":  # NaN is a number that is not known
        _refuse(path, values, np.isinf, "numbers are finite, or NaN where they are not known")


def _check_codes(path: Path, values: NDArray[Any], n: int) -> None:
    _refuse(path, values, lambda piece: piece >= n, f"labels name {n} codes of it")


def _check_times(path: Path, relation: Relation) -> None:
    if relation.times is None:
        return
    _expect_kind(path, relation.times, "iu", "integers, Unix milliseconds")
    rule = f"moments lie in 0 … {schema.LATEST_MS}"
    _refuse(path, relation.times, lambda piece: (piece < 0) | (piece > schema.LATEST_MS), rule)


def _expect_kind(path: Path, values: NDArray[Any], kinds: str, expected: str) -> None:
    if values.dtype.kind not in kinds:
        raise BundleError(f"{path} is of {values.dtype}, expected {expected}")


def _refuse(path: Path, values: NDArray[Any], bad: Callable[[NDArray[Any]], NDArray[Any]], rule: str) -> None:
    """BundleError naming the first row for which ``bad`` says True."""
    for begin in range(0, len(values), _PIECE):
        piece = values[begin : begin + _PIECE]
        found = bad(piece)
        if found.any():
            at = int(np.argmax(found))
            raise BundleError(f"{path}, row {begin + at}: {piece[at]}; {rule}")
