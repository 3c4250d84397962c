"""Tests of trainings with ``run.rows = "disk"``: resuming, files left, and models that need memory."""

import pytest
from small_settings import LISTS, SMALL

from karec.errors import ConfigError
from karec.learn.run.train import train
from karec.learn.settings.check import check_training

ON_DISK = SMALL.replace(
    run={"rows": "disk", "checkpoint_steps": 2},
    evaluation={"baselines": ()},
    distil=LISTS,
    towers={"epochs": 1},
)


class Stopped(Exception):
    pass


def test_stopped_training_from_disk_resumes_and_leaves_no_rows(dataset, tmp_path):
    def stop(done, total, step):
        if (done, step) == (5, "training the ranker"):
            raise Stopped

    whole = train(dataset, ON_DISK, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(dataset, ON_DISK, tmp_path / "stopped", stop)
    parts = {path: path.stat().st_mtime_ns for path in tmp_path.glob("stopped/rows/day=*/*")}
    reports = []
    resumed = train(dataset, ON_DISK, tmp_path / "stopped", lambda *step: reports.append(step), resume=True)
    assert parts and "writing training rows" not in {step for *_, step in reports}
    assert resumed.quality == whole.quality
    assert not [*tmp_path.glob("*/rows")]


@pytest.mark.parametrize(
    "change",
    [
        {"ranker": {"kind": "lightgbm", "auxiliary": ()}},
        {"evaluation": {"baselines": ("lightgbm",)}},
        {"distil": {"retrieval_weight": 1.0}},
    ],
)
def test_models_that_need_rows_in_memory_are_refused(dataset, change):
    with pytest.raises(ConfigError, match=r"run\.rows = 'disk' with"):
        check_training(dataset, ON_DISK.replace(**change))
    check_training(dataset, ON_DISK.replace(run={"rows": "memory"}, **change))
