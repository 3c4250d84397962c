"""A view of the index keeps one generation. Rows have the generation in which they were found."""

from __future__ import annotations

import gc
import pickle
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from karec import IndexView, ItemIndex

COLUMNS = {"creator_id": np.array([10, 20, 30, 40]), "quality": np.array([0.5, 0.25, 1, 2], np.float32)}


@pytest.fixture
def index() -> ItemIndex:
    vectors = np.diag([1, 2, 3, 4]).astype(np.float32)
    return ItemIndex.build([100, 101, 102, 103], vectors, "float32", columns=COLUMNS, model_version=7)


def replace_work(index: ItemIndex, old: int, new: int) -> None:
    """Removes ``old`` and upserts ``new`` until it has the row of ``old``."""
    row = index.lookup([old])[0]
    index.remove([old])
    while index.lookup([new])[0] != row:
        index.upsert([new], [[9, 9, 9, 9]], {"creator_id": [99], "quality": [9]})


def test_view_reads_one_generation_during_writes(index: ItemIndex) -> None:
    query = np.ones(4, np.float32)
    with index.pinned() as view:
        assert isinstance(view, IndexView)
        before = view.search(query, ids=[100, 101, 102, 103], k=4)
        index.remove([100])
        index.upsert([999], [[9, 9, 9, 9]], {"creator_id": [99], "quality": [9]}, model_version=8)
        index.adjust([101], offset=50)
        index.block([102])
        index.upsert([103], [[0, 0, 0, 8]], {"creator_id": [41], "quality": [3]}, model_version=8)
        after = view.search(query, ids=[100, 101, 102, 103, 999], k=5)
        assert after.ids.tolist() == before.ids.tolist() == [103, 102, 101, 100] and after.n_unknown == 1
        np.testing.assert_array_equal(after.scores, before.scores)
        np.testing.assert_array_equal(view.lookup([100, 999, 103]), [0, -1, 3])
        np.testing.assert_array_equal(view.gather("creator_id", before.rows), [40, 30, 20, 10])
        np.testing.assert_array_equal(view.embeddings(before.rows), np.diag([1, 2, 3, 4])[::-1])
        np.testing.assert_array_equal(view.columns["quality"], COLUMNS["quality"])
        assert view.search(query, 4).ids.tolist() == before.ids.tolist()
        batch = view.search(query[None], rows=before.rows, k=4)
        assert batch.ids[0].tolist() == before.ids.tolist() and batch.generation == 1
        assert view.dpp_select(before.rows, before.scores, 4).indices.tolist() == [0, 1, 2, 3]
        assert (view.generation, len(view), view.n_rows, view.model_versions) == (1, 4, 4, (7,))
    assert index.generation == 6 and index.model_versions == (7, 8)


def test_rows_of_another_generation_are_refused(index: ItemIndex) -> None:
    result = index.search([1, 1, 1, 1], ids=[100, 101], k=2)
    looked_up = index.lookup([100, 101])
    assert result.rows.generation == looked_up.generation == result.generation == 1
    replace_work(index, 100, 999)
    refusal = rf"rows are of generation 1, this reads generation {index.generation}.*one view \(pinned\(\)\)"
    for rows in (result.rows, looked_up, looked_up[:1], result.rows[result.scores > 0], looked_up.copy()):
        relevance = np.ones(len(rows), np.float32)
        with pytest.raises(ValueError, match=refusal):
            index.dpp_select(rows, relevance, 1)
        with pytest.raises(ValueError, match=refusal):
            index.search([1, 1, 1, 1], rows=rows, k=1)
        with pytest.raises(ValueError, match=refusal):
            index.search([[1, 1, 1, 1]], rows=rows, k=1)
        with pytest.raises(ValueError, match=refusal):
            index.scores([1, 1, 1, 1], rows=rows)
        with pytest.raises(ValueError, match=refusal):
            index.embeddings(rows)
        with pytest.raises(ValueError, match=refusal):
            index.gather("creator_id", rows)
    with index.pinned() as view, pytest.raises(ValueError, match=refusal):
        view.gather("creator_id", looked_up)


def test_rows_of_another_index_are_refused(index: ItemIndex) -> None:
    other = ItemIndex.build(
        [7, 8, 9], np.eye(3, 4), "float32", columns={"creator_id": [1, 2, 3], "quality": [1, 1, 1]}
    )
    query = np.ones(4, np.float32)
    with other.pinned() as view:
        result = (
            other.lookup([7, 8]),
            view.lookup([7, 8])[:1],
            other.search(query, ids=[7, 8], k=2).rows,
            view.search(query, 2).rows,
            other.search(query[None], 2).rows[0],
            view.search(query[None], ids=[7, 8], k=2).rows[0],
        )
        for rows in result:
            assert view.gather("creator_id", rows).tolist() == other.gather("creator_id", rows).tolist()
    for reader in (index, index.pinned()):
        for rows in result:
            calls = (
                partial(reader.search, query, rows=rows, k=1),
                partial(reader.search, query[None], 1, rows=rows),
                partial(reader.scores, query, rows=rows),
                partial(reader.dpp_select, rows, np.ones(len(rows), np.float32), 1),
                partial(reader.embeddings, rows),
                partial(reader.gather, "creator_id", rows),
                partial(reader.model_versions_of, rows),
            )
            for call in calls:
                with pytest.raises(ValueError, match=r"rows were found in another index .*lookup"):
                    call()
            assert index.gather("creator_id", np.asarray(rows)).shape == rows.shape


def test_file_opened_twice_is_two_indexes(index: ItemIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index.karec")
    old, new = (ItemIndex.open(tmp_path / "index.karec") for _ in range(2))
    with pytest.raises(ValueError, match="rows were found in another index"):
        new.gather("creator_id", old.lookup([100]))


def test_plain_rows_are_not_checked_for_their_generation(index: ItemIndex) -> None:
    rows = np.asarray(index.lookup([100]))
    replace_work(index, 100, 999)
    assert index.gather("creator_id", rows) == [99]
    assert index.gather("creator_id", rows.tolist()) == [99]


def test_rows_keep_or_drop_their_tag(index: ItemIndex) -> None:
    rows = index.lookup([100, 101, 5])
    kept = (
        *(
            rows[:2],
            rows[rows >= 0],
            rows[[1, 0]],
            rows.copy(),
            rows.astype(np.int64),
            rows[::-1].reshape(3, 1),
        ),
        *(np.take(rows, [0]), np.sort(rows)),
    )
    assert {(entry.generation, entry.index is rows.index) for entry in kept} == {
        (1, True)
    } and rows.index is not None
    dropped = (
        *(rows >= 0, rows + 1, -rows, np.where(rows < 0, 0, rows), np.unique(rows)),
        *(np.concatenate([rows, rows]), np.append(rows, rows), np.stack([rows, rows]), np.pad(rows, 1)),
        *(np.asarray(rows), np.array(rows), np.copy(rows)),
    )
    for entry in dropped:
        assert type(entry) is np.ndarray
    assert rows.max() == 1 and rows.dtype == np.int32
    pickled = pickle.loads(pickle.dumps(rows))
    assert pickled.generation == 0 and pickled.index is None
    every = (
        index.search([1, 1, 1, 1], 2),
        index.search([[1, 1, 1, 1]], 2),
        index.search([[1, 1, 1, 1]], ids=[100], k=1),
    )
    assert [entry.rows.generation for entry in every] == [1, 1, 1]


def test_gather_returns_a_column_at_rows(index: ItemIndex) -> None:
    index.remove([102])
    for reader in (index, index.pinned()):
        creators = reader.gather("creator_id", [3, -1, 2, 0, 0])
        assert creators.tolist() == [40, 0, 0, 10, 10] and creators.dtype == np.int64
        assert reader.gather("quality", np.zeros(0, np.int32)).dtype == np.float32
        with pytest.raises(ValueError, match="the index has no column 'nothing'"):
            reader.gather("nothing", [0])
        with pytest.raises(ValueError, match=r"rows holds 4 at position 1, expected -1 \(unknown\) to 4"):
            reader.gather("quality", [0, 4])


def test_closed_view_raises_and_can_be_closed_again(index: ItemIndex) -> None:
    view = index.pinned()
    columns = view.columns
    assert "generation=1" in repr(view)
    view.close()
    view.close()
    assert repr(view) == "IndexView(closed)"
    uses = (
        lambda: len(view),
        lambda: view.generation,
        lambda: view.lookup([100]),
        lambda: view.search([1, 1, 1, 1], ids=[100], k=1),
        lambda: view.gather("quality", [0]),
        lambda: view.dpp_select([0], [1], 1),
        lambda: view.columns,
        lambda: view.save("never.karec"),
    )
    for use in uses:
        with pytest.raises(ValueError, match="this view of the index is closed"):
            use()
    assert columns["creator_id"].tolist() == [10, 20, 30, 40], "arrays of a view outlive it"


def test_view_outlives_its_index() -> None:
    view = ItemIndex.build([1], [[3.0]]).pinned()
    gc.collect()
    assert view.search([2], ids=[1], k=1).scores.tolist() == [6.0]


def test_rows_are_used_again_after_their_last_view_is_closed(index: ItemIndex) -> None:
    def refresh(times: int) -> int:
        for _ in range(times):
            index.upsert([100, 101], [[1, 0, 0, 0], [0, 1, 0, 0]], {"creator_id": [1, 2], "quality": [1, 2]})
        return index.n_rows

    settled = refresh(3)
    assert refresh(3) == settled
    view = index.pinned()
    content = refresh(5)
    assert content > settled, "rows of a view do not change"
    del view
    gc.collect()
    assert refresh(1) <= refresh(10) <= content


def test_mask_of_a_view_is_valid_after_writes(index: ItemIndex) -> None:
    with index.pinned() as view:
        mask = view.columns["creator_id"] >= 30
        index.upsert([7], [[1, 1, 1, 1]], {"creator_id": [50], "quality": [1]})
        assert view.search([1, 1, 1, 1], 9, mask=mask).ids.tolist() == [103, 102]
    result = index.search([1, 1, 1, 1], 9, mask=mask)
    assert result.ids.tolist() == [103, 102] and result.generation == 2, "rows added later are left out"
    for wrong in (np.ones(3, bool), np.ones(6, bool), np.ones(0, bool)):
        with pytest.raises(ValueError, match=rf"mask has {len(wrong)} entries"):
            index.search([1, 1, 1, 1], 9, mask=wrong)


def test_search_with_a_mask_runs_during_writes(index: ItemIndex) -> None:
    stop = threading.Event()

    def write() -> None:
        new = 1000
        while not stop.is_set() and new < 3000:
            index.upsert([new], [[0, 0, 0, 0]], {"creator_id": [1], "quality": [1]})
            new += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            result = index.search([1, 1, 1, 1], 2, mask=np.arange(index.n_rows) < 4)
            assert result.ids.tolist() == [103, 102]
    finally:
        stop.set()
        writer.join()
