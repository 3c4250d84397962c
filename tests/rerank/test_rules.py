"""Rules as a step: what stands beside what, what the session has seen, and violations that cannot be avoided."""

import numpy as np
import pytest
from thirty_works import candidates, selected, thirty_works

from karec.rerank.rules import Scatter
from karec.types import Request

REQUEST = Request(user_id=1, k=4)


@pytest.fixture
def index():
    return thirty_works()


def test_rules_keep_songs_and_creators_apart(index):
    rules = [{"column": "song_id", "window": 2}, {"column": "creator_id", "window": 2, "max_count": 1}]
    chosen = selected(Scatter(index, rules, k=30), REQUEST, candidates(range(30))).indices
    assert sorted(chosen) == list(range(30))
    for column in ("song_id", "creator_id"):
        values = index.columns[column][chosen]
        assert (values[1:] != values[:-1]).all()


def test_rules_count_what_the_session_has_seen(index):
    c = candidates([0, 3, 6, 9])
    rule = {"column": "song_id", "window": 20}
    chosen = selected(Scatter(index, [rule], k=2), Request(user_id=1, k=2, shown=(1, 4)), c)
    assert c.ids[chosen.indices].tolist() == [6, 9] and chosen.notes == {"violations": 0}


def test_rules_that_cannot_hold_are_counted(index):
    selection = selected(Scatter(index, [{"column": "song_id"}], k=3), REQUEST, candidates([0, 1, 2]))
    assert selection.indices.tolist() == [0, 1, 2]
    assert selection.notes == {"violations": 2}


def test_rules_put_each_work_without_a_row_in_a_group_of_its_own(index):
    c = candidates([0, 3, 6]).with_rows(np.array([-1, -1, -1]))
    assert selected(Scatter(index, [{"column": "song_id"}]), REQUEST, c).notes == {"violations": 0}


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


def test_rules_over_no_candidates_select_nothing(index):
    assert len(selected(Scatter(index, [{"column": "song_id"}]), REQUEST, candidates([])).indices) == 0
