"""Tests that the serving form of the MMoE ranker equals the trained network."""

from functools import partial

import numpy as np
import pytest
import torch

from karec.features.encoder import USER_SIDE
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.batches import Batches
from karec.learn.nets.calibration import Calibrated
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.served_ranker import ServedRanker
from karec.models.onnx_model import OnnxModel

SHARED = [name for name in MmoeRanker.inputs if name in USER_SIDE]
SHAPES = {
    "as trained by default": {"extra": ("follow", "play_time")},
    "tasks alone": {},
    "one member": {"members": 1, "n_experts": 3, "hidden": 6, "extra": ("follow",)},
    "one expert": {"members": 3, "n_experts": 1, "hidden": 5},
}


def make_inputs(examples, rows):
    """Returns inputs by name; the first user liked nothing, the second skipped nothing."""
    inputs = {name: examples.inputs(rows)[name].copy() for name in MmoeRanker.inputs}
    inputs["history"][0], inputs["skipped"][1] = 0, 0
    return inputs


def run_torch(module, inputs):
    with torch.no_grad():
        return module({name: torch.from_numpy(value) for name, value in inputs.items()}).numpy()


def make_ranker(examples, spread=0.1, **shape):
    """Returns (calibrated, ranker) with weights far from zero, so that a difference would show."""
    torch.manual_seed(0)
    ranker = MmoeRanker(
        examples.encoder, Batches.from_examples(examples, MmoeRanker.inputs).edges(4), dim=4, **shape
    )
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
    heads = len(examples.encoder.tasks) + len(shape.get("extra", ()))
    scale, bias = np.linspace(0.5, 1.5, heads, dtype=np.float32), np.linspace(-1, 1, heads, dtype=np.float32)
    return Calibrated(ranker, scale, bias).eval(), ranker


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_served_ranker_equals_the_trained_ranker(examples, shape):
    calibrated, ranker = make_ranker(examples, **shape)
    served = ServedRanker(calibrated, ranker)
    inputs = make_inputs(examples, np.arange(0, 600, 3))
    expected = run_torch(calibrated, inputs)
    assert expected.std(axis=0).min() > 0.01
    np.testing.assert_allclose(run_torch(served, inputs), expected, atol=2e-6, rtol=2e-6)
    for user in range(3):  # one user, given once, with many works
        once = {name: value[user : user + 1] if name in SHARED else value for name, value in inputs.items()}
        np.testing.assert_allclose(run_torch(served, once), run_torch(calibrated, once), atol=2e-6, rtol=2e-6)


def test_served_ranker_logits_are_finite_for_extreme_scores(examples):
    calibrated, ranker = make_ranker(examples)
    with torch.no_grad():
        ranker.item_codes.table.weight.mul_(1e3)
        ranker.from_item.weight.mul_(1e3)
    assert np.isfinite(
        run_torch(ServedRanker(calibrated, ranker), make_inputs(examples, np.arange(50)))
    ).all()


def test_served_ranker_graph_has_no_mask_and_no_softmax(examples, tmp_path):
    calibrated, ranker = make_ranker(examples)
    path, inputs = tmp_path / "ranker.onnx", make_inputs(examples, np.arange(20))
    export = partial(
        export_onnx, calibrated, inputs, ["logits"], path, kind="ranker", tasks=examples.encoder.tasks
    )
    export(model_version=1, shared=SHARED, form=ServedRanker(calibrated, ranker))
    onnx = pytest.importorskip("onnx", reason="onnx comes with the extra train")
    assert not {"Softmax", "Einsum", "Not"} & {node.op_type for node in onnx.load(path).graph.node}
    other = make_inputs(examples, np.arange(100, 400, 3))
    (logits,) = OnnxModel(path).run(other, "logits")
    np.testing.assert_allclose(logits, run_torch(calibrated, other), atol=1e-5)
    assert len(np.unique(logits[:, 0])) > 50
