"""Freshness: the weight that new items get."""

import re

import numpy as np
import pytest
from fifty_items import NOW, draw_candidates, fifty_items, first_items, request_of
from hypothesis import given
from hypothesis import strategies as st

from karec.errors import ContractError
from karec.index import ItemIndex
from karec.steps.scorers.freshness import Freshness
from karec.times import HOUR_MS


@pytest.fixture
def index():
    return fifty_items()


@given(st.data(), st.floats(-3, 3), st.sampled_from([0.25, 1.0, 24.0]), st.integers(-60, 60))
def test_freshness_adds_its_weight_halved_for_each_half_life(data, weight, half_life, hours):
    index = fifty_items()
    candidates, scores, rows = draw_candidates(data.draw)
    age = np.maximum(rows + hours, 0)
    step = Freshness(index.schema, weight, half_life)
    given = step.score(request_of(index, time_ms=NOW + hours * HOUR_MS), candidates)
    expected = scores + weight * 0.5 ** (age / half_life)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-6)


def test_freshness_has_a_half_life_of_a_day_by_default(index):
    candidates = first_items(index, 49).take(np.array([0, 24, 48]))
    boost = Freshness(index.schema, 0.8).score(request_of(index), candidates)
    np.testing.assert_allclose(boost, [0.8, 0.4, 0.2], rtol=1e-6)


def test_freshness_uses_time_0_for_a_request_without_time():
    index = ItemIndex.build([1, 2, 3], np.ones((3, 2)), columns={"upload_ms": [0, -1, 7]})
    step = Freshness(index.schema, weight=1.0, half_life_hours=1 / HOUR_MS)
    boost = step.score(request_of(index, time_ms=None), first_items(index, 3))
    np.testing.assert_allclose(boost, [1.0, 0.5, 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((1.0, 0.0), "half_life_hours must be positive, got 0.0"),
        ((1.0, np.nan), "half_life_hours must be positive, got nan"),
        ((np.inf,), "weight must be finite, got inf"),
    ],
)
def test_freshness_rejects_wrong_settings(index, settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Freshness(index.schema, *settings)


def test_freshness_rejects_an_index_without_upload_ms():
    schema = ItemIndex.build([1], np.ones((1, 2)), columns={"tone": [0.5]}).schema
    with pytest.raises(ValueError, match=r"^the item index has no column 'upload_ms'; it has \['tone'\]$"):
        Freshness(schema, 1.0)


def test_freshness_rejects_candidates_without_a_row(index):
    message = (
        "2 of 3 candidates have no row in the item index: put the steps index_rows and has_embedding "
        "before the one that reads 'upload_ms'"
    )
    candidates = first_items(index, 3).with_rows(np.array([0, -1, -1]))
    with pytest.raises(ContractError, match="^" + re.escape(message) + "$"):
        Freshness(index.schema, 1.0).score(request_of(index), candidates)
