"""A ranker that scores any example."""

import numpy as np
import pytest
import torch

from karec.features.encoder import Encoder
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.batches import Batches
from karec.learn.nets.logistic_regression import LogisticRegression
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import build_examples


@pytest.fixture(scope="session", autouse=True)
def exports(shared_exports):
    """Tests of this folder share exports of torch modules."""


@pytest.fixture(scope="module")
def examples(dataset):
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks)
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


@pytest.fixture(scope="module")
def ranker(examples, tmp_path_factory):
    """Logistic regression with random weights, model version 4."""
    torch.manual_seed(0)
    edges = Batches.from_examples(examples, LogisticRegression.inputs).edges(4)
    model = LogisticRegression(examples.encoder, edges)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    path = tmp_path_factory.mktemp("ranker") / "ranker.onnx"
    inputs = {name: examples.inputs(np.arange(20))[name] for name in model.inputs}
    export_onnx(
        model,
        inputs,
        ["logits"],
        path,
        kind="ranker",
        tasks=examples.encoder.tasks,
        model_version=4,
        shared=["user_ids", "user_numbers", "context"],
    )
    return OnnxModel(path)
