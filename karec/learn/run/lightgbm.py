"""LightGBM: boosted trees, one model per task, exported as one ranker; a baseline that can also serve.

Source  G. Ke et al., LightGBM, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from karec.errors import MissingExtra
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.export.onnx_export import OPSET, write_onnx
from karec.learn.fit.batches import Batches
from karec.learn.fit.prepare import FitChoice, TrainingData
from karec.times import Progress

BATCH = 65_536
ENCODED = ("user_ids", "context", "item_ids", "user_numbers", "item_numbers", "crosses")  # the trees' inputs
PARAMETERS: Mapping[str, Any] = {
    "objective": "binary",
    # each tree costs time per request; a rate of 0.05 gives three times as many trees
    "learning_rate": 0.2,
    "num_leaves": 15,
    "max_bin": 63,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 100.0,
    "deterministic": True,
    # otherwise LightGBM chooses between two summations by timing, and their last bits differ
    "force_row_wise": True,
    "verbose": -1,
}
PATIENCE = 25  # trees without a better validation score
# for all tasks together: a tree of 15 leaves has 321 fields, and a bundle opens models of up to 3,000,000
MAX_TREES = 4000


def dense_matrix(encoder: Encoder, batches: Batches) -> NDArray[Any]:
    """Returns (M, F) float32: ``Encoder.dense`` of each example in ``batches``."""
    parts = [
        encoder.dense({name: values.cpu().numpy() for name, values in inputs.items()})
        for inputs in batches.in_order(ENCODED, BATCH)
    ]
    return np.concatenate(parts)


def lightgbm_packages() -> tuple[Any, Any]:
    """Returns the package lightgbm and its converter to ONNX. Raises MissingExtra if one is not installed."""
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtra("lightgbm", "train", "LightGBM") from error
    try:
        from onnxmltools import convert_lightgbm
    except ImportError as error:
        raise MissingExtra("onnxmltools", "train", "LightGBM as an ONNX model") from error
    return lightgbm, convert_lightgbm


def fit_lightgbm(
    prepared: TrainingData,
    path: Path,
    *,
    model_version: int,
    rounds: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Trains one boosted model per task, stopped early on validation days, and writes them as one ranker.

    A final fit has as many trees as the tested model.

    The model maps ``dense`` to ``logits``. A task has at most ``rounds`` trees, fewer if all tasks would
    exceed MAX_TREES. The trees do not depend on the number of threads, which is torch's.
    """
    lightgbm, _ = lightgbm_packages()
    tasks, labels, valid_labels = prepared.encoder.tasks, prepared.train.labels, prepared.valid.labels
    features, valid_features = (
        dense_matrix(prepared.encoder, part) for part in (prepared.in_memory, prepared.valid_batches)
    )
    features = features[: len(labels)]  # works only
    parameters = {**PARAMETERS, "seed": seed, "num_threads": torch.get_num_threads()}
    boosters = []
    rounds = min(rounds, max(MAX_TREES // len(tasks), 1))
    choice = prepared.final_choice("lightgbm")
    for t, task in enumerate(tasks):
        train_set = lightgbm.Dataset(features, labels[:, t].copy(), free_raw_data=False)
        valid_sets, callbacks = [], [_report(progress, rounds, f"LightGBM, {task}")]
        if choice is None:
            valid_sets = [lightgbm.Dataset(valid_features, valid_labels[:, t].copy(), reference=train_set)]
            callbacks.append(lightgbm.early_stopping(PATIENCE, verbose=False))
        n_trees = rounds if choice is None else choice.trees[t]
        boosters.append(
            lightgbm.train(parameters, train_set, n_trees, valid_sets=valid_sets, callbacks=callbacks)
        )
        if progress is not None:
            progress(rounds, rounds, f"LightGBM, {task}")
    if choice is None:
        trees = tuple(booster.best_iteration or booster.current_iteration() for booster in boosters)
        prepared.choices["lightgbm"] = FitChoice(trees=trees)
    proto = trees_to_onnx(boosters, features.shape[1])
    write_onnx(proto, path, kind="ranker", tasks=tasks, model_version=model_version)


def _report(progress: Progress | None, rounds: int, title: str) -> Callable[[Any], None]:
    """Returns a callback that reports each tree."""

    def report(environment: Any) -> None:
        if progress is not None:
            progress(environment.iteration + 1, rounds, title)

    return report


def trees_to_onnx(boosters: Sequence[Any], n_features: int) -> onnx.ModelProto:
    """Returns one graph: ``dense (N, F)`` → raw scores of each booster as ``logits (N, T)``."""
    _, convert_lightgbm = lightgbm_packages()
    from onnxmltools.convert.common.data_types import FloatTensorType

    nodes: list[onnx.NodeProto] = []
    opsets: dict[str, int] = {}
    for t, booster in enumerate(boosters):
        inputs = [("dense", FloatTensorType([None, n_features]))]
        proto = convert_lightgbm(_in_float32(booster), initial_types=inputs, zipmap=False, target_opset=15)
        trees = next(node for node in proto.graph.node if node.op_type == "TreeEnsembleClassifier")
        nodes += _raw_scores(trees, t)
        opsets |= {entry.domain: entry.version for entry in proto.opset_import}
    nodes.append(
        onnx.helper.make_node("Concat", [f"raw_{t}" for t in range(len(boosters))], ["logits"], axis=1)
    )
    graph = onnx.helper.make_graph(
        nodes,
        "lightgbm",
        [onnx.helper.make_tensor_value_info("dense", onnx.TensorProto.FLOAT, ["rows", n_features])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["rows", len(boosters)])],
    )
    imports = [
        onnx.helper.make_opsetid(domain, OPSET if not domain else version)
        for domain, version in opsets.items()
    ]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8)


def _in_float32(booster: Any) -> Any:
    """Returns the trees with each threshold rounded down to float32.

    A float32 is below the rounded threshold exactly if it is below the original. ONNX stores the near
    float32 instead, and a value equal to that would take the other branch.
    """
    lightgbm, _ = lightgbm_packages()

    def rounded(threshold: str) -> str:
        near = np.float32(threshold)
        return repr(
            float(near if float(near) <= float(threshold) else np.nextafter(near, np.float32(-np.inf)))
        )

    lines = []
    for line in booster.model_to_string().split("\n"):
        name, _, values = line.partition("=")
        if name == "threshold":
            lines.append("threshold=" + " ".join(map(rounded, values.split())))
        elif name != "tree_sizes":  # sizes of the old text; without them trees are read sequentially
            lines.append(line)
    return lightgbm.Booster(model_str="\n".join(lines))


def _raw_scores(trees: onnx.NodeProto, t: int) -> list[onnx.NodeProto]:
    """Returns a TreeEnsembleClassifier's trees as a regressor: the sum of leaves, before the sigmoid."""
    attributes: dict[str, Any] = {"n_targets": 1}
    for attribute in trees.attribute:
        name = attribute.name.replace("class_", "target_")
        if name.startswith(("nodes_", "target_")):
            attributes[name] = onnx.helper.get_attribute_value(attribute)
    attributes["target_ids"] = [0] * len(attributes["target_ids"])
    return [
        onnx.helper.make_node(
            "TreeEnsembleRegressor", ["dense"], [f"raw_{t}"], domain="ai.onnx.ml", **attributes
        )
    ]
