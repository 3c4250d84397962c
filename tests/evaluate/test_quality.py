"""Tests of the quality table: measures of all models and tasks with intervals."""

import json

import numpy as np
import pytest

from karec.catalog.impressions import Impressions
from karec.evaluate.quality import quality_json, quality_table
from karec.evaluate.tables import COLUMNS, quality_rows


def make_impressions(n, y, generator):
    return Impressions(
        user_id=generator.integers(0, 40, n),
        work_id=np.arange(n),
        time_ms=np.arange(n) * 1000,
        scene=np.zeros(n, np.int32),
        labels={"click": y, "like": 1 - y},
        play_ms=np.zeros(n, np.int64),
    )


def test_quality_table_has_all_models_and_tasks_with_intervals():
    generator = np.random.default_rng(1)
    n = 600
    y = generator.integers(0, 2, n).astype(np.uint8)
    exposures = make_impressions(n, y, generator)
    guess = np.clip(y[:, None] * [0.3, -0.3] + generator.random((n, 2)), 0, 1)
    table = quality_table(
        {"a": guess, "b": guess[:, ::-1]}, exposures, ("click", "like"), start_ms=0, resamples=50
    )
    gap = table["a"]["click"]["auc_behind"]
    assert gap == table["b"]["click"]["auc"] - table["a"]["click"]["auc"]
    assert table["a"]["click"]["auc_behind_ci"][0] <= gap <= table["a"]["click"]["auc_behind_ci"][1]
    assert table["b"]["click"]["auc_behind_ci"] == (0.0, 0.0)
    assert list(table) == ["a", "b"] and list(table["a"]) == ["click", "like"]
    for measure in ("auc", "gauc", "ece"):
        low, high = table["a"]["click"][f"{measure}_ci"]
        assert low <= high and high > 0
    low, high = table["a"]["click"]["auc_ci"]
    assert low < table["a"]["click"]["auc"] < high
    with pytest.raises(ValueError, match=r"predictions \(600, 1\), expected \(600, 2\)"):
        quality_table({"a": guess[:, :1]}, exposures, ("click", "like"), start_ms=0)


def test_quality_table_compares_with_towers_if_there_are_any():
    generator = np.random.default_rng(2)
    y = generator.integers(0, 2, 500).astype(np.uint8)
    guesses = {
        name: np.clip(y[:, None] * [by, -by] + generator.random((500, 2)), 0, 1)
        for name, by in (("lr", 0.1), ("towers", 0.3), ("mmoe", 0.4))
    }
    exposures = make_impressions(500, y, generator)
    table = quality_table(guesses, exposures, ("click", "like"), start_ms=0, resamples=50)
    for measure in ("auc", "gauc"):
        lr, towers, ranker = (table[name]["click"] for name in guesses)
        assert lr[f"{measure}_behind_towers"] == towers[measure] - lr[measure] > 0
        assert ranker[f"{measure}_behind_towers"] == -towers[f"{measure}_behind"] < 0
        assert towers[f"{measure}_behind_towers_ci"] == ranker[f"{measure}_behind_ci"] == (0.0, 0.0)
    without = quality_table({"lr": guesses["lr"]}, exposures, ("click", "like"), start_ms=0, resamples=5)
    assert not any("towers" in name for name in without["lr"]["click"])
    head, rows = quality_rows(without, "click", COLUMNS)
    assert head == ["model", "AUC", "behind the ranker", "GAUC (user, day)", "ECE"] and len(rows[0]) == 5


def test_labels_of_one_class_have_auc_none_in_json():
    exposures = make_impressions(50, np.zeros(50, np.uint8), np.random.default_rng(3))
    table = quality_table(
        {"towers": np.full((50, 2), 0.2)}, exposures, ("click", "like"), start_ms=0, resamples=5
    )
    measures = table["towers"]["click"]
    assert measures["auc"] is measures["auc_ci"] is measures["gauc"] is measures["auc_behind_ci"] is None
    assert measures["ece"] == pytest.approx(0.2)
    text = quality_json({"models": table})
    assert "NaN" not in text and json.loads(text)["format"] == 1
