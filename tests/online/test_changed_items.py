"""Counters that events moved: a table that is only ever replaced."""

from __future__ import annotations

import numpy as np
from event_platform import platform
from hypothesis import given
from hypothesis import strategies as st

from karec.online.changed_items import ChangedItems

Batch = st.dictionaries(st.integers(0, 12), st.integers(1, 99), max_size=8)


@given(batches=st.lists(Batch, max_size=5))
def test_the_newest_counters_of_each_work_are_found_and_older_tables_stay(batches):
    works, told, tables = ChangedItems.none(platform(), 2), dict[int, int](), []
    for batch in batches:
        ids = np.array(sorted(batch), np.int64)
        counters = np.array([[batch[work], 2 * batch[work]] for work in ids.tolist()], np.float32).reshape(
            -1, 2
        )
        works, told = works.with_counters(ids, counters), {**told, **batch}
        tables.append((works, told))
    asked = np.arange(-1, 14)[::-1].copy()
    for table, then in tables:
        at, found = table.moved(asked)
        assert {int(asked[place]): row.tolist() for place, row in zip(at, found, strict=True)} == {
            work: [count, 2 * count] for work, count in then.items()
        }
        assert (np.diff(table.ids) > 0).all()
    assert works.batches == len(batches)
