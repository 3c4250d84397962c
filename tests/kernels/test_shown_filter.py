"""Filters of shown works hold all that were added, and hardly any other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.kernels import shown_filter

IDS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=60)


def filled(*parts):
    filters = np.zeros((len(parts), shown_filter.WORDS), np.int64)
    for words, ids in zip(filters, parts, strict=True):
        shown_filter.add(words, np.array(ids, np.int64))
    return filters


@given(first=IDS, second=IDS)
def test_what_was_added_is_held_whatever_the_order(first, second):
    filters = filled(first, second)
    assert shown_filter.held(filters, np.array(first + second, np.int64)).all()
    np.testing.assert_array_equal(filled(first[::-1], second * 2), filters)
    assert not shown_filter.held(filters[:0], np.array(first, np.int64)).any()


@pytest.mark.parametrize("ids", ["in a row", "drawn"])
@pytest.mark.parametrize(("n", "at_most"), [(6_800, 0.002), (10_000, 0.012)])
def test_others_are_held_as_rarely_as_the_page_says(ids, n, at_most):
    """Four filters of n each; the bound leaves room for the draw."""
    rng = np.random.default_rng(n)
    total = 4 * n + 200_000
    pool = np.arange(total) if ids == "in a row" else rng.integers(0, 2**62, total)
    filters = filled(*np.split(pool[: 4 * n], 4))
    share = shown_filter.held(filters, pool[4 * n :]).mean()
    assert share <= at_most
    ones = 1 - np.exp(-shown_filter.HASHES * n / shown_filter.BITS)
    assert 0.5 * 4 * ones**shown_filter.HASHES < share < 1.5 * 4 * ones**shown_filter.HASHES
