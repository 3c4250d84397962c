"""Adds items that were uploaded or edited since the bundle was published to its indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.bundle.tower_files import space_id_of
from karec.catalog.schema import CREATOR
from karec.catalog.snapshot import Snapshot
from karec.errors import BundleError
from karec.index import ItemIndex
from karec.online.changed_items import ChangedItems, IndexUpdate
from karec.refresh.item_types import ROLES
from karec.refresh.item_vectors import BATCH, served_columns


class Uploads:
    """Encodes works and writes them to the index of ``bundle`` in this process.

    Vectors depend only on an item's columns as of its newest upload or edit, so they are equal in all
    processes and after a restart. Counters are used when the library is published again. Raises BundleError
    if the index has columns that works lack.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._encoder = bundle, bundle.encoder
        self._space_id = space_id_of(bundle.item_tower.path)
        self._columns = (*bundle.index.columns,)  # read once: after a write this property copies all rows
        missing = sorted({*self._columns} - served_columns(bundle.snapshot).keys())
        if missing:
            raise BundleError(
                f"{bundle.path}: the index has the columns {missing}, which works lack, so uploads cannot "
                f"fill them"
            )

    def take(self, items: ChangedItems, update: IndexUpdate) -> None:
        """Applies changed, hidden and restored items and adjustments, for the next request on."""
        index, tower = self._bundle.index, self._bundle.item_tower
        hide_items(index, update)
        if self._bundle.naming is not None:
            self._bundle.naming.since.update(update.platform_ids)
        ids, served = items.updates.works.ids, served_columns(items.updates)
        for begin in range(0, len(update.rows), BATCH):
            rows = update.rows[begin : begin + BATCH]
            item_indices, times = np.arange(len(rows)), update.time_ms[begin : begin + BATCH]
            changed = items.take(rows)
            inputs = self._encoder.encode_items(changed, item_indices, times)
            (vectors,) = tower.run(inputs, "item_vector")
            columns = {name: served[name][rows] for name in self._columns}
            codes = self._encoder.item_codes(changed, item_indices, index.schema.code_columns)
            index.upsert(ids[rows], vectors, columns, tower.model_version, self._space_id, codes)
        adjust_items(index, update)


class ItemTypeUploads:
    """Writes items of the type ``name`` to their index of ``bundle`` in this process.

    The vector of a new item is the mean of the vectors of its works: those of the song if items are songs,
    else those of its creator. A new item without such works is not in the index. Edits keep the vector.
    """

    def __init__(self, bundle: Bundle, name: str) -> None:
        self._bundle, self._items = bundle, bundle.item_type(name)
        self._role = ROLES.get(name, CREATOR)
        self._columns = (*self._items.index.columns,)  # read once, as in ``Uploads``

    def take(self, items: ChangedItems, update: IndexUpdate) -> None:
        """Applies changed, hidden and restored items and adjustments, for the next request on."""
        index = self._items.index
        hide_items(index, update)
        if self._items.naming is not None:
            self._items.naming.since.update(update.platform_ids)
        if len(update.rows):
            self._upsert(items.take(update.rows))
            hide_items(index, update)  # a new item, such as a closed room, is hidden once it is in the index
        adjust_items(index, update)

    def _upsert(self, items: Snapshot) -> None:
        index, ids = self._items.index, items.works.ids
        with index.pinned() as view:
            rows = view.lookup(ids)
            vectors = view.embeddings(rows)
        for place in np.flatnonzero(rows < 0):
            vectors[place] = self._mean_vector(int(items.works[self._role][place]))
        known = np.flatnonzero(vectors.any(axis=1))
        served = served_columns(items)
        columns = {name: served[name][known] for name in self._columns}
        version = index.model_version
        space_id = next((one.space_id for one in index.versions if one.number == version), 0)
        index.upsert(ids[known], vectors[known], columns, version, space_id)

    def _mean_vector(self, value: int) -> NDArray[Any]:
        """Returns (D,) float32: the mean over the works of a song or creator, zeros if there are none."""
        works = self._bundle.snapshot.works
        with self._bundle.index.pinned() as view:
            rows = view.lookup(works.ids[works[self._role] == value] if value >= 0 else [])
            rows = rows[view.model_versions_of(rows) == self._items.index.model_version]
            vectors = view.embeddings(rows)
        return vectors.mean(axis=0) if len(rows) else np.zeros(self._items.index.dim, np.float32)


def hide_items(index: ItemIndex, update: IndexUpdate) -> None:
    index.block(update.hidden_ids)
    index.unblock(update.restored_ids)


def adjust_items(index: ItemIndex, update: IndexUpdate) -> None:
    for name, factors in update.adjustments.items():
        if factors:
            index.adjust([*factors], **{name: np.array([*factors.values()], np.float32)})
