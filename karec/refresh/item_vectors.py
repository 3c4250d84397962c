"""The item tower over every work of a snapshot → an item index with the columns that serving needs by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.bundle.vector_spaces import space_id_of
from karec.catalog.schema import is_counter
from karec.catalog.snapshot import Snapshot
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.times import Progress

BATCH = 8192


def served_columns(snapshot: Snapshot) -> dict[str, NDArray[Any]]:
    """The works' columns that steps may read by row: one value a work, counters left out, since they age at
    once."""
    return {
        name: np.asarray(column)
        for name, column in snapshot.works.columns.items()
        if column.ndim == 1 and not is_counter(name)
    }


def build_index(
    snapshot: Snapshot,
    encoder: Encoder,
    item_tower: OnnxModel,
    *,
    dtype: Literal["float16", "float32"] = "float16",
    columns: Mapping[str, NDArray[Any]] | None = None,
    progress: Progress | None = None,
) -> ItemIndex:
    """One row a work, in the snapshot's order, as of its moment, with ``columns`` and the tower's version.

    ``columns`` None: those of the works that steps may read.
    """
    rows, vectors = np.arange(len(snapshot.works)), []
    for piece in item_vectors(snapshot, encoder, item_tower, rows, snapshot.time_ms):
        vectors.append(piece)
        if progress is not None:
            progress(sum(map(len, vectors)), len(rows), "item tower over the catalogue")
    return ItemIndex.build(
        np.asarray(snapshot.works.ids),
        np.concatenate(vectors),
        dtype=dtype,
        columns=served_columns(snapshot) if columns is None else columns,
        model_version=item_tower.model_version,
        space_id=space_id_of(item_tower.path),
    )


def item_vectors(
    snapshot: Snapshot,
    encoder: Encoder,
    item_tower: OnnxModel,
    rows: NDArray[Any],
    time_ms: int,
    counts: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> Iterator[NDArray[Any]]:
    """The vectors (≤ BATCH, D) of the works in ``rows`` of the snapshot, piece by piece, as of ``time_ms``.

    ``counts(ids)`` (N, ·) float32: counters of works, in the order of ``encoder.works.counters``; None: the
    snapshot's.
    """
    for begin in range(0, len(rows), BATCH):
        piece = rows[begin : begin + BATCH]
        counted = None if counts is None else counts(np.asarray(snapshot.works.ids)[piece])
        items = encoder.encode_items(snapshot, piece, time_ms, counted)
        yield item_tower.run(items, "item_vector")[0]
