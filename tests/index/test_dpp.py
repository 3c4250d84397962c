"""ItemIndex.dpp_select equals dpp_select on the vectors of the index, and refuses rows without an item."""

from __future__ import annotations

import numpy as np
import pytest

from karec.diversity import dpp_select
from karec.index import ItemIndex

N, DIM = 500, 21
RELEVANCE = np.random.default_rng(1).standard_normal(300).astype(np.float32)
ROWS = np.random.default_rng(2).permutation(N)[:300].astype(np.int32)


def build(dtype, rescore=False):
    vectors = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)
    return ItemIndex.build(np.arange(N) * 3, vectors, dtype=dtype, rescore=rescore)


@pytest.mark.parametrize(
    ("dtype", "rescore"), [("float32", False), ("float16", False), ("int8", False), ("int8", True)]
)
@pytest.mark.parametrize("window", [None, 5])
def test_dpp_of_rows_equals_dpp_of_their_vectors(dtype, rescore, window, tmp_path):
    options = {
        "diversity": 0.7,
        "window": window,
        "types": np.arange(300) % 3,
        "type_weight": 0.2,
        "weights": np.linspace(0.5, 1, 300),
        "shown": np.eye(2, DIM),
        "max_per_type": 30,
    }
    index = build(dtype, rescore)
    index.save(tmp_path / "index")
    for entry in (index, ItemIndex.open(tmp_path / "index")):
        result = entry.dpp_select(ROWS, RELEVANCE, 60, **options)
        expected = dpp_select(entry.embeddings(ROWS), RELEVANCE, 60, **options)
        np.testing.assert_array_equal(result.indices, expected.indices)
        np.testing.assert_array_equal(result.gains, expected.gains)
        assert (result.log_det, result.n_dpp) == (expected.log_det, expected.n_dpp)


def test_dpp_counts_a_repeated_row_as_two_items():
    result = build("float16").dpp_select([4, 4, 7], [1.0, 1.0, 0.5], 3, ridge=0.0)
    assert sorted(result.indices.tolist()) == [0, 1, 2] and result.n_dpp == 2


def test_dpp_refuses_rows_without_an_item():
    index = build("float16")
    gone = int(index.lookup([30])[0])
    index.remove([30])
    for rows, row, place in (([1, 2, -1, -1], -1, 2), ([1, gone, 2, 3], gone, 1), ([N, 1, 2, 3], N, 0)):
        with pytest.raises(
            ValueError, match=f"rows holds {row} at position {place}: the index has no item there"
        ):
            index.dpp_select(rows, RELEVANCE[:4], 2)


def test_dpp_of_rows_refuses_wrong_arguments():
    index = build("int8")
    with pytest.raises(
        ValueError,
        match=r"relevance has shape \(2,\), expected \(3,\) as rows has shape "
        r"\(3,\)",
    ):
        index.dpp_select([1, 2, 3], [1.0, 2.0], 2)
    with pytest.raises(ValueError, match=r"shown has shape \(1, 3\), expected \(M, 21\)"):
        index.dpp_select([1, 2, 3], [1.0, 2.0, 3.0], 2, shown=np.ones((1, 3)))
    with pytest.raises(ValueError, match="relevance holds NaN at position 1"):
        index.dpp_select([1, 2, 3], [1.0, np.nan, 3.0], 2)
    with pytest.raises(ValueError, match="k must be positive, got 0"):
        index.dpp_select([1], [1.0], 0)
    with pytest.raises(ValueError, match="rows has dtype float64"):
        index.dpp_select([1.5], [1.0], 1)
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'diversty'"):
        index.dpp_select([1], [1.0], 1, diversty=0.5)
    assert len(index.dpp_select([], [], 3).indices) == 0
