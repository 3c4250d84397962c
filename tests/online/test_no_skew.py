"""A log replayed through the online store gives the inputs of training rows, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from replayed_log import differing_rows, events_of, head_of, replayed_songs
from small_dataset import make_dataset

from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemTable
from karec.catalog.table import Table
from karec.features.encoder import Encoder
from karec.features.item_types import ItemTypeHead
from karec.features.online_inputs import encode_online_user
from karec.online.apply_events import EventApplier
from karec.online.read_state import StateReader
from karec.online.store.contents import StoreContents
from karec.online.store.sqlite import SqliteStore
from karec.refresh.item_types import derive_item_type
from karec.samples.examples import build_examples


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


@pytest.fixture(scope="module")
def encoder(dataset):
    return Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=2)


@pytest.mark.parametrize("is_file", [False, True], ids=["memory", "file"])
def test_online_inputs_equal_training_inputs(dataset, encoder, is_file, tmp_path):
    """Users return, several rows share a moment, scenes differ."""
    store = SqliteStore(tmp_path / "online.db" if is_file else None)
    rows = range(0, len(dataset.exposures), 7 if is_file else 1)
    assert differing_rows(dataset, encoder, store, rows) == []
    store.close()


def test_comparison_detects_one_event_too_many(dataset, encoder):
    store, contents = SqliteStore(None), StoreContents(dataset.snapshot, head_of(dataset))
    extra = events_of(dataset.exposures.take(slice(299, 300)), contents.head)
    extra.source[:] = 2
    store.append(extra, EventApplier(contents))
    assert "row 299: user_numbers" in differing_rows(dataset, encoder, store, range(299, 300))


def test_unknown_user_is_encoded_as_without_a_store(dataset, encoder):
    contents = StoreContents(dataset.snapshot, head_of(dataset))
    state = StateReader(SqliteStore(None), contents).read_user(987_654)
    online = encode_online_user(
        encoder, dataset.snapshot, state, contents.counters, 987_654, dataset.valid_until_ms, 0
    )
    plain = encoder.encode_user(dataset.snapshot, 987_654, dataset.valid_until_ms, 0)
    assert online.keys() == plain.keys()
    for name, values in plain.items():
        np.testing.assert_array_equal(online[name], values)


def test_online_inputs_of_songs_equal_training_inputs(dataset, encoder):
    """Users have events of works and of songs, which an item type of its own counts."""
    works = dataset.exposures
    generator = np.random.default_rng(3)
    index = np.sort(generator.choice(len(works), len(works) // 2, replace=False))
    sing = (generator.random(len(index)) < 0.3).astype(np.uint8)
    rows = Impressions(
        works.user_id[index],
        generator.integers(0, 6, len(index)),
        works.time_ms[index],
        works.scene[index],
        {"sing": sing},
    )
    table = ItemTable(Table(np.arange(6), {"song_id": np.arange(6)}), {}, "song", ("sing",))
    songs = derive_item_type(table, dataset.snapshot).item_type.to_snapshot(dataset.snapshot, "song")
    learned = replace(encoder, item_types=(ItemTypeHead("song", ("sing",), (0.3,)),))
    examples = build_examples(learned, dataset.snapshot, rows, rows.time_ms, happened=works, items=songs)
    differing = []
    for row, online in replayed_songs(dataset, learned, songs, rows):
        for name, trained in examples.inputs(np.array([row])).items():
            if trained.dtype != online[name].dtype or trained.tobytes() != online[name].tobytes():
                differing.append(f"row {row}: {name}")
    assert differing == []
