"""Freshness, tone and quota as steps: what they read of the index, and settings that they refuse."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karec.errors import ContractError
from karec.index import ItemIndex
from karec.pipeline.step import Stage
from karec.pipeline.types import Candidates, Request
from karec.steps.filters.quota import Quota
from karec.steps.filters.tone import Tone
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.scorers.freshness import Freshness
from karec.times import HOUR_MS

NOW = int(100 * HOUR_MS)


def fifty_works():
    """Works 1000 … 1049; work 1000 + i is i hours old."""
    return ItemIndex.build(
        np.arange(50) + 1000,
        np.ones((50, 2)),
        columns={
            "creator_id": np.arange(50) % 5,
            "upload_ms": NOW - (np.arange(50) * HOUR_MS).astype(np.int64),
            "tone": np.linspace(0, 1, 50),
            "grade": (np.arange(50) % 7).astype(np.int8),
        },
    )


@pytest.fixture
def index():
    return fifty_works()


def asked(index, **asks):
    return Request(**{"user_id": 1, "k": 5, "time_ms": NOW, **asks}, view=index.pinned())


def known(index, n=50):
    return Candidates.from_ids(index.ids[:n]).with_rows(np.arange(n))


def scored(draw):
    """Candidates in any order, the scores that they came with, and their places in the library."""
    places = np.array(draw(st.permutations(range(50)))[: draw(st.integers(0, 50))], np.int64)
    scores = np.array(
        draw(st.lists(st.integers(-9, 9), min_size=len(places), max_size=len(places))), np.float32
    )
    return Candidates.from_ids(places + 1000, scores).with_rows(places), scores, places


@given(st.data(), st.floats(-3, 3), st.sampled_from([0.25, 1.0, 24.0]), st.integers(-60, 60))
def test_freshness_adds_its_weight_halved_for_each_half_life(data, weight, half_life, hours):
    index = fifty_works()
    candidates, scores, places = scored(data.draw)
    age = np.maximum(places + hours, 0)
    given = Freshness(index.schema, weight, half_life).score(
        asked(index, time_ms=NOW + hours * HOUR_MS), candidates
    )
    expected = scores + weight * 0.5 ** (age / half_life)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-6)


def test_by_default_freshness_halves_in_a_day(index):
    boost = Freshness(index.schema, 0.8).score(asked(index), known(index, 49).take(np.array([0, 24, 48])))
    np.testing.assert_allclose(boost, [0.8, 0.4, 0.2], rtol=1e-6)


def test_the_moment_of_a_request_without_one_is_0():
    index = ItemIndex.build([1, 2, 3], np.ones((3, 2)), columns={"upload_ms": [0, -1, 7]})
    boost = Freshness(index.schema, weight=1.0, half_life_hours=1 / HOUR_MS).score(
        asked(index, time_ms=None), known(index, 3)
    )
    np.testing.assert_allclose(boost, [1.0, 0.5, 1.0], rtol=1e-6)


@given(st.sampled_from(["tone", "grade"]), st.integers(0, 49), st.sampled_from([-1e-9, 0.0, 1e-9]))
def test_a_work_at_the_floor_of_tone_stays_and_one_below_it_goes(column, at, beside):
    """The floor is a value that a work has, or a little less or more."""
    index = fifty_works()
    values = index.columns[column].tolist()
    floor = values[at] + beside
    keep = Tone(index.schema, column=column, at_least=floor).keep(asked(index), known(index))
    assert keep.dtype == np.bool_ and keep.tolist() == [value >= floor for value in values]


@given(st.data(), st.sampled_from(["creator_id", "grade"]), st.integers(1, 12))
def test_a_quota_keeps_the_best_of_each_group(data, column, at_most):
    index = fifty_works()
    candidates, scores, places = scored(data.draw)
    keep = Quota(index.schema, column=column, at_most=at_most).keep(asked(index), candidates)
    group = index.columns[column][places]
    best = sorted(range(len(places)), key=lambda i: (-scores[i], i))
    kept = {i for value in set(group.tolist()) for i in [i for i in best if group[i] == value][:at_most]}
    assert keep.dtype == np.bool_ and keep.tolist() == [i in kept for i in range(len(places))]


def test_values_that_were_chosen_to_meet_in_one_slot_of_a_table_are_groups_like_any_others():
    # times the library's multiplier: 0, 1, 2, … as their highest bits
    spread = pow(0x9E3779B97F4A7C15, -1, 2**64)
    values = (np.arange(3000, dtype=np.uint64) * np.uint64(spread)).view(np.int64)
    creators = np.repeat(values, 2)
    index = ItemIndex.build(
        np.arange(len(creators)), np.ones((len(creators), 1)), columns={"creator_id": creators}
    )
    candidates = Candidates.from_ids(index.ids, np.arange(len(creators))).with_rows(np.arange(len(creators)))
    keep = Quota(index.schema, "creator_id", at_most=1).keep(asked(index), candidates)
    assert keep.tolist() == [False, True] * len(values)


NO_COLUMN = "the item index has no column 'mood'; it has ['creator_id', 'grade', 'tone', 'upload_ms']"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda index: Quota(index.schema, "creator_id", 0), "at_most must be positive, got 0"),
        (lambda index: Quota(index.schema, "mood", 1), NO_COLUMN),
        (lambda index: Tone(index.schema, "mood", 1.0), NO_COLUMN),
        (lambda index: Freshness(index.schema, 1.0, 0.0), "half_life_hours must be positive, got 0.0"),
        (lambda index: Freshness(index.schema, 1.0, np.nan), "half_life_hours must be positive, got nan"),
        (lambda index: Freshness(index.schema, np.inf), "weight must be finite, got inf"),
        (
            lambda _: Freshness(ItemIndex.build([1], np.ones((1, 2)), columns={"tone": [0.5]}).schema, 1.0),
            "the item index has no column 'upload_ms'; it has ['tone']",
        ),
    ],
)
def test_settings_that_make_no_sense_and_columns_that_are_not_there_are_refused(index, build, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        build(index)


def test_a_work_without_a_row_has_no_column_and_the_error_says_which_steps_are_missing(index):
    strangers = known(index, 3).with_rows(np.array([0, -1, -1]))
    for name, step in (
        ("upload_ms", Freshness(index.schema, 1.0).score),
        ("tone", Tone(index.schema, "tone", 0.5).keep),
        ("creator_id", Quota(index.schema, "creator_id", 1).keep),
    ):
        message = (
            "2 of 3 candidates have no row in the item index: put the steps index_rows and has_embedding "
            f"before the one that reads {name!r}"
        )
        with pytest.raises(ContractError, match="^" + re.escape(message) + "$"):
            step(asked(index), strangers)


def test_freshness_and_a_quota_of_no_candidates_give_none(index):
    stage = Stage(
        "prerank",
        (
            IndexRows(index.schema),
            Freshness(index.schema, weight=1.0),
            Quota(index.schema, "creator_id", at_most=1),
        ),
    )
    assert len(stage.run(asked(index), Candidates.empty()).candidates) == 0


def test_steps_say_what_they_read_and_why_they_drop(index):
    """The wiring check reads the first, people the second."""
    freshness, tone, quota = (
        Freshness(index.schema, 1.0),
        Tone(index.schema, "tone", 0.5),
        Quota(index.schema, "tone", 1),
    )
    assert (freshness.needs, tone.needs, quota.needs) == (("rows", "scores"), ("rows",), ("rows", "scores"))
    assert (tone.reason, quota.reason) == ("below the tone limit", "over the quota of its group")
    assert all(step.schema is index.schema for step in (freshness, tone, quota)), (
        "a cascade compares it with its own"
    )
