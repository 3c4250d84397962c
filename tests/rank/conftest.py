"""A ranker file small enough to read: its two logits are affine in one number of the work."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from karec.models.onnx_model import OnnxModel

TASKS = ("click", "like")


@pytest.fixture(scope="session")
def ranker(tmp_path_factory):
    """item_numbers (N, 1) → logits (N, 2): 2x and −x; model version 7."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [1, 2], np.array([2.0, -1.0], np.float32))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["item_numbers", "weight"], ["logits"])],
        "ranker",
        [helper.make_tensor_value_info("item_numbers", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"kind": "ranker", "tasks": json.dumps(TASKS), "model_version": "7"})
    path = tmp_path_factory.mktemp("ranker") / "ranker.onnx"
    onnx.save_model(model, str(path))
    return OnnxModel(path)
