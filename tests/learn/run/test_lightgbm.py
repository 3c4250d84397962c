"""Logistic regression and LightGBM are what they say, and come through the same ONNX door as the ranker."""

import lightgbm
import numpy as np
import pytest
import torch

from karec.features.encoder import Encoder
from karec.learn.export.onnx_export import ExportError, export_onnx, write_onnx
from karec.learn.nets.baselines import LogisticRegression, dense_matrix, fit_lightgbm, trees_to_onnx
from karec.learn.nets.layers import CodeEmbedding
from karec.models.onnx_model import OnnxModel
from karec.training_data.examples import build_examples

USER_SIDE = ("user_ids", "user_numbers", "history", "skipped", "context")


@pytest.fixture(scope="module")
def examples(dataset):
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks)
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


def test_lr_is_a_sum_of_weights(examples):
    model = LogisticRegression(examples.encoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    inputs = examples.inputs(np.arange(30))
    expected = np.zeros((30, 3))
    for name in ("user_ids", "context", "item_ids"):
        codes: CodeEmbedding = model.codes[name]
        table = codes.table.weight.detach().numpy()
        offsets = np.cumsum([0, *examples.encoder.sizes[name][:-1]])
        for column, size in enumerate(examples.encoder.sizes[name]):
            code = inputs[name][:, column]
            expected += table[np.where(code < size, code, 0) + offsets[column]]
    for name in ("user_numbers", "item_numbers", "crosses"):
        linear = model.numbers[name]
        expected += inputs[name] @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    with torch.no_grad():
        found = model({name: torch.from_numpy(inputs[name]) for name in LogisticRegression.inputs}).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_linear_ranker_in_onnx_computes_what_torch_does_for_many_rows_or_one_user(examples, tmp_path):
    torch.manual_seed(0)
    model = LogisticRegression(examples.encoder).eval()
    inputs = {name: examples.inputs(np.arange(50))[name] for name in model.inputs}
    shared = [name for name in USER_SIDE if name in inputs]
    path = tmp_path / "ranker.onnx"
    export_onnx(
        model, inputs, ["logits"], path, kind="ranker", tasks=examples.encoder.tasks, model_version=3, shared=shared
    )
    ranker = OnnxModel(path)
    assert (ranker.kind, ranker.model_version, ranker.tasks) == ("ranker", 3, examples.encoder.tasks)
    one_user = {**inputs, **{name: inputs[name][7:8] for name in shared}}
    repeated = {**inputs, **{name: np.repeat(inputs[name][7:8], 50, axis=0) for name in shared}}
    with torch.no_grad():
        expected = model({name: torch.from_numpy(value) for name, value in repeated.items()}).numpy()
    for given in (one_user, repeated):
        np.testing.assert_allclose(ranker.run(given, "logits")[0], expected, atol=1e-5)


def test_an_export_that_computes_something_else_is_refused(examples, tmp_path):
    class Fickle(torch.nn.Module):
        """In ONNX its answer is frozen; in torch it changes from call to call."""

        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, inputs):
            self.calls += 1
            return inputs["item_numbers"] + float(self.calls)

    with pytest.raises(ExportError, match="'logits' of ONNX Runtime differs from torch's"):
        export_onnx(
            Fickle(),
            {"item_numbers": examples.inputs(np.arange(4))["item_numbers"]},
            ["logits"],
            tmp_path / "x.onnx",
            kind="ranker",
            tasks=["click"],
            model_version=1,
        )


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
