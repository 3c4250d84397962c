"""Whether the parts of a bundle are what karec serves with: each by itself, then against each other.

Matching hashes say that a bundle is what was published, not that what was published can serve. Nothing is
executed here: arrays are mapped and read in single passes, an encoder takes the memory of its file. Only a
child process opens ONNX files (``karec.bundle.replay``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from karec.bundle.item_types import KINDS, ItemTypeBundle
from karec.bundle.manifest import MANIFEST
from karec.bundle.snapshot_structure import check_columns_read, check_items, check_snapshot
from karec.bundle.vector_spaces import PRERANK, RECALL, SPACES, Space, space_id_of
from karec.bundle.vector_statistics import FILE as STATISTICS
from karec.bundle.vector_statistics import VectorStatistics
from karec.catalog.item_types import ITEMS
from karec.errors import BundleError, one_line

if TYPE_CHECKING:
    from karec.bundle.ids import BundleIds
    from karec.catalog.snapshot import Snapshot
    from karec.features.encoder import Encoder
    from karec.index import IndexView, ItemIndex
    from karec.pipeline.types import Array

ENCODER, SNAPSHOT, IDS = "encoder.npz", "snapshot", "ids"
RANKER = "ranker.onnx"
TABLES = {"users": "users", "items": "works"}  # map of ids: table of the snapshot
_SOME = 1 << 16  # ids that are looked up at once
_NUMBERS = 1 << 22  # of vectors that are read at once


class Parts(Protocol):
    """What is checked of an open bundle, each part loaded when it is asked for."""

    @property
    def path(self) -> Path: ...
    @property
    def model_version(self) -> int: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...
    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def encoder(self) -> Encoder: ...
    def index_of(self, space: Space) -> ItemIndex: ...
    @property
    def vector_statistics(self) -> VectorStatistics | None: ...
    @property
    def naming(self) -> BundleIds | None: ...
    def item_type(self, name: str) -> ItemTypeBundle: ...


def check_structure(bundle: Parts, names: Collection[str]) -> None:
    """BundleError naming the first part of ``bundle`` that cannot serve, in one line. ``names`` are its
    files.

    Parts that are not there are passed over. O(bytes of the snapshot, the encoder and the index).
    """
    folder = bundle.path
    snapshot = None
    if any(name.startswith(f"{SNAPSHOT}/") for name in names):
        with _named(folder / SNAPSHOT):
            snapshot = bundle.snapshot
            check_snapshot(folder / SNAPSHOT, snapshot)
    if ENCODER in names:
        with _named(folder / ENCODER):
            encoder = bundle.encoder
            if snapshot is not None:
                check_columns_read(folder / SNAPSHOT, encoder, snapshot)
    indices = {}
    for space in SPACES:
        if space.index in names:
            with _named(folder / space.index):
                indices[space] = bundle.index_of(space)
                _check_index(folder / space.index, indices[space], snapshot)
    if RECALL in indices:
        _check_recall(folder, names, indices)
    _check_lists(folder, bundle.facts, {space.index: index for space, index in indices.items()})
    if any(name.startswith(f"{IDS}/") for name in names):
        _check_ids(bundle, snapshot)
    for space in SPACES:
        if space in indices:
            _check_space(bundle, space, names, indices[space])
    if STATISTICS in names and PRERANK in indices:
        statistics = bundle.vector_statistics
        if statistics is not None:
            statistics.check_source(folder / STATISTICS, folder / PRERANK.index)
    if PRERANK in indices:
        for kind in sorted({name.split("/")[1] for name in names if name.startswith(f"{KINDS}/")}):
            _check_kind(bundle, kind, indices[PRERANK])


def _check_space(bundle: Parts, space: Space, names: Collection[str], index: ItemIndex) -> None:
    """Vectors of each model version in ``index`` meet a user vector, and those of the bundle's own are its
    tower's."""
    path = bundle.path / space.index
    for each in index.versions if space.own in names else ():
        tower = space.user_tower_of(each.number, bundle.model_version)
        if tower not in names:
            raise BundleError(
                f"{path} holds {each.n_items:,} works of model version {each.number}, in the space "
                f"{each.space_id:016x}, which no user vector meets: {tower} is missing"
            )
    for each in index.versions if space.item in names else ():
        made_by = space_id_of(bundle.path / space.item)
        if each.number == bundle.model_version and each.space_id not in (0, made_by):
            raise BundleError(
                f"{path} holds vectors of the space {each.space_id:016x} as model version {each.number}, and "
                f"{space.item} makes {made_by:016x}: they are of another item tower"
            )


def _check_recall(folder: Path, names: Collection[str], indices: Mapping[Space, ItemIndex]) -> None:
    """Recall's own space can be searched, and what is found there has rows in the item index. O(works)."""
    path = folder / RECALL.index
    if RECALL.own not in names:
        raise BundleError(f"{path} has no user vectors to meet: {RECALL.own} is missing")
    if PRERANK not in indices:
        raise BundleError(f"{path} holds works, and {PRERANK.index} is missing")
    with indices[RECALL].pinned() as recall, indices[PRERANK].pinned() as view:
        ids = recall.ids[recall.present]
        for piece in (ids[begin : begin + _SOME] for begin in range(0, len(ids), _SOME)):
            rows = view.lookup(piece)
            if (rows < 0).any():
                raise BundleError(f"{path}: {PRERANK.index} has no work {piece[np.argmin(rows)]}")


def _check_lists(folder: Path, facts: Mapping[str, Any], indices: Mapping[str, ItemIndex]) -> None:
    """What the manifest says of lists can be read of the index that it names."""
    if "lists" not in facts:
        return
    told = facts["lists"]
    index = indices.get(str(told.get("file"))) if isinstance(told, dict) else None
    n_lists = 0 if index is None else index.n_lists
    n_probe = told.get("n_probe") if isinstance(told, dict) else None
    if type(n_probe) is not int or not 1 <= n_probe <= n_lists:
        raise BundleError(
            f"{folder / MANIFEST}: the fact 'lists' is {repr(told)[:200]}, which no index of it has"
        )


def _check_kind(bundle: Parts, name: str, works: ItemIndex) -> None:
    """Its items can be read, and their vectors lie in the space of ``works``. O(items)."""
    folder = bundle.path / KINDS / name
    with _named(folder):
        kind = bundle.item_type(name)
        check_items(folder / ITEMS, kind.snapshot.works, kind.snapshot.labels)
        _check_index(folder / PRERANK.index, kind.index, kind.snapshot)
        if kind.index.dim != works.dim or not set(kind.index.model_versions) <= set(works.model_versions):
            raise BundleError(
                f"{folder / PRERANK.index} holds vectors of {kind.index.dim} numbers and versions "
                f"{list(kind.index.model_versions)[:8]}, {PRERANK.index} has {works.dim} and "
                f"{list(works.model_versions)[:8]}"
            )


def _check_index(path: Path, index: ItemIndex, snapshot: Snapshot | None) -> None:
    """Vectors and adjustments are finite; some work is one of the snapshot's. O(N·D)."""
    with index.pinned() as view:
        if not len(view):
            return
        rows = np.arange(view.n_rows, dtype=np.int32)
        at_once = max(1, _NUMBERS // view.dim)
        for piece in (rows[begin : begin + at_once] for begin in range(0, len(rows), at_once)):
            finite = np.isfinite(view.embeddings(piece)).all(axis=1)
            if not finite.all():
                raise BundleError(
                    f"{path}: the vector of work {view.ids[piece[np.argmin(finite)]]} is not finite"
                )
        _check_adjustments(path, view, rows)
        if snapshot is None or not len(snapshot.works):
            return
        ids = view.ids[view.present]
        pieces = (ids[begin : begin + _SOME] for begin in range(0, len(ids), _SOME))
        if not any((snapshot.works.lookup(piece) >= 0).any() for piece in pieces):
            raise BundleError(f"{path}: none of its {len(ids)} works is one of the snapshot's")


def _check_ids(bundle: Parts, snapshot: Snapshot | None) -> None:
    """The maps are whole, and name every user and work of the snapshot. O(file + users + works)."""
    from karec.index import IdMap

    folder = bundle.path / IDS
    tables = {} if snapshot is None else {name: getattr(snapshot, table) for name, table in TABLES.items()}
    for path in sorted(folder.glob("*.karec")):
        with _named(path):
            ids = IdMap.open(path)
            if path.stem in tables:
                numbers = np.asarray(tables[path.stem].ids)
                nameless = np.flatnonzero(np.diff(ids.strings(numbers).offsets) == 0)
                if len(nameless):
                    raise BundleError(
                        f"{path}: {SNAPSHOT}/{TABLES[path.stem]} has {numbers[nameless[0]]}, which no id has"
                    )
    with _named(folder):
        _ = bundle.naming


def _check_adjustments(path: Path, view: IndexView, rows: Array) -> None:
    """A score that is not finite comes from the adjustment, or is −∞ because the work is blocked or
    removed."""
    direction = np.full(view.dim, view.dim**-0.5, np.float32)
    queries = dict.fromkeys(view.model_versions, direction)
    lowest = ~np.isfinite(view.scores(queries, rows=rows))
    found = view.search(queries, 1, rows=rows)
    if lowest.sum() != found.n_blocked + found.n_unknown:
        raise BundleError(f"{path}: the adjustment of a work is not finite, or its vector too long")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever is raised within becomes a BundleError of one line that names ``path``, or a file in it."""
    try:
        yield
    except Exception as error:  # data from outside: whatever reading it raises is a refusal
        reason = str(error) or type(error).__name__
        named = reason if str(path) in reason else f"{path}: {reason}"
        raise BundleError(one_line(named)) from error
