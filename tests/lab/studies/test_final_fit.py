"""The final-fit study: training days against training and validation days, on a tiny platform."""

import pytest
from small_settings import LISTS, SMALL

from karec.evaluate.quality import TESTED, read_run
from karec.lab.studies.final_fit import compare_final_fit, final_fit_table

pytestmark = pytest.mark.long


def test_final_fit_study_learns_no_test_row_and_measures_both_models(dataset, tmp_path):
    settings = SMALL.replace(ranker={"kind": "lr"}, towers={"epochs": 1}, distil={"recipe": "hard", **LISTS})
    gains = compare_final_fit(dataset, settings, tmp_path / "run")
    trained_until_ms = [read_run(tmp_path / "run" / part)["trained_until_ms"] for part in ("", TESTED)]
    assert trained_until_ms == [dataset.valid_until_ms] * 2
    assert list(gains) == [
        "ranker, mean AUC",
        "towers, mean AUC",
        "ranker alone, NDCG@20",
        "towers alone, NDCG@20",
    ]
    for values in gains.values():
        assert values["gain"] == pytest.approx(values["new"] - values["in_service"])
        assert values["gain_ci"][0] <= values["gain"] <= values["gain_ci"][1]
    assert len(final_fit_table(gains).rows) == len(gains)
