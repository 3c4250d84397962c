"""Items with the largest inner product with a user's ALS vector."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from karec.catalog.relation import Relation
from karec.features.cowatch import AlsFactors, CowatchVectors
from karec.features.vocabulary import Vocabulary
from karec.pipeline.types import Candidates, Request
from karec.steps.scorers.als_score import AlsScore
from karec.steps.sources.als import Als


@dataclass
class Encoder:
    """The part of an encoder that the source reads."""

    cowatch: CowatchVectors | None


@pytest.fixture
def encoder():
    """Items 100 to 107 and 500 have factors; 108 and 109 have none, and the platform lacks 500."""
    works = Vocabulary(np.array([*range(100, 108), 500]))
    factors = np.random.default_rng(1).normal(size=(2, 10, 3)).astype(np.float32)
    factors[:, 0] = 0
    grams = np.stack([2.0 * np.eye(3), 9.0 * np.eye(3)])
    vectors = np.zeros((10, 2), np.float32)
    return Encoder(CowatchVectors(works, vectors, als=AlsFactors(factors, grams)))


def enjoyed_by_first_user(platform, *items):
    history = Relation.from_pairs(np.zeros(len(items), int), np.array(items, np.int64), 4)
    return replace(platform, relations={"history": history})


def test_als_orders_items_by_the_regression_on_enjoyed_items(platform, encoder):
    """102 was enjoyed twice and counts once; 108 has no factors; only the newest moment is read."""
    snapshot = enjoyed_by_first_user(platform, 102, 108, 105, 102)
    page = Als(snapshot, encoder, quota=20).recall(Request(user_id=1))
    factors, gram = (
        part[0].astype(float) for part in (encoder.cowatch.als.vectors, encoder.cowatch.als.grams)
    )
    enjoyed = factors[[3, 6]]
    expected = factors[1:9] @ np.linalg.solve(gram + enjoyed.T @ enjoyed, enjoyed.sum(axis=0))
    assert page.ids.tolist() == (100 + np.argsort(-expected)).tolist()
    np.testing.assert_allclose(page.scores, np.sort(expected)[::-1], atol=1e-3)
    first = Als(snapshot, encoder, quota=3).recall(Request(user_id=1))
    assert first.ids.tolist() == page.ids[:3].tolist()


def test_als_score_of_an_item_is_that_of_the_source(platform, encoder):
    """108 has no factors, and the platform lacks 77 and 500: their scores are 0."""
    snapshot = enjoyed_by_first_user(platform, 102, 105)
    page = Als(snapshot, encoder, quota=20).recall(Request(user_id=1))
    ids = np.append(page.ids, [108, 77, 500])
    before = Candidates.from_ids(ids, np.arange(len(ids), dtype=np.float32))
    scores = AlsScore(snapshot, encoder).score(Request(user_id=1), before)
    np.testing.assert_allclose(scores, np.append(page.scores, np.zeros(3)), atol=1e-3)
    assert AlsScore(snapshot, encoder).score(Request(user_id=2), before) is before.scores


def test_als_reads_the_last_items_of_a_user(platform, encoder):
    newest, all_items = (enjoyed_by_first_user(platform, *items) for items in ((105,), (102, 105)))
    pages = [
        Als(snapshot, encoder, quota=9, items=items).recall(Request(user_id=1))
        for snapshot, items in ((newest, 100), (all_items, 1), (all_items, 100))
    ]
    np.testing.assert_array_equal(pages[0].scores, pages[1].scores)
    assert (pages[0].scores != pages[2].scores).any()


@pytest.mark.parametrize("user_id", [2, 999])
def test_als_is_empty_without_enjoyed_items_that_have_factors(platform, encoder, user_id):
    assert len(Als(enjoyed_by_first_user(platform, 100), encoder, quota=9).recall(Request(user_id))) == 0
    assert len(Als(enjoyed_by_first_user(platform, 108), encoder, quota=9).recall(Request(1))) == 0


def test_als_refuses_an_encoder_without_factors(platform, encoder):
    for other in (None, replace(encoder.cowatch, als=None)):
        with pytest.raises(ValueError, match="training made no ALS factors"):
            Als(platform, Encoder(other), quota=3)
    with pytest.raises(ValueError, match="items must be positive, got 0"):
        Als(platform, encoder, quota=1, items=0)
