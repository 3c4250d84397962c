"""What a search answers, array by array, and which generation the arrays of an index belong to."""

import numpy as np
import pytest

import karec
from karec.index import ItemIndex


@pytest.fixture
def index() -> ItemIndex:
    """Ids 10, 20, 30 with vectors (3, 0), (2, 1), (1, 2); 30 is blocked, 20 has offset 0.5: generation 3."""
    index = ItemIndex.build(
        [10, 20, 30], np.array([[3, 0], [2, 1], [1, 2]], np.float32), columns={"song": [7, 8, 9]}
    )
    index.block([30])
    index.adjust([20], offset=0.5)
    return index


def test_a_scan_for_several_queries_gives_a_padded_list_for_each(index: ItemIndex) -> None:
    result = index.search_all(np.eye(2, dtype=np.float32), k=3)
    assert result.scores.tolist() == [[3.0, 2.5, -np.inf], [1.5, 0.0, -np.inf]]
    assert result.ids.tolist() == [[10, 20, -1], [20, 10, -1]]
    assert result.rows.tolist() == [[0, 1, -1], [1, 0, -1]]
    assert result.positions.tolist() == [[0, 1, -1], [1, 0, -1]]
    assert result.found is not None and result.found.tolist() == [2, 2]
    assert (result.unknown, result.generation) == (0, 3)
    # rows of this index and generation
    np.testing.assert_array_equal(index.gather("song", result.rows[0]), [7, 8, 0])
    none = index.search_all(np.empty((0, 2), np.float32), k=3)
    assert (none.generation, none.unknown, none.blocked) == (3, 0, 0)
    assert none.found is not None and none.found.tolist() == [] and none.scores.shape[0] == 0


def test_a_batch_counts_what_it_skipped_over_all_its_lists(index: ItemIndex) -> None:
    batch = index.search_batch(
        np.eye(2, dtype=np.float32), ids=[10, 30, 99, 30, 98, 20], indptr=[0, 3, 6], k=2
    )
    assert batch.scores.tolist() == [[3.0, -np.inf], [1.5, -np.inf]] and batch.ids.tolist() == [
        [10, -1],
        [20, -1],
    ]
    assert (batch.unknown, batch.blocked, batch.generation) == (2, 2, 3)


def test_columns_are_copied_once_for_a_generation_and_anew_after_a_write(index: ItemIndex) -> None:
    first = index.columns
    assert index.columns is first
    with index.pinned() as view:
        assert view.columns["song"].tolist() == [7, 8, 9]
        index.upsert([40], [[0, 0]], {"song": [5]})
        assert index.columns["song"].tolist() == [7, 8, 9, 5]
        assert view.columns["song"].tolist() == [7, 8, 9]
    assert index.ids.tolist() == [10, 20, 30, 40]


def test_an_index_and_its_views_say_what_they_are(index: ItemIndex) -> None:
    assert repr(index) == "ItemIndex(3 × 2 float16, columns=['song'], model_version=0, generation=3)"
    with index.pinned() as view:
        assert repr(view) == "IndexView(3 × 2 float16, columns=['song'], model_version=0, generation=3)"
    assert repr(view) == "IndexView(closed)"
    with pytest.raises(ValueError, match="closed"):
        view.lookup([10])


def test_a_dpp_of_rows_standardises_relevance_when_asked(index: ItemIndex) -> None:
    rows, relevance = index.lookup([10, 20, 30]), np.array([100.0, 101.0, 300.0], np.float32)
    vectors = index.embeddings(rows)
    for standardise in (False, True):
        found = index.dpp_select(rows, relevance, 3, standardise=standardise)
        expected = karec.diversity.dpp_select(vectors, relevance, 3, standardise=standardise)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.gains, expected.gains)
    plain = karec.diversity.dpp_select(vectors, relevance, 3)
    assert not np.array_equal(plain.gains, expected.gains)
