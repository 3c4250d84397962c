"""Arrays and counts of a search result, its DPP, and the generation of an index's arrays."""

import gc

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


def test_search_of_several_queries_returns_padded_lists(index: ItemIndex) -> None:
    result = index.search(np.eye(2, dtype=np.float32), 3)
    assert result.scores.tolist() == [[3.0, 2.5, -np.inf], [1.5, 0.0, -np.inf]]
    assert result.ids.tolist() == [[10, 20, -1], [20, 10, -1]]
    assert result.rows.tolist() == [[0, 1, -1], [1, 0, -1]]
    assert result.positions.tolist() == [[0, 1, -1], [1, 0, -1]]
    assert result.n_found is not None and result.n_found.tolist() == [2, 2]
    assert (result.n_unknown, result.generation) == (0, 3)
    # rows of this index and generation
    np.testing.assert_array_equal(index.gather("song", result.rows[0]), [7, 8, 0])
    none = index.search(np.empty((0, 2), np.float32), 3)
    assert (none.generation, none.n_unknown, none.n_blocked) == (3, 0, 0)
    assert none.n_found is not None and none.n_found.tolist() == [] and none.scores.shape[0] == 0


def test_search_of_candidates_counts_skipped_items_of_all_queries(index: ItemIndex) -> None:
    batch = index.search(np.eye(2, dtype=np.float32), ids=[10, 30, 99], k=2)
    assert batch.scores.tolist() == [[3.0, -np.inf], [0.0, -np.inf]]
    assert batch.ids.tolist() == [[10, -1], [10, -1]]
    assert (batch.n_unknown, batch.n_blocked, batch.generation) == (2, 2, 3)


def test_columns_are_copied_once_for_each_generation(index: ItemIndex) -> None:
    first = index.columns
    assert index.columns is first
    with index.pinned() as view:
        assert view.columns["song"].tolist() == [7, 8, 9]
        index.upsert([40], [[0, 0]], {"song": [5]})
        assert index.columns["song"].tolist() == [7, 8, 9, 5]
        assert view.columns["song"].tolist() == [7, 8, 9]
    assert index.ids.tolist() == [10, 20, 30, 40]


def test_repr_of_index_and_view_names_size_and_generation(index: ItemIndex) -> None:
    assert repr(index) == "ItemIndex(3 × 2 float16, columns=['song'], model_version=0, generation=3)"
    with index.pinned() as view:
        assert repr(view) == "IndexView(3 × 2 float16, columns=['song'], model_version=0, generation=3)"
    assert repr(view) == "IndexView(closed)"
    with pytest.raises(ValueError, match="closed"):
        view.lookup([10])


def test_dpp_of_rows_standardises_relevance_on_request(index: ItemIndex) -> None:
    rows, relevance = index.lookup([10, 20, 30]), np.array([100.0, 101.0, 300.0], np.float32)
    vectors = index.embeddings(rows)
    for standardise in (False, True):
        actual = index.dpp_select(rows, relevance, 3, standardise=standardise)
        expected = karec.diversity.dpp_select(vectors, relevance, 3, standardise=standardise)
        np.testing.assert_array_equal(actual.indices, expected.indices)
        np.testing.assert_array_equal(actual.gains, expected.gains)
    plain = karec.diversity.dpp_select(vectors, relevance, 3)
    assert not np.array_equal(plain.gains, expected.gains)


def test_found_dpp_selects_ids_by_score_and_vectors(index: ItemIndex) -> None:
    with index.pinned() as view:
        actual = view.search([1, 1], 3, ids=[10, 20, 30])
        selected = actual.dpp(2, diversity=0.9, standardise=True)
        expected = karec.diversity.dpp_select(
            view.embeddings(actual.rows), actual.scores, 2, diversity=0.9, standardise=True
        )
    np.testing.assert_array_equal(selected.indices, expected.indices)
    np.testing.assert_array_equal(selected.gains, expected.gains)
    np.testing.assert_array_equal(selected.ids, actual.ids[expected.indices])


def test_found_dpp_raises_after_its_view_is_closed(index: ItemIndex) -> None:
    with index.pinned() as view:
        actual = view.search([1, 1], 3)
    with pytest.raises(ValueError, match="this view of the index is closed"):
        actual.dpp(2)
    del view
    gc.collect()
    with pytest.raises(ValueError, match=r"the view that found these items is closed.*with index\.pinned"):
        actual.dpp(2)


def test_found_dpp_of_an_index_raises_after_a_write(index: ItemIndex) -> None:
    actual = index.search([1, 1], 3)
    assert actual.dpp(1).ids is not None
    index.remove([10])
    with pytest.raises(ValueError, match="rows are of generation 3, this reads generation 4"):
        actual.dpp(1)


def test_found_dpp_refuses_several_queries_and_unknown_options(index: ItemIndex) -> None:
    with pytest.raises(ValueError, match="this result has 2 queries"):
        index.search(np.eye(2), 3).dpp(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'diversty'"):
        index.search([1, 0], 3).dpp(1, diversty=0.5)


def test_search_result_keeps_no_generation_alive(index: ItemIndex) -> None:
    def refresh(times: int) -> int:
        for _ in range(times):
            index.upsert([10, 20], [[3, 0], [2, 1]], {"song": [7, 8]})
        return index.n_rows

    settled = refresh(4)
    actual = index.pinned().search([1, 1], 3)
    gc.collect()
    assert refresh(6) == settled and len(actual.ids) == 2
