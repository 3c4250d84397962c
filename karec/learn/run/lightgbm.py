"""LightGBM: boosted trees, one model a task, written as one ranker; a baseline, which serves as a ranker too.

Source  G. Ke et al., LightGBM, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from karec.errors import MissingExtra
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.export.onnx_export import OPSET, write_onnx
from karec.learn.fit.batches import Batches
from karec.learn.fit.prepare import TrainingData
from karec.times import Progress

BATCH = 65_536
ENCODED = ("user_ids", "context", "item_ids", "user_numbers", "item_numbers", "crosses")  # what trees read
LEAVES, RATE = 15, 0.2  # a request pays for each tree: at a rate of 0.05 there are three times as many
PATIENCE = 25  # trees without a better validation score
# of all tasks together: a tree of 15 leaves has 321 fields, and a bundle opens models of 3,000,000
MOST_TREES = 4000


def dense_matrix(encoder: Encoder, batches: Batches) -> NDArray[Any]:
    """(M, F) float32: what ``Encoder.dense`` gives for every example, which ``batches`` holds encoded."""
    parts = [
        encoder.dense({name: values.cpu().numpy() for name, values in inputs.items()})
        for inputs in batches.in_order(ENCODED, BATCH)
    ]
    return np.concatenate(parts)


def lightgbm_packages() -> tuple[Any, Any]:
    """(the package lightgbm, what converts its models to ONNX); MissingExtra names one that is not
    installed."""
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
    threads: int | None = None,
    stopped: Event | None = None,
    progress: Progress | None = None,
) -> None:
    """One boosted model a task, stopped early on validation days, written together as a ranker: ``dense`` →
    ``logits``.

    A task has ``rounds`` trees at most, and fewer where all would have more than MOST_TREES. The trees do not
    depend on ``threads``, by default torch's. Raises CancelledError soon after ``stopped`` is set.
    """
    lightgbm, _ = lightgbm_packages()
    tasks, labels, held_labels = prepared.encoder.tasks, prepared.train.labels, prepared.valid.labels
    features, held_out = (
        dense_matrix(prepared.encoder, part) for part in (prepared.train_batches, prepared.valid_batches)
    )
    settings = {
        "objective": "binary",
        "learning_rate": RATE,
        "num_leaves": LEAVES,
        "max_bin": 63,
        "min_data_in_leaf": 200,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 100.0,
        "seed": seed,
        "deterministic": True,
        # else LightGBM times two ways of counting, whose sums differ in their last bits
        "force_row_wise": True,
        "num_threads": threads or torch.get_num_threads(),
        "verbose": -1,
    }

    def go_on(_: Any) -> None:
        if stopped is not None and stopped.is_set():
            raise CancelledError

    boosters = []
    rounds = min(rounds, max(MOST_TREES // len(tasks), 1))
    for t, task in enumerate(tasks):
        label = lightgbm.Dataset(features, labels[:, t].copy(), free_raw_data=False)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        held = lightgbm.Dataset(held_out, held_labels[:, t].copy(), reference=label)
        boosters.append(lightgbm.train(settings, label, rounds, valid_sets=[held], callbacks=[stop, go_on]))
        if progress is not None:
            progress(t + 1, len(tasks), f"LightGBM, {task}")
    proto = trees_to_onnx(boosters, features.shape[1])
    write_onnx(proto, path, kind="ranker", tasks=tasks, model_version=model_version)


def trees_to_onnx(boosters: Sequence[Any], n_features: int) -> onnx.ModelProto:
    """One graph: ``dense (N, F)`` through each booster, raw scores side by side as ``logits (N, T)``."""
    _, convert_lightgbm = lightgbm_packages()
    from onnxmltools.convert.common.data_types import FloatTensorType

    nodes: list[onnx.NodeProto] = []
    opsets: dict[str, int] = {}
    for t, booster in enumerate(boosters):
        takes = [("dense", FloatTensorType([None, n_features]))]
        proto = convert_lightgbm(_in_float32(booster), initial_types=takes, zipmap=False, target_opset=15)
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
    """The same trees, each threshold rounded down to a float32: a float32 is below the one if it is below the
    other. ONNX keeps thresholds as the nearest float32, and a value that equals that one would go the other
    way.
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
        elif name != "tree_sizes":  # in letters of this text: without it trees are read one after the other
            lines.append(line)
    return lightgbm.Booster(model_str="\n".join(lines))


def _raw_scores(trees: onnx.NodeProto, t: int) -> list[onnx.NodeProto]:
    """A TreeEnsembleClassifier's trees as a regressor: the sum of leaves, before any sigmoid."""
    of_classifier = {
        "class_ids": "target_ids",
        "class_nodeids": "target_nodeids",
        "class_treeids": "target_treeids",
    }
    of_classifier["class_weights"] = "target_weights"
    attributes: dict[str, Any] = {"n_targets": 1}
    for attribute in trees.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name in of_classifier:
            attributes[of_classifier[attribute.name]] = value
        elif attribute.name.startswith("nodes_"):
            attributes[attribute.name] = value
    attributes["target_ids"] = [0] * len(attributes["target_ids"])
    return [
        onnx.helper.make_node(
            "TreeEnsembleRegressor", ["dense"], [f"raw_{t}"], domain="ai.onnx.ml", **attributes
        )
    ]
