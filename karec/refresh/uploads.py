"""Encodes items that were uploaded or edited since the bundle was published, and adds them to its index."""

from __future__ import annotations

import numpy as np

from karec.bundle import Bundle
from karec.bundle.tower_files import space_id_of
from karec.errors import BundleError
from karec.index import ItemIndex
from karec.online.changed_items import ChangedItems, IndexUpdate
from karec.refresh.item_vectors import BATCH, served_columns


class Uploads:
    """Writes to the index of ``bundle`` in this process.

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
            inputs = self._encoder.encode_items(items.take(rows), item_indices, times)
            (vectors,) = tower.run(inputs, "item_vector")
            columns = {name: served[name][rows] for name in self._columns}
            index.upsert(ids[rows], vectors, columns, tower.model_version, self._space_id)
        adjust_items(index, update)


def hide_and_adjust(index: ItemIndex, items: ChangedItems, update: IndexUpdate) -> None:
    """Applies an update without ``rows`` to the index of another item type."""
    hide_items(index, update)
    adjust_items(index, update)


def hide_items(index: ItemIndex, update: IndexUpdate) -> None:
    index.block(update.hidden_ids)
    index.unblock(update.restored_ids)


def adjust_items(index: ItemIndex, update: IndexUpdate) -> None:
    for name, factors in update.adjustments.items():
        if factors:
            index.adjust([*factors], **{name: np.array([*factors.values()], np.float32)})
