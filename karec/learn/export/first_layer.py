"""The first layer of a served MMoE ranker in int8: most of its multiplications, in a third of the time.

    x ≈ step·(q − zero)        q in 0 … 255; step and zero by column of the layer's input, from what training
    rows hold x@W ≈ scale·(q@W8) − c     W8 in −63 … 63, scale by column of W; c = scale·(zero@W8) goes into
    the user's bias

A value beyond what training rows hold counts as the nearest that they hold. Sums of this layer are of
integers, and two products fit in the 16 bits in which processors without VNNI add them: they are exact on
every machine. A work's logits do not depend on the works beside it.

Source  B. Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only
inference,
        CVPR 2018.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from karec.learn.export.onnx_export import metadata_of, write_onnx
from karec.models.onnx_model import OnnxModel
from karec.types import Array

# in the metadata of a ranker: JSON, [lowest, highest] of each column, as training rows hold
RANGES = "feature_ranges"
PRECISION = "first_layer"  # in the metadata of a ranker that was lowered: "int8"
WEIGHTS, BIAS = ".items.first.", ".user.ranker.from_user.bias"  # what the exported graph calls them
MOST_INPUT, MOST_WEIGHT = 255, 63
OPERATORS = "com.microsoft"


def ranges_text(lowest: Array, highest: Array) -> str:
    """What RANGES holds, of ``lowest, highest (F,)``."""
    return json.dumps([[float(f"{value:.6g}") for value in bound] for bound in (lowest, highest)])


def lower_ranker(path: Path) -> None:
    """Put the exported ranker ``path`` in its place with the first layer in int8. ValueError as
    ``lowered``."""
    model = OnnxModel(path)
    proto = lowered(onnx.load_model(path))
    write_onnx(
        proto,
        path,
        kind=model.kind,
        tasks=model.tasks,
        model_version=model.model_version,
        more=metadata_of(proto),
    )


def lowered(proto: onnx.ModelProto) -> onnx.ModelProto:
    """``proto``, an exported MMoE ranker or a mixture with one, its first layer in int8; PRECISION in place
    of RANGES.

    ValueError where it says no ranges or its graph is another one.
    """
    facts = metadata_of(proto)
    if RANGES not in facts:
        raise ValueError(f"the model says no {RANGES}: it is no MMoE over all features, or an older one")
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    graph = model.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    first = {
        node.input[1]: numpy_helper.to_array(held[node.input[1]])
        for node in graph.node
        if node.op_type == "Gemm" and WEIGHTS in node.input[1]
    }
    step, zero = _steps(*ranges_of(facts))
    if not first or any(len(weight) != len(step) for weight in first.values()):
        raise ValueError("the model's first layer is none that this karec exports")
    bias = next(tensor for name, tensor in held.items() if name.endswith(BIAS))
    made: dict[str, Array] = {"int8_per_step": 1 / step, "int8_zero": zero}
    made |= {"int8_one": np.array(1, np.float32), "int8_none": np.array(0, np.uint8)}
    shift = {}
    for name, weight in first.items():
        rounded, scale = _rounded(weight * step[:, None])
        made |= {f"{name}.int8": rounded, f"{name}.scale": scale}
        shift[int(name.rsplit(".", 1)[1])] = -scale * (zero @ rounded.astype(np.float64))
    made[bias.name] = numpy_helper.to_array(bias) + np.concatenate([shift[part] for part in sorted(shift)])
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Gemm" and node.input[1] in first:
            features, name, of_user = node.input
            nodes += [] if any("int8_features" in other.output for other in nodes) else _quantised(features)
            nodes += _product(name, of_user, node.output[0])
        else:
            nodes.append(node)
    kept = [tensor for name, tensor in held.items() if name not in first and name != bias.name]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        [*kept, *(numpy_helper.from_array(_plain(value), name) for name, value in made.items())]
    )
    model.opset_import.append(helper.make_opsetid(OPERATORS, 1))
    facts[PRECISION] = "int8"
    del facts[RANGES]
    helper.set_model_props(model, facts)
    return model


def ranges_of(facts: dict[str, str]) -> tuple[Array, Array]:
    """(lowest, highest) (F,) float64."""
    lowest, highest = (np.array(bound, np.float64) for bound in json.loads(facts[RANGES]))
    return lowest, highest


def _steps(lowest: Array, highest: Array) -> tuple[Array, Array]:
    """(step, zero) (F,): 0 … MOST_INPUT covers a column's range, and 0 itself is exact."""
    low, high = np.minimum(lowest, 0.0), np.maximum(highest, 0.0)
    width = np.where(high > low, high - low, 1.0)  # a column that was always 0
    step = width / MOST_INPUT
    return step, np.round(-low / step)


def _rounded(weight: Array) -> tuple[Array, Array]:
    """(int8 of the shape of ``weight (F, W)``, scale (W,))."""
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / MOST_WEIGHT
    return np.round(weight / scale).astype(np.int8), scale


def _quantised(features: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", [features, "int8_per_step"], ["int8_scaled"]),
        helper.make_node("Add", ["int8_scaled", "int8_zero"], ["int8_moved"]),
        helper.make_node("QuantizeLinear", ["int8_moved", "int8_one", "int8_none"], ["int8_features"]),
    ]


def _product(name: str, of_user: str, output: str) -> list[onnx.NodeProto]:
    inputs = ["int8_features", f"{name}.int8", "int8_one", f"{name}.scale"]
    return [
        helper.make_node("MatMulIntegerToFloat", inputs, [f"{name}.product"], domain=OPERATORS),
        helper.make_node("Add", [f"{name}.product", of_user], [output]),
    ]


def _plain(value: Array) -> Array:
    """As the graph holds it: float32 in place of float64."""
    return value.astype(np.float32) if value.dtype == np.float64 else np.asarray(value)
