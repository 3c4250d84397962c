"""LightGBM is written as a ranker whose ONNX scores are its raw scores."""

import lightgbm
import numpy as np
import pytest

from karec.features.encoder import Encoder
from karec.learn.export.onnx_export import write_onnx
from karec.learn.run.lightgbm import LEAVES, MOST_TREES, dense_matrix, fit_lightgbm, trees_to_onnx
from karec.models.onnx_file import MOST_FIELDS
from karec.models.onnx_model import OnnxModel
from karec.training_data.examples import build_examples


@pytest.fixture(scope="module")
def examples(dataset):
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks)
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


def test_lightgbm_in_onnx_gives_its_raw_scores(examples, tmp_path):
    dense = dense_matrix(examples)
    quiet = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "objective": "binary"}
    boosters = [lightgbm.train(quiet, lightgbm.Dataset(dense, examples.labels[:, t]), 10 + t) for t in range(2)]
    write_onnx(
        trees_to_onnx(boosters, dense.shape[1]), tmp_path / "r.onnx", kind="ranker", tasks=["a", "b"], model_version=1
    )
    (logits,) = OnnxModel(tmp_path / "r.onnx").run({"dense": dense}, "logits")
    expected = np.stack([booster.predict(dense, raw_score=True) for booster in boosters], axis=1)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_lightgbm_is_fitted_and_written_as_a_ranker(examples, tmp_path):
    half = len(examples) // 2
    rows = np.arange(len(examples))
    train, valid = examples.take(rows[:half]), examples.take(rows[half:])
    seen = []
    fit_lightgbm(train, valid, tmp_path / "r.onnx", model_version=5, rounds=20, progress=lambda *a: seen.append(a))
    ranker = OnnxModel(tmp_path / "r.onnx")
    assert ranker.inputs == ("dense",)
    assert ranker.run({"dense": dense_matrix(valid)}, "logits")[0].shape == (len(valid), 3)
    assert [done for done, _, _ in seen] == [1, 2, 3]


def test_as_many_trees_as_are_grown_at_most_can_be_opened_in_a_bundle():
    generator = np.random.default_rng(0)
    dense = generator.random((4000, 6)).astype(np.float32)
    full = {"verbose": -1, "num_threads": 1, "num_leaves": LEAVES, "min_data_in_leaf": 1, "objective": "binary"}
    booster = lightgbm.train(full, lightgbm.Dataset(dense, generator.integers(2, size=4000)), 3)
    node = trees_to_onnx([booster], 6).graph.node[0]
    fields = sum(len(a.ints) + len(a.floats) + len(a.strings) for a in node.attribute)
    assert fields == 3 * 673 and MOST_TREES * fields / 3 < MOST_FIELDS
