"""A log that is replayed through the online store gives, row for row and bit for bit, the inputs that
training rows have.
"""

from __future__ import annotations

import numpy as np
import pytest
from replayed_log import differing_rows, events_of, head_of
from small_dataset import make_dataset

from karec.features.encoder import Encoder
from karec.features.online_inputs import encode_live_user
from karec.online.apply_events import EventApplier
from karec.online.event_log.tail import Cursor
from karec.online.read_state import StateReader
from karec.online.store.contents import StoreContents
from karec.online.store.embedded import LmdbStore
from karec.online.store.memory import MemoryStore


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


@pytest.fixture(scope="module")
def encoder(dataset):
    return Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=2)


@pytest.mark.parametrize("kind", ["memory", "lmdb"])
def test_every_row_of_a_small_platform(dataset, encoder, kind, tmp_path):
    """Users return, moments are shared by several rows, scenes differ."""
    if kind == "lmdb":
        pytest.importorskip("lmdb")
    store = MemoryStore() if kind == "memory" else LmdbStore(tmp_path / "state")
    rows = range(0, len(dataset.exposures), 1 if kind == "memory" else 7)
    assert differing_rows(dataset, encoder, store, tmp_path / "log", rows) == []
    store.close()


def test_a_row_that_was_folded_before_it_was_read_would_show(dataset, encoder, tmp_path):
    """The comparison sees a single event too many."""
    store, folded = MemoryStore(), StoreContents(dataset.snapshot, head_of(dataset))
    happened = events_of(dataset.exposures, folded.head)
    EventApplier(store, folded).apply(happened.take(slice(300)), Cursor())
    assert "row 299: user_numbers" in differing_rows(
        dataset, encoder, store, tmp_path / "log", range(299, 300)
    )


def test_a_user_whom_nobody_knows_is_encoded_like_one_of_the_snapshot_who_is_not_there(dataset, encoder):
    folded = StoreContents(dataset.snapshot, head_of(dataset))
    state = StateReader(MemoryStore(), folded).user(987_654)
    online = encode_live_user(
        encoder, dataset.snapshot, state, folded.counters, 987_654, dataset.valid_until_ms, 0
    )
    plain = encoder.encode_user(dataset.snapshot, 987_654, dataset.valid_until_ms, 0)
    assert online.keys() == plain.keys()
    for name, values in plain.items():
        np.testing.assert_array_equal(online[name], values)
