"""Joins the graphs of two rankers: weighted sum of their logits, without another pass over the items.

s_t = first_t·m_t + second_t·l_t + bias_t        tasks that both predict
s_e = first_e·m_e + bias_e                        heads of the first model only, after those
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

PREFIX = "second_"  # of the names in the second graph


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weights of two rankers' logits, float32, T ≤ H.

    first    (H,) weights of the first model's logits
    second   (T,) weights of the second model's logits
    bias     (H,)
    share    (T,) weight of the first model in [0, 1], before both are brought to one scale
    """

    first: NDArray[Any]
    second: NDArray[Any]
    bias: NDArray[Any]
    share: NDArray[Any]

    def __call__(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        """Returns (N, H) float32, as the joined graph computes it from both logits."""
        mixed = first * self.first + self.bias
        mixed[:, : second.shape[1]] += second * self.second
        return np.asarray(mixed, np.float32)


def mixed_onnx(first: onnx.ModelProto, second: onnx.ModelProto, mixture: Mixture) -> onnx.ModelProto:
    """Returns one graph with the inputs of both, joined by name, and the output ``logits (N, H)``.

    Both graphs have an output ``logits``. The first graph gives names, shapes and the ONNX version. Raises
    ValueError if the operators of the second have another version, or one of its inputs another type or
    shape.
    """
    mixed = onnx.ModelProto()
    mixed.CopyFrom(first)
    graph = mixed.graph
    first_nodes = _renamed(graph, {"logits": "first_logits"}, "")
    inputs = {port.name: port for port in graph.input}
    second_graph = onnx.GraphProto()
    second_graph.CopyFrom(second.graph)
    shared = {port.name: port.name for port in second_graph.input}
    second_nodes = _renamed(second_graph, shared, PREFIX)
    for port in second_graph.input:
        if port.name not in inputs:
            graph.input.append(port)
        elif inputs[port.name].type != port.type:
            raise ValueError(f"input {port.name!r} has another type or shape in the second model")
    del graph.node[:]
    graph.node.extend([*first_nodes, *second_nodes, *_sum_nodes(graph, mixture)])
    graph.initializer.extend(second_graph.initializer)
    _add_opsets(mixed, second)
    return mixed


def _renamed(graph: onnx.GraphProto, names: Mapping[str, str], prefix: str) -> list[onnx.NodeProto]:
    """Returns the nodes of ``graph`` with new names, and renames its initializers in place.

    New names are from ``names``, the others get ``prefix``. An empty name (an omitted input) stays.
    """
    nodes = []
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = prefix + node.name if node.name else ""
        for ports in (copy.input, copy.output):
            ports[:] = [names.get(name, prefix + name if name else name) for name in ports]
        nodes.append(copy)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, prefix + tensor.name)
    return nodes


def _sum_nodes(graph: onnx.GraphProto, mixture: Mixture) -> list[onnx.NodeProto]:
    """Returns nodes that weight and add both logits; adds their constants to ``graph``.

    The second model's heads are padded with zeros.
    """
    n_missing = len(mixture.first) - len(mixture.second)
    constants: dict[str, NDArray[Any]] = {
        "mixture_first": np.asarray(mixture.first, np.float32),
        "mixture_second": np.asarray(mixture.second, np.float32),
        "mixture_bias": np.asarray(mixture.bias, np.float32),
        "mixture_pads": np.array([0, 0, 0, n_missing], np.int64),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    node = onnx.helper.make_node
    return [
        node("Mul", ["first_logits", "mixture_first"], ["weighed_first"]),
        node("Mul", [f"{PREFIX}logits", "mixture_second"], ["weighed_second"]),
        node("Pad", ["weighed_second", "mixture_pads"], ["padded_second"]),
        node("Add", ["weighed_first", "mixture_bias"], ["shifted_first"]),
        node("Add", ["shifted_first", "padded_second"], ["logits"]),
    ]


def _add_opsets(mixed: onnx.ModelProto, second: onnx.ModelProto) -> None:
    versions = {entry.domain: entry.version for entry in mixed.opset_import}
    for entry in second.opset_import:
        if versions.setdefault(entry.domain, entry.version) != entry.version:
            raise ValueError(
                f"second model: operators of {entry.domain or 'ai.onnx'!r} have version {entry.version}, "
                f"expected {versions[entry.domain]} as in the first"
            )
        if entry.domain not in {kept.domain for kept in mixed.opset_import}:
            mixed.opset_import.append(entry)
