"""The works nearest to the user vector."""

import numpy as np
import pytest

from karec.errors import Unavailable
from karec.index import ItemIndex
from karec.recall.model import Model
from karec.types import Request

A_STRANGER = Request(user_id=999)


def test_model_brings_the_nearest_works_and_their_scores(platform):
    vectors = np.eye(10, dtype=np.float32)
    index = ItemIndex.build(platform.works.ids, vectors)
    user = np.linspace(1, 0.1, 10, dtype=np.float32)[None]
    candidates = Model(index, quota=3).recall(A_STRANGER.with_features({"user_vector": user}))
    assert candidates.ids.tolist() == [100, 101, 102]
    np.testing.assert_allclose(candidates.scores, [1, 0.9, 0.8], rtol=1e-3)


def test_model_without_a_user_vector_says_which_step_is_missing(platform):
    index = ItemIndex.build(platform.works.ids, np.eye(10, dtype=np.float32))
    with pytest.raises(Unavailable, match="user_tower"):
        Model(index, quota=3).recall(A_STRANGER)
