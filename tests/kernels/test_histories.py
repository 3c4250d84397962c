"""Padded histories against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.kernels.histories import padded_histories


@given(st.data(), st.integers(0, 30), st.integers(1, 6))
def test_padded_histories_are_newest_first(data, n_values, width):
    values = np.arange(n_values) + 100
    bounds = st.tuples(st.integers(0, n_values), st.integers(0, n_values)).map(sorted)
    rows = data.draw(st.lists(bounds, max_size=5))
    starts, ends = np.array(rows, np.int64).reshape(-1, 2).T
    padded = padded_histories(values, starts, ends, width)
    assert padded.shape == (len(rows), width)
    for row, (start, end) in zip(padded, rows, strict=True):
        expected = values[start:end][::-1][:width].tolist()
        assert row.tolist() == expected + [-1] * (width - len(expected))


@pytest.mark.parametrize(
    ("start", "end"), [(0, -1), (1, -(2**63)), (-1, 2), (2, 1), (2**63 - 1, -(2**63)), (0, 2**63 - 1)]
)
def test_padded_histories_reject_a_row_outside_the_values(start, end):
    """Without the check, end − start wraps and the row contains memory before the values."""
    with pytest.raises(ValueError, match=f"row 1 asks for {start}…{end} of 3 values"):
        padded_histories(np.arange(3), np.array([0, start]), np.array([3, end]), 2)


def test_padded_histories_reject_bad_bounds_and_width():
    with pytest.raises(ValueError, match=r"row 1 asks for 0…4 of 3 values"):
        padded_histories(np.arange(3), np.array([0, 0]), np.array([3, 4]), 2)
    with pytest.raises(ValueError, match="width"):
        padded_histories(np.arange(3), np.array([0]), np.array([3]), 0)
