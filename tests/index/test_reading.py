"""Data of an index: ids, vectors, columns, lookups, and the memory that it reads."""

from __future__ import annotations

import numpy as np
import pytest
from four_works import IDS, VECTORS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from karec.index import ItemIndex


def test_index_returns_its_sizes_ids_columns_and_vectors(index: ItemIndex) -> None:
    assert (len(index), index.dim, index.dtype, index.model_version, index.generation) == (
        4,
        3,
        np.float16,
        7,
        1,
    )
    np.testing.assert_array_equal(index.ids, IDS)
    np.testing.assert_array_equal(index.columns["creator_id"], [9, 9, 8, 7])
    assert index.columns["quality"].dtype == np.float16 and set(index.columns) == {"creator_id", "quality"}
    np.testing.assert_array_equal(index.embeddings([2, -1, 0]), [[6, 7, 8], [0, 0, 0], [0, 1, 2]])


def test_schema_has_dim_and_columns_and_stays_the_same_object(index: ItemIndex) -> None:
    schema = index.schema
    assert schema.dim == index.dim
    assert schema.columns == {name: column.dtype for name, column in index.columns.items()}
    index.upsert(index.ids[:1], index.embeddings(np.array([0])))
    assert index.schema is schema


def test_index_arrays_are_read_only_and_outlive_the_index(index: ItemIndex) -> None:
    ids, creators = index.ids, index.columns["creator_id"]
    del index
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1
    assert ids.tolist() == IDS.tolist() and creators.tolist() == [9, 9, 8, 7]


@settings(max_examples=200, deadline=None)
@given(values=hnp.arrays(np.float32, (7, 5), elements=st.floats(-65519, 65519, width=32)))
def test_float16_rounds_to_nearest_even(values: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).astype(np.float32)
    stored = ItemIndex.build(np.arange(7), values).embeddings(np.arange(7))
    np.testing.assert_array_equal(stored, expected)


def test_every_float16_value_is_stored_unchanged() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][:, None]
    index = ItemIndex.build(np.arange(len(halves)), halves)
    np.testing.assert_array_equal(index.embeddings(np.arange(len(halves))), halves.astype(np.float32))
    np.testing.assert_array_equal(
        index.scores([1.0], rows=np.arange(len(halves))), halves[:, 0].astype(np.float32)
    )


@settings(max_examples=100, deadline=None)
@given(
    known=st.sets(st.integers(-(2**63), 2**63 - 1), max_size=400),
    target=st.lists(st.integers(-(2**63), 2**63 - 1)),
)
def test_lookup_equals_a_dictionary(known: set[int], target: list[int]) -> None:
    ids = np.array(sorted(known), np.int64)
    row_of = {int(i): row for row, i in enumerate(ids)}
    requested = np.array([*target, *row_of], np.int64)
    rows = ItemIndex.build(ids, np.ones((len(ids), 1))).lookup(requested)
    assert rows.tolist() == [row_of.get(int(i), -1) for i in requested]


def test_lookup_keeps_known_rows_and_finds_the_others(index: ItemIndex) -> None:
    requested = [*IDS.tolist(), 999]
    result = index.lookup(requested)
    for missing in ([], [0, 3], [4], range(5)):
        known = result.copy()
        known[list(missing)] = -1
        again = index.lookup(requested, known)
        assert again.tolist() == result.tolist() and index.has_rows(again)


def test_lookup_refuses_known_rows_of_another_index(index: ItemIndex) -> None:
    before = index.lookup(IDS)
    with pytest.raises(ValueError, match=r"^known has shape \(4,\), expected \(3,\) as ids has$"):
        index.lookup(IDS[:3], before)
    other = ItemIndex.build(IDS, VECTORS).lookup(IDS)
    index.block(IDS[:1])
    for elsewhere in (before, other, np.arange(4)):
        assert not index.has_rows(elsewhere)
        with pytest.raises(ValueError, match=r"^known rows were found in another index or generation"):
            index.lookup(IDS, elsewhere)


def test_index_converts_strided_input_and_other_dtypes(index: ItemIndex) -> None:
    query = np.array([1.0, 9.0, 0.0, 9.0, 0.0])[::2]
    rows = np.array([3, 0, 1, 0], np.int64)[::2]
    assert index.scores(query, rows=rows).tolist() == [9.0, 3.0]
    assert index.scores(query.astype(">f4"), rows=rows.astype(np.uint8)).tolist() == [9.0, 3.0]
    strided = ItemIndex.build(IDS[::2], np.asfortranarray(VECTORS)[::2])
    np.testing.assert_array_equal(strided.embeddings([0, 1]), VECTORS[::2])


def test_index_does_not_copy_contiguous_input() -> None:
    """The search reads the caller's arrays: an address that NumPy would have to copy is the only way to tell,
    so the memory that a search of 10 million rows takes is compared with the size of a copy."""
    import tracemalloc

    index = ItemIndex.build([1], np.ones((1, 1)))
    rows = np.zeros(10_000_000, np.int32)
    tracemalloc.start()
    index.search([1.0], rows=rows, k=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rows.nbytes / 10
