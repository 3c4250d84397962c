"""Tests that int8 models replace float32 models: same inputs and outputs, similar results, fewer bytes."""

import json

import numpy as np
import pytest

from karec.learn.export.golden import read_golden
from karec.learn.export.quantised import MODELS, export_run
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.models.onnx_model import OnnxModel

SETTINGS = TrainSettings().replace(
    features={"history_length": 8, "min_count": 3},
    optimizer={"batch_size": 64},
    ranker={"epochs": 1},
    towers={"epochs": 1},
    evaluation={"baselines": (), "resamples": 20},
    run={"threads": 1},
)


@pytest.fixture(scope="module")
def exported(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(dataset, SETTINGS, folder)
    return folder, export_run(dataset, folder)


@pytest.mark.parametrize("name", MODELS)
def test_int8_model_replaces_the_float32_model(exported, name):
    folder = exported[0]
    plain, small = OnnxModel(folder / f"{name}.onnx"), OnnxModel(folder / f"{name}.int8.onnx")
    for attribute in ("inputs", "outputs", "kind", "tasks", "model_version"):
        assert getattr(small, attribute) == getattr(plain, attribute)
    inputs, expected = read_golden(folder / f"{name}.golden")
    for rows in (1, 3, 8):
        fed = {key: value[:rows] for key, value in inputs.items()}
        for value, key in zip(small.run(fed, *small.outputs), small.outputs, strict=True):
            assert value.dtype == np.float32 and value.shape == expected[key][:rows].shape
            np.testing.assert_allclose(value, expected[key][:rows], atol=0.1)
            if key.endswith(("vector", "vectors")):
                np.testing.assert_allclose(np.linalg.norm(value, axis=-1), 1.0, atol=1e-5)


def test_export_run_reports_paired_quality_loss_and_bytes(dataset, exported):
    report = exported[1]
    assert json.loads(json.dumps(report)).keys() == {"quality", "bytes"}
    for what in ("towers", "ranker"):
        table = report["quality"][what]
        assert list(table) == ["int8", "float32"]
        for task in dataset.tasks:
            loss = table["int8"][task]["auc_behind"]
            assert loss == pytest.approx(table["float32"][task]["auc"] - table["int8"][task]["auc"])
            assert abs(loss) < 0.05
    # the ranker's user side and experts stay float32
    for name, sizes in report["bytes"].items():
        assert sizes["int8"] < (0.7 if name == "ranker" else 0.6) * sizes["float32"]


def test_golden_files_contain_the_models_outputs(exported):
    for name in MODELS:
        inputs, outputs = read_golden(exported[0] / f"{name}.golden")
        model = OnnxModel(exported[0] / f"{name}.onnx")
        for value, expected in zip(model.run(inputs, *outputs), outputs.values(), strict=True):
            np.testing.assert_array_equal(value, expected)
