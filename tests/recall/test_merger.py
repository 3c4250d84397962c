"""The merger's quotas and limit are those that it was given, to the work."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_merge import plain_merge

from karec.recall.merger import QuotaMerger
from karec.types import Candidates, Request

channels = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=12, unique_by=lambda pair: pair[0]),
        st.integers(1, 8),
    ),
    max_size=4,
)


@given(channels, st.integers(1, 30))
def test_each_channel_brings_its_quota_of_works_that_are_new_and_all_together_the_limit(channels, limit):
    found, quotas = [channel for channel, _ in channels], [quota for _, quota in channels]
    parts = [Candidates.of([work for work, _ in part], np.array([score for _, score in part])) for part in found]
    merged = QuotaMerger(quotas, limit).merge(Request(1), parts)
    told = zip(merged.ids.tolist(), merged.scores.tolist(), merged.sources.tolist(), strict=True)
    assert list(told) == plain_merge(found, quotas, limit)
    assert merged.rows.tolist() == [-1] * len(merged), "rows are for a hydrator to find"


@pytest.mark.parametrize(("quotas", "limit"), [([1, 0], 1), ([-1], 1), ([1], 0), ([1], -1)])
def test_quotas_and_the_limit_are_positive(quotas, limit):
    with pytest.raises(
        ValueError, match=re.escape(f"quotas and the limit must be positive, got {quotas} and {limit}") + "$"
    ):
        QuotaMerger(quotas, limit)


def test_the_merger_keeps_quotas_of_its_own():
    quotas = [2]
    merger = QuotaMerger(quotas, 9)
    quotas[0] = 5
    assert merger.limit == 9 and len(merger.merge(Request(1), [Candidates.of(np.arange(9))])) == 2
