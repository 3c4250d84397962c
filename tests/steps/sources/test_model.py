"""The items nearest to the user vector."""

import numpy as np
import pytest

from karec.errors import ContractError, Unavailable
from karec.index import ItemIndex
from karec.pipeline.cascade import Cascade
from karec.pipeline.masks import AllowedRows
from karec.pipeline.recall import Recall
from karec.pipeline.types import Candidates, Request
from karec.steps.sources.merge import Merge
from karec.steps.sources.model import Model

A_STRANGER = Request(user_id=999)


def test_model_returns_the_nearest_items_and_scores(platform):
    vectors = np.eye(10, dtype=np.float32)
    index = ItemIndex.build(platform.works.ids, vectors)
    user = np.linspace(1, 0.1, 10, dtype=np.float32)[None]
    request = A_STRANGER.with_features({"user_vector": user}).with_view(index.pinned())
    candidates = Model(index.schema, quota=3).recall(request)
    assert candidates.ids.tolist() == [100, 101, 102]
    np.testing.assert_allclose(candidates.scores, [1, 0.9, 0.8], rtol=1e-3)


def test_model_leaves_out_blocked_items(platform):
    """Nine of ten items are blocked: the result is one item, without padding of id −1 and score −inf."""
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    index.block(platform.works.ids[:9])
    request = A_STRANGER.with_features({"user_vector": np.ones((1, 10), np.float32)}).with_view(
        index.pinned()
    )
    candidates = Model(index.schema, quota=3).recall(request)
    assert candidates.ids.tolist() == [109] and np.isfinite(candidates.scores).all()


def test_model_uses_the_user_vector_of_each_version(platform):
    """Items 100 … 104 have version 0 and 105 … 109 the next one. Each user vector finds the items of its
    version."""
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    index.upsert(np.arange(105, 110), np.eye(10)[:5], model_version=1)
    users = np.stack([np.linspace(1, 0.1, 10), np.linspace(0.55, 0.1, 10)]).astype(np.float32)
    for vectors, result in ((users, [100, 101, 102, 103]), (users[::-1], [105, 106, 107, 108])):
        features = {"user_vector": vectors, "user_vector_versions": np.array([0, 1])}
        candidates = Model(index.schema, quota=4).recall(
            A_STRANGER.with_features(features).with_view(index.pinned())
        )
        assert candidates.ids.tolist() == result


def test_model_counts_items_of_a_version_without_a_user_vector(platform):
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    index.upsert(np.arange(107, 110), np.eye(10)[:3], model_version=1)
    features = {"user_vector": np.ones((1, 10), np.float32), "user_vector_versions": np.array([0])}
    noted = Model(index.schema, quota=9).recall(A_STRANGER.with_features(features).with_view(index.pinned()))
    assert sorted(noted.value.ids.tolist()) == list(range(100, 107))
    assert noted.notes == {"without_user_vector": 3}


def test_model_names_the_step_of_a_missing_user_vector(platform):
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    with pytest.raises(Unavailable, match="user_tower"):
        Model(index.schema, quota=3).recall(A_STRANGER)


def test_cascade_rejects_model_of_another_index(platform):
    index, other = (ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32)) for _ in range(2))
    recall = Recall((Model(index.schema, quota=3),), Merge([3], 3))
    Cascade("home", (), recall, (), index=index)
    with pytest.raises(ContractError, match="was built on another item index than the cascade's"):
        Cascade("home", (), recall, (), index=other)


def listed_works(n=600, n_lists=30):
    """Returns (index, a request whose user vector is that of item 100)."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((12, 8))[rng.integers(0, 12, n)] + 0.3 * rng.standard_normal((n, 8))
    index = ItemIndex.build(np.arange(100, 100 + n), vectors)
    if n_lists:
        index.build_lists(n_lists)
    request = A_STRANGER.with_features({"user_vector": vectors[:1].astype(np.float32)}).with_view(
        index.pinned()
    )
    return index, request


def test_model_reads_n_probe_lists_if_not_exact():
    index, request = listed_works()
    exact = Model(index.schema, quota=20, n_probe=3).recall(request)
    some = Model(index.schema, quota=20, exact=False, n_probe=3).recall(request)
    expected = request.index.search(request.features["user_vector"][0], 20, n_probe=3)
    assert some.ids.tolist() == expected.ids.tolist() and some.scores.tolist() == expected.scores.tolist()
    assert exact.ids.tolist() == request.index.search(request.features["user_vector"][0], 20).ids.tolist()


def test_model_reads_lists_that_hold_twice_its_quota():
    index, request = listed_works()
    some = Model(index.schema, quota=150, exact=False, n_probe=1).recall(request)
    expected = request.index.search(request.features["user_vector"][0], 150, n_probe=15)
    assert some.ids.tolist() == expected.ids.tolist()


def test_model_finds_all_allowed_items_that_are_far_from_the_user():
    """A third of the items, those with the smallest inner products: none is in the nearest lists."""
    index, request = listed_works()
    scores = index.embeddings(np.arange(600)) @ request.features["user_vector"][0]
    mask = scores < np.quantile(scores, 1 / 3)
    nearest = request.index.search(request.features["user_vector"][0], 20, mask=mask, n_probe=3)
    assert len(nearest.ids) == 0
    far = Model(index.schema, 20, False, n_probe=3).recall(request.with_allowed(AllowedRows(mask)))
    order = np.argsort(-np.where(mask, scores, -np.inf), kind="stable")[:20]
    assert far.ids.tolist() == request.index.ids[order].tolist()


def test_model_reads_more_lists_if_fewer_items_are_allowed():
    index, request = listed_works()
    mask = np.random.default_rng(0).random(600) < 0.7
    some = Model(index.schema, 20, False, n_probe=3).recall(request.with_allowed(AllowedRows(mask)))
    expected = request.index.search(request.features["user_vector"][0], 20, mask=mask, n_probe=5)
    assert some.ids.tolist() == expected.ids.tolist()


@pytest.mark.parametrize("n_probe", [None, 3])
def test_model_scans_an_index_without_lists(n_probe):
    index, request = listed_works(n_lists=0)
    some = Model(index.schema, quota=20, exact=False, n_probe=n_probe).recall(request)
    assert some.ids.tolist() == Model(index.schema, quota=20).recall(request).ids.tolist()


def test_model_finds_an_upserted_item_in_its_list():
    index, request = listed_works()
    index.upsert([5000], 50 * request.features["user_vector"])
    result = Model(index.schema, quota=1, exact=False, n_probe=1).recall(request.with_view(index.pinned()))
    assert result.ids.tolist() == [5000]


@pytest.mark.parametrize("exact", [True, False])
def test_model_returns_each_item_once(exact):
    """The index has lists, items written after them, and two model versions with a user vector each."""
    rng = np.random.default_rng(5)
    index = ItemIndex.build(np.arange(3000), rng.standard_normal((3000, 8)))
    index.build_lists(24)
    index.upsert(np.arange(2800, 3100), rng.standard_normal((300, 8)), model_version=1)
    users = rng.standard_normal((2, 8)).astype(np.float32)
    features = {"user_vector": users, "user_vector_versions": np.array([0, 1])}
    request = A_STRANGER.with_features(features).with_view(index.pinned())
    result = Model(index.schema, quota=2000, exact=exact, n_probe=6).recall(request)
    assert isinstance(result, Candidates) and len(result) > 1000
    assert len(np.unique(result.ids)) == len(result)
