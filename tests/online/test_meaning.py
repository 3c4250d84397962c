"""The meaning of labels is configured: no name has a meaning of its own."""

import numpy as np
import pytest

from karec.catalog.schema import Meaning

BOUGHT = Meaning(enjoyed=("buy", "cart"), liked=("stars",), followed=())
LABELS = {name: np.array(values, np.uint8) for name, values in {"buy": [0, 1, 0], "stars": [1, 0, 0]}.items()}


def test_meaning_holds_if_one_of_its_labels_is_positive():
    labels = {**LABELS, "cart": np.array([1, 0, 0], np.uint8)}
    assert BOUGHT.is_enjoyed(labels).tolist() == [True, True, False]
    assert BOUGHT.is_skipped(labels).tolist() == [False, False, True]
    assert BOUGHT.is_liked(labels).tolist() == [True, False, False]
    assert BOUGHT.is_followed(labels).tolist() == [False, False, False]


def test_drawn_impressions_are_not_skipped():
    drawn = Meaning(enjoyed=("buy",), drawn=("buy",))
    assert drawn.is_enjoyed(LABELS).tolist() == [False, True, False]
    assert not drawn.is_skipped(LABELS).any()


def test_meaning_ignores_labels_that_are_missing():
    assert BOUGHT.is_enjoyed(LABELS).tolist() == [False, True, False]
    assert BOUGHT.is_liked({"buy": LABELS["buy"]}).tolist() == [False, False, False]


@pytest.mark.parametrize("meaning", [Meaning(), Meaning(enjoyed=("click",))])
def test_meaning_without_an_enjoyed_label_raises(meaning):
    for read in (meaning.is_enjoyed, meaning.is_skipped):
        with pytest.raises(
            ValueError, match=r"labels \['buy', 'stars'\], expected at least one that means enjoyed"
        ):
            read(LABELS)
