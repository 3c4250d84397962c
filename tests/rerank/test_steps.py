"""DPP and rules as steps: what they are given, and that unknown works neither vanish nor lend another's column."""

import numpy as np
import pytest

from karec.diversity import dpp_select, mmr_select, ssd_select, standardised
from karec.index import ItemIndex
from karec.rerank.dpp import Dpp
from karec.rerank.marginal import Mmr, Ssd
from karec.rerank.rules import Scatter
from karec.types import Candidates, Request

REQUEST = Request(user_id=1, k=4)


@pytest.fixture
def index():
    rng = np.random.default_rng(0)
    return ItemIndex.build(
        np.arange(30),
        rng.normal(size=(30, 8)).astype(np.float32),
        columns={
            "song_id": np.repeat(np.arange(10), 3),
            "creator_id": np.arange(30) % 7,
            "type": (np.arange(30) % 2).astype(np.int8),
        },
    )


def candidates(rows, scores=None):
    rows = np.array(rows)
    scores = np.linspace(1, 0, len(rows)) if scores is None else scores
    return Candidates.of(rows, scores).with_rows(rows)


def test_dpp_selects_by_standardised_scores_and_item_vectors(index):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    selection = Dpp(index, k=6, diversity=0.5).select(REQUEST, c)
    expected = dpp_select(index.embeddings(c.rows), standardised(c.scores), 6, diversity=0.5)
    np.testing.assert_array_equal(selection.indices, expected.indices)
    assert selection.notes["n_dpp"] == 6


def test_without_diversity_dpp_is_top_k(index):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    selection = Dpp(index, diversity=0.0).select(REQUEST, c)
    np.testing.assert_array_equal(selection.indices, np.argsort(-c.scores, kind="stable")[: REQUEST.k])


def test_traffic_weights_shift_a_type(index):
    c = candidates(range(30), np.zeros(30))
    favoured = Dpp(index, k=10, diversity=0.5, weights={"1": 5.0}).select(REQUEST, c).indices
    disfavoured = Dpp(index, k=10, diversity=0.5, weights={"1": 0.2}).select(REQUEST, c).indices
    assert (favoured % 2).sum() > (disfavoured % 2).sum()


def test_a_type_prior_mixes_types(index):
    c = candidates(range(30), np.where(np.arange(30) % 2, 0.5, 0.0))
    alone = Dpp(index, k=10, diversity=0.4).select(REQUEST, c).indices
    mixed = Dpp(index, k=10, diversity=0.4, type_weight=0.9).select(REQUEST, c).indices
    assert abs((mixed % 2).mean() - 0.5) <= abs((alone % 2).mean() - 0.5)


def test_what_the_session_saw_is_avoided(index):
    twin = ItemIndex.build(np.arange(3), np.array([[1, 0], [1, 0.01], [0, 1]], np.float32), columns={"type": [0, 0, 0]})
    c = candidates([1, 2], np.array([1.0, 0.9]))
    assert Dpp(twin, k=1, diversity=0.7).select(Request(1), c).indices.tolist() == [0]
    assert Dpp(twin, k=1, diversity=0.7).select(Request(1, shown=(0,)), c).indices.tolist() == [1]


def test_equal_scores_stay_finite():
    np.testing.assert_array_equal(standardised(np.full(3, 7.0)), [0, 0, 0])


def test_rules_keep_songs_and_creators_apart(index):
    rules = [{"column": "song_id", "window": 2}, {"column": "creator_id", "window": 2, "max_count": 1}]
    chosen = Scatter(index, rules, k=30).select(REQUEST, candidates(range(30))).indices
    assert sorted(chosen) == list(range(30))
    for column in ("song_id", "creator_id"):
        values = index.columns[column][chosen]
        assert (values[1:] != values[:-1]).all()


@pytest.mark.parametrize(("step", "select"), [(Mmr, mmr_select), (Ssd, ssd_select)])
def test_marginal_steps_select_by_standardised_scores_item_vectors_and_what_was_shown(index, step, select):
    c = candidates(range(30), np.random.default_rng(1).normal(size=30))
    request = Request(user_id=1, k=6, shown=(3, 999))
    chosen = step(index, diversity=0.7, window=4).select(request, c).indices
    vectors = index.embeddings(c.rows)
    expected = select(vectors, standardised(c.scores), 6, diversity=0.7, window=4, shown=vectors[3:4])
    np.testing.assert_array_equal(chosen, expected.indices)
    assert len(step(index).select(REQUEST, candidates([])).indices) == 0
    for wrong in ({"k": 0}, {"diversity": 2.0}, {"window": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            step(index, **wrong)


def test_rules_count_what_the_session_has_seen(index):
    c = candidates([0, 3, 6, 9])
    rule = {"column": "song_id", "window": 20}
    chosen = Scatter(index, [rule], k=2).select(Request(user_id=1, k=2, shown=(1, 4)), c)
    assert c.ids[chosen.indices].tolist() == [6, 9] and chosen.notes == {"violations": 0}


def test_a_work_without_a_vector_goes_far_down():
    index = ItemIndex.build(np.arange(4), np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32))
    c = candidates([0, 1, 2, 3], np.array([1.0, 0.9, 0.8, 0.7]))
    assert Dpp(index, k=4).select(REQUEST, c).indices.tolist()[0] != 0


def test_rules_that_cannot_hold_are_counted(index):
    selection = Scatter(index, [{"column": "song_id"}], k=3).select(REQUEST, candidates([0, 1, 2]))
    assert selection.indices.tolist() == [0, 1, 2]
    assert selection.notes == {"violations": 2}


def test_works_without_a_row_are_each_of_their_own_group(index):
    c = candidates([0, 3, 6]).with_rows(np.array([-1, -1, -1]))
    assert Scatter(index, [{"column": "song_id"}]).select(REQUEST, c).notes == {"violations": 0}
    assert len(Dpp(index, type_weight=0.5).select(REQUEST, c).indices) == 3


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"column": "mood"}], "no column 'mood'"),
        ([{"window": 2}], "a rule is"),
        ([{"column": "song_id", "widow": 2}], "a rule is"),
    ],
)
def test_rules_that_make_no_sense_are_refused(index, rules, message):
    with pytest.raises(ValueError, match=message):
        Scatter(index, rules)


def test_an_empty_list_stays_empty(index):
    assert len(Dpp(index).select(REQUEST, candidates([])).indices) == 0
    assert len(Scatter(index, [{"column": "song_id"}]).select(REQUEST, candidates([])).indices) == 0
