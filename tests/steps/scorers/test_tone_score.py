"""Tone score: the weight that items get by a score of moderation."""

import numpy as np
import pytest
from fifty_items import draw_candidates, fifty_items, first_items, request_of
from hypothesis import given
from hypothesis import strategies as st

from karec.index import ItemIndex
from karec.steps.scorers.tone_score import ToneScore


@given(st.data(), st.sampled_from(["tone", "grade"]), st.floats(-3, 3))
def test_tone_score_adds_weight_times_tone(data, column, weight):
    index = fifty_items()
    candidates, scores, rows = draw_candidates(data.draw)
    given = ToneScore(index.schema, column, weight).score(request_of(index), candidates)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, scores + weight * index.columns[column][rows], rtol=1e-5, atol=1e-5)


def test_item_without_a_tone_keeps_its_score():
    tones = np.array([0.5, np.nan, 1.0], np.float32)
    index = ItemIndex.build([1, 2, 3], np.ones((3, 2)), columns={"tone": tones})
    scores = ToneScore(index.schema, "tone", 2.0).score(request_of(index), first_items(index, 3))
    assert scores.tolist() == [1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("column", "weight", "message"),
    [
        ("tone", np.inf, "weight must be finite, got inf"),
        ("mood", 1.0, "the item index has no column 'mood'"),
    ],
)
def test_tone_score_rejects_wrong_settings(column, weight, message):
    with pytest.raises(ValueError, match=message):
        ToneScore(fifty_items().schema, column, weight)
