"""Regression trees of an ONNX file, taken out of its graph: karec's library scores them, ONNX Runtime the
rest.

A node ``TreeEnsembleRegressor`` that reads an input of the graph becomes a ``TreeEnsemble``; what it gave
becomes an input of the graph that is left. ONNX Runtime walks each tree node by node, and mispredicts half of
the branches; the library does not branch. The scores have the bits of ONNX Runtime's on one thread: float32,
in the order of the trees.
"""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from karec import _native
from karec._stored import open_regular
from karec.models.onnx_file import Port, read_declared, read_port
from karec.models.protobuf import Value, bytes_of, field, fields, text_of
from karec.models.tree_nodes import NotRead, TreeNodes, read_trees
from karec.types import Array

_ANY_TREES = b"TreeEnsemble"  # how ONNX calls its nodes of trees
_KIND, _DOMAIN = "TreeEnsembleRegressor", "ai.onnx.ml"
_GRAPH = 7  # of a model's fields
_NODE, _WEIGHT, _INPUT = 1, 5, 11  # of a graph's


@dataclass(frozen=True, eq=False)
class Trees:
    """``ensemble``: rows of the graph's ``input`` → a sum for each of ``outputs``."""

    input: str
    outputs: tuple[str, ...]
    ensemble: _native.TreeEnsemble

    def scores(self, rows: Array) -> Mapping[str, Array]:
        """``rows (N, F) float32`` → (N, 1) float32 of each output. ValueError for another width."""
        sums = self.ensemble.scores(rows)
        return {name: sums[t][:, None] for t, name in enumerate(self.outputs)}


@dataclass(frozen=True, eq=False)
class Divided:
    """``rest``: the model without ``trees``; None where there are none. ``left``: why other trees stay in
    it."""

    trees: tuple[Trees, ...] = ()
    rest: bytes | None = None
    left: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Node:
    kind: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[Value, ...]


def divide(path: Path) -> Divided:
    """The trees of the ONNX file at ``path``, and the model that is left. O(nodes of the graph and of its
    trees).

    OSError. ValueError for what is no ONNX file, and for trees that are damaged: a child or feature that is
    not there, a cycle, a weight that is not finite.
    """
    with open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("it is empty")
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    if mapped.find(_ANY_TREES) < 0:
        return Divided()
    try:
        outside = read_declared(path).outside
    except ValueError as reason:
        return Divided(left=(str(reason),))
    if outside:  # ONNX Runtime finds them beside a file alone
        return Divided(left=("weights of the model lie outside of its file",))
    model = list(fields(memoryview(mapped)))  # unmapped with its last slice
    graph = [part for number, value in model if number == _GRAPH for part in fields(bytes_of(value))]
    nodes = [_node(bytes_of(value)) for number, value in graph if number == _NODE]
    weights = [_weight(value) for number, value in graph if number == _WEIGHT]
    inputs = dict(read_port(value) for number, value in graph if number == _INPUT)
    widths = _widths({name: port for name, port in inputs.items() if name not in weights})
    names = Counter([*{*weights, *inputs}, *(name for node in nodes for name in node.outputs)])
    read: dict[tuple[str, ...], tuple[str, TreeNodes]] = {}
    left = []
    for node in nodes:
        if node.kind.startswith(_ANY_TREES.decode()):
            try:
                found = _read(node, widths)
                if names[node.outputs[0]] > 1:
                    raise NotRead("something else of the graph has this name")
                read[node.outputs] = node.inputs[0], found
            except NotRead as reason:
                left.append(f"{', '.join(node.outputs)[:60]}: {reason}")
    trees = tuple(_trees(name, widths[name], read) for name in dict.fromkeys(of for of, _ in read.values()))
    return Divided(trees, _without(model, graph, set(read)) if read else None, tuple(left))


def _node(view: memoryview) -> _Node:
    parts = list(fields(view))
    names = {of: tuple(text_of(part) for number, part in parts if number == of) for of in (1, 2, 4, 7)}
    attributes = tuple(part for number, part in parts if number == 5)
    return _Node("".join(names[4]), "".join(names[7]), names[1], names[2], attributes)


def _widths(inputs: Mapping[str, Port]) -> dict[str, int]:
    """{input: its columns}, of inputs of float32 with two axes, the second of a fixed size."""
    return {
        name: port.shape[1]
        for name, port in inputs.items()
        if port.dtype == "float32" and port.shape is not None and len(port.shape) == 2
        if port.shape[1] is not None and port.shape[1] < 1 << 31
    }


def _read(node: _Node, widths: Mapping[str, int]) -> TreeNodes:
    if (node.kind, node.domain) != (_KIND, _DOMAIN):
        raise NotRead(f"it is a {node.kind[:60]}")
    if len(node.inputs) != 1 or len(node.outputs) != 1 or node.inputs[0] not in widths:
        raise NotRead("it reads no input of the graph that is float32 (N, a fixed size)")
    return read_trees(node.attributes)


def _weight(tensor: Value) -> str:
    """Its name."""
    return "".join(text_of(part) for number, part in fields(bytes_of(tensor)) if number == 8)


def _trees(name: str, width: int, read: Mapping[tuple[str, ...], tuple[str, TreeNodes]]) -> Trees:
    """All that read the input ``name`` as one ensemble: its columns are brought into order once."""
    of = {outputs[0]: nodes for outputs, (reads, nodes) in read.items() if reads == name}
    sums = np.repeat(np.arange(len(of)), [len(nodes.sizes) for nodes in of.values()])
    sizes, features, values, children, missing_first = (
        np.concatenate([getattr(nodes, each) for nodes in of.values()])
        for each in ("sizes", "features", "values", "children", "missing_first")
    )
    ensemble = _native.TreeEnsemble(sizes, sums, features, values, children, missing_first, width, len(of))
    return Trees(name, tuple(of), ensemble)


def _without(
    model: Sequence[tuple[int, Value]], graph: Sequence[tuple[int, Value]], taken: set[tuple[str, ...]]
) -> bytes:
    """The model without the nodes that give ``taken``; these names are inputs of its graph instead."""
    kept = [
        field(number, value)
        for number, value in graph
        if number != _NODE or _node(bytes_of(value)).outputs not in taken
    ]
    ports = [field(_INPUT, _port(name)) for (name,) in sorted(taken)]
    others = [field(number, value) for number, value in model if number != _GRAPH]
    return b"".join([*others, field(_GRAPH, b"".join([*kept, *ports]))])


def _port(name: str) -> bytes:
    """The declaration of an input, float32 (N, 1); an axis with a name would have the size of others of that
    name."""
    shape = field(1, b"") + field(1, field(1, 1))
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, shape)))
