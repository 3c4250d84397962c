"""Item vectors of all works of a snapshot, as an index with the columns that serving reads by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle.tower_files import space_id_of
from karec.catalog.schema import is_counter
from karec.catalog.snapshot import Snapshot
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.times import Progress

BATCH = 8192


def served_columns(snapshot: Snapshot) -> dict[str, NDArray[Any]]:
    """Returns the work columns that steps read by row, without counters, which change too fast."""
    return {
        name: np.asarray(column)
        for name, column in snapshot.works.columns.items()
        if column.ndim == 1 and not is_counter(name)
    }


def build_index(
    snapshot: Snapshot,
    encoder: Encoder,
    item_tower: OnnxModel,
    categories: Sequence[str] = (),
    progress: Progress | None = None,
) -> ItemIndex:
    """Returns an index with one row per work in the snapshot's order, as of its time.

    ``categories``: its code columns, those with tables of wide towers.
    """
    rows, vectors = np.arange(len(snapshot.works)), []
    for chunk in item_vectors(snapshot, encoder, item_tower, rows, snapshot.time_ms):
        vectors.append(chunk)
        if progress is not None:
            progress(sum(map(len, vectors)), len(rows), "item tower over the catalogue")
    return ItemIndex.build(
        np.asarray(snapshot.works.ids),
        np.concatenate(vectors),
        dtype="float16",
        columns=served_columns(snapshot),
        model_version=item_tower.model_version,
        space_id=space_id_of(item_tower.path),
        codes=encoder.item_codes(snapshot, rows, categories),
    )


def item_vectors(
    snapshot: Snapshot,
    encoder: Encoder,
    item_tower: OnnxModel,
    rows: NDArray[Any],
    time_ms: int,
    counts: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> Iterator[NDArray[Any]]:
    """Yields the vectors (≤ BATCH, D) of the works in ``rows`` as of ``time_ms``, chunk by chunk.

    Memory is that of a chunk: other works and users are not encoded.

    ``counts(ids)``: (N, ·) float32 counters of works in the order of ``encoder.works.counters``; None: the
    snapshot's.
    """
    without_users = snapshot.take_users(np.zeros(len(snapshot.users), bool))
    for begin in range(0, len(rows), BATCH):
        works = snapshot.works.take(rows[begin : begin + BATCH])
        counters = None if counts is None else counts(works.ids)
        chunk = replace(without_users, works=works)
        items = encoder.encode_items(chunk, np.arange(len(works)), time_ms, counters)
        yield item_tower.run(items, "item_vector")[0]
