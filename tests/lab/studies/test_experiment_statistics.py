"""Error rates of `karec experiment` on a small log."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from karec.lab.simulate.world import make_world
from karec.lab.studies.experiment_statistics import EFFECTS, LABEL, NAME, statistics_table, study_statistics


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments")
    world = make_world(300, 400, 4_000, seed=0)
    report = study_statistics(world, folder, assignments=20, seed=0, progress=lambda *_: None)
    return report, folder


def test_intervals_of_one_look_contain_the_truth(study):
    report, _ = study
    rates = report["rates"]
    assert report["units"] > 200 and report["looks"] > 15
    for label in EFFECTS:
        assert rates[f"{label}: CUPED"] >= 0.8 and rates[f"{label}: plain"] >= 0.8
    for metric in (LABEL, f"{LABEL}/impression"):
        assert rates[f"{metric}: horizon"] <= 0.2
        assert rates[f"{metric}: ever, all looks"] == 0  # below 1,000 units an arm
    assert len(statistics_table(report).rows) == len(rates)


def test_events_have_more_labels_by_the_planted_effects(study):
    report, folder = study
    labels = [
        one for file in sorted((folder / "events").glob("*.parquet")) for one in pq.read_table(file)["labels"]
    ]
    counts = {name: sum(name in one.as_py() for one in labels) for name in (LABEL, *EFFECTS)}
    for name, size in EFFECTS.items():
        assert counts[name] / counts[LABEL] - 1 == pytest.approx(size, abs=0.02)
        assert report["true_effects"][name] == pytest.approx(size, abs=0.03)


def test_pages_have_arms_from_the_start_of_the_experiment_on(study):
    _, folder = study
    table = pq.read_table(folder / "rank_log")
    times, arms = table["time_ms"].to_numpy(), np.array(table["arms"].to_pylist())
    assert set(arms) == {"", f"{NAME}=control", f"{NAME}=same"}
    assert times[arms == ""].max() < times[arms != ""].min()
