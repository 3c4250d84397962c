"""Columns of an upsert: given columns, missing columns, and values that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from karec.index import ItemIndex

IDS = np.array([40, -3, 2**62, 7])
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def index() -> ItemIndex:
    columns = {"creator_id": np.array([9, 9, 8, 7]), "quality": np.array([0.1, 0.2, 0.3, 0.4], np.float16)}
    return ItemIndex.build(IDS, VECTORS, columns=columns, model_version=7)


def test_upsert_keeps_columns_that_are_not_given(index: ItemIndex) -> None:
    before = {name: index.gather(name, index.lookup(IDS)) for name in index.columns}
    index.upsert(IDS[:2], VECTORS[:2], {"quality": [5, 6]})
    rows = index.lookup(IDS)
    assert index.gather("quality", rows).tolist() == [5, 6, *before["quality"][2:].tolist()]
    np.testing.assert_array_equal(index.gather("creator_id", rows), before["creator_id"])
    index.upsert(IDS, VECTORS)
    rows = index.lookup(IDS)
    np.testing.assert_array_equal(index.gather("creator_id", rows), before["creator_id"])
    assert index.gather("quality", rows)[:2].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"quality": [1, 2]},
            r"column 'creator_id' is missing, and id 8 \(position 1\) is new: a new item needs "
            r"every",
        ),
        (
            {"creator_id": [1, 2.5], "quality": [1, 1]},
            "column 'creator_id' has dtype float64, the index holds int64: 2.5 at position 1 does not fit",
        ),
        (
            {"creator_id": [1, np.nan], "quality": [1, 1]},
            "column 'creator_id' has dtype float64, the index holds int64: nan at position 1 does not fit",
        ),
        (
            {"creator_id": np.array([1, 2**63], np.uint64), "quality": [1, 1]},
            "column 'creator_id' has dtype uint64, the index holds int64: 9223372036854775808 at position 1",
        ),
        (
            {"creator_id": [1, 2], "quality": [1e300, 1]},
            r"column 'quality' has dtype float64, the index holds float16: 1e\+300 at position 0 does "
            r"not fit",
        ),
        (
            {"creator_id": [1, 2], "quality": ["a", "b"]},
            "column 'quality' has dtype <U1, expected an integer",
        ),
        ({"creator_id": [1, 2], "quality": [1, 1], "other": [1, 1]}, "the index has no column 'other'$"),
        ({"creator": [1, 2]}, r"the index has no column 'creator' \(did you mean 'creator_id'\?\)$"),
    ],
)
def test_upsert_names_the_value_that_does_not_fit_its_column(
    index: ItemIndex, columns: dict[str, ArrayLike], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        index.upsert([IDS[0], 8], VECTORS[:2], columns)
    assert index.generation == 1


def test_upsert_converts_a_column_if_no_value_changes(index: ItemIndex) -> None:
    index.upsert(IDS[:1], VECTORS[:1], {"creator_id": [3.0], "quality": np.array([np.nan])})
    row = index.lookup(IDS[:1])
    assert index.gather("creator_id", row) == [3] and np.isnan(index.gather("quality", row)[0])


def test_upsert_refuses_an_integer_that_float64_rounds() -> None:
    index = ItemIndex.build(IDS, VECTORS, columns={"number": np.zeros(4)})
    index.upsert(IDS[:2], VECTORS[:2], {"number": [2**53, 2**53 + 2]})
    with pytest.raises(
        ValueError, match="int64, the index holds float64: 9007199254740993 at position 1 does not fit"
    ):
        index.upsert(IDS[:2], VECTORS[:2], {"number": [2**53, 2**53 + 1]})
