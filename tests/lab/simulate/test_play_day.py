"""Arms with exposure control: equal logs on any number of cores; dual variables last over days."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from small_loop import SIZES, TOWERS, assert_same, play

from karec.errors import Unavailable
from karec.lab.simulate import play_day
from karec.lab.simulate.arm_log import ArmLog

TWO_DAYS = replace(SIZES, days=2)
CONTROLLED = """[[arms]]
name = "controlled"
[arms.scene]
side_effects = []
stages.rerank.steps = [{ use = "top_k" }]
[arms.scene.exposure]
targets = [{ column = "type", share = { "0" = 0.5 } }]
guarantees = [{ new_work_hours = 48, exposures = 1, budget = 200 }]
impressions_per_day = 1_000
explore = 1
"""


@pytest.fixture(scope="module")
def simulation(tmp_path_factory, models):
    return play(tmp_path_factory.mktemp("simulation"), models, TOWERS + CONTROLLED, sizes=TWO_DAYS, cores=1)


def test_log_is_the_same_on_any_number_of_cores(simulation, models, tmp_path):
    parallel = play(tmp_path, models, CONTROLLED, sizes=TWO_DAYS, cores=2)
    logs = [ArmLog.read(out / "controlled") for out in (simulation, parallel)]
    assert_same(*logs)
    assert logs[0].facts["exposure"] == logs[1].facts["exposure"]


def test_exposure_state_continues_in_a_resumed_simulation(simulation, models, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, models, CONTROLLED, sizes=TWO_DAYS, cores=2, progress=interrupt_on_second_day)
    resumed = play(tmp_path, models, CONTROLLED, sizes=TWO_DAYS, resume=True, cores=1)
    log = ArmLog.read(simulation / "controlled")
    assert_same(log, ArmLog.read(resumed / "controlled"))
    assert log.facts["exposure"]["pages"] == log.facts["requests"], "every page of both days is counted"


def interrupt_on_second_day(done, total, message):
    if message.startswith("controlled: day 2") and done > total // 2:
        raise KeyboardInterrupt


def test_exposure_control_shows_more_new_items(simulation):
    plain, controlled = ArmLog.read(simulation / "towers"), ArmLog.read(simulation / "controlled")
    new_works = [
        np.unique(log.exposures["work"][log.work_upload_day[log.exposures["work"]] >= 0])
        for log in (plain, controlled)
    ]
    assert len(new_works[1]) > len(new_works[0]) + 3
    state = controlled.facts["exposure"]
    (target,), (counts,) = state["targets"], state["guarantees"]
    assert (target["name"], target["target_share"]) == ("type 0", 0.5) and target["dual_variable"] != 0
    assert counts["new"] > 0 and plain.facts["exposure"] is None


def test_killed_player_process_is_reported_with_advice(monkeypatch):
    class Killed:
        def __init__(self, *_):
            pass

        def play(self, until_ms):
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(play_day, "Players", Killed)
    day = play_day.SimulatedDay(None, 0, None, None)
    team = play_day._ForkedTeam(day, None, None, None)
    try:
        team.begin(1, None)
        with pytest.raises(Unavailable, match=r"ended with -9 .*--resume"):
            team.take_counted()
    finally:
        team.end()
