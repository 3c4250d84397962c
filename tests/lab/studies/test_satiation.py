"""The satiation study, on small worlds with known effects and on rows that it must not compare."""

import numpy as np
import pytest

from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.satiation import Repeat, Satiation
from karec.lab.studies.satiation import _Log, measure_satiation, satiation_table

TAG_CLICKS = ("tag", "click", "last 4")


def effects(click):
    satiation = Satiation(creator=Repeat(0), tag=Repeat(4, click=click))
    return measure_satiation(make_world(2_000, 1_000, 60_000, days=14, seed=4, satiation=satiation).dataset)


@pytest.fixture(scope="module")
def strong():
    return effects(0.4)


def test_satiation_study_finds_an_effect_only_where_the_world_has_it(strong):
    low, high = strong[TAG_CLICKS]["effect_ci"]
    assert low < strong[TAG_CLICKS]["effect"] < high < -0.2
    low, high = effects(0.0)[TAG_CLICKS]["effect_ci"]
    assert low < 0.0 < high


def test_satiation_study_gives_no_effect_of_few_rows(strong):
    few = strong["creator", "follow", "last 4"]
    assert few["positives"] < 20 and few["effect"] is None
    row = next(row for row in satiation_table(strong, strong).rows if "creator, last 4: follow" in row[0])
    assert row[2] == "–"


def test_repeats_are_counted_within_the_time_and_the_user():
    values = np.array([1, 1, 1, 1, -1, -1])
    user = np.array([0, 0, 0, 1, 1, 1])
    time_ms = np.array([0, 10, 1_000, 1_001, 1_002, 1_003])
    log = _Log(user, user, time_ms, user, user, user, user > 0, {"tag": values}, {})
    assert log.count_repeats(values, 100).tolist() == [0, 1, 0, 0, 0, 0]
    assert log.count_repeats(values, 10_000).tolist() == [0, 1, 2, 0, 0, 0]
