"""The first-impressions study: hours of hits, its table, and a tiny world."""

import numpy as np
import pytest

from karec.lab.simulate.population import Sizes
from karec.lab.studies.first_impressions import (
    HALF_LIVES,
    HITS,
    Played,
    first_impressions_table,
    hours_to,
    play_world,
)
from karec.times import HOUR_MS


def test_hours_end_at_the_nth_impression_or_with_the_days():
    times = np.arange(1, 6) * HOUR_MS
    assert hours_to(times, (1, 3, 6), 0, 24 * HOUR_MS) == [1.0, 3.0, 24.0]


def test_table_has_changes_against_the_arm_store():
    hours = {"frozen": 9.0, "store": 6.0, "hour": 2.0, "day": 3.0}
    world = {arm: Played(np.full((HITS, 3), value), 40.0, 7) for arm, value in hours.items()}
    rows = {row[0]: row[1] for row in first_impressions_table([world, world]).rows}
    assert rows == {
        "frozen": "9.0 (+3.0 [+3.0, +3.0])",
        "store": "6.0",
        "hour": "2.0 (-4.0 [-4.0, -4.0])",
        "day": "3.0 (-3.0 [-3.0, -3.0])",
    }


@pytest.mark.long
def test_study_plays_every_arm_on_the_hits_of_a_world(tmp_path):
    played = play_world(Sizes(works=400, users=120, exposures=4000, days=2, seed=0), tmp_path)
    assert [*played] == [*HALF_LIVES]
    for one in played.values():
        assert one.hours.shape == (HITS, 3) and (one.hours > 0).all() and (one.hours <= 24).all()
