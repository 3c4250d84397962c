"""Quota: the best items of each group are kept."""

import re

import numpy as np
import pytest
from fifty_items import draw_candidates, fifty_items, first_items, request_of
from hypothesis import given
from hypothesis import strategies as st

from karec.errors import ContractError
from karec.index import ItemIndex
from karec.pipeline.types import Candidates
from karec.steps.filters.quota import Quota


@given(st.data(), st.sampled_from(["creator_id", "grade"]), st.integers(1, 12))
def test_quota_keeps_the_best_items_of_each_group(data, column, at_most):
    index = fifty_items()
    candidates, scores, rows = draw_candidates(data.draw)
    keep = Quota(index.schema, column=column, at_most=at_most).keep(request_of(index), candidates)
    group = index.columns[column][rows]
    best = sorted(range(len(rows)), key=lambda i: (-scores[i], i))
    kept = {i for value in set(group.tolist()) for i in [i for i in best if group[i] == value][:at_most]}
    assert keep.dtype == np.bool_
    assert keep.tolist() == [i in kept for i in range(len(rows))]


def test_quota_separates_values_of_one_hash_slot():
    # Times the library's multiplier these are 0, 1, 2, … in their highest bits.
    inverse = pow(0x9E3779B97F4A7C15, -1, 2**64)
    values = (np.arange(3000, dtype=np.uint64) * np.uint64(inverse)).view(np.int64)
    creators = np.repeat(values, 2)
    n = len(creators)
    index = ItemIndex.build(np.arange(n), np.ones((n, 1)), columns={"creator_id": creators})
    candidates = Candidates.from_ids(index.ids, np.arange(n)).with_rows(np.arange(n))
    keep = Quota(index.schema, "creator_id", at_most=1).keep(request_of(index), candidates)
    assert keep.tolist() == [False, True] * len(values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("creator_id", 0), "at_most must be positive, got 0"),
        (
            ("mood", 1),
            "the item index has no column 'mood'; it has ['creator_id', 'grade', 'tone', 'upload_ms']",
        ),
    ],
)
def test_quota_rejects_wrong_settings(settings, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Quota(fifty_items().schema, *settings)


def test_quota_rejects_candidates_without_a_row():
    index = fifty_items()
    candidates = first_items(index, 3).with_rows(np.array([0, -1, -1]))
    with pytest.raises(ContractError, match="2 of 3 candidates have no row in the item index"):
        Quota(index.schema, "creator_id", 1).keep(request_of(index), candidates)
