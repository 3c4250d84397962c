"""Tests that logistic regression is a sum of weights in torch and ONNX."""

import numpy as np
import pytest
import torch

from karec.features.encoder import Encoder
from karec.learn.export.onnx_export import export_onnx
from karec.learn.nets.layers import CodeEmbedding
from karec.learn.nets.logistic_regression import LogisticRegression
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import build_examples

USER_SIDE = ("user_ids", "user_numbers", "history", "skipped", "context")


@pytest.fixture(scope="module")
def examples(dataset):
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks)
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


def test_logistic_regression_is_a_sum_of_weights(examples):
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


def test_linear_ranker_onnx_equals_torch_for_rows_and_one_user(examples, tmp_path):
    torch.manual_seed(0)
    model = LogisticRegression(examples.encoder).eval()
    inputs = {name: examples.inputs(np.arange(50))[name] for name in model.inputs}
    shared = [name for name in USER_SIDE if name in inputs]
    path = tmp_path / "ranker.onnx"
    export_onnx(
        model,
        inputs,
        ["logits"],
        path,
        kind="ranker",
        tasks=examples.encoder.tasks,
        model_version=3,
        shared=shared,
    )
    ranker = OnnxModel(path)
    assert (ranker.kind, ranker.model_version, ranker.tasks) == ("ranker", 3, examples.encoder.tasks)
    one_user = {**inputs, **{name: inputs[name][7:8] for name in shared}}
    repeated = {**inputs, **{name: np.repeat(inputs[name][7:8], 50, axis=0) for name in shared}}
    with torch.no_grad():
        expected = model({name: torch.from_numpy(value) for name, value in repeated.items()}).numpy()
    for given in (one_user, repeated):
        np.testing.assert_allclose(ranker.run(given, "logits")[0], expected, atol=1e-5)
