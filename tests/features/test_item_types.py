"""Items of other types have the inputs of works, with labels in the places of the tasks."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemType
from karec.catalog.schema import Meaning
from karec.catalog.table import Table
from karec.features.encoder import Encoder
from karec.features.item_types import ItemTypeHead

HEAD = ItemTypeHead("live", ("watch", "stay"), (0.25, 0.1))


@pytest.fixture(scope="module")
def typed_encoder(encoder):
    return replace(encoder, item_types=(HEAD, ItemTypeHead("song", ("sing",), (0.5,))))


@pytest.fixture(scope="module")
def rooms(dataset):
    """Four live rooms with ids of works, without songs, tags and upload times."""
    columns = {"creator_id": dataset.snapshot.works["creator_id"][:4]}
    counts = {"count_exposed": 40, "count_watch": 10, "count_stay": 8}
    columns |= {name: np.full(4, value, np.float32) for name, value in counts.items()}
    item_type = ItemType(Table(dataset.snapshot.works.ids[:4], columns), {}, Meaning(("watch", "stay")))
    return item_type.to_snapshot(dataset.snapshot, "live")


def impressions_of(**labels):
    rows = np.arange(4)
    return Impressions(rows, rows, rows, rows, {name: np.array(label) for name, label in labels.items()})


def test_items_of_a_type_have_its_code_and_shared_categories(typed_encoder, dataset, rooms):
    names, n_ids = typed_encoder.names["item_ids"], typed_encoder.works.sizes[0]
    works = typed_encoder.encode_items(dataset.snapshot, np.arange(4), dataset.snapshot.time_ms)["item_ids"]
    items = typed_encoder.encode_items(rooms, np.array([0, 1, 2, 3, -1]), rooms.time_ms)["item_ids"]
    assert items[:, 0].tolist() == [n_ids, n_ids, n_ids, n_ids, 0]
    creator = names.index("creator_id")
    np.testing.assert_array_equal(items[:4, creator], works[:, creator])
    assert not np.delete(items, [0, creator], axis=1).any()
    assert typed_encoder.sizes["item_ids"][0] == n_ids + 2


def test_rates_of_labels_take_the_places_of_tasks(typed_encoder, rooms):
    """``watch`` has its mean rate, so its input is 0; ``stay`` is above it, also in further places."""
    numbers = typed_encoder.encode_items(rooms, np.arange(4), rooms.time_ms)["item_numbers"]
    place = typed_encoder.names["item_numbers"].index
    assert (numbers[:, place("log_exposed")] == np.float32(np.log1p(40) / 4)).all()
    np.testing.assert_allclose(numbers[:, place("rate_click")], 0.0, atol=1e-6)
    assert (numbers[:, place("rate_long_view")] > 0.1).all()
    for label in ("like", "follow"):
        np.testing.assert_array_equal(numbers[:, place(f"rate_{label}")], numbers[:, place("rate_long_view")])
    assert typed_encoder.labels_of("live") == ("watch", "stay", "stay")
    assert typed_encoder.labels_of("") == typed_encoder.tasks


def test_room_with_the_id_of_a_work_has_no_match_by_id(typed_encoder, dataset, rooms):
    row = int(np.argmax(np.diff(dataset.snapshot.relations["history"].indptr)))
    user = typed_encoder.encode_user(dataset.snapshot, int(dataset.snapshot.users.ids[row]), rooms.time_ms, 0)
    items = typed_encoder.encode_items(rooms, np.arange(4), rooms.time_ms)
    crosses = typed_encoder.encode_crosses(user, items)["crosses"]
    by_id = [i for i, name in enumerate(typed_encoder.names["crosses"]) if name.startswith("id_in")]
    assert by_id and not crosses[:, by_id].any() and not items["cowatch"].any()


def test_unknown_item_type_is_refused(typed_encoder, rooms):
    with pytest.raises(ValueError, match=r"has learned the item types \['live', 'song'\], not 'room'"):
        typed_encoder.encode_items(replace(rooms, item_type="room"), np.arange(4), rooms.time_ms)


def test_saved_encoder_keeps_its_item_types(typed_encoder, encoder, rooms, tmp_path):
    typed_encoder.save(tmp_path / "encoder.npz")
    loaded = Encoder.load(tmp_path / "encoder.npz")
    assert loaded.learned_labels == {"live": ("watch", "stay"), "song": ("sing",)}
    expected = typed_encoder.encode_items(rooms, np.arange(4), rooms.time_ms)
    for name, value in loaded.encode_items(rooms, np.arange(4), rooms.time_ms).items():
        np.testing.assert_array_equal(value, expected[name])
    assert not encoder.learned_labels


def test_labels_of_one_class_are_left_out():
    rows = impressions_of(watch=[0, 1, 0, 0], stay=[0, 0, 0, 0], gift=[1, 1, 1, 1])
    assert ItemTypeHead.fit("live", rows, ("watch", "stay", "gift")) == ItemTypeHead(
        "live", ("watch",), (0.25,)
    )
    assert ItemTypeHead.fit("live", rows, ("stay", "gift")) is None
