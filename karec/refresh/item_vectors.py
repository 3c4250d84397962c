"""The item tower over every work of a snapshot → an item index with the columns that serving needs by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from karec._clock import Progress
from karec.features.encoder import Encoder
from karec.index import ItemIndex
from karec.models.onnx_model import OnnxModel
from karec.platform.schema import is_counter
from karec.platform.snapshot import Snapshot
from karec.types import Array

BATCH = 8192


def served_columns(snapshot: Snapshot) -> dict[str, Array]:
    """The works' columns that steps may read by row: one value a work, counters left out, since they age at once."""
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
    columns: Mapping[str, Array] | None = None,
    progress: Progress | None = None,
) -> ItemIndex:
    """One row a work, in the snapshot's order, as of its moment, with ``columns`` and the tower's version.

    ``columns`` None: those of the works that steps may read.
    """
    n = len(snapshot.works)
    vectors = []
    for begin in range(0, n, BATCH):
        rows = np.arange(begin, min(begin + BATCH, n))
        items = encoder.encode_items(snapshot, rows, snapshot.time_ms)
        (vector,) = item_tower.run(items, "item_vector")
        vectors.append(vector)
        if progress is not None:
            progress(int(rows[-1]) + 1, n, "item tower over the catalogue")
    return ItemIndex.build(
        np.asarray(snapshot.works.ids),
        np.concatenate(vectors),
        dtype=dtype,
        columns=served_columns(snapshot) if columns is None else columns,
        model_version=item_tower.model_version,
    )
