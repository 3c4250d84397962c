"""Similar items: the largest inner products of ALS factors, then the nearest vectors."""

import numpy as np
import pytest

from karec.features.cowatch import AlsFactors, CowatchVectors
from karec.features.similar_items import similar_items
from karec.features.vocabulary import Vocabulary
from karec.index import ItemIndex

IDS = np.arange(100, 112)
RANDOM = np.random.default_rng(4)
VECTORS = RANDOM.normal(size=(12, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def cowatch():
    """Items 100 to 106 have factors, and 900, which is not in the index."""
    factors = RANDOM.normal(size=(1, 9, 3)).astype(np.float32)
    factors[:, 0] = 0
    works = Vocabulary(np.array([*range(100, 107), 900]))
    return CowatchVectors(works, np.zeros((9, 2), np.float32), als=AlsFactors(factors, np.eye(3)[None]))


@pytest.fixture
def view():
    index = ItemIndex.build(IDS, VECTORS, dtype="float32")
    with index.pinned() as view:
        yield view


def cosines(item):
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    return dict(zip(IDS.tolist(), (unit @ unit[item - 100]).tolist(), strict=True))


def test_items_with_factors_are_ordered_by_inner_products(view, cowatch):
    factors = cowatch.als.vectors[0]
    expected = {100 + i: float(factors[1 + i] @ factors[3]) for i in range(7) if i != 2}
    ids, scores = similar_items(cowatch, view, 102, 4, np.ones(12, bool))
    assert ids.tolist() == sorted(expected, key=expected.get, reverse=True)[:4]
    np.testing.assert_allclose(scores, [expected[item] for item in ids], rtol=1e-5)


def test_items_without_factors_follow_by_the_cosine_of_vectors(view, cowatch):
    ids, scores = similar_items(cowatch, view, 102, 9, np.ones(12, bool))
    near = {item: cosine for item, cosine in cosines(102).items() if item >= 107}
    assert sorted(ids[:6].tolist()) == [100, 101, 103, 104, 105, 106]
    assert ids[6:].tolist() == sorted(near, key=near.get, reverse=True)[:3]
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("has_factors", [True, False])
def test_an_item_without_factors_has_the_items_with_the_nearest_vectors(view, cowatch, has_factors):
    ids, scores = similar_items(cowatch if has_factors else None, view, 110, 20, np.ones(12, bool))
    near = {item: cosine for item, cosine in cosines(110).items() if item != 110}
    assert ids.tolist() == sorted(near, key=near.get, reverse=True)
    np.testing.assert_allclose(scores, [near[item] for item in ids], atol=1e-5)


def test_only_allowed_items_are_found(view, cowatch):
    is_allowed = np.isin(IDS, [101, 105, 109])
    ids, _ = similar_items(cowatch, view, 102, 9, is_allowed)
    assert {*ids[:2].tolist()} == {101, 105} and ids[2:].tolist() == [109]
    assert is_allowed.sum() == 3  # the caller's array does not change
    assert len(similar_items(cowatch, view, 102, 9, np.zeros(12, bool))[0]) == 0


def test_an_item_that_is_not_in_the_index_is_refused(view, cowatch):
    with pytest.raises(ValueError, match="not in the index"):
        similar_items(cowatch, view, 900, 3, np.ones(12, bool))
