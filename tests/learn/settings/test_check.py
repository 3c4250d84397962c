"""Tests that training is refused before it starts if a later step would fail."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_settings import SMALL

from karec.errors import ConfigError, DataError, MissingExtra
from karec.lab.studies.ablation.study import run_ablation
from karec.learn.run.train import train
from karec.learn.settings.check import check_run


def refused(dataset, settings, folder, error, message):
    """Checks that training raises ``error`` before any progress, and makes no folder."""
    steps = []
    with pytest.raises(error, match=message):
        train(dataset, settings, folder / "run", lambda *step: steps.append(step))
    assert not steps and not (folder / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": {"gift": 1.0}}, "fusion weighs .*gift"),
        (
            {"ranker": {"kind": "lightgbm"}, "fusion": {"click": 1.0, "followed": 1.0}},
            r"fusion weighs \['follow'\], which is not learned here",
        ),
        (
            {"task_weights": {"like": 2.0, "fused": 1.0, "follow": 1.0, "play_time": 0.5, "lik": 1.0}},
            r"task_weights weighs \['lik'\].*'like', 'fused', 'follow', 'play_time'",
        ),
        (
            {"ranker": {"kind": "lightgbm"}, "distil": {"ranker_features": "towers"}},
            "ranker_features = 'towers' with ranker.kind = 'lightgbm'",
        ),
        pytest.param(
            {"run": {"device": "cuda"}},
            r"run\.device = 'cuda', and torch finds no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_settings_that_data_or_machine_lack_are_refused(dataset, tmp_path, change, message):
    refused(dataset, SMALL.replace(**change), tmp_path, ConfigError, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: {n: v for n, v in labels.items() if n != "like"}, "tasks .'like'. have no label"),
        (lambda labels: {**labels, "like": labels["like"] * 0}, "task 'like': all .* labels are 0, of one"),
        (
            lambda labels: {**labels, "like": np.where(np.arange(len(labels["like"])) == 17, 2.0, 0.0)},
            "label 'like', exposure 17: 2.0, expected 0 or 1",
        ),
    ],
)
def test_unusable_labels_are_refused_before_training(dataset, tmp_path, change, message):
    exposures = replace(dataset.exposures, labels=change(dataset.exposures.labels))
    steps = []
    with pytest.raises(ValueError, match=message):
        train(replace(dataset, exposures=exposures), SMALL, tmp_path, lambda *step: steps.append(step))
    assert not steps


@pytest.mark.parametrize(
    ("package", "change", "message"),
    [
        (
            "lightgbm",
            {"evaluation": {"baselines": ("lightgbm",)}},
            "baselines = 'lightgbm' needs",
        ),
        (
            "lightgbm",
            {"ranker": {"kind": "lightgbm"}},
            r"kind = 'lightgbm' .*pip install 'karec\[train\]'",
        ),
        (
            "onnxmltools",
            {"ranker": {"kind": "lightgbm"}},
            "kind = 'lightgbm' .* 'onnxmltools'",
        ),
        ("onnxscript", {}, "the export of models needs the package 'onnxscript'"),
        ("pyarrow", {}, "the rank log needs the package 'pyarrow'"),
    ],
)
def test_missing_package_of_a_later_step_is_named_before_training(
    dataset, tmp_path, monkeypatch, package, change, message
):
    monkeypatch.setitem(sys.modules, package, None)  # an import then fails
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
    """Exposures of a user at one time are one request, whose items are a list."""
    settings = SMALL.replace(shadow={"share": 0.0}, distil={"list_works": 12})
    with pytest.raises(DataError, match="lists of 12 items"):
        check_run(dataset, settings)
    start = dataset.snapshot.time_ms
    feeds = replace(dataset.exposures, time_ms=start + np.arange(len(dataset.exposures)) // 200)
    longest = np.bincount(feeds.user_id[:200]).max()
    assert longest >= 12
    check_run(replace(dataset, exposures=feeds, train_until_ms=start + 1, valid_until_ms=start + 2), settings)
