"""Parts of scores: arithmetic on planted scores."""

import numpy as np
import pytest

from karec.lab.studies.score_parts import (
    LibraryScores,
    kept_fractions,
    measure_parts,
    split,
    true_value,
    within_user_slopes,
)

RNG = np.random.default_rng(5)
USERS, ITEMS = 40, 500
ITEM = RNG.normal(size=ITEMS)
FLAGS = (RNG.random((USERS, ITEMS, 2)) < 0.2).astype(np.float32)
PERSONAL = FLAGS @ np.array([1.0, -0.5]) + 0.1 * RNG.normal(size=(USERS, ITEMS))


def planted(own_share: float, item_slope: float = 1.0, personal_slope: float = 1.0) -> LibraryScores:
    personal = split(PERSONAL)[1]
    ranker = ITEM + personal + RNG.normal(size=(USERS, 1))
    return LibraryScores(
        ranker=ranker,
        prerank=3.0 * (ITEM + own_share * personal),
        truth=item_slope * ITEM + personal_slope * personal,
        features=FLAGS,
        names=("first", "second"),
        pool=np.ones((USERS, ITEMS), bool),
        n_passed=np.full(USERS, 130),
    )


def test_split_gives_parts_whose_sum_is_the_centred_score():
    scores = RNG.normal(size=(7, 11))
    item, personal = split(scores)
    np.testing.assert_allclose(item + personal, scores - scores.mean(axis=1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(personal.mean(axis=0), 0.0, atol=1e-12)


def test_slopes_are_those_of_least_squares_with_user_effects():
    y, rows = RNG.normal(size=(5, 30)), RNG.random((5, 30)) < 0.7
    x = RNG.normal(size=(5, 30, 2))
    user = np.nonzero(rows)[0]
    design = np.column_stack([x[rows], user[:, None] == np.arange(5)])
    expected = np.linalg.lstsq(design, y[rows], rcond=None)[0][:2]
    np.testing.assert_allclose(within_user_slopes(y, x, rows)[0], expected, atol=1e-10)


def test_a_feature_that_never_varies_has_no_slope():
    x = np.zeros((3, 9, 2))
    x[:, :, 0] = RNG.normal(size=(3, 9))
    slopes = within_user_slopes(x[:, :, 0], x, np.ones((3, 9), bool))
    assert slopes[0, 0] == pytest.approx(1.0) and np.isnan(slopes[:, 1]).all()


def test_the_lost_part_is_found():
    found = measure_parts(planted(own_share=0.3))
    kept = {name: figures[100][0] for name, figures in found["swap"].items()}
    assert kept["item part of the ranker"] < 0.99 and kept["personal part of the ranker"] > 0.99
    assert kept["both parts of pre-ranking"] < kept["personal part of the ranker"]
    shares = [figure[0] for figure in found["effects"].values()]
    assert shares[0] == pytest.approx(shares[1], rel=0.05) and 0.2 < shares[0] < 0.5


def test_slopes_of_the_truth_are_the_planted_ones_at_every_depth():
    found = measure_parts(planted(own_share=1.0, item_slope=0.7, personal_slope=1.6))["slopes"]
    for slope in found.values():
        assert slope["item"][0] == pytest.approx(0.7) and slope["personal"][0] == pytest.approx(1.6)


def test_a_pool_that_is_smaller_than_the_top_is_left_out():
    scores = planted(own_share=1.0)
    scores.pool[0, 5:] = False
    kept = kept_fractions(scores, scores.prerank, 10)
    assert np.isnan(kept[0]) and np.isfinite(kept[1:]).all()


def test_taking_off_a_share_helps_only_a_ranker_that_weighs_the_personal_part_too_little():
    too_little = measure_parts(planted(own_share=1.0, personal_slope=1.6))["shares"]
    balanced = measure_parts(planted(own_share=1.0))["shares"]
    assert too_little[0.25]["change"][1] > 0 and balanced[0.25]["change"][2] < 0
    assert too_little[0.0]["change"] == (0.0, 0.0, 0.0)


def test_a_pool_of_less_than_ten_items_has_no_true_value():
    scores = planted(own_share=1.0)
    scores.pool[0, 5:] = False
    value = true_value(scores, scores.ranker)
    assert np.isnan(value[0]) and np.isfinite(value[1:]).all()
