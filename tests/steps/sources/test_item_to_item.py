"""Items near those that a user liked last, by co-watch vectors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from karec.catalog.relation import Relation
from karec.features.cowatch import CowatchVectors
from karec.features.vocabulary import Vocabulary
from karec.pipeline.types import Request
from karec.steps.sources.item_to_item import ItemToItem


@dataclass
class Encoder:
    """The part of an encoder that the source reads."""

    cowatch: CowatchVectors | None


def ids_of(source, user_id=1):
    return source.recall(Request(user_id=user_id)).ids.tolist()


@pytest.fixture
def encoder():
    """Items 100 … 107 on a half circle, 20 degrees apart. 108 and 109 have no vector; the platform lacks
    500."""
    angle = np.deg2rad(20.0 * np.arange(9))
    vectors = np.stack([np.append(0, np.cos(angle)), np.append(0, np.sin(angle))], axis=1).astype(np.float32)
    return Encoder(CowatchVectors(Vocabulary(np.array([*range(100, 108), 500])), vectors))


def lists(platform, **relations):
    built = {
        name: Relation.from_pairs(np.zeros(len(of), int), np.array(of), 4) for name, of in relations.items()
    }
    return replace(platform, relations=built)


def test_item_to_item_alternates_neighbours_without_seeds(platform, encoder):
    liked = lists(platform, liked=[107, 100])
    assert ids_of(ItemToItem(liked, encoder, quota=4)) == [101, 106, 102, 105]
    assert ids_of(ItemToItem(liked, encoder, quota=20)) == [101, 106, 102, 105, 103, 104]
    assert ids_of(ItemToItem(liked, encoder, quota=20, per_seed=1)) == [101, 106]
    assert ids_of(ItemToItem(liked, encoder, quota=20, seeds=1)) == [101, 102, 103, 104, 105, 106, 107]


def test_item_to_item_adds_watched_seeds_if_few_are_liked(platform, encoder):
    """108 has no vector, and 100 was already liked."""
    both = lists(platform, liked=[100], history=[103, 107, 100, 108])
    assert ids_of(ItemToItem(both, encoder, quota=2, seeds=2)) == [101, 106]
    assert ids_of(ItemToItem(both, encoder, quota=20, seeds=3)) == [101, 106, 104, 102, 105], (
        "103 is a seed too"
    )


@pytest.mark.parametrize("user_id", [2, 999])
def test_item_to_item_is_empty_without_seeds(platform, encoder, user_id):
    assert ids_of(ItemToItem(lists(platform, liked=[100]), encoder, quota=9), user_id) == []
    assert ids_of(ItemToItem(lists(platform, liked=[108]), encoder, quota=9)) == [], (
        "no vector, no neighbours"
    )


def test_item_to_item_rejects_an_encoder_without_cowatch_vectors(platform, encoder):
    with pytest.raises(ValueError, match="item_to_item needs co-watch vectors, and training made none"):
        ItemToItem(platform, Encoder(None), quota=3)
    with pytest.raises(ValueError, match="quota, seeds and per_seed must be positive, got 1, 0 and 5"):
        ItemToItem(platform, encoder, quota=1, seeds=0, per_seed=5)


def test_cause_of_an_item_is_its_nearest_seed(platform, encoder):
    source = ItemToItem(lists(platform, liked=[107, 100]), encoder, quota=4)
    assert source.causes(Request(1), np.array([101, 106, 103, 108, 999])).tolist() == [100, 107, 100, -1, -1]
    assert source.causes(Request(2), np.array([101])).tolist() == [-1], "the user has no seeds"
