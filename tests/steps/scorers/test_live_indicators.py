"""Live indicators against an oracle in plain Python."""

import numpy as np
import pytest
from small_dataset import make_dataset

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
    assert LiveIndicators(snapshot).rates.weights == {"long_view": 1.0, "like": 1.0}


def test_live_indicators_score_an_unknown_item_with_the_mean(snapshot):
    step = LiveIndicators(snapshot, {"click": 1.0})
    mean = np.asarray(snapshot.works["count_click"], float).sum() / snapshot.works["count_exposed"].sum()
    np.testing.assert_allclose(step.score(Request(1), Candidates.from_ids(np.array([3]))), mean, rtol=1e-5)


def test_live_indicators_reject_labels_without_counters(snapshot):
    with pytest.raises(ValueError, match=r"live indicators of \['gift'\]: works count \['click'"):
        LiveIndicators(snapshot, {"gift": 1.0})
