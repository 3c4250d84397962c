"""Tests of the agreement measures against plain loops in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from karec.evaluate.metrics.agreement import hit_rate, ndcg_against, normalised_hit_rate

# the ranker's order of ten works is 0, 1, …, 9; prerank's is 0, 2, 4, 6, 8, 1, 3, 5, 7, 9
RANKER = np.arange(10, 0, -1.0)
PRERANK = np.array([10, 5, 9, 4, 8, 3, 7, 2, 6, 1.0])

pools = st.integers(2, 12).flatmap(
    lambda n: st.tuples(*[arrays(np.float64, (3, n), elements=st.integers(0, 4).map(float))] * 2)
)


def plain_order(scores):
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


def plain_ndcg(scores, reference, k):
    k = min(k, len(scores))
    rank = {work: place for place, work in enumerate(plain_order(reference))}
    dcg = sum(
        max(1 - rank[work] / k, 0) / np.log2(place + 2) for place, work in enumerate(plain_order(scores)[:k])
    )
    return dcg / sum((1 - place / k) / np.log2(place + 2) for place in range(k))


@given(pools)
def test_agreement_of_pools_equals_plain_loops(sample):
    scores, reference = sample
    n = scores.shape[1]
    for m in range(1, n + 1):
        for k in range(1, n + 1):
            plain = [
                len(set(plain_order(f)[:k]) & set(plain_order(r)[:m])) / m
                for f, r in zip(scores, reference, strict=True)
            ]
            np.testing.assert_allclose(hit_rate(scores, reference, m, k), plain)
            if k < n:
                expected = (np.array(plain) - k / n) / (1 - k / n)
                np.testing.assert_allclose(normalised_hit_rate(scores, reference, m, k), expected)
    for k in (1, n, n + 3):
        plain = [plain_ndcg(f, r, k) for f, r in zip(scores, reference, strict=True)]
        np.testing.assert_allclose(ndcg_against(scores, reference, k), plain)


@given(pools)
def test_agreement_depends_only_on_order_and_is_1_with_itself(sample):
    scores, reference = sample
    curved = np.exp(2 * scores) - 5
    np.testing.assert_array_equal(hit_rate(curved, reference, 2, 2), hit_rate(scores, reference, 2, 2))
    np.testing.assert_array_equal(ndcg_against(curved, reference), ndcg_against(scores, reference))
    assert (hit_rate(scores, curved, 2, 2) == 1).all()
    np.testing.assert_allclose(ndcg_against(scores, curved), 1.0)


def test_normalised_hit_rate_of_random_order_is_0_on_average():
    generator = np.random.default_rng(0)
    scores, reference = generator.random((2, 4000, 100))
    for m, k in ((10, 10), (10, 50), (50, 80)):
        assert abs(normalised_hit_rate(scores, reference, m, k).mean()) < 0.02


def test_agreement_refuses_wrong_shapes_nan_and_cuts():
    with pytest.raises(ValueError, match=r"scores \(10,\) and reference \(9,\)"):
        hit_rate(PRERANK, RANKER[:9], 1, 1)
    with pytest.raises(ValueError, match=r"reference\[3\] is nan"):
        ndcg_against(PRERANK, np.where(np.arange(10) == 3, np.nan, RANKER), 3)
    with pytest.raises(ValueError, match="k is 11, expected 1 to 10"):
        hit_rate(PRERANK, RANKER, 1, 11)
    with pytest.raises(ValueError, match="m is 0, expected 1 to 10"):
        hit_rate(PRERANK, RANKER, 0, 1)
    with pytest.raises(ValueError, match="expected less than the size of the pool"):
        normalised_hit_rate(PRERANK, RANKER, 1, 10)
    with pytest.raises(ValueError, match="size of the pool 0"):
        ndcg_against(np.empty((2, 0)), np.empty((2, 0)))
