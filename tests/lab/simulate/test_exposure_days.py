"""An arm that steers exposure: the same log on any number of cores, and prices that live from day to day."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from small_loop import SIZES, TOWERS, assert_same, play

from karec.errors import ConfigError, Unavailable
from karec.exposure.controller import Steering
from karec.lab.simulate import exposure_days
from karec.lab.simulate.arm_log import ArmLog

TWO_DAYS = replace(SIZES, days=2)
STEERED = """[[arms]]
name = "steered"
[arms.scene]
query = [{ use = "user_features" }, { use = "user_tower" }, { use = "exposure_prices" }]
side_effects = [{ use = "exposures" }]
recall.underexposed = { use = "underexposed", quota = 10 }
stages.rerank.steps = [{ use = "exposure" }, { use = "top_k" }]
[arms.scene.exposure]
targets = [{ column = "type", share = { "0" = 0.5 } }]
floors = [{ new_work_hours = 48, exposures = 1, budget = 200 }]
places_a_day = 1_000
explore = 1
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory, models):
    return play(tmp_path_factory.mktemp("played"), models, TOWERS + STEERED, sizes=TWO_DAYS, cores=1)


def test_the_same_seed_gives_the_same_log_on_any_number_of_cores(played, models, tmp_path):
    again = play(tmp_path, models, STEERED, sizes=TWO_DAYS, cores=2)
    one, other = ArmLog.read(played / "steered"), ArmLog.read(again / "steered")
    assert_same(one, other)
    assert one.facts["exposure"] == other.facts["exposure"]


def test_prices_live_from_day_to_day_also_in_a_simulation_that_was_killed(played, models, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, models, STEERED, sizes=TWO_DAYS, cores=2, progress=interrupt_on_second_day)
    resumed = play(tmp_path, models, STEERED, sizes=TWO_DAYS, resume=True, cores=1)
    one, other = ArmLog.read(played / "steered"), ArmLog.read(resumed / "steered")
    assert_same(one, other)
    assert one.facts["exposure"]["feeds"] == one.facts["requests"], "every page of both days is counted"


def interrupt_on_second_day(done, total, what):
    if what.startswith("steered: day 2") and done > total // 2:
        raise KeyboardInterrupt


def test_prices_move_what_is_shown_towards_what_is_wanted(played):
    plain, steered = ArmLog.read(played / "towers"), ArmLog.read(played / "steered")
    new = [
        np.unique(log.exposures["work"][log.work_upload_day[log.exposures["work"]] >= 0])
        for log in (plain, steered)
    ]
    assert len(new[1]) > len(new[0]) + 3
    told = steered.facts["exposure"]
    (target,), (floor,) = told["targets"], told["floors"]
    assert (target["name"], target["wanted"]) == ("type 0", 0.5) and target["price"] != 0
    assert floor["new"] > 0 and plain.facts["exposure"] is None


def test_a_state_file_is_refused_since_the_checkpoint_keeps_the_prices(models, tmp_path):
    with pytest.raises(ConfigError, match=r"'steered': exposure.state names a file"):
        play(tmp_path, models, STEERED + 'state = "prices.json"\n', sizes=TWO_DAYS)


def test_a_player_that_was_killed_is_told_with_what_to_do(monkeypatch):
    class Killed:
        def __init__(self, *_):
            pass

        def play(self, until_ms):
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(exposure_days, "Players", Killed)
    monkeypatch.setattr(Steering, "follow", lambda self, prices: None)
    team = exposure_days._There(None, Steering.__new__(Steering), None, None, None)
    try:
        team.begin(1, None)
        with pytest.raises(Unavailable, match=r"ended with -9 .*--resume"):
            team.counted()
    finally:
        team.end()
