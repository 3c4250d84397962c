"""Tests of songs and creators as item types, and of their vectors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.catalog.item_types import ItemType
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.table import Table
from karec.index import ItemIndex
from karec.refresh.item_types import DerivedItemType, build_item_type_index, songs_and_creators
from karec.refresh.publish_run import publish


def test_song_counters_are_sums_and_its_tag_is_the_most_frequent(platform):
    songs = songs_and_creators(platform)["song"].item_type.items
    assert songs.ids.tolist() == songs["song_id"].tolist() == [50, 51, 52]
    works = platform.works
    for song in (50, 51, 52):
        of_song = works["song_id"] == song
        (row,) = songs.lookup(np.array([song]))
        assert songs["count_long_view"][row] == works["count_long_view"][of_song].sum()
        assert songs["count_exposed"][row] == works["count_exposed"][of_song].sum()
        assert songs["upload_ms"][row] == works["upload_ms"][of_song].max()
        tags, count = np.unique(works["tag"][of_song], return_counts=True)
        assert songs["tag"][row] == tags[np.argmax(count)]


def test_lists_have_songs_and_creators_in_the_order_of_works(platform):
    derived = songs_and_creators(platform)
    assert derived["song"].item_type.relations["history"].row_values(0).tolist() == [50, 51]
    assert derived["creator"].item_type.relations["history"].row_values(0).tolist() == [1, 3]
    assert derived["creator"].item_type.relations["liked"].row_values(2).tolist() == [3]
    assert len(derived["song"].item_type.relations["history"].row_values(3)) == 0


def test_creator_has_user_columns_only_if_they_are_a_user(platform):
    creators = songs_and_creators(platform)["creator"].item_type.items
    assert creators.ids.tolist() == [1, 2, 3]
    assert creators["family"].tolist() == [-1, 7, 7]
    strangers = replace(
        platform, works=Table(platform.works.ids, {"creator_id": platform.works["creator_id"] + 90})
    )
    assert songs_and_creators(strangers)["creator"].item_type.items["family"].tolist() == [-1, -1, -1]


def test_works_without_song_and_platform_without_roles_give_no_items(platform):
    song = np.where(np.arange(10) < 5, -1, 60)
    partly = replace(platform, works=Table(platform.works.ids, {"song_id": song}))
    derived = songs_and_creators(partly)
    assert list(derived) == ["song"]
    assert derived["song"].works_of.row_values(0).tolist() == [105, 106, 107, 108, 109]
    assert derived["song"].item_type.relations["history"].row_values(0).tolist() == []
    assert songs_and_creators(replace(platform, works=Table(platform.works.ids, {}))) == {}


@given(data=st.data())
def test_item_vector_is_the_mean_of_its_works_or_missing(data):
    n_items, n_works = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 12))
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, n_items - 1), st.integers(0, n_works + 2)), max_size=30)
    )
    item = np.array([pair[0] for pair in pairs], np.int64)
    work = np.array([pair[1] for pair in pairs], np.int64)
    vectors = np.random.default_rng(n_works).standard_normal((n_works, 4)).astype(np.float32)
    works = ItemIndex.build(np.arange(n_works), vectors, dtype="float32", model_version=3)
    table = Table(np.arange(n_items) + 40, {"tag": np.arange(n_items, dtype=np.int32)})
    derived = DerivedItemType(ItemType(table, {}, Meaning()), Relation.from_pairs(item, work, n_items))
    index = build_item_type_index(derived, empty_platform(), works)
    known = work < n_works
    expected = {
        40 + i: vectors[work[known & (item == i)]].astype(np.float64).mean(0) for i in np.unique(item[known])
    }
    assert index.ids.tolist() == sorted(expected)
    assert index.model_version == 3
    for at, name in enumerate(index.ids.tolist()):
        np.testing.assert_allclose(index.embeddings([at])[0], expected[name], atol=2e-3)  # float16
        assert index.columns["tag"][at] == name - 40
    part_of = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n_works, max_size=n_works)))
    parts = [np.flatnonzero(part_of == part) for part in range(4)]
    doubled = [ItemIndex.build(part, 2 * vectors[part], dtype="float32", model_version=3) for part in parts]
    by_shard = build_item_type_index(derived, empty_platform(), works, doubled)
    assert by_shard.ids.tolist() == index.ids.tolist()
    rows = np.arange(len(index))
    np.testing.assert_allclose(by_shard.embeddings(rows), 2 * index.embeddings(rows), rtol=1e-3, atol=1e-6)


@given(seed=st.integers(0, 2**32), n_shards=st.integers(1, 9))
def test_means_of_float16_vectors_have_equal_bits_for_any_shards(seed, n_shards):
    rng = np.random.default_rng(seed)
    vectors, item = rng.standard_normal((200, 4)).astype(np.float16), rng.integers(0, 7, 200)
    works = ItemIndex.build(np.arange(200), vectors.astype(np.float32), dtype="float16", model_version=3)
    derived = DerivedItemType(
        ItemType(Table(np.arange(7), {}), {}, Meaning()), Relation.from_pairs(item, np.arange(200), 7)
    )
    parts = np.array_split(rng.permutation(200), n_shards)
    shards = [
        ItemIndex.build(part, works.embeddings(part), dtype="float16", model_version=3) for part in parts
    ]
    whole, summed = (build_item_type_index(derived, empty_platform(), works, by) for by in (None, shards))
    assert whole.ids.tolist() == summed.ids.tolist()
    assert (
        whole.embeddings(np.arange(len(whole))).tobytes()
        == summed.embeddings(np.arange(len(whole))).tobytes()
    )


def test_mean_of_vectors_of_two_model_versions_is_refused(platform):
    song, ids = songs_and_creators(platform)["song"], np.asarray(platform.works.ids)
    works, other = (ItemIndex.build(ids, np.ones((len(ids), 4)), model_version=version) for version in (3, 4))
    with pytest.raises(ValueError, match=r"vectors of model versions \[4\], expected only 3 for a mean"):
        build_item_type_index(song, platform, works, [works, other])


def empty_platform():
    from karec.catalog.snapshot import Snapshot

    nobody = Table(np.empty(0, np.int64), {})
    return Snapshot(0, nobody, nobody, {}, {})


def test_saved_item_type_is_read_back(platform, tmp_path):
    kind = replace(songs_and_creators(platform)["song"].item_type, labels={"tag": ["a", "b", "c"]})
    kind.save(tmp_path)
    again = ItemType.open(tmp_path)
    assert again.meaning == kind.meaning
    assert again.labels == kind.labels
    assert again.items.columns.keys() == kind.items.columns.keys()
    for name, column in kind.items.columns.items():
        np.testing.assert_array_equal(again.items[name], column)
    for name, relation in kind.relations.items():
        np.testing.assert_array_equal(again.relations[name].values, relation.values)
    served = again.to_snapshot(platform, "song")
    assert served.relations.keys() == {"history", "liked", "follows", "friends"}
    assert served.works is again.items
    assert served.users is platform.users


@pytest.mark.parametrize("more", [-1, 1])
def test_derived_item_type_refuses_another_number_of_lists(platform, more):
    song = songs_and_creators(platform)["song"]
    lists = Relation.from_pairs(np.zeros(1, int), platform.works.ids[:1], len(song.item_type.items) + more)
    with pytest.raises(ValueError, match=rf"works_of has {3 + more} lists, expected 3, one per item"):
        DerivedItemType(song.item_type, lists)


@pytest.mark.parametrize("name", ["work", "a/b", "..", ""])
def test_publish_refuses_invalid_item_type_names(platform, tmp_path, name):
    with pytest.raises(ValueError, match=f"name of an item type is '{name}', expected letters, digits and _"):
        publish(tmp_path, platform, tmp_path, item_types={name: songs_and_creators(platform)["song"]})
