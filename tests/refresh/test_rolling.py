"""Tests of the rolling refresh and its followers."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.bundle import Bundle
from karec.errors import DataError, IndexFormatError
from karec.files import read_npz
from karec.refresh.cpu_limit import CpuLimit
from karec.refresh.follow import LibraryFollower
from karec.refresh.item_types import build_item_type_index, songs_and_creators
from karec.refresh.library_state import library_state
from karec.refresh.rolling import open_refresh, remove_retired_libraries
from karec.refresh.shards import ROUND_FILE, Round, library_folder, list_shards, refresh_order
from karec.times import HOUR_MS


@pytest.fixture
def bundle(published, tmp_path):
    """A copy of version 1, in which nothing was refreshed."""
    shutil.copytree(published[0].path.parent, tmp_path / "bundles", symlinks=True)
    return Bundle.open(tmp_path / "bundles", verify=False)


def again(bundle):
    """Opens the bundle again, as another process does."""
    return Bundle.open(bundle.path, verify=False)


def refresh(bundle, now_ms, shards=10**6):
    """Starts or resumes a round with 7 works per shard, until ``shards`` shards were made."""
    remaining = iter([True] * shards)
    with open_refresh(again(bundle)) as work:
        current_round = work.start_round(now_ms, 7)
        work.run(current_round, should_continue=lambda: next(remaining, False))
    return current_round


def now_of(bundle):
    return bundle.snapshot.time_ms + 5 * HOUR_MS


def item_tower_vectors(bundle, ids, time_ms):
    """The vectors of works by the item tower, as float16."""
    items = bundle.encoder.encode_items(bundle.snapshot, bundle.snapshot.works.lookup(ids), time_ms)
    return bundle.item_tower.run(items, "item_vector")[0].astype(np.float16).astype(np.float32)


def test_round_has_each_work_once_with_features_of_its_start(bundle):
    now = now_of(bundle)
    refresh(bundle, now)
    shards = [shard for shard in list_shards(library_folder(bundle.path)) if not shard.ends_round]
    indices = [shard.index("index.karec") for shard in shards]
    assert [len(index) for index in indices] == [7] * 5 + [5]
    ids = np.concatenate([index.ids for index in indices])
    assert sorted(ids) == sorted(bundle.snapshot.works.ids)
    for index in indices:
        assert set(index.columns["refreshed_ms"]) == {now} and index.model_versions == (1,)
        np.testing.assert_array_equal(
            index.embeddings(index.lookup(index.ids)), item_tower_vectors(bundle, index.ids, now)
        )


def test_follower_has_refreshed_vectors_and_item_type_means(bundle):
    now, ids = now_of(bundle), bundle.snapshot.works.ids
    bundle.index.block(ids[:2])
    bundle.index.adjust(ids[3:4], offset=2.0)
    follower = LibraryFollower()
    assert follower.catch_up(bundle) == 0
    refresh(bundle, now, 2)
    assert follower.catch_up(bundle) == 14
    refresh(bundle, now)
    assert follower.catch_up(bundle) == 26 and follower.catch_up(bundle) == 0
    vectors = bundle.index.embeddings(bundle.index.lookup(ids))
    np.testing.assert_array_equal(vectors, item_tower_vectors(bundle, ids, now))
    assert bundle.index.search(np.zeros(8), ids=ids[:5], k=5).n_blocked == 2
    assert bundle.index.scores(np.zeros(8), ids=ids[3:4]).tolist() == [2.0]
    expected = build_item_type_index(
        songs_and_creators(bundle.snapshot)["creator"], bundle.snapshot, bundle.index
    )
    kind = bundle.item_type("creator").index
    np.testing.assert_array_equal(
        kind.embeddings(kind.lookup(expected.ids)), expected.embeddings(expected.lookup(expected.ids))
    )


def test_follower_restarts_if_the_library_was_removed(bundle):
    now, ids = now_of(bundle), bundle.snapshot.works.ids
    follower = LibraryFollower()
    refresh(bundle, now)
    refresh(bundle, now, 2)
    follower.catch_up(bundle)
    shutil.rmtree(library_folder(bundle.path))
    assert refresh(bundle, now + HOUR_MS).number == 1
    assert follower.catch_up(bundle) == 40 and follower.catch_up(bundle) == 0
    np.testing.assert_array_equal(
        bundle.index.embeddings(bundle.index.lookup(ids)), item_tower_vectors(bundle, ids, now + HOUR_MS)
    )


def test_follower_leaves_out_removed_works(bundle):
    refresh(bundle, now_of(bundle))
    removed = bundle.snapshot.works.ids[:3]
    bundle.index.remove(removed)
    assert LibraryFollower().catch_up(bundle) == 37
    assert bundle.index.lookup(removed).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("shards", [0, 1, 5])
def test_stopped_round_ends_with_the_same_vectors(bundle, shards):
    now = now_of(bundle)
    current_round = refresh(bundle, now, shards)
    assert refresh(bundle, now + 9 * HOUR_MS).number == current_round.number == 1
    LibraryFollower().catch_up(bundle)
    ids = bundle.snapshot.works.ids
    np.testing.assert_array_equal(
        bundle.index.embeddings(bundle.index.lookup(ids)), item_tower_vectors(bundle, ids, now)
    )


def test_finished_round_keeps_only_its_shards_and_next_starts_with_oldest(bundle):
    now = now_of(bundle)
    refresh(bundle, now)
    second = refresh(bundle, now + HOUR_MS, 2)
    library = library_folder(bundle.path)
    assert second.number == 2 and {shard.round for shard in list_shards(library)} == {1, 2}
    state = library_state(again(bundle), now + 3 * HOUR_MS)
    assert (state.round, state.refreshed, state.works, dict(state.rows)) == (2, 14, 40, {1: 40})
    assert (state.youngest_ms, state.oldest_ms) == (2 * HOUR_MS, 3 * HOUR_MS)
    refresh(bundle, now)
    assert {shard.round for shard in list_shards(library)} == {2}
    assert library_state(again(bundle), now + HOUR_MS).oldest_ms == 0


def test_library_ages_before_a_round_are_of_the_snapshot(bundle):
    state = library_state(bundle, bundle.snapshot.time_ms + 7)
    assert (state.round, state.refreshed, state.youngest_ms, state.oldest_ms) == (0, 0, 7, 7)
    assert state.to_text()["round"] == "none" and len(state.rows) == 1


def test_second_refresh_of_a_library_is_refused(bundle):
    with (
        open_refresh(bundle),
        pytest.raises(
            DataError,
            match=r"library/v0000000001: another refresh is running",
        ),
    ):
        refresh(bundle, 0)


def test_damaged_shard_is_refused_with_its_file(bundle):
    refresh(bundle, now_of(bundle))
    path = list_shards(library_folder(bundle.path))[0].path / "index.karec"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IndexFormatError, match=str(path)):
        LibraryFollower().catch_up(bundle)


def test_shards_of_another_item_tower_are_refused_with_the_space(bundle, published):
    current_round = refresh(bundle, now_of(bundle), 1)
    library = library_folder(bundle.path)
    shutil.copyfile(published[1] / "item_tower.onnx", bundle.path / "item_tower.onnx")
    with pytest.raises(
        DataError, match=rf"index\.karec: vectors have model version 1 and space .*Remove {library}"
    ):
        LibraryFollower().catch_up(again(bundle))
    with pytest.raises(DataError, match=f"{library}: not of the item tower or manifest of"):
        refresh(bundle, 0)
    assert current_round.space_id != 0


@pytest.mark.parametrize("key", ["manifest", "job", "workers"])
def test_round_without_a_key_is_refused_with_its_file(bundle, key):
    refresh(bundle, now_of(bundle), 1)
    path = library_folder(bundle.path) / ROUND_FILE
    arrays = dict(read_npz(path))
    head = json.loads(arrays["head"].tobytes())
    del head[key]
    np.savez(path, head=np.frombuffer(json.dumps(head).encode(), np.uint8), order=arrays["order"])
    with pytest.raises(DataError, match=rf"{path}: not a round of a refresh \('{key}'\)"):
        refresh(bundle, 0)


@pytest.mark.parametrize("content", [b"", b"PK", b"\0" * 400])
def test_damaged_round_is_refused_with_its_file(bundle, content):
    refresh(bundle, now_of(bundle), 1)
    path = library_folder(bundle.path) / ROUND_FILE
    path.write_bytes(content)
    with pytest.raises(
        DataError,
        match=rf"{path}: not a round of a refresh .*\. Remove it; then a new round starts",
    ):
        Round.open(path.parent)


def test_refresh_refuses_a_bundle_without_an_item_tower(bundle):
    (bundle.path / "item_tower.onnx").unlink()
    with pytest.raises(DataError, match=r"item_tower\.onnx is missing, so no refresh is possible"):
        refresh(bundle, 0)


def test_libraries_of_unpublished_bundles_are_removed(bundle):
    refresh(bundle, 0, 1)
    root, library = bundle.path.parent, library_folder(bundle.path)
    remove_retired_libraries(root)
    assert library.exists()
    shutil.rmtree(bundle.path)
    remove_retired_libraries(root)
    assert not library.exists()


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(-5, 100), st.integers(0, 9)), unique_by=lambda work: work[0]
    )
)
def test_refresh_order_prefers_older_and_more_shown_works(works):
    ids, ages, exposed = (
        (np.array(column, np.int64) for column in zip(*works, strict=True))
        if works
        else [np.zeros(0, int)] * 3
    )
    order = refresh_order(ids, ages, exposed).tolist()
    assert sorted(order) == sorted(ids.tolist())
    by_id = {work[0]: (max(work[1], 0), work[2]) for work in works}
    for before, after in pairwise(order):
        (age, shown), (other_age, other_shown) = by_id[before], by_id[after]
        assert not (other_age > age and other_shown >= shown) and not (
            other_age >= age > 0 and other_shown > shown
        )


def test_pace_rests_until_the_cpu_share_is_kept():
    clock = {"worked": 0.0, "now": 0.0}
    rests = []

    def wait(seconds):
        rests.append(seconds)
        clock["now"] += seconds

    pace = CpuLimit(0.25, wait, lambda: clock["worked"], lambda: clock["now"])
    for worked, passed in ((1.0, 1.0), (1.0, 2.0), (1.0, 9.0)):
        clock = {"worked": clock["worked"] + worked, "now": clock["now"] + passed}
        pace.rest()
    assert rests == [3.0, 2.0]
    with pytest.raises(ValueError, match="share is 0, expected a fraction of a core"):
        CpuLimit(0)


def test_round_leaves_out_works_without_a_vector(bundle):
    removed = bundle.snapshot.works.ids[:4]
    bundle.index.remove(removed)
    bundle.index.save(bundle.path / "index.karec")
    current_round = refresh(bundle, now_of(bundle))
    assert len(current_round.order) == 36 and not np.isin(removed, current_round.order).any()
    assert replace(library_state(again(bundle), 0), rows={}).works == 36
