"""Works that came since the bundle was made: through the item towers into the bundle's indices, and out
again."""

from __future__ import annotations

import numpy as np

from karec.bundle import Bundle
from karec.bundle.vector_spaces import PRERANK, RECALL, space_id_of
from karec.errors import BundleError
from karec.online.changed_items import ChangedItems, IndexUpdate
from karec.refresh.item_vectors import BATCH, served_columns


class Uploads:
    """Writes to the indices of ``bundle`` in this process. Vectors are made of a work's columns, as of its
    newest upload or edit, in every process and after each start the same; its counters enter them when the
    library is published anew. Raises BundleError where the index has columns that works do not have.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._encoder = bundle, bundle.encoder
        spaces = [(PRERANK, bundle.index), (RECALL, bundle.recall_index)]
        towers = [(space, index, bundle.item_tower_of(space)) for space, index in spaces if index is not None]
        self._spaces = [(*each, space_id_of(each[2].path)) for each in towers]
        self._columns = (*bundle.index.columns,)  # asked once: each time after a write all rows are copied
        missing = sorted({*self._columns} - served_columns(bundle.snapshot).keys())
        if missing:
            raise BundleError(
                f"{bundle.path}: the index has the columns {missing}, works lack them: no upload can fill"
            )

    def take(self, items: ChangedItems, update: IndexUpdate) -> None:
        """From the next request on searches find the changed works, and no hidden one, with scores as
        adjusted."""
        for _, index, _, _ in self._spaces:
            index.block(update.hidden_ids)
            index.unblock(update.restored_ids)
        if self._bundle.naming is not None:
            self._bundle.naming.since.update(update.platform_ids)
        ids, served = items.updates.works.ids, served_columns(items.updates)
        for begin in range(0, len(update.rows), BATCH):
            rows = update.rows[begin : begin + BATCH]
            put, moments = np.arange(len(rows)), update.time_ms[begin : begin + BATCH]
            inputs = self._encoder.encode_items(items.take(rows), put, moments)
            for space, index, tower, space_id in self._spaces:
                (vectors,) = tower.run(inputs, "item_vector")
                columns = {name: served[name][rows] for name in self._columns} if space is PRERANK else {}
                index.upsert(ids[rows], vectors, columns, tower.model_version, space_id)
        for name, factors in update.adjustments.items():
            if factors:
                values = np.array([*factors.values()], np.float32)
                for _, index, _, _ in self._spaces:
                    index.adjust([*factors], **{name: values})
