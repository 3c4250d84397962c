"""Tests that training is refused before it starts if a later step would fail."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from small_settings import SMALL

from karec.errors import DataError, MissingExtra
from karec.lab.curves import write_curves
from karec.lab.studies.ablation.study import run_ablation
from karec.learn.run.preflight import check_run
from karec.learn.run.train import train


def refused(dataset, settings, folder, error, message):
    """Checks that training raises ``error`` before any progress, and makes no folder."""
    told = []
    with pytest.raises(error, match=message):
        train(dataset, settings, folder / "run", lambda *step: told.append(step))
    assert not told and not (folder / "run").exists()


@pytest.mark.parametrize(
    ("package", "change", "message"),
    [
        (
            "lightgbm",
            {"evaluation": {"baselines": ("lightgbm",)}},
            "baselines = 'lightgbm' needs the package",
        ),
        ("lightgbm", {"ranker": {"kind": "lightgbm"}}, r"'lightgbm': pip install 'karec\[train\]'"),
        (
            "onnxmltools",
            {"ranker": {"kind": "lightgbm"}},
            "kind = 'lightgbm' needs the package 'onnxmltools'",
        ),
        ("onnxscript", {}, "the export of models needs the package 'onnxscript'"),
        ("pyarrow", {}, "the rank log needs the package 'pyarrow'"),
    ],
)
def test_missing_package_of_a_later_step_is_named_before_training(
    dataset, tmp_path, monkeypatch, package, change, message
):
    monkeypatch.setitem(sys.modules, package, None)  # what an import then finds is nothing
    refused(dataset, SMALL.replace(**change), tmp_path, MissingExtra, message)


def test_ablation_names_missing_lightgbm_first(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtra, match="'lightgbm'"):
        run_ablation(dataset, SMALL, tmp_path / "ablation", only=["lightgbm"])
    assert not (tmp_path / "ablation").exists()


def test_unused_packages_may_be_missing(dataset, monkeypatch):
    for package in ("lightgbm", "onnxmltools", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)
    check_run(dataset, SMALL)


@pytest.mark.parametrize(
    ("days", "cuts"),
    [("training", (0, 500)), ("validation", (300, 300)), ("test", (300, 600))],
)
def test_days_without_exposures_are_named_before_training(dataset, tmp_path, days, cuts):
    time = [*dataset.exposures.time_ms.tolist(), int(dataset.exposures.time_ms[-1]) + 1]
    cut = replace(dataset, train_until_ms=time[cuts[0]], valid_until_ms=time[cuts[1]])
    refused(cut, SMALL, tmp_path, DataError, rf"tiny: no exposures on the {days} days \(.* training, ")


@pytest.mark.parametrize(
    "change",
    [{"distil": {"list_works": 41}}, {"shadow": {"share": 0.0}}, {"shadow": {"share": 1e-4}}],
)
def test_missing_lists_are_refused_before_training(dataset, tmp_path, change):
    message = r"recipe 'list' needs lists of 4\d items, and the rank log would have none"
    refused(dataset, SMALL.replace(**change), tmp_path, DataError, message)
    check_run(dataset, SMALL.replace(**change).with_recipe("feature-distillation"))


def test_long_pages_count_as_lists_without_pools(dataset):
    """Exposures of a user at one moment are one request, whose works are a list however few pools there
    are."""
    settings = SMALL.replace(shadow={"share": 0.0}, distil={"list_works": 12})
    with pytest.raises(DataError, match="lists of 12 items"):
        check_run(dataset, settings)
    start = dataset.snapshot.time_ms
    feeds = replace(dataset.exposures, time_ms=start + np.arange(len(dataset.exposures)) // 200)
    longest = np.bincount(feeds.user_id[:200]).max()
    assert longest >= 12
    check_run(replace(dataset, exposures=feeds, train_until_ms=start + 1, valid_until_ms=start + 2), settings)


def test_curves_name_missing_matplotlib(tmp_path, monkeypatch):
    run = {"curves": {"towers": [[0, 0.7], [1, 0.6]]}, "epochs": {"towers": [{"loss": 0.6, "score": 0.6}]}}
    write_curves(run, tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").exists()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'karec\[lab\]'"):
        write_curves(run, tmp_path / "curves.svg")
    assert not (tmp_path / "curves.svg").exists()
