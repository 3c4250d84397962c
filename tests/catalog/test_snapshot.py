"""Tables find rows by id, relations group pairs, and a saved snapshot opens unchanged."""

import json
import os
import resource
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.catalog.relation import Relation
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.errors import DataError


@given(st.lists(st.integers(-(2**62), 2**62), unique=True), st.lists(st.integers(-(2**62), 2**62)))
def test_table_lookup_equals_a_dictionary(ids, others):
    target = ids[::2] + others
    rows = Table(np.array(ids, np.int64), {}).lookup(np.array(target, np.int64))
    known = {id_: row for row, id_ in enumerate(ids)}
    assert rows.tolist() == [known.get(id_, -1) for id_ in target]


def test_table_refuses_repeated_ids():
    with pytest.raises(ValueError, match="3 appears twice"):
        Table(np.array([3, 1, 3]), {})


def test_table_refuses_a_column_of_another_length():
    with pytest.raises(ValueError, match="column 'x' has 1 rows, ids has 2"):
        Table(np.array([3, 1]), {"x": np.zeros(1)})


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 3))))
def test_relation_groups_pairs_by_row_ordered_by_time(triples):
    rows, values, times = (np.array([t[i] for t in triples], np.int64) for i in range(3))
    relation = Relation.from_pairs(rows, values, 5, times)
    for row in range(5):
        expected = [
            v for _, v in sorted(((t, v) for r, v, t in triples if r == row), key=lambda pair: pair[0])
        ]
        assert relation.row_values(row).tolist() == expected


def test_saved_snapshot_opens_unchanged(platform, tmp_path):
    platform.save(tmp_path / "s")
    opened = Snapshot.open(tmp_path / "s")
    assert opened.time_ms == platform.time_ms
    assert opened.labels == platform.labels
    assert set(opened.works.columns) == set(platform.works.columns)
    for name, column in platform.works.columns.items():
        np.testing.assert_array_equal(opened.works[name], column)
    for name, relation in platform.relations.items():
        np.testing.assert_array_equal(opened.relations[name].values, relation.values)


def test_snapshot_saves_scenes_of_relations_if_present(platform, tmp_path):
    history = platform.relations["history"]
    scenes = np.arange(len(history.values)).astype(np.int16) % 2
    replace(platform, relations={**platform.relations, "history": replace(history, scenes=scenes)}).save(
        tmp_path / "s"
    )
    opened = Snapshot.open(tmp_path / "s").relations
    assert opened["history"].scenes.tolist() == scenes.tolist() and opened["liked"].scenes is None
    np.save(tmp_path / "s" / "relations" / "history.scenes.npy", scenes[1:])
    n = len(scenes)
    with pytest.raises(
        DataError,
        match=rf"history.indptr.npy is damaged: scenes has {n - 1} entries, values "
        rf"has {n}",
    ):
        Snapshot.open(tmp_path / "s")


def test_snapshot_saves_scene_counters_if_present(platform, tmp_path):
    assert platform.user_scene_counters is None
    platform.save(tmp_path / "without")
    assert Snapshot.open(tmp_path / "without").user_scene_counters is None
    counters = {"count_exposed": np.arange(8, dtype=np.float32), "count_click": np.ones(8, np.float32)}
    replace(platform, user_scene_counters=counters).save(tmp_path / "s")
    opened = Snapshot.open(tmp_path / "s").user_scene_counters
    assert opened.keys() == counters.keys()
    for name, column in counters.items():
        np.testing.assert_array_equal(opened[name], column)


def test_scene_counters_are_memory_mapped(platform, tmp_path):
    """There are users × scenes of them: what is not mapped, every process that serves would hold for
    itself."""
    replace(platform, user_scene_counters={"count_exposed": np.zeros(8, np.float32)}).save(tmp_path)
    assert [path.name for path in (tmp_path / "user_scene_counters").iterdir()] == ["count_exposed.npy"]
    opened = Snapshot.open(tmp_path).user_scene_counters
    assert type(opened) is dict and all(type(column.base) is np.memmap for column in opened.values())


def test_user_scene_rows_index_scene_counters(platform):
    rows = platform.user_scene_rows(np.array([0, 0, 3, -1, 2, 2]), np.array([0, 1, 1, 0, 2, -1]))
    assert rows.tolist() == [0, 1, 7, -1, -1, -1]
    with pytest.raises(
        DataError, match="user_scene_counters column 'b' has 7 rows, expected 4 users × 2 scenes"
    ):
        replace(platform, user_scene_counters={"a": np.zeros(8), "b": np.zeros(7)})


@given(
    st.sets(st.integers(-9, 30) | st.integers(-(2**62), 2**62), max_size=9),
    st.lists(st.integers(-12, 33) | st.integers(-(2**63), 2**63 - 1), max_size=9),
)
def test_lookup_finds_rows_of_dense_and_sparse_ids(ids, target):
    ids = list(ids)
    target = [*target, *ids[:3]]
    expected = [ids.index(one) if one in ids else -1 for one in target]
    table = Table(np.array(ids, np.int64), {})
    assert table.lookup(np.array(target, np.int64)).tolist() == expected
    assert [int(table.lookup(np.array([one]))[0]) for one in target] == expected
    assert [table.row(one) for one in target] == expected


def test_take_users_keeps_their_rows_lists_and_scene_counters(platform):
    history = platform.relations["history"]
    n = len(history.values)
    history = replace(history, times=np.arange(n), scenes=np.arange(n) + 10)
    counters = {"count_exposed": np.arange(8, dtype=np.float32)}
    whole = replace(platform, relations={"history": history}, user_scene_counters=counters)
    kept = whole.take_users(np.array([False, True, False, True]))
    assert kept.users.ids.tolist() == [2, 4] and kept.users["family"].tolist() == [7, -1]
    assert kept.user_scene_counters["count_exposed"].tolist() == [2, 3, 6, 7]
    assert len(kept.relations["history"].values) == 0
    first = whole.take_users(np.array([True, False, False, True])).relations["history"]
    assert first.row_values(0).tolist() == [100, 104] and first.row_values(1).tolist() == []
    assert first.times.tolist() == [0, 1] and first.scenes.tolist() == [10, 11]
    assert platform.take_users(np.ones(4, bool)).user_scene_counters is None


def test_drop_unpublished_removes_future_items(platform):
    later = Snapshot(
        platform.time_ms - 1, platform.works, platform.users, platform.relations, platform.labels
    )
    assert 100 in platform.drop_unpublished().works.ids
    assert later.drop_unpublished().works.ids.tolist() == list(range(101, 110))


def test_open_refuses_a_folder_without_snapshot(platform, tmp_path):
    with pytest.raises(DataError, match="is not a snapshot"):
        Snapshot.open(tmp_path)
    platform.save(tmp_path / "s")
    (tmp_path / "s" / "works" / "ids.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"ids\.npy is damaged: it is not a \.npy file"):
        Snapshot.open(tmp_path / "s")


def test_save_names_the_file_if_the_disk_is_full(platform, tmp_path):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
            platform.save(tmp_path / "snapshot")
        except OSError as error:
            os.write(writing, f"{error.strerror}: {error.filename}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(reading, 1_000).decode() == f"File too large: {tmp_path}/snapshot/works/ids.npy"


def test_snapshot_needs_no_role_columns(platform, tmp_path):
    bare = Snapshot(platform.time_ms, Table(np.array([1, 2]), {}), platform.users, {}, {})
    bare.save(tmp_path / "snapshot")
    opened = Snapshot.open(tmp_path / "snapshot")
    assert opened.drop_unpublished().works.ids.tolist() == [1, 2]
    assert opened.published_ms.tolist() == [0, 0]


@pytest.mark.parametrize("meaning", ["enjoyed", 7, {"enjoyed": 1}, {"loved": []}])
def test_open_refuses_a_damaged_meaning(platform, tmp_path, meaning):
    platform.save(tmp_path / "snapshot")
    head = tmp_path / "snapshot" / "snapshot.json"
    head.write_text(json.dumps({**json.loads(head.read_text()), "meaning": meaning}))
    with pytest.raises(DataError, match=r"snapshot\.json is damaged: .*meaning"):
        Snapshot.open(tmp_path / "snapshot")
