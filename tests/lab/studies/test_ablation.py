"""The ablation on a tiny platform: every row is there, what is done is not done again, the table can be
read."""

import json

import numpy as np
import pytest
from small_settings import LISTS, SMALL

from karec.errors import DataError
from karec.evaluate.metrics.accuracy import auc
from karec.lab.studies.ablation.plan import ablation_rows
from karec.lab.studies.ablation.report import write_ablation
from karec.lab.studies.ablation.study import run_ablation

pytestmark = pytest.mark.long

SETTINGS = SMALL.replace(
    ranker={"epochs": 1},
    towers={"epochs": 1},
    distil=LISTS,
    shadow={"works": 20, "share": 0.3},
)
ROWS = [
    "popularity",
    "hard-full",
    "list-full",
    "pools-full",
    "model-distillation-static",
    "teacher",
    "teacher-again",
]
SIZES = {"n_pools": 8, "pool_size": 30, "whole": 8}


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    return folder, run_ablation(dataset, SETTINGS, folder, seeds=(0, 1), only=ROWS, **SIZES)


def test_ablation_has_the_rows_of_the_plan():
    names = [row.name for row in ablation_rows()]
    assert len(set(names)) == len(names) == 20
    assert {row.parent for row in ablation_rows()} - {None} <= set(names)


def test_row_has_measures_gains_and_costs(run):
    report = run[1]
    assert [row["name"] for row in report["rows"]] == [
        row.name for row in ablation_rows() if row.name in ROWS
    ]
    by_name = {row["name"]: row for row in report["rows"]}
    teacher = by_name["teacher"]
    assert teacher["measures"]["hit 10 in 10"]["value"] == teacher["measures"]["NDCG@50"]["value"] == 1.0
    assert "gains" not in by_name["pools-full"], "its parent was not asked for"
    gain = by_name["list-full"]["gains"]["click.auc"]
    values = [by_name[name]["measures"]["click.auc"]["value"] for name in ("list-full", "pools-full")]
    assert gain["value"] == pytest.approx(values[0] - values[1])
    assert gain["ci"][0] <= gain["ci"][1]
    assert set(by_name["list-full"]["gap_closed"]) == {"click.auc", "long_view.auc", "like.auc"}
    assert all(row["seconds"] >= 0 and row["peak_gib"] > 0 for row in report["rows"])


def test_towers_and_ranker_order_the_library(run):
    """The tiny library's best 1 % is one work, which is one of the ranker's ten or not."""
    folder, report = run
    by_name = {row["name"]: row["measures"] for row in report["rows"]}
    assert by_name["teacher"]["ranker's top 10 kept"]["value"] == pytest.approx(0.1)
    assert "ranker's top 10 kept" not in by_name["popularity"] and report["whole"]["pools"] == 8
    kept, tens = [], []
    for seed in (0, 1):
        with (
            np.load(folder / f"cells/list-full-{seed}.npz") as cell,
            np.load(folder / f"cells/teacher-{seed}.npz") as of,
        ):
            best = cell["whole"].argmax(axis=1)
            ranks = (-of["whole"]).argsort(axis=1).argsort(axis=1)
            kept.append(np.mean(ranks[np.arange(len(best)), best] < 10) / 10)
            tens.append(len(np.unique(cell["tops"])))
    assert by_name["list-full"]["ranker's top 10 kept"]["value"] == pytest.approx(np.mean(kept))
    assert by_name["list-full"]["works in top tens"]["value"] == np.mean(tens) >= 10


def test_row_has_its_difference_to_the_ranker(run):
    by_name = {row["name"]: row for row in run[1]["rows"]}
    ahead = by_name["list-full"]["over"]["teacher"]["like.auc"]["value"]
    mine, theirs = (by_name[name]["measures"]["like.auc"]["value"] for name in ("list-full", "teacher"))
    assert ahead == pytest.approx(mine - theirs)
    assert (
        set(by_name["list-full"]["over"]) == {"hard-full", "teacher"}
        and "teacher" not in by_name["teacher"]["over"]
    )


def test_parts_of_a_mixed_ranker_are_trained_once(dataset, tmp_path):
    mixed = SETTINGS.replace(ranker={"kind": "both"})
    rows = ["lightgbm", "mmoe", "both", "teacher"]
    report = run_ablation(dataset, mixed, tmp_path, seeds=(0,), only=rows, **SIZES)
    kept = {path.name for path in (tmp_path / "models").glob("*.onnx")}
    assert kept == {"teacher-0.onnx", "teacher-0_lightgbm.onnx", "teacher-0_mmoe.onnx"}
    by_name = {row["name"]: row["measures"]["click.auc"]["value"] for row in report["rows"]}
    assert by_name["both"] == by_name["teacher"] != by_name["mmoe"] != by_name["lightgbm"]


def test_measures_are_means_over_seeds(dataset, run):
    folder, report = run
    test = dataset.split()[2]
    aucs = [
        auc(test.labels["click"], np.load(folder / f"cells/hard-full-{seed}.npz")["logits"][:, 0])
        for seed in (0, 1)
    ]
    row = next(row for row in report["rows"] if row["name"] == "hard-full")
    assert row["measures"]["click.auc"]["value"] == pytest.approx(np.mean(aucs))


def test_reseeded_ranker_has_another_seed(run):
    by_name = {row["name"]: row for row in run[1]["rows"]}
    assert by_name["teacher-again"]["measures"]["click.auc"]["value"] == pytest.approx(
        by_name["teacher"]["measures"]["click.auc"]["value"]
    )
    assert by_name["teacher-again"]["measures"]["NDCG@50"]["value"] < 1.0


def test_only_a_missing_cell_is_made_again(dataset, run):
    folder, report = run
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    lost = folder / "cells" / "pools-full-1.npz"
    lost.unlink()
    again = run_ablation(dataset, SETTINGS, folder, seeds=(0, 1), only=ROWS, **SIZES)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {lost.name}
    for old, new in zip(report["rows"], again["rows"], strict=True):
        assert old["measures"] == new["measures"]


def test_folder_of_other_settings_is_rejected(dataset, run):
    with pytest.raises(DataError, match="holds an ablation of tiny"):
        run_ablation(dataset, SETTINGS.replace(features={"dim": 8}), run[0], seeds=(0, 1), only=ROWS, **SIZES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"only": ["hard"]}, "unknown rows .'hard'"),
        ({"seeds": (1, 1)}, "seeds must be different"),
        ({"pool_size": 41}, "40 works exist when test begins, pools need 41"),
    ],
)
def test_ablation_rejects_invalid_plans(dataset, tmp_path, change, message):
    with pytest.raises((ValueError, DataError), match=message):
        run_ablation(
            dataset, SETTINGS, tmp_path, **{"seeds": (0,), "only": ["popularity"], **SIZES, **change}
        )


def test_truth_is_a_measure_if_known(dataset, tmp_path):
    """A truth that loves the works that the ranker of the run does not know: popularity does not find it by
    chance."""

    def truth(users, works, time_ms, scene):
        return np.repeat(((works * 7) % 40 / 40.0)[:, None], 3, axis=1)

    report = run_ablation(
        dataset, SETTINGS, tmp_path, seeds=(0,), only=["popularity", "teacher"], truth_of=truth, **SIZES
    )
    assert all(0 < row["measures"]["NDCG of truth"]["value"] < 1 for row in report["rows"])


def test_ablation_report_is_json_and_markdown_tables(run, tmp_path):
    data, text = write_ablation(run[1], tmp_path)
    written = json.loads(data.read_text())
    assert written["seeds"] == [0, 1] and written["format"] == 1
    told = text.read_text()
    of_lists = "full: + the pools' order (list)"
    for title in (
        "### click",
        "### like",
        "### agreement with the ranker",
        "### order of 40 works",
        of_lists,
        "ranker, re-seeded",
    ):
        assert title in told
    assert all(line.count("|") == told.splitlines()[i - 1].count("|")
               for i, line in enumerate(told.splitlines()) if line.startswith("|---"))  # fmt: skip
