"""Prerank's steps against what NumPy says, and works without an embedding are counted, never lost from sight."""

import numpy as np
import pytest

from karec._clock import HOUR_MS
from karec.ecosystem.freshness import Freshness
from karec.ecosystem.quota import Quota
from karec.ecosystem.tone import Tone
from karec.index import ItemIndex
from karec.prerank.inner_product import InnerProduct
from karec.prerank.rows import HasEmbedding, IndexRows, NotShown
from karec.stage import Stage
from karec.types import Candidates, Request

NOW = int(100 * HOUR_MS)


@pytest.fixture
def index():
    rng = np.random.default_rng(0)
    return ItemIndex.build(
        np.arange(50) + 1000,
        rng.normal(size=(50, 16)).astype(np.float32),
        dtype="float32",
        columns={
            "creator_id": np.arange(50) % 5,
            "upload_ms": NOW - (np.arange(50) * HOUR_MS).astype(np.int64),
            "tone": np.linspace(0, 1, 50),
        },
    )


def request_with(index, **changes):
    user = np.random.default_rng(1).normal(size=(1, index.dim)).astype(np.float32)
    return Request(user_id=1, k=5, time_ms=NOW, **changes).with_features({"user_vector": user})


def known(index, n=50):
    return Candidates.of(index.ids[:n]).with_rows(np.arange(n))


def test_ids_to_rows_to_scores_is_the_inner_product(index):
    request = request_with(index)
    ids = np.array([1007, 5, 1003, 1049])
    stage = Stage("prerank", (IndexRows(index), HasEmbedding(), InnerProduct(index, k=10)))
    outcome = stage.run(request, Candidates.of(ids))
    expected = index.embeddings(np.array([7, 3, 49])) @ request.features["user_vector"][0]
    order = np.argsort(-expected)
    assert outcome.candidates.ids.tolist() == np.array([1007, 1003, 1049])[order].tolist()
    np.testing.assert_allclose(outcome.candidates.scores, expected[order], rtol=1e-5)
    rows, has_embedding, _ = outcome.steps
    assert rows.n_unknown == 1
    assert (has_embedding.n_removed, has_embedding.why) == (1, "no embedding in the item index")


def test_the_inner_product_counts_what_it_does_not_know(index):
    selection = InnerProduct(index, k=10).select(request_with(index), Candidates.of(np.array([1, 2, 3])))
    assert len(selection.indices) == 0
    assert selection.notes == {"unknown": 3}


def test_what_was_shown_is_not_shown_again(index):
    keep = NotShown().keep(request_with(index, shown=(1001, 1003, 77)), known(index, 5))
    assert keep.tolist() == [True, False, True, False, True]
    assert NotShown().keep(request_with(index), known(index, 5)).all()


def test_freshness_halves_with_each_half_life(index):
    candidates = known(index, 49).take(np.array([0, 24, 48]))
    boost = Freshness(index, weight=0.8, half_life_hours=24).score(request_with(index), candidates)
    np.testing.assert_allclose(boost, [0.8, 0.4, 0.2], rtol=1e-6)


def test_a_work_of_the_future_is_as_fresh_as_can_be(index):
    request = Request(user_id=1, time_ms=0)
    np.testing.assert_allclose(Freshness(index, weight=1.0).score(request, known(index, 1)), [1.0])


def test_tone_has_a_floor(index):
    keep = Tone(index, column="tone", at_least=0.5).keep(request_with(index), known(index))
    assert keep.tolist() == (np.linspace(0, 1, 50) >= 0.5).tolist()


def test_a_quota_keeps_the_best_of_each_group(index):
    scores = np.random.default_rng(2).normal(size=50).astype(np.float32)
    keep = Quota(index, column="creator_id", at_most=2).keep(request_with(index), known(index).with_scores(scores))
    for creator in range(5):
        members = np.flatnonzero(np.arange(50) % 5 == creator)
        best = members[np.argsort(-scores[members])[:2]]
        assert sorted(members[keep[members]]) == sorted(best)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda index: InnerProduct(index, k=0), "k must be positive"),
        (lambda index: Quota(index, column="creator_id", at_most=0), "at_most must be positive"),
        (lambda index: Quota(index, column="mood", at_most=1), "no column 'mood'"),
        (lambda index: Tone(index, column="mood", at_least=1), "no column 'mood'"),
        (lambda index: Freshness(index, weight=1, half_life_hours=0), "half_life_hours"),
    ],
)
def test_settings_that_make_no_sense_are_refused(index, make, message):
    with pytest.raises(ValueError, match=message):
        make(index)


def test_no_candidates_are_no_trouble(index):
    stage = Stage(
        "prerank",
        (
            IndexRows(index),
            HasEmbedding(),
            InnerProduct(index, k=5),
            NotShown(),
            Freshness(index, weight=1.0),
            Quota(index, column="creator_id", at_most=1),
        ),
    )
    assert len(stage.run(request_with(index), Candidates.empty()).candidates) == 0
