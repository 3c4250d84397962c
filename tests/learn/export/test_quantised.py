"""int8 models take the place of float32 ones: same inputs, same outputs, nearly the same answers, fewer
bytes."""

import json

import numpy as np
import pytest

from karec.learn.export.golden import read_golden
from karec.learn.export.quantised import MODELS, export_run
from karec.learn.run.train import train_all
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
    train_all(dataset, SETTINGS, folder)
    return folder, export_run(dataset, folder)


@pytest.mark.parametrize("name", MODELS)
def test_an_int8_model_takes_the_place_of_its_float32_one(exported, name):
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


def test_the_cost_of_int8_is_reported_as_a_paired_difference_and_in_bytes(dataset, exported):
    report = exported[1]
    assert json.loads(json.dumps(report)).keys() == {"quality", "bytes"}
    for what in ("towers", "ranker"):
        table = report["quality"][what]
        assert list(table) == ["int8", "float32"]
        for task in dataset.tasks:
            loss = table["int8"][task]["auc_behind"]
            assert loss == pytest.approx(table["float32"][task]["auc"] - table["int8"][task]["auc"])
            assert abs(loss) < 0.05
    # of the ranker the user's side and the experts stay in float32
    for name, sizes in report["bytes"].items():
        assert sizes["int8"] < (0.7 if name == "ranker" else 0.6) * sizes["float32"]


def test_golden_files_hold_what_the_models_say(exported):
    for name in MODELS:
        inputs, outputs = read_golden(exported[0] / f"{name}.golden")
        model = OnnxModel(exported[0] / f"{name}.onnx")
        for value, expected in zip(model.run(inputs, *outputs), outputs.values(), strict=True):
            np.testing.assert_array_equal(value, expected)
