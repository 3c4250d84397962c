"""The study of input times: a 2 × 2 table of training and serving, on a tiny platform."""

import pytest
from small_settings import LISTS, SMALL

from karec.evaluate.quality import read_run
from karec.lab.studies.input_times import input_times_tables, measure_input_times

pytestmark = pytest.mark.long


def test_input_times_study_measures_each_training_with_both_inputs(dataset, tmp_path):
    settings = SMALL.replace(ranker={"kind": "lr"}, towers={"epochs": 1}, distil={"recipe": "hard", **LISTS})
    report = measure_input_times(dataset, settings, tmp_path, seeds=[0])
    for hours in (24, 0):
        run = read_run(tmp_path / f"seed-0-hours-{hours}")
        assert run["settings"]["features"]["refresh_hours"] == hours
    for by_measure in report["cells"].values():
        cells = by_measure["AUC"]
        assert [(cell["trained"], cell["served"]) for cell in cells] == [(24, 24), (24, 0), (0, 24), (0, 0)]
        assert cells[0]["gain"] == 0 and len({cell["value"] for cell in cells}) == 4
        for cell in cells:
            assert cell["gain_ci"][0] <= cell["gain"] <= cell["gain_ci"][1]
    assert [len(table.rows) for table in input_times_tables(report)] == [4, 4]


def test_input_times_study_trains_no_finished_run_again(dataset, tmp_path):
    settings = SMALL.replace(ranker={"kind": "lr"}, towers={"epochs": 1}, distil={"recipe": "hard", **LISTS})
    first = measure_input_times(dataset, settings, tmp_path, seeds=[0])
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.onnx")}
    assert measure_input_times(dataset, settings, tmp_path, seeds=[0]) == first
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.onnx")}
