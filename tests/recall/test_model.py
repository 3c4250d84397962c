"""The works nearest to the user vector."""

import numpy as np
import pytest

from karec.cascade import Cascade, Recall
from karec.errors import ContractError, Unavailable
from karec.index import ItemIndex
from karec.recall.merger import QuotaMerger
from karec.recall.model import Model
from karec.types import Request

A_STRANGER = Request(user_id=999)


def test_model_brings_the_nearest_works_and_their_scores(platform):
    vectors = np.eye(10, dtype=np.float32)
    index = ItemIndex.build(platform.works.ids, vectors)
    user = np.linspace(1, 0.1, 10, dtype=np.float32)[None]
    request = A_STRANGER.with_features({"user_vector": user}).with_view(index.pinned())
    candidates = Model(index, quota=3).recall(request)
    assert candidates.ids.tolist() == [100, 101, 102]
    np.testing.assert_allclose(candidates.scores, [1, 0.9, 0.8], rtol=1e-3)


def test_model_leaves_blocked_works_out_and_brings_no_sentinel(platform):
    """Ten works, nine blocked: one is found, not one and two places of id −1 with score −inf."""
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    index.block(platform.works.ids[:9])
    request = A_STRANGER.with_features({"user_vector": np.ones((1, 10), np.float32)}).with_view(index.pinned())
    candidates = Model(index, quota=3).recall(request)
    assert candidates.ids.tolist() == [109] and np.isfinite(candidates.scores).all()


def test_model_asks_each_version_with_its_own_user_vector(platform):
    """Works 100 … 104 stay of version 0, 105 … 109 move on: the old vector finds the old, the new one the new."""
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    index.upsert(np.arange(105, 110), np.eye(10)[:5], model_version=1)
    users = np.stack([np.linspace(1, 0.1, 10), np.linspace(0.55, 0.1, 10)]).astype(np.float32)
    for vectors, found in ((users, [100, 101, 102, 103]), (users[::-1], [105, 106, 107, 108])):
        features = {"user_vector": vectors, "user_vector_versions": np.array([0, 1])}
        candidates = Model(index, quota=4).recall(A_STRANGER.with_features(features).with_view(index.pinned()))
        assert candidates.ids.tolist() == found


def test_model_counts_works_of_a_version_without_a_user_vector(platform):
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    index.upsert(np.arange(107, 110), np.eye(10)[:3], model_version=1)
    features = {"user_vector": np.ones((1, 10), np.float32), "user_vector_versions": np.array([0])}
    noted = Model(index, quota=9).recall(A_STRANGER.with_features(features).with_view(index.pinned()))
    assert sorted(noted.value.ids.tolist()) == list(range(100, 107))
    assert noted.notes == {"without_user_vector": 3}


def test_model_of_a_quota_of_0_is_refused(platform):
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    with pytest.raises(ValueError, match="quota must be positive, got 0"):
        Model(index, quota=0)


def test_model_without_a_user_vector_says_which_step_is_missing(platform):
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    with pytest.raises(Unavailable, match="user_tower"):
        Model(index, quota=3).recall(A_STRANGER)


def test_model_of_another_index_than_the_cascade_reads_is_refused(platform):
    index, other = (ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32)) for _ in range(2))
    recall = Recall((Model(index, quota=3),), QuotaMerger([3], 3))
    Cascade("home", (), recall, (), index=index)
    with pytest.raises(ContractError, match="was built on another item index than the cascade's"):
        Cascade("home", (), recall, (), index=other)
