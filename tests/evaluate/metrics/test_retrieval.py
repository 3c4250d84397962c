"""Tests of recall and NDCG of held-out items against plain loops in float64."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.evaluate.metrics.retrieval import ndcg_at, recall_at, top_columns, top_items

USERS, WORKS = 5, 30


@st.composite
def problems(draw):
    """(scores with ties, known, held-out pairs that are not known)."""
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    scores = generator.integers(0, 8, (USERS, WORKS)).astype(np.float32)
    known = [generator.choice(WORKS, generator.integers(0, 10), replace=False) for _ in range(USERS)]
    held = [
        np.setdiff1d(generator.choice(WORKS, generator.integers(0, 12), replace=False), known[u])
        for u in range(USERS)
    ]
    padded = np.full((USERS, 12), -1)
    for row, items in zip(padded, known, strict=True):
        row[: len(items)] = items
    return scores, padded, held, draw(st.sampled_from((1, 3, 10, 30)))


def oracle_top(scores, known, k):
    order = sorted(set(range(WORKS)) - set(known.tolist()), key=lambda work: (-scores[work], work))
    return order[:k]


def pairs(held):
    user = np.repeat(np.arange(len(held)), [len(items) for items in held])
    return user, np.concatenate([*held, np.empty(0, np.int64)]).astype(np.int64)


@given(problems())
def test_top_columns_order_by_score_then_column_without_known(problem):
    scores, known, _, k = problem
    top = top_columns(scores, known, k)
    for row in range(USERS):
        expected = oracle_top(scores[row], known[row], k)
        assert top[row].tolist() == expected + [-1] * (k - len(expected))


@given(problems())
def test_recall_and_ndcg_equal_plain_loops(problem):
    scores, known, held, k = problem
    top = top_columns(scores, known, k)
    recall, ndcg = recall_at(top, *pairs(held), k), ndcg_at(top, *pairs(held), k)
    for row, items in enumerate(held):
        if not len(items):
            assert np.isnan(recall[row]) and np.isnan(ndcg[row])
            continue
        best = oracle_top(scores[row], known[row], k)
        gain = sum(1 / math.log2(2 + place) for place, work in enumerate(best) if work in items)
        ideal = sum(1 / math.log2(2 + place) for place in range(min(k, len(items))))
        assert recall[row] == pytest.approx(len(set(best) & set(items.tolist())) / len(items), abs=1e-12)
        assert ndcg[row] == pytest.approx(gain / ideal, abs=1e-12)


def test_top_items_search_all_items_for_many_users():
    generator = np.random.default_rng(0)
    users, works = generator.normal(size=(1200, 4)).astype(np.float32), generator.normal(size=(50, 4))
    known = generator.integers(-1, 50, (1200, 3))
    top = top_items(users, works.astype(np.float32), known, 7)
    scores = (users @ works.astype(np.float32).T).astype(np.float32)
    np.testing.assert_array_equal(top, top_columns(scores, known, 7))


def test_retrieval_measures_refuse_values_out_of_bounds():
    top = np.zeros((3, 5), np.int64)
    with pytest.raises(ValueError, match="k is 6, expected 1 to 5"):
        recall_at(top, np.array([0]), np.array([0]), 6)
    with pytest.raises(ValueError, match=r"users are 0 … 3, expected 0 … 2"):
        recall_at(top, np.array([0, 3]), np.array([0, 0]), 5)
