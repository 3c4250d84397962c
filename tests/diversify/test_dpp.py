"""The DPP step: what dpp_select is given, what it explains, and works without a vector."""

import numpy as np
import pytest
from thirty_works import candidates, move_to_another_version, selected, thirty_works

from karec.diversify.dpp import Dpp
from karec.diversity import dpp_select, standardised
from karec.index import ItemIndex
from karec.types import Request

REQUEST = Request(user_id=1, k=4)


@pytest.fixture
def index():
    return thirty_works()


def test_dpp_selects_by_standardised_scores_and_item_vectors(index):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    selection = selected(Dpp(index, k=6, diversity=0.5), REQUEST, c)
    expected = dpp_select(index.embeddings(c.rows), standardised(c.scores), 6, diversity=0.5)
    np.testing.assert_array_equal(selection.indices, expected.indices)
    assert selection.notes["n_dpp"] == 6


def test_without_diversity_dpp_is_top_k(index):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    selection = selected(Dpp(index, diversity=0.0), REQUEST, c)
    np.testing.assert_array_equal(selection.indices, np.argsort(-c.scores, kind="stable")[: REQUEST.k])


def test_traffic_weights_shift_a_type(index):
    c = candidates(range(30), np.zeros(30))
    favoured = selected(Dpp(index, k=10, diversity=0.5, weights={"type": {"1": 5.0}}), REQUEST, c).indices
    disfavoured = selected(Dpp(index, k=10, diversity=0.5, weights={"type": {"1": 0.2}}), REQUEST, c).indices
    assert (favoured % 2).sum() > (disfavoured % 2).sum()


def test_traffic_weights_of_several_columns_are_multiplied(index):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    c = c.with_rows(np.where(np.arange(30) == 4, -1, np.arange(30)))
    weights = {"type": {"1": 2.0}, "creator_id": {"3": 0.5, "-8": 9.0}}
    found = selected(Dpp(index, k=9, weights=weights), REQUEST, c).indices
    factors = np.where(index.columns["type"] == 1, 2.0, 1.0) * np.where(index.columns["creator_id"] == 3, 0.5, 1.0)
    factors[4] = 1.0
    expected = dpp_select(index.embeddings(c.rows), standardised(c.scores), 9, weights=factors)
    np.testing.assert_array_equal(found, expected.indices)


def test_types_of_any_column_keep_to_their_quotas(index):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    creators = index.columns["creator_id"]
    most = selected(Dpp(index, k=14, types="creator_id", max_per_type=2), REQUEST, c).indices
    assert np.bincount(creators[most]).tolist() == [2] * 7
    each = selected(Dpp(index, k=7, types="creator_id", min_per_type=1), REQUEST, c).indices
    assert np.bincount(creators[each]).tolist() == [1] * 7
    short = selected(Dpp(index, k=20, max_per_type=4), REQUEST, c).indices
    assert np.bincount(index.columns["type"][short]).tolist() == [4, 4]


def test_a_dpp_explains_its_choice_to_a_request_that_asks(index):
    c = candidates(range(2, 30), np.random.default_rng(1).normal(size=28))
    step = Dpp(index, k=5, diversity=0.7)
    assert "explanation" not in selected(step, Request(user_id=1), c).notes
    selection = selected(step, Request(user_id=1, shown=(1, 777), explain=True), c)
    told = selection.notes["explanation"]
    assert told["top_k"] == c.ids[np.argsort(-c.scores, kind="stable")[:5]].tolist()
    assert [work["id"] for work in told["works"]] == c.ids[selection.indices].tolist()
    vectors = index.embeddings(np.r_[1, c.ids[selection.indices]].astype(np.int32)).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seen = [1]
    result = dpp_select(index.embeddings(c.rows), standardised(c.scores), 5, diversity=0.7, shown=vectors[:1])
    for place, work in enumerate(told["works"]):
        cosines = vectors[: place + 1] @ vectors[place + 1]
        assert work["closest"] == seen[int(np.argmax(cosines))]
        assert work["cosine"] == pytest.approx(cosines.max())
        assert work["relevance"] == pytest.approx(float(c.scores[selection.indices[place]]))
        assert work["gain"] == pytest.approx(result.gains[place], rel=1e-6)
        seen.append(work["id"])
    alone = selected(step, Request(user_id=1, explain=True), c).notes["explanation"]["works"][0]
    assert alone["closest"] is None and alone["cosine"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k must be positive, got 0"),
        ({"window": 0}, "window must be positive"),
        ({"diversity": 1.1}, r"diversity must lie in \[0, 1\]"),
        ({"type_weight": -0.1}, r"type_weight must lie in \[0, 1\]"),
        ({"ridge": float("inf")}, r"ridge must lie in \[0, 10\]"),
        ({"ridge": 11.0}, r"ridge must lie in \[0, 10\]"),
        ({"max_per_type": 0}, "max_per_type must be positive"),
        ({"min_per_type": -1}, "min_per_type must be ≥ 0"),
        ({"min_per_type": 3, "max_per_type": 2}, "min_per_type must be at most max_per_type, got 3 and 2"),
        ({"types": "mood", "max_per_type": 2}, "types: the item index has no column 'mood'; it has"),
        ({"types": "tone", "max_per_type": 2}, "types: column 'tone' has dtype float64, expected integers"),
        ({"types": "song_id"}, "ask for no types"),
        ({"weights": {"mood": {"1": 2.0}}}, "weights: the item index has no column 'mood'; it has"),
        ({"weights": {"tone": {"1": 2.0}}}, "weights: column 'tone' has dtype float64, expected integers"),
        ({"weights": {"type": {"video": 2.0}}}, r"weights\.type: 'video' is no whole number"),
        ({"weights": {"type": {"1": -1.0}}}, r"weights\.type: the factor of 1 must be finite and ≥ 0, got -1"),
        ({"weights": {"type": {"1": float("nan")}}}, r"weights\.type: the factor of 1 must be finite and ≥ 0"),
    ],
)
def test_dpp_settings_that_make_no_sense_are_named(index, settings, message):
    with pytest.raises(ValueError, match=message):
        Dpp(index, **settings)


def test_a_type_weight_mixes_types(index):
    c = candidates(range(30), np.where(np.arange(30) % 2, 0.5, 0.0))
    alone = selected(Dpp(index, k=10, diversity=0.4), REQUEST, c).indices
    mixed = selected(Dpp(index, k=10, diversity=0.4, type_weight=0.9), REQUEST, c).indices
    assert abs((mixed % 2).mean() - 0.5) <= abs((alone % 2).mean() - 0.5)


def test_a_work_like_one_that_was_shown_is_avoided(index):
    twin = ItemIndex.build(np.arange(3), np.array([[1, 0], [1, 0.01], [0, 1]], np.float32), columns={"type": [0, 0, 0]})
    c = candidates([1, 2], np.array([1.0, 0.9]))
    assert selected(Dpp(twin, k=1, diversity=0.7), Request(1), c).indices.tolist() == [0]
    assert selected(Dpp(twin, k=1, diversity=0.7), Request(1, shown=(0,)), c).indices.tolist() == [1]


@pytest.mark.usefixtures("backend")
def test_a_dpp_explains_no_likeness_between_vectors_of_two_model_versions(index):
    move_to_another_version(index, np.arange(20, 30))
    rows = index.lookup(np.arange(30))
    c = candidates(range(30), np.random.default_rng(1).normal(size=30)).with_rows(rows)
    told = selected(Dpp(index, k=8), Request(1, explain=True), c).notes["explanation"]["works"]
    across = [work["cosine"] for work in told[1:] if (work["id"] < 20) != (work["closest"] < 20)]
    assert all(cosine == 0 for cosine in across)


def test_equal_scores_standardise_to_zero():
    np.testing.assert_array_equal(standardised(np.full(3, 7.0)), [0, 0, 0])


def test_a_work_without_a_vector_goes_far_down():
    index = ItemIndex.build(np.arange(4), np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32))
    c = candidates([0, 1, 2, 3], np.array([1.0, 0.9, 0.8, 0.7]))
    assert selected(Dpp(index, k=4), REQUEST, c).indices.tolist()[0] != 0


def test_a_dpp_selects_works_without_a_row_too(index):
    c = candidates([0, 3, 6]).with_rows(np.array([-1, -1, -1]))
    assert len(selected(Dpp(index, type_weight=0.5), REQUEST, c).indices) == 3


def test_a_dpp_of_no_candidates_selects_nothing(index):
    assert len(selected(Dpp(index), REQUEST, candidates([])).indices) == 0
