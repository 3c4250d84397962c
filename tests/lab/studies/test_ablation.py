"""The ablation of the towers' training, on a tiny platform."""

import json

import numpy as np
import pytest
from small_settings import LISTS, SMALL

from karec.errors import DataError
from karec.evaluate.metrics.accuracy import auc
from karec.lab.studies.ablation.report import write_ablation
from karec.lab.studies.ablation.study import run_ablation
from karec.lab.studies.ablation.table import ROWS

pytestmark = pytest.mark.long

SETTINGS = SMALL.replace(
    ranker={"epochs": 1},
    towers={"epochs": 1},
    distil=LISTS,
    shadow={"works": 20, "share": 0.3},
)
NAMES = ["lr", "hard", "model-distillation", "pools", "list", "teacher", "teacher-again"]
SIZES = {"n_pools": 8, "pool_size": 30, "whole": 8}


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    return folder, run_ablation(dataset, SETTINGS, folder, seeds=(0, 1), only=NAMES, **SIZES)


@pytest.fixture
def rows(run):
    return {row["name"]: row for row in run[1]["rows"]}


def test_rows_have_unique_names():
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


def test_row_has_measures_gains_and_costs(rows):
    assert list(rows) == NAMES
    teacher = rows["teacher"]
    assert teacher["measures"]["hit 10 in 10"]["value"] == teacher["measures"]["NDCG@50"]["value"] == 1.0
    gain = rows["list"]["over"]["hard"]["click.auc"]
    list_auc, hard_auc = (rows[name]["measures"]["click.auc"]["value"] for name in ("list", "hard"))
    assert gain["value"] == pytest.approx(list_auc - hard_auc)
    assert gain["ci"][0] <= gain["ci"][1]
    assert all(row["seconds"] >= 0 and row["peak_gib"] > 0 for row in rows.values())


def test_towers_and_ranker_order_the_library(run, rows):
    """The best 1 % of the tiny library is one work: it is one of the ranker's ten or not."""
    folder, report = run
    assert rows["teacher"]["measures"]["ranker's top 10 kept"]["value"] == pytest.approx(0.1)
    assert "ranker's top 10 kept" not in rows["lr"]["measures"] and report["library"]["users"] == 8
    shares = []
    for seed in (0, 1):
        with np.load(folder / f"cells/list-{seed}.npz") as cell:
            best = cell["library"].argmax(axis=1)
        with np.load(folder / f"cells/teacher-{seed}.npz") as cell:
            ranks = (-cell["library"]).argsort(axis=1).argsort(axis=1)
        shares.append(np.mean(ranks[np.arange(len(best)), best] < 10) / 10)
    assert rows["list"]["measures"]["ranker's top 10 kept"]["value"] == pytest.approx(np.mean(shares))


def test_row_has_its_difference_to_the_ranker(rows):
    gain = rows["list"]["over"]["teacher"]["like.auc"]["value"]
    list_auc, teacher_auc = (rows[name]["measures"]["like.auc"]["value"] for name in ("list", "teacher"))
    assert gain == pytest.approx(list_auc - teacher_auc)
    assert set(rows["list"]["over"]) == {"lr", "hard", "teacher"} and "teacher" not in rows["teacher"]["over"]


def test_ranker_of_the_kind_in_the_settings_is_trained_once(dataset, tmp_path):
    names = ["lightgbm", "mmoe", "teacher"]
    report = run_ablation(dataset, SETTINGS, tmp_path, seeds=(0,), only=names, **SIZES)
    files = {path.name for path in (tmp_path / "models").glob("*.onnx")}
    assert files == {"teacher-0.onnx", "lightgbm-0.onnx"}
    aucs = {row["name"]: row["measures"]["click.auc"]["value"] for row in report["rows"]}
    assert aucs["mmoe"] == aucs["teacher"] != aucs["lightgbm"]


def test_measures_are_means_over_seeds(dataset, run, rows):
    folder, labels = run[0], dataset.split()[2].labels["click"]
    cells = [np.load(folder / f"cells/hard-{seed}.npz")["logits"][:, 0] for seed in (0, 1)]
    mean = np.mean([auc(labels, logits) for logits in cells])
    assert rows["hard"]["measures"]["click.auc"]["value"] == pytest.approx(mean)


def test_reseeded_ranker_has_another_seed(rows):
    teacher, other = rows["teacher"]["measures"], rows["teacher-again"]["measures"]
    # Both rows have the mean over the same two seeds.
    assert other["click.auc"]["value"] == pytest.approx(teacher["click.auc"]["value"])
    assert other["NDCG@50"]["value"] < 1.0


def test_only_a_missing_cell_is_trained_again(dataset, run):
    folder, report = run
    old_times = {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    lost = folder / "cells" / "pools-1.npz"
    lost.unlink()
    repeated = run_ablation(dataset, SETTINGS, folder, seeds=(0, 1), only=NAMES, **SIZES)
    new_times = {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    assert {name for name in old_times if old_times[name] != new_times[name]} == {lost.name}
    for old, new in zip(report["rows"], repeated["rows"], strict=True):
        assert old["measures"] == new["measures"]


def test_folder_of_other_settings_is_rejected(dataset, run):
    with pytest.raises(DataError, match="has an ablation of tiny"):
        run_ablation(
            dataset, SETTINGS.replace(features={"dim": 8}), run[0], seeds=(0, 1), only=NAMES, **SIZES
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"only": ["hrad"]}, "unknown rows .'hrad'"),
        ({"seeds": (1, 1)}, "expected different ones"),
        ({"pool_size": 41}, "40 works exist at the begin of test, expected at least 41"),
    ],
)
def test_ablation_rejects_invalid_plans(dataset, tmp_path, change, message):
    with pytest.raises((ValueError, DataError), match=message):
        run_ablation(dataset, SETTINGS, tmp_path, **{"seeds": (0,), "only": ["lr"], **SIZES, **change})


def test_truth_is_a_measure_if_known(dataset, tmp_path):
    def truth(users, works, time_ms, scene):
        return np.repeat(((works * 7) % 40 / 40.0)[:, None], 3, axis=1)

    report = run_ablation(
        dataset, SETTINGS, tmp_path, seeds=(0,), only=["lr", "teacher"], truth_of=truth, **SIZES
    )
    assert all(0 < row["measures"]["NDCG of truth"]["value"] < 1 for row in report["rows"])


def test_ablation_report_is_json_and_markdown_tables(run, tmp_path):
    data, text = write_ablation(run[1], tmp_path)
    assert json.loads(data.read_text())["seeds"] == [0, 1]
    lines = text.read_text().splitlines()
    titles = [line for line in lines if line.startswith("### ")]
    assert len(titles) == len(set(titles)) == 3 + 2 + 3 + 1, "tasks, agreement, gains, costs"
    for n, line in enumerate(lines):
        if line.startswith("|---"):
            assert line.count("|") == lines[n - 1].count("|") == lines[n + 1].count("|")
