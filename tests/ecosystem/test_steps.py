"""Freshness, tone and quota as steps: what they read of the index, and settings that they refuse."""

import numpy as np
import pytest

from karec._clock import HOUR_MS
from karec.ecosystem.freshness import Freshness
from karec.ecosystem.quota import Quota
from karec.ecosystem.tone import Tone
from karec.index import ItemIndex
from karec.prerank.rows import IndexRows
from karec.stage import Stage
from karec.types import Candidates, Request

NOW = int(100 * HOUR_MS)


@pytest.fixture
def index():
    """Works 1000 … 1049; work 1000 + i is i hours old."""
    return ItemIndex.build(
        np.arange(50) + 1000,
        np.ones((50, 2)),
        columns={
            "creator_id": np.arange(50) % 5,
            "upload_ms": NOW - (np.arange(50) * HOUR_MS).astype(np.int64),
            "tone": np.linspace(0, 1, 50),
        },
    )


@pytest.fixture
def asked(index):
    return Request(user_id=1, k=5, time_ms=NOW, view=index.pinned())


def known(index, n=50):
    return Candidates.of(index.ids[:n]).with_rows(np.arange(n))


def test_freshness_halves_with_each_half_life(index, asked):
    candidates = known(index, 49).take(np.array([0, 24, 48]))
    boost = Freshness(index, weight=0.8, half_life_hours=24).score(asked, candidates)
    np.testing.assert_allclose(boost, [0.8, 0.4, 0.2], rtol=1e-6)


def test_a_work_of_the_future_is_as_fresh_as_can_be(index):
    request = Request(user_id=1, time_ms=0, view=index.pinned())
    np.testing.assert_allclose(Freshness(index, weight=1.0).score(request, known(index, 1)), [1.0])


def test_tone_has_a_floor(index, asked):
    keep = Tone(index, column="tone", at_least=0.5).keep(asked, known(index))
    assert keep.tolist() == (np.linspace(0, 1, 50) >= 0.5).tolist()


def test_a_quota_keeps_the_best_of_each_group(index, asked):
    scores = np.random.default_rng(2).normal(size=50).astype(np.float32)
    keep = Quota(index, column="creator_id", at_most=2).keep(asked, known(index).with_scores(scores))
    for creator in range(5):
        members = np.flatnonzero(np.arange(50) % 5 == creator)
        best = members[np.argsort(-scores[members])[:2]]
        assert sorted(members[keep[members]]) == sorted(best)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"column": "creator_id", "at_most": 0}, "at_most must be positive"),
        ({"column": "mood", "at_most": 1}, "no column 'mood'"),
    ],
)
def test_a_quota_of_0_or_of_a_missing_column_is_refused(index, settings, message):
    with pytest.raises(ValueError, match=message):
        Quota(index, **settings)


def test_a_tone_of_a_missing_column_is_refused(index):
    with pytest.raises(ValueError, match="no column 'mood'"):
        Tone(index, column="mood", at_least=1)


def test_a_half_life_of_0_is_refused(index):
    with pytest.raises(ValueError, match="half_life_hours"):
        Freshness(index, weight=1, half_life_hours=0)


def test_freshness_and_a_quota_of_no_candidates_give_none(index, asked):
    stage = Stage("prerank", (IndexRows(index), Freshness(index, weight=1.0), Quota(index, "creator_id", at_most=1)))
    assert len(stage.run(asked, Candidates.empty()).candidates) == 0
