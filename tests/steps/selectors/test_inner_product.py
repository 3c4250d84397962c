"""Inner products equal those of NumPy. Items without an embedding are counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.index import CodeTable, ItemIndex
from karec.pipeline.stage import Stage
from karec.pipeline.types import Candidates, Request
from karec.steps.filters.has_embedding import HasEmbedding
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.selectors.inner_product import InnerProduct


@pytest.fixture
def index():
    vectors = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    return ItemIndex.build(np.arange(50) + 1000, vectors, dtype="float32")


@pytest.fixture
def user_request(index):
    user = np.random.default_rng(1).normal(size=(1, index.dim)).astype(np.float32)
    return Request(user_id=1, k=5, view=index.pinned()).with_features({"user_vector": user})


def test_inner_product_scores_candidates_by_their_rows(index, user_request):
    ids = np.array([1007, 5, 1003, 1049])
    stage = Stage("prerank", (IndexRows(index.schema), HasEmbedding(), InnerProduct(index.schema, k=10)))
    outcome = stage.run(user_request, Candidates.from_ids(ids))
    expected = index.embeddings(np.array([7, 3, 49])) @ user_request.features["user_vector"][0]
    order = np.argsort(-expected)
    assert outcome.candidates.ids.tolist() == np.array([1007, 1003, 1049])[order].tolist()
    np.testing.assert_allclose(outcome.candidates.scores, expected[order], rtol=1e-5)
    rows, has_embedding, _ = outcome.steps
    assert rows.n_unknown == 1
    assert (has_embedding.n_removed, has_embedding.reason) == (1, "no embedding in the item index")


def test_inner_product_counts_candidates_without_a_row(index, user_request):
    selection = InnerProduct(index.schema, k=10).select(
        user_request, Candidates.from_ids(np.array([1, 2, 3]))
    )
    assert len(selection.indices) == 0
    assert selection.notes == {"unknown": 3}


def test_inner_product_uses_the_user_vector_of_each_version(index, user_request):
    rng = np.random.default_rng(3)
    index.upsert(np.arange(1000, 1020), rng.normal(size=(20, 16)), model_version=1)
    index.upsert(np.arange(1020, 1025), rng.normal(size=(5, 16)), model_version=2)
    users = rng.normal(size=(2, 16)).astype(np.float32)
    features = {"user_vector": users, "user_vector_versions": np.array([0, 1])}  # none of version 2
    user_request = user_request.with_features(features).with_view(index.pinned())
    ids = np.r_[np.arange(1000, 1050), 5]
    candidates = Candidates.from_ids(ids).with_rows(user_request.index.lookup(ids))
    selection = InnerProduct(index.schema, k=45).select(user_request, candidates)
    assert selection.notes == {"unknown": 1, "without_user_vector": 5}
    of = np.where(np.arange(50) < 20, 1, 0)
    expected = np.einsum("nd,nd->n", index.embeddings(candidates.rows[:50]).astype(np.float64), users[of])
    assert sorted(selection.indices.tolist()) == [*range(20), *range(25, 50)]
    np.testing.assert_allclose(selection.scores, expected[selection.indices], rtol=1e-4, atol=1e-5)
    assert (np.diff(selection.scores) <= 0).all()


def test_inner_product_rejects_k_0(index):
    with pytest.raises(ValueError, match=r"^k must be positive, got 0$"):
        InnerProduct(index.schema, k=0)


@given(st.integers(0, 2**32), st.integers(1, 60), st.lists(st.integers(-1, 49), max_size=60))
def test_inner_product_returns_the_best_k_ties_by_position(seed, k, rows):
    """Integer inner products are exact and often equal. −1 is an item without a row."""
    rng = np.random.default_rng(seed)
    vectors, user = rng.integers(-2, 3, (50, 3)).astype(np.float32), rng.integers(-2, 3, 3).astype(np.float32)
    index = ItemIndex.build(np.arange(50), vectors, dtype="float32")
    request = Request(1, k=1, view=index.pinned()).with_features({"user_vector": user[None]})
    candidates = Candidates.from_ids(np.arange(len(rows))).with_rows(np.array(rows, np.int32))
    selection = InnerProduct(index.schema, k).select(request, candidates)
    score = {at: float(vectors[row] @ user) for at, row in enumerate(rows) if row >= 0}
    best = sorted(score, key=lambda at: (-score[at], at))[:k]
    assert selection.indices.tolist() == best and selection.scores.tolist() == [score[at] for at in best]
    assert selection.notes == {"unknown": rows.count(-1)} and selection.scores.dtype == np.float32


def test_inner_product_for_warm_users_keeps_the_scores_of_a_cold_one(index, user_request):
    step = InnerProduct(index.schema, k=2, only_warm=True)
    index.block([1003])
    candidates = Candidates.from_ids(np.array([1007, 1003, 1049, 1001]), np.array([1, 9, 3, 2], np.float32))
    candidates = candidates.with_rows(index.lookup(candidates.ids))
    request = Request(1, view=index.pinned()).with_features(user_request.features)
    cold = step.select(request.with_features({"cold_start": np.array([True])}), candidates)
    assert cold.indices.tolist() == [2, 3] and cold.scores.tolist() == [3.0, 2.0]
    warm = step.select(request.with_features({"cold_start": np.array([False])}), candidates)
    usual = InnerProduct(index.schema, k=2).select(request, candidates)
    assert warm.indices.tolist() == usual.indices.tolist() and warm.scores.tolist() == usual.scores.tolist()


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 40), st.integers(1, 6), st.integers(1, 6))
def test_quotas_of_the_cut_equal_a_walk_over_the_best_items(seed, k, min_items, of_creator, of_song):
    rng = np.random.default_rng(seed)
    columns = {"creator_id": rng.integers(0, 4, 60), "song_id": rng.integers(0, 8, 60).astype(np.int16)}
    index = ItemIndex.build(np.arange(60), rng.normal(size=(60, 8)), dtype="float32", columns=columns)
    user = rng.normal(size=(1, 8)).astype(np.float32)
    at_most, min_items = {"creator_id": of_creator, "song_id": of_song}, min(min_items, k)
    order, m = np.argsort(-(index.embeddings(np.arange(60)) @ user[0])), k
    while len(expected := walk(order[:m], columns, at_most)) < min_items and m <= 60:
        m *= 4
    with index.pinned() as view:
        request = Request(1, k=5, view=view).with_features({"user_vector": user})
        items = Candidates.from_ids(np.arange(60)).with_rows(np.arange(60))
        step = InnerProduct(index.schema, k, at_most=at_most, min_items=min_items)
        selection = step.select(request, items)
    assert selection.indices.tolist() == expected[:k]


def walk(items, columns, at_most):
    """Returns the items within the quotas of each column, of those that are within the quotas before."""
    for column, count in at_most.items():
        counts, kept = {}, []
        for item in items:
            value = columns[column][item]
            counts[value] = counts.get(value, 0) + 1
            kept += [item] if counts[value] <= count else []
        items = kept
    return items


@pytest.mark.parametrize(
    ("at_most", "message"),
    [({"creator": 1}, "creator"), ({"tone": 1}, "integer"), ({"creator_id": 0}, "at_most.creator_id")],
)
def test_quota_of_a_wrong_column_or_number_is_refused(at_most, message):
    columns = {"creator_id": np.arange(3), "tone": np.ones(3)}
    index = ItemIndex.build(np.arange(3), np.eye(3), columns=columns)
    with pytest.raises(ValueError, match=message):
        InnerProduct(index.schema, 2, at_most=at_most)


@pytest.mark.parametrize("k", [1, 7, 39, 100])
def test_inner_product_adds_tables_and_keeps_ties_by_position(k):
    rng = np.random.default_rng(5)
    codes = {"tag": rng.integers(0, 6, 50).astype(np.uint32)}
    index = ItemIndex.build(np.arange(50), np.zeros((50, 4), np.float32), codes=codes)
    index.block([2])
    table = CodeTable(np.array([0, 3], np.uint32), np.array([1.5, -2.0], np.float32), other=0.25)
    features = {
        "user_vector": np.zeros((1, 4), np.float32),
        "user_vector_versions": np.array([0]),
        "user_tables": np.array([{"tag": table}], object),
    }
    request = Request(3, view=index.pinned()).with_features(features)
    ids = np.r_[99, np.arange(50)]  # the first is unknown
    candidates = Candidates.from_ids(ids).with_rows(request.index.lookup(ids))
    selection = InnerProduct(index.schema, k).select(request, candidates)
    expected = np.r_[-np.inf, np.select([codes["tag"] == 0, codes["tag"] == 3], [1.5, -2.0], 0.25)]
    expected[3] = -np.inf
    best = np.argsort(-expected, kind="stable")[: min(k, 49)]
    assert selection.indices.tolist() == best.tolist() and selection.notes == {"unknown": 1}
    np.testing.assert_array_equal(selection.scores, expected[best].astype(np.float32))
