"""Counters that events changed: a table that is replaced and never modified."""

from __future__ import annotations

import numpy as np
from event_platform import platform
from hypothesis import given
from hypothesis import strategies as st

from karec.online.changed_items import ChangedItems

Batch = st.dictionaries(st.integers(0, 12), st.integers(1, 99), max_size=8)


@given(batches=st.lists(Batch, max_size=5))
def test_changed_items_have_the_newest_counters_and_never_change(batches):
    items, newest, tables = ChangedItems.empty(platform(), 2), dict[int, int](), []
    for batch in batches:
        ids = np.array(sorted(batch), np.int64)
        counters = np.array([[batch[item], 2 * batch[item]] for item in ids.tolist()], np.float32)
        items, newest = (
            items.with_counters(ids, counters.reshape(-1, 2), np.empty((len(ids), 0), np.int64)),
            {**newest, **batch},
        )
        tables.append((items, newest))
    ids = np.arange(-1, 14)[::-1].copy()
    for table, expected in tables:
        places, counters = table.find_counters(ids)
        result = dict(zip(ids[places].tolist(), counters.tolist(), strict=True))
        assert result == {item: [count, 2 * count] for item, count in expected.items()}
        assert (np.diff(table.counter_ids) > 0).all()
    assert items.n_batches == len(batches)
