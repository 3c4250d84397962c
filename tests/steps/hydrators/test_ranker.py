"""The ranker's inputs are those of the encoder at the request's time."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from karec.aggregates.advance import advance
from karec.errors import ContractError
from karec.features.encoder import USER_SIDE, Encoder
from karec.models.onnx_model import OnnxModel
from karec.pipeline.types import Candidates, Request
from karec.steps.hydrators.ranker import Ranker

TASKS = ("click", "like")


@pytest.fixture(scope="module")
def snapshot(dataset):
    return advance(dataset.snapshot, dataset.exposures, dataset.train_until_ms)


@pytest.fixture(scope="module")
def encoder(dataset, snapshot):
    return Encoder.fit(dataset.snapshot, dataset.split()[0], TASKS, history_length=8, min_count=3)


def linear_model(path, inputs):
    """Returns a model logits = Σ input · W over ``inputs`` {name: width}, and its W."""
    weights = {
        name: np.random.default_rng(width).normal(size=(width, 2)).astype(np.float32)
        for name, width in inputs.items()
    }
    nodes = [helper.make_node("MatMul", [name, f"{name}.W"], [f"{name}.part"]) for name in inputs]
    nodes.append(helper.make_node("Sum", [f"{name}.part" for name in inputs], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "ranker",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}.n", n])
            for name, n in inputs.items()
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(w, f"{name}.W") for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"kind": "ranker", "tasks": json.dumps(TASKS), "model_version": "7"})
    onnx.save_model(model, str(path))
    return OnnxModel(path), weights


@pytest.mark.parametrize("names", [("user_numbers", "item_numbers", "crosses"), ("dense",)])
def test_ranker_runs_the_model_on_user_items_and_crosses(encoder, snapshot, tmp_path, names):
    """The items are known, in any order, except for one unknown item, which has the inputs of row −1."""
    later = snapshot.time_ms + 12_345_678
    user = encoder.encode_user(snapshot, 3, later, 1)
    ids = np.append(snapshot.works.ids[[5, 0, 17]], 987_654)
    items = encoder.encode_items(snapshot, np.array([5, 0, 17, -1]), later)
    inputs = {**user, **items, **encoder.encode_crosses(user, items)}
    inputs["dense"] = encoder.dense(inputs)
    model, weights = linear_model(tmp_path / "r.onnx", {name: inputs[name].shape[1] for name in names})
    expected = sum(inputs[name].astype(np.float64) @ weights[name] for name in names)
    request = Request(3, time_ms=later).with_features(user)
    logits = Ranker(model, snapshot, encoder).hydrate(request, Candidates.from_ids(ids))["logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert logits.shape == (4, 2) and logits.dtype == np.float32


def test_ranker_runs_no_model_without_candidates(ranker, snapshot, encoder):
    given = Ranker(ranker, snapshot, encoder).hydrate(Request(1), Candidates.empty())
    assert (
        given.keys() == {"logits"} and given["logits"].shape == (0, 2) and given["logits"].dtype == np.float32
    )


def test_ranker_names_missing_time_or_user_features(ranker, snapshot, encoder):
    step, one = Ranker(ranker, snapshot, encoder), Candidates.from_ids(np.arange(1))
    with pytest.raises(ValueError, match=r"^a request needs time_ms before its candidates can be ranked$"):
        step.hydrate(Request(1), one)
    message = "the ranker needs the user's features: put the step user_features into query"
    with pytest.raises(ContractError, match=f"^{message}$"):
        step.hydrate(Request(1, time_ms=1), one)
    assert step.needs == tuple(f"request.{name}" for name in USER_SIDE) and step.gives == ("column.logits",)
