"""Tests that logistic regression is a sum of weights."""

import numpy as np
import torch

from karec.learn.nets.layers import CodeEmbedding
from karec.learn.nets.logistic_regression import LogisticRegression


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
        logits = model({name: torch.from_numpy(inputs[name]) for name in LogisticRegression.inputs}).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
