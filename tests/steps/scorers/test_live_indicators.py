"""Live indicators against an oracle in plain Python."""

from dataclasses import replace

import numpy as np
import pytest
from small_dataset import make_dataset

from karec.catalog.relation import Relation
from karec.pipeline.types import Candidates, Request
from karec.steps.scorers.live_indicators import LiveIndicators

PRIOR = 20.0


@pytest.fixture(scope="module")
def snapshot():
    """A snapshot with counters: 40 items, nine creators, 600 exposures."""
    from karec.aggregates.advance import advance

    dataset = make_dataset()
    return advance(dataset.snapshot, dataset.exposures, int(dataset.exposures.time_ms[-1]) + 1)


def rate(snapshot, row, label):
    """Returns the rate of an item, smoothed to its creator's rate, which is smoothed to the mean."""
    works = snapshot.works
    positives, shows = (np.asarray(works[name], float) for name in (f"count_{label}", "count_exposed"))
    mean = positives.sum() / shows.sum()
    own = works["creator_id"] == works["creator_id"][row]
    creator = (positives[own].sum() + PRIOR * mean) / (shows[own].sum() + PRIOR)
    return (positives[row] + PRIOR * creator) / (shows[row] + PRIOR)


def test_live_indicators_are_smoothed_rates_of_item_and_creator(snapshot):
    works = Candidates.from_ids(np.asarray(snapshot.works.ids))
    step = LiveIndicators(snapshot, {"click": 0.5, "like": 2.0})
    expected = [
        0.5 * rate(snapshot, row, "click") + 2.0 * rate(snapshot, row, "like") for row in range(len(works))
    ]
    np.testing.assert_allclose(step.score(Request(1), works), expected, rtol=1e-5)


def test_live_indicators_weigh_long_views_and_likes_by_default(snapshot):
    assert LiveIndicators(snapshot).weights == {"long_view": 1.0, "like": 1.0}


def test_live_indicators_score_an_unknown_item_with_the_mean(snapshot):
    step = LiveIndicators(snapshot, {"click": 1.0})
    mean = np.asarray(snapshot.works["count_click"], float).sum() / snapshot.works["count_exposed"].sum()
    np.testing.assert_allclose(step.score(Request(1), Candidates.from_ids(np.array([3]))), mean, rtol=1e-5)


def test_live_indicators_reject_labels_without_counters(snapshot):
    with pytest.raises(ValueError, match=r"live indicators of \['gift'\]: works count \['click'"):
        LiveIndicators(snapshot, {"gift": 1.0})


def in_segments(snapshot):
    """The snapshot with users of two cities, and users without a city."""
    city = np.arange(len(snapshot.users), dtype=np.int32) % 3 - 1
    return replace(snapshot, users=replace(snapshot.users, columns={**snapshot.users.columns, "city": city}))


def lift(snapshot, work, city):
    """Returns the fraction of an item's entries that users of the city enjoyed, divided by that of all
    users."""
    rows = {name: (snapshot.relations[name], snapshot.users["city"]) for name in ("history", "skipped")}
    entries = [
        (name == "history", int(cities[user]), int(entry))
        for name, (relation, cities) in rows.items()
        for user in range(len(snapshot.users))
        for entry in relation.row_values(user)
    ]
    entries = [entry for entry in entries if entry[1] >= 0]  # users without a city are in no segment
    mean = np.mean([enjoyed for enjoyed, _, _ in entries])
    of_work = [(enjoyed, where) for enjoyed, where, entry in entries if entry == work]
    of_city = [enjoyed for enjoyed, where in of_work if where == city]
    rate = (sum(enjoyed for enjoyed, _ in of_work) + PRIOR * mean) / (len(of_work) + PRIOR)
    return (sum(of_city) + PRIOR * rate) / (len(of_city) + PRIOR) / rate


def test_live_indicators_are_multiplied_by_the_lift_of_the_segment(snapshot):
    snapshot = in_segments(snapshot)
    works = Candidates.from_ids(np.asarray(snapshot.works.ids))
    plain = LiveIndicators(snapshot, {"click": 1.0}).score(Request(1), works)
    step = LiveIndicators(snapshot, {"click": 1.0}, segment="city")
    for row in (1, 2):
        expected = [lift(snapshot, work, row - 1) for work in works.ids.tolist()]
        found = step.score(Request(int(snapshot.users.ids[row])), works)
        assert len(set(expected)) > 10
        np.testing.assert_allclose(found, plain * expected, rtol=1e-5)


def test_live_indicators_have_no_lift_for_users_without_segment(snapshot):
    snapshot = in_segments(snapshot)
    works = Candidates.from_ids(np.append(np.asarray(snapshot.works.ids), 3))
    plain = LiveIndicators(snapshot).score(Request(1), works)
    step = LiveIndicators(snapshot, segment="city")
    for user in (int(snapshot.users.ids[0]), 987_654):  # without a city, and an unknown user
        np.testing.assert_array_equal(step.score(Request(user), works), plain)


def test_live_indicators_have_no_lift_if_lists_are_empty(snapshot):
    snapshot = in_segments(snapshot)
    nothing = Relation.from_pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), len(snapshot.users))
    snapshot = replace(snapshot, relations={**snapshot.relations, "history": nothing, "skipped": nothing})
    works = Candidates.from_ids(np.asarray(snapshot.works.ids))
    asked = Request(int(snapshot.users.ids[1]))
    plain, lifted = LiveIndicators(snapshot), LiveIndicators(snapshot, segment="city")
    np.testing.assert_array_equal(lifted.score(asked, works), plain.score(asked, works))


@pytest.mark.parametrize(
    ("column", "relations", "message"),
    [
        ("town", True, r"segment = 'town' is not an integer column of users; these are \['city'"),
        ("city", False, r"needs the relations history and skipped; there are \[\]"),
    ],
)
def test_live_indicators_reject_a_segment_without_column_or_lists(snapshot, column, relations, message):
    snapshot = in_segments(snapshot)
    if not relations:
        snapshot = replace(snapshot, relations={})
    with pytest.raises(ValueError, match=message):
        LiveIndicators(snapshot, segment=column)
