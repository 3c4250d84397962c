"""Two rankers' graphs as one: their logits are weighed, task by task, and added. No pass over the works is
added.

s_t = first_t·m_t + second_t·l_t + bias_t        for the tasks that both predict
s_e = first_e·m_e + bias_e                        for what the first alone predicts, after those
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

PREFIX = "second_"  # of what the second graph calls its own


@dataclass(frozen=True, eq=False)
class Mixture:
    """``first (H,)``, ``second (T,)``, ``bias (H,)`` float32, T ≤ H; ``share (T,)`` the first model's weight,
    0 to 1, before both are brought to one scale."""

    first: NDArray[Any]
    second: NDArray[Any]
    bias: NDArray[Any]
    share: NDArray[Any]

    def __call__(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        """(N, H) float32: what the one graph computes of ``first (N, H)`` and ``second (N, T)``."""
        mixed = first * self.first + self.bias
        mixed[:, : second.shape[1]] += second * self.second
        return np.asarray(mixed, np.float32)


def mixed_onnx(first: onnx.ModelProto, second: onnx.ModelProto, mixture: Mixture) -> onnx.ModelProto:
    """One graph with the inputs of both and the output ``logits (N, H)``; an input of one name is the same
    one.

    Both graphs have an output ``logits``. The first gives names, shapes and the version of ONNX; ValueError
    where the second's operators are of another version, or one of its inputs has another type or shape.
    """
    mixed = onnx.ModelProto()
    mixed.CopyFrom(first)
    graph = mixed.graph
    own = _renamed(graph, {"logits": "first_logits"}, "")
    inputs = {port.name: port for port in graph.input}
    second_graph = onnx.GraphProto()
    second_graph.CopyFrom(second.graph)
    shared = {port.name: port.name for port in second_graph.input}
    added = _renamed(second_graph, shared, PREFIX)
    for port in second_graph.input:
        if port.name not in inputs:
            graph.input.append(port)
        elif inputs[port.name].type != port.type:
            raise ValueError(f"input {port.name!r} has another type or shape in the second model")
    del graph.node[:]
    graph.node.extend([*own, *added, *_sum_nodes(graph, mixture)])
    graph.initializer.extend(second_graph.initializer)
    _add_opsets(mixed, second)
    return mixed


def _renamed(graph: onnx.GraphProto, names: Mapping[str, str], prefix: str) -> list[onnx.NodeProto]:
    """The nodes of ``graph``, and its initializers in place, with other names: those of ``names``, the rest
    after ``prefix``. An empty name, an input that is left out, stays."""
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
    """Nodes that weigh and add ``first_logits`` and ``second_logits``; their numbers become initializers of
    ``graph``.

    The second's heads are padded with zeros to the first's number. int8 leaves sums and products as they are.
    """
    lacking = len(mixture.first) - len(mixture.second)
    numbers: dict[str, NDArray[Any]] = {
        "mixture_first": np.asarray(mixture.first, np.float32),
        "mixture_second": np.asarray(mixture.second, np.float32),
        "mixture_bias": np.asarray(mixture.bias, np.float32),
        "mixture_pads": np.array([0, 0, 0, lacking], np.int64),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in numbers.items())
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
                f"the second model's operators of {entry.domain or 'ai.onnx'!r} are of version "
                f"{entry.version}, the first's of version {versions[entry.domain]}"
            )
        if entry.domain not in {kept.domain for kept in mixed.opset_import}:
            mixed.opset_import.append(entry)
