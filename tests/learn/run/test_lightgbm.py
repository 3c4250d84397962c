"""Tests that LightGBM's ONNX scores equal its raw scores."""

import lightgbm
import numpy as np
import onnxruntime
import pytest

from karec.learn._torch import torch_threads
from karec.learn.export.onnx_export import write_onnx
from karec.learn.run.lightgbm import dense_matrix, fit_lightgbm, trees_to_onnx
from karec.models.onnx_model import OnnxModel


def test_dense_matrix_equals_the_encoder_when_serving(prepared):
    valid, encoder = prepared.valid, prepared.encoder
    served = encoder.dense(valid.inputs(np.arange(len(valid))))
    np.testing.assert_array_equal(dense_matrix(encoder, prepared.valid_batches), served)


def test_lightgbm_onnx_gives_raw_scores(prepared, tmp_path):
    dense, labels = dense_matrix(prepared.encoder, prepared.train_batches), prepared.train.labels
    quiet = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "objective": "binary"}
    boosters = [lightgbm.train(quiet, lightgbm.Dataset(dense, labels[:, t]), 10 + t) for t in range(2)]
    write_onnx(
        trees_to_onnx(boosters, dense.shape[1]),
        tmp_path / "r.onnx",
        kind="ranker",
        tasks=["a", "b"],
        model_version=1,
    )
    (logits,) = OnnxModel(tmp_path / "r.onnx").run({"dense": dense}, "logits")
    expected = np.stack([booster.predict(dense, raw_score=True) for booster in boosters], axis=1)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    "parameters", [{"num_leaves": 15}, {"num_leaves": 31, "use_missing": False}, {"num_leaves": 255}]
)
def test_lightgbm_trees_equal_onnx_runtime_if_values_are_missing(tmp_path, parameters):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(6000, 6)).astype(np.float32)
    x[generator.random(x.shape) < 0.1] = np.nan
    x[generator.random(x.shape) < 0.1] = 0
    quiet = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "objective": "binary", **parameters}
    tasks = [np.nansum(x, axis=1) > 0, np.isnan(x[:, 0]) ^ (x[:, 1] > 0.5)]
    boosters = [lightgbm.train(quiet, lightgbm.Dataset(x, y.astype(int)), 8 + t) for t, y in enumerate(tasks)]
    path, rows = tmp_path / "r.onnx", x[:500]
    write_onnx(trees_to_onnx(boosters, 6), path, kind="ranker", tasks=["a", "b"], model_version=1)
    model = OnnxModel(path)
    (logits_served,) = model.run({"dense": rows}, "logits")
    assert model.trees == 17
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # several share out the trees, and add in another order
    np.testing.assert_array_equal(
        logits_served, onnxruntime.InferenceSession(str(path), options).run(None, {"dense": rows})[0]
    )
    if not parameters.get("use_missing", True):
        rows = np.nan_to_num(rows)  # where it is false, NaN is 0 to LightGBM, and larger than all to ONNX
    expected = np.stack([booster.predict(rows, raw_score=True) for booster in boosters], axis=1)
    np.testing.assert_allclose(model.run({"dense": rows}, "logits")[0], expected, atol=2e-6)


def test_value_next_to_a_threshold_takes_the_branch_of_training(tmp_path):
    low = np.float32(1.0)
    values = np.array([low, np.nextafter(low, np.float32(2.0))], np.float32)  # between them only doubles
    dense = np.tile(values, 200)[:, None]
    labels = np.tile([0, 1], 200)
    quiet = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "objective": "binary"}
    booster = lightgbm.train(quiet, lightgbm.Dataset(dense, labels), 3)
    write_onnx(trees_to_onnx([booster], 1), tmp_path / "r.onnx", kind="ranker", tasks=["a"], model_version=1)
    (logits,) = OnnxModel(tmp_path / "r.onnx").run({"dense": dense}, "logits")
    np.testing.assert_allclose(logits[:, 0], booster.predict(dense, raw_score=True), atol=1e-5)


def test_fit_lightgbm_writes_a_ranker(prepared, tmp_path):
    reports = []
    fit_lightgbm(
        prepared, tmp_path / "r.onnx", model_version=5, rounds=20, progress=lambda *a: reports.append(a)
    )
    ranker = OnnxModel(tmp_path / "r.onnx")
    assert ranker.inputs == ("dense",)
    dense = dense_matrix(prepared.encoder, prepared.valid_batches)
    assert ranker.run({"dense": dense}, "logits")[0].shape == (len(prepared.valid), 3)
    assert {total for _, total, _ in reports} == {20} and len({title for *_, title in reports}) == 3
    assert sum(done == 20 for done, *_ in reports) >= 3, "each task ends at its total"


def test_lightgbm_trees_do_not_depend_on_threads(prepared, tmp_path):
    for threads in (1, 2):
        with torch_threads(threads):
            fit_lightgbm(prepared, tmp_path / f"{threads}.onnx", model_version=1, rounds=20)
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()
