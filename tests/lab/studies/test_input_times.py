"""The study of input times: a 2 × 2 table of training and serving, on a tiny platform."""

import pytest
from small_settings import LISTS, SMALL

from karec.evaluate.quality import read_run
from karec.lab.simulate.world import make_world
from karec.lab.studies.input_times import AGAIN, POOLS, input_times_tables, measure_input_times

pytestmark = pytest.mark.long


def test_input_times_study_measures_each_training_with_both_inputs(dataset, tmp_path):
    settings = SMALL.replace(ranker={"kind": "lr"}, towers={"epochs": 1}, distil={"recipe": "hard", **LISTS})
    report = measure_input_times(dataset, settings, tmp_path, seeds=[0])
    for hours in (24, 0):
        run = read_run(tmp_path / f"seed-0-hours-{hours}")
        assert run["settings"]["features"]["refresh_hours"] == hours
    for by_measure in report["cells"].values():
        cells = by_measure["AUC"]
        assert [(cell["served"], cell["trained"]) for cell in cells] == [(24, 24), (24, 0), (0, 24), (0, 0)]
        assert len({cell["value"] for cell in cells}) == 4
        assert cells[1]["gain"] == cells[1]["value"] - cells[0]["value"]
        assert cells[3]["gain"] == cells[3]["value"] - cells[2]["value"]
        for cell in cells:
            assert cell["gain_ci"][0] <= cell["gain"] <= cell["gain_ci"][1]
    assert [len(table.rows) for table in input_times_tables(report)] == [4, 4]


def test_input_times_study_of_a_world_measures_true_outcomes(tmp_path):
    world = make_world(600, 60, 2_000, seed=3)
    settings = SMALL.replace(
        fusion={"click": 1.0}, ranker={"kind": "lr"}, towers={"epochs": 1}, distil={"recipe": "hard", **LISTS}
    )
    report = measure_input_times(
        world.dataset, settings, tmp_path, seeds=[0], truth_of=world.task_probabilities
    )
    for by_measure in report["cells"].values():
        assert [*by_measure] == ["AUC", "GAUC in a user's day", AGAIN, POOLS]
        assert all(0 < cell["value"] < 1 for cells in by_measure.values() for cell in cells)


def test_input_times_study_trains_no_finished_run_again(dataset, tmp_path):
    settings = SMALL.replace(ranker={"kind": "lr"}, towers={"epochs": 1}, distil={"recipe": "hard", **LISTS})
    first = measure_input_times(dataset, settings, tmp_path, seeds=[0])
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.onnx")}
    assert measure_input_times(dataset, settings, tmp_path, seeds=[0]) == first
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.onnx")}
