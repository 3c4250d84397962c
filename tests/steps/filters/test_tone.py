"""Tone: items below a score of moderation are dropped."""

import re

import numpy as np
import pytest
from fifty_items import fifty_items, first_items, request_of
from hypothesis import given
from hypothesis import strategies as st

from karec.errors import ContractError
from karec.steps.filters.tone import Tone


@given(st.sampled_from(["tone", "grade"]), st.integers(0, 49), st.sampled_from([-1e-9, 0.0, 1e-9]))
def test_tone_keeps_items_at_the_limit_and_drops_items_below(column, row, difference):
    """The limit is the value of an item, or a little less or more."""
    index = fifty_items()
    values = index.columns[column].tolist()
    at_least = values[row] + difference
    keep = Tone(index.schema, column=column, at_least=at_least).keep(request_of(index), first_items(index))
    assert keep.dtype == np.bool_
    assert keep.tolist() == [value >= at_least for value in values]


def test_tone_rejects_a_missing_column():
    message = "the item index has no column 'mood'; it has ['creator_id', 'grade', 'tone', 'upload_ms']"
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Tone(fifty_items().schema, "mood", 1.0)


def test_tone_rejects_candidates_without_a_row():
    index = fifty_items()
    candidates = first_items(index, 3).with_rows(np.array([0, -1, -1]))
    with pytest.raises(ContractError, match="2 of 3 candidates have no row in the item index"):
        Tone(index.schema, "tone", 0.5).keep(request_of(index), candidates)
