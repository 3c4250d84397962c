"""Filters of shown items contain all added ids, and others only with the documented error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.kernels import shown_filter

IDS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60)


def make_filters(*parts):
    filters = np.zeros((len(parts), shown_filter.WORDS), np.int64)
    for words, ids in zip(filters, parts, strict=True):
        shown_filter.add(words, np.array(ids, np.int64))
    return filters


@given(first=IDS, second=IDS)
def test_filter_contains_added_ids_in_any_order(first, second):
    filters = make_filters(first, second)
    assert shown_filter.contains(filters, np.array(first + second, np.int64)).all()
    np.testing.assert_array_equal(make_filters(first[::-1], second * 2), filters)
    assert not shown_filter.contains(filters[:0], np.array(first, np.int64)).any()


@pytest.mark.parametrize("ids", ["in a row", "drawn"])
@pytest.mark.parametrize(("n", "max_error"), [(6_800, 0.002), (10_000, 0.012)])
def test_filter_error_is_as_documented(ids, n, max_error):
    """Four filters of n ids each; the bound allows for random variation."""
    rng = np.random.default_rng(n)
    total = 4 * n + 200_000
    pool = np.arange(total) if ids == "in a row" else rng.integers(0, 2**62, total)
    filters = make_filters(*np.split(pool[: 4 * n], 4))
    error = shown_filter.contains(filters, pool[4 * n :]).mean()
    assert error <= max_error
    ones = 1 - np.exp(-shown_filter.HASHES * n / shown_filter.BITS)
    assert 0.5 * 4 * ones**shown_filter.HASHES < error < 1.5 * 4 * ones**shown_filter.HASHES
