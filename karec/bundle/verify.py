"""Verifies the contents of a bundle's parts.

Equal hashes prove that a bundle is unchanged, not that it can serve. No model is loaded here: only the child
process of ``karec.bundle.smoke`` loads models. Arrays are mapped and read once, in pieces. An encoder
takes the memory of its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karec.bundle.item_types import KINDS, ItemTypeBundle, SharedParts
from karec.bundle.manifest import MANIFEST
from karec.bundle.tower_files import (
    CROSS_WEIGHTS,
    INDEX,
    ITEM_TOWER,
    USER_TOWER,
    space_id_of,
    user_tower_file,
)
from karec.bundle.vector_statistics import FILE as STATISTICS
from karec.bundle.vector_statistics import VectorStatistics
from karec.catalog import schema
from karec.catalog.item_types import ITEMS
from karec.catalog.relation import Relation
from karec.catalog.snapshot import COUNTERS, Snapshot
from karec.catalog.table import Table
from karec.errors import BundleError, one_line

if TYPE_CHECKING:  # the encoder needs the compiled kernels, which a host of an index alone may lack
    from karec.bundle.ids import BundleIds
    from karec.features.cross_tables import CrossTables
    from karec.features.encoder import Encoder
    from karec.features.table import TableCoder
    from karec.index import ItemIndex

ENCODER, SNAPSHOT, IDS = "encoder.npz", "snapshot", "ids"
ID_TABLES = {"users": "users", "items": "works"}  # map of ids: table of the snapshot
PIECE_ROWS = 1 << 20
PIECE_IDS = 1 << 16


class Parts(SharedParts, Protocol):
    """The parts of an open bundle that are verified."""

    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def index(self) -> ItemIndex: ...
    @property
    def vector_statistics(self) -> VectorStatistics | None: ...
    @property
    def cross_tables(self) -> Mapping[int, CrossTables]: ...
    @property
    def naming(self) -> BundleIds | None: ...
    @property
    def item_types(self) -> list[str]: ...
    def item_type(self, name: str) -> ItemTypeBundle: ...


def check_contents(bundle: Parts) -> None:
    """Raises BundleError of one line that names the first part of ``bundle`` that cannot serve.

    Missing parts are skipped. Cost: O(bytes of snapshot, encoder and index).
    """
    folder = bundle.path
    encoder = snapshot = None
    if (folder / ENCODER).exists():
        with _name_errors(folder / ENCODER):
            encoder = bundle.encoder
    if (folder / SNAPSHOT).exists():
        with _name_errors(folder / SNAPSHOT):
            snapshot = bundle.snapshot
            check_snapshot(folder / SNAPSHOT, snapshot, encoder)
    if (folder / IDS).exists():
        _check_ids(bundle, snapshot)
    if not (folder / INDEX).exists():
        _check_lists(folder, bundle.facts, None)
        return
    with _name_errors(folder / INDEX):
        index = bundle.index
        _check_index(folder / INDEX, index, snapshot)
        _check_towers_exist(bundle, index)
    if encoder is not None:
        with _name_errors(folder / CROSS_WEIGHTS):
            _ = bundle.cross_tables  # reads and checks the files, if there are any
    _check_lists(folder, bundle.facts, index)
    statistics = bundle.vector_statistics
    if statistics is not None:
        statistics.check_source(folder / STATISTICS, folder / INDEX)
    for name in bundle.item_types:
        _check_item_type(bundle, name, index)


def check_snapshot(folder: Path, snapshot: Snapshot, encoder: Encoder | None) -> None:
    """Raises BundleError that names the file of ``folder`` and the first row that ``karec.catalog.schema``
    forbids.

    Columns that ``encoder`` reads must exist and have its dtypes. Cost: O(values).
    """
    _check_table(folder / "works", snapshot.works, snapshot.labels, schema.ROLES)
    _check_table(folder / "users", snapshot.users, snapshot.labels)
    counters = snapshot.user_scene_counters or {}
    path = folder / COUNTERS
    for name, values in counters.items():
        if not schema.is_counter(name):
            raise BundleError(f"{path / name}.npy is no counter, count_exposed or count_<label>")
        _check_column(path / f"{name}.npy", name, values)
    for name, relation in snapshot.relations.items():
        _check_relation(folder / "relations", name, relation, snapshot.n_scenes)
    if encoder is None:
        return
    _check_encoded_columns(folder / "users", snapshot.users, encoder.users)
    _check_encoded_columns(folder / "works", snapshot.works, encoder.works)
    for name in encoder.scene_counters.counters if encoder.scene_counters.counted else ():
        if name not in counters:
            raise BundleError(f"{folder / COUNTERS / name}.npy is missing, and the encoder reads it")


def _check_table(
    folder: Path, table: Table, labels: Mapping[str, list[str]], integers: tuple[str, ...] = ()
) -> None:
    for name, values in table.columns.items():
        path = folder / f"{name}.npy"
        if name in integers:
            _check_kind(path, values, "iu", "integers")
        if values.ndim == 2:
            _check_vectors(path, values)
            continue
        _check_column(path, name, values)
        if name in labels and values.dtype.kind in "iu":
            _check_codes(path, values, len(labels[name]))


def _check_column(path: Path, name: str, values: NDArray[Any]) -> None:
    if schema.is_counter(name):
        _check_kind(path, values, "f", "float32 counters")
        highest = np.finfo(np.float32).max  # the encoder reads float32
        _check_rows(
            path, values, lambda v: (v >= 0) & (v <= highest), "counters are finite and ≥ 0, in float32"
        )
    elif name.endswith("_ms") and values.dtype.kind in "iu":
        _check_rows(path, values, lambda v: v <= schema.LATEST_MS, "moments lie before the year 10000")
    elif values.dtype == np.uint64:
        _check_rows(path, values, lambda v: v <= np.iinfo(np.int64).max, "categories fit in int64")
    elif values.dtype.kind == "f":  # NaN is an unknown number
        _check_rows(
            path, values, lambda v: ~np.isinf(v), "numbers are finite, or NaN where they are not known"
        )


def _check_vectors(path: Path, values: NDArray[Any]) -> None:
    if path.parent.name != "works":
        raise BundleError(f"{path} has vectors, which only works have")
    rule = "numbers of a vector are finite, zeros if it is missing"
    _check_rows(path, values, lambda v: np.isfinite(v).all(axis=1), rule)


def _check_relation(folder: Path, name: str, relation: Relation, n_scenes: int) -> None:
    path = folder / f"{name}.times.npy"
    if relation.times is not None:
        _check_kind(path, relation.times, "iu", "integers, Unix milliseconds")
        rule = f"moments lie in 0 … {schema.LATEST_MS}"
        _check_rows(path, relation.times, lambda v: (v >= 0) & (v <= schema.LATEST_MS), rule)
    path = folder / f"{name}.scenes.npy"
    if relation.scenes is not None:
        _check_kind(path, relation.scenes, "iu", "integers, codes of scenes")
        _check_codes(path, relation.scenes, n_scenes)


def _check_encoded_columns(folder: Path, table: Table, coder: TableCoder) -> None:
    integers = [*coder.categories, *(moment.name for moment in coder.moments)]
    floats = [*(number.name for number in coder.numbers), *coder.counters]
    for names, kinds, expected in ((integers, "iu", "integers"), (floats, "f", "floating numbers")):
        for name in names:
            path = folder / f"{name}.npy"
            if name not in table.columns:
                raise BundleError(f"{path} is missing, and the encoder reads it")
            _check_kind(path, table[name], kinds, f"{expected}, as the encoder reads them")
    for column in coder.vectors:
        shape = table[column.name].shape if column.name in table.columns else ()
        if shape[1:] != (column.width,):
            raise BundleError(
                f"{folder / column.name}.npy has shape {shape}, and the encoder reads vectors of "
                f"{column.width} numbers"
            )


def _check_codes(path: Path, values: NDArray[Any], n_labels: int) -> None:
    _check_rows(path, values, lambda v: v < n_labels, f"labels name {n_labels} codes of it")


def _check_kind(path: Path, values: NDArray[Any], kinds: str, expected: str) -> None:
    if values.dtype.kind not in kinds:
        raise BundleError(f"{path} is of {values.dtype}, expected {expected}")


def _check_rows(
    path: Path, values: NDArray[Any], is_valid: Callable[[NDArray[Any]], NDArray[Any]], rule: str
) -> None:
    """Raises BundleError that names the first row for which ``is_valid`` is False."""
    for begin in range(0, len(values), PIECE_ROWS):
        piece = values[begin : begin + PIECE_ROWS]
        valid = is_valid(piece)
        if not valid.all():
            at = int(np.argmin(valid))
            raise BundleError(f"{path}, row {begin + at}: {piece[at]}; {rule}")


def _check_ids(bundle: Parts, snapshot: Snapshot | None) -> None:
    """Checks that the id maps can be read and have every user and item. Cost: O(file + users + works)."""
    from karec.index import IdMap

    for path in sorted((bundle.path / IDS).glob("*.karec")):
        with _name_errors(path):
            ids = IdMap.open(path)
            if snapshot is None or path.stem not in ID_TABLES:
                continue
            table = ID_TABLES[path.stem]
            numbers = np.asarray(getattr(snapshot, table).ids)
            nameless = np.flatnonzero(np.diff(ids.strings(numbers).offsets) == 0)
            if len(nameless):
                raise BundleError(f"{path}: {SNAPSHOT}/{table} has {numbers[nameless[0]]}, which no id has")
    with _name_errors(bundle.path / IDS):
        _ = bundle.naming


def _check_index(path: Path, index: ItemIndex, snapshot: Snapshot | None) -> None:
    """Checks that vectors and adjustments are finite, and that an item is in the snapshot. Cost: O(N·D)."""
    with index.pinned() as view:
        if not len(view):
            return
        rows = np.arange(view.n_rows, dtype=np.int32)
        direction = np.full(view.dim, view.dim**-0.5, np.float32)
        queries = dict.fromkeys(view.model_versions, direction)
        n_infinite = int((~np.isfinite(view.scores(queries, rows=rows))).sum())
        result = view.search(queries, 1, rows=rows)
        if n_infinite != result.n_blocked + result.n_unknown:  # blocked and removed items have the score −∞
            raise BundleError(f"{path}: a vector or an adjustment is not finite, or a vector is too long")
        ids = view.ids[view.present]
        if snapshot is None or not len(snapshot.works):
            return
        if not any((snapshot.works.lookup(piece) >= 0).any() for piece in _pieces(ids)):
            raise BundleError(f"{path}: none of its {len(ids)} works is one of the snapshot's")


def _check_towers_exist(bundle: Parts, index: ItemIndex) -> None:
    """Checks that each version has a user tower, and the bundle's version is of the bundle's item tower."""
    path = bundle.path / INDEX
    for version in index.versions:
        tower = bundle.path / user_tower_file(version.number, bundle.model_version)
        if (bundle.path / USER_TOWER).exists() and not tower.exists():
            raise BundleError(
                f"{path} holds {version.n_items:,} works of model version {version.number}, in the space "
                f"{version.space_id:016x}, which no user vector meets: {tower.name} is missing"
            )
        if version.number == bundle.model_version and (bundle.path / ITEM_TOWER).exists():
            space_id = space_id_of(bundle.path / ITEM_TOWER)
            if version.space_id not in (0, space_id):
                raise BundleError(
                    f"{path} holds vectors of the space {version.space_id:016x} as model version "
                    f"{version.number}, and {ITEM_TOWER} makes {space_id:016x}: they are of another item "
                    f"tower"
                )


def _check_lists(folder: Path, facts: Mapping[str, Any], index: ItemIndex | None) -> None:
    if "lists" not in facts:
        return
    lists = facts["lists"] if isinstance(facts["lists"], dict) else {}
    n_lists = 0 if index is None or lists.get("file") != INDEX else index.n_lists
    n_probe = lists.get("n_probe")
    if type(n_probe) is not int or not 1 <= n_probe <= n_lists:
        raise BundleError(
            f"{folder / MANIFEST}: the fact 'lists' is {repr(facts['lists'])[:200]}, which no index of it has"
        )


def _check_item_type(bundle: Parts, name: str, works: ItemIndex) -> None:
    """Checks that the items can be read and have vectors in the space of ``works``. Cost: O(items)."""
    folder = bundle.path / KINDS / name
    with _name_errors(folder):
        part = bundle.item_type(name)
        _check_table(folder / ITEMS, part.snapshot.works, part.snapshot.labels, schema.ROLES)
        _check_index(folder / INDEX, part.index, part.snapshot)
        if part.index.dim != works.dim or not set(part.index.model_versions) <= set(works.model_versions):
            raise BundleError(
                f"{folder / INDEX} holds vectors of {part.index.dim} numbers and versions "
                f"{list(part.index.model_versions)[:8]}, {INDEX} has {works.dim} and "
                f"{list(works.model_versions)[:8]}"
            )


def _pieces(ids: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (ids[begin : begin + PIECE_IDS] for begin in range(0, len(ids), PIECE_IDS))


@contextmanager
def _name_errors(path: Path) -> Iterator[None]:
    """Turns every error of the block into a BundleError of one line that names ``path`` or a file in it."""
    try:
        yield
    except Exception as error:  # reading data from outside may raise anything
        reason = str(error) or type(error).__name__
        raise BundleError(one_line(reason if str(path) in reason else f"{path}: {reason}")) from error
