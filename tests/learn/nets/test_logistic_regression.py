"""Tests that logistic regression is a sum of weights, and serves one user for many items."""

import numpy as np
import pytest
import torch

from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.batches import Batches
from karec.learn.nets import logistic_regression
from karec.learn.nets.logistic_regression import LogisticRegression
from karec.models.onnx_model import OnnxModel

USER = ["user_ids", "user_numbers", "context"]


def random_model(examples):
    model = LogisticRegression(
        examples.encoder, Batches.from_examples(examples, LogisticRegression.inputs).edges(4)
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model


def logits_of(model, inputs):
    with torch.no_grad():
        return model({name: torch.from_numpy(inputs[name]) for name in model.inputs}).numpy()


def pair_sums(model, encoder, inputs):
    """The weights of pairs, summed one pair at a time."""
    table, offset, n_pairs = model.pairs.table.weight.detach().numpy(), 0, 0
    sums = np.zeros((len(inputs["item_ids"]), table.shape[1]))
    for user, user_size in enumerate(encoder.sizes["user_ids"]):
        for item, item_size in enumerate(encoder.sizes["item_ids"][1:], start=1):
            user_codes, item_codes = inputs["user_ids"][:, user], inputs["item_ids"][:, item]
            user_codes = np.where(user_codes < user_size, user_codes, 0)
            item_codes = np.where(item_codes < item_size, item_codes, 0)
            if user_size * item_size <= logistic_regression.MAX_PAIR_ROWS:
                sums += table[offset + user_codes * item_size + item_codes]
                offset += user_size * item_size
                n_pairs += 1
    return sums * np.sqrt(logistic_regression.SCALED_PAIRS / n_pairs)


@pytest.mark.parametrize("max_rows", [logistic_regression.MAX_PAIR_ROWS, 40])
def test_logistic_regression_is_a_sum_of_weights(examples, monkeypatch, max_rows):
    monkeypatch.setattr(logistic_regression, "MAX_PAIR_ROWS", max_rows)
    model, encoder = random_model(examples), examples.encoder
    inputs = examples.inputs(np.arange(30))
    expected = pair_sums(model, encoder, inputs)
    for name in ("user_ids", "context", "item_ids"):
        table = model.codes[name].table.weight.detach().numpy()
        offsets = np.cumsum([0, *encoder.sizes[name][:-1]])
        for column, size in enumerate(encoder.sizes[name]):
            code = inputs[name][:, column]
            expected += table[np.where(code < size, code, 0) + offsets[column]]
    for name in ("user_numbers", "item_numbers", "crosses"):
        linear, pieces = model.numbers[name], model.pieces[name]
        numbers = pieces(torch.from_numpy(inputs[name])).numpy()
        expected += numbers @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    np.testing.assert_allclose(logits_of(model, inputs), expected, rtol=1e-4, atol=1e-4)


def test_exported_logistic_regression_takes_one_user_for_many_items(examples, tmp_path):
    model, path = random_model(examples), tmp_path / "ranker.onnx"
    pool = examples.pool(3, np.arange(20))
    inputs = {name: examples.inputs(np.arange(8))[name] for name in model.inputs}
    options = {"kind": "ranker", "tasks": examples.encoder.tasks, "model_version": 1, "shared": USER}
    export_onnx(model, inputs, ["logits"], path, **options)
    (logits,) = OnnxModel(path).run({name: pool[name] for name in model.inputs}, "logits")
    by_row = {name: np.repeat(pool[name], 20, axis=0) if name in USER else pool[name] for name in pool}
    np.testing.assert_allclose(logits, logits_of(model, by_row), rtol=1e-4, atol=1e-4)


def test_logistic_regression_learns_a_taste_of_a_pair_of_categories(examples):
    """The label is 1 if exactly one of the codes is odd, which no sum over single codes can express."""
    model = LogisticRegression(
        examples.encoder, Batches.from_examples(examples, LogisticRegression.inputs).edges(4)
    )
    batch = {name: torch.from_numpy(value) for name, value in examples.inputs(np.arange(400)).items()}
    user, item = batch["user_ids"][:, 0] % 2, batch["item_ids"][:, 1] % 2
    labels = (user ^ item).float()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(batch)[:, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((model(batch)[:, 0] > 0) == labels.bool()).float().mean() > 0.95
