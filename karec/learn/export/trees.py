"""Writes M.trees.npz next to M.onnx: its regression trees, for karec's library, and the rest of the model.

A node ``TreeEnsembleRegressor`` that reads an input of the graph is removed; its output becomes an input of
the remaining graph. ``karec.models.trees`` loads the file.

Source  https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native
from karec.errors import BundleError, MissingExtra
from karec.files import file_aside
from karec.models.trees import ARRAYS, FORMAT, MAX_COLUMNS, make_ensemble, trees_path

try:
    import onnx
except ModuleNotFoundError as error:
    raise MissingExtra("onnx", "train", "reading the trees of an ONNX model") from error

_ANY_TREES = "TreeEnsemble"  # start of the name of each ONNX node of trees
_KIND, _DOMAIN = "TreeEnsembleRegressor", "ai.onnx.ml"
_NODE_LISTS = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
_LEAF_LISTS = ("treeids", "nodeids", "ids", "weights")
_MISSING = "missing_value_tracks_true"  # 0 for all nodes if it is missing
_REQUIRED = {"aggregate_function": b"SUM", "post_transform": b"NONE"}  # the library computes only this
_UNREAD = {"nodes_hitrates"}  # statistics of training
_SPLIT, _LEAF = b"BRANCH_LEQ", b"LEAF"
_HEAD_KEYS = ("input", "columns", "outputs")  # of an ensemble in the head of the file

# a node and its arrays: ARRAYS without ``sums``
_TakenNode = tuple[onnx.NodeProto, Mapping[str, NDArray[Any]]]


class UnsupportedTrees(Exception):
    """Trees that ONNX defines and karec's library does not score. The message is the reason."""


@dataclass(frozen=True)
class TreesExport:
    """The trees of an ONNX model.

    n_trees            trees that karec's library scores; if there are none, no file was written
    left               why other trees stay with ONNX Runtime: one text for each node
    has_removed_file   the trees file of an earlier model was removed
    """

    n_trees: int
    left: tuple[str, ...]
    has_removed_file: bool = False


def export_trees(model: Path) -> TreesExport:
    """Writes the trees file of the ONNX file ``model``.

    Raises OSError, and BundleError if ``model`` is not an ONNX file or its trees are damaged.
    """
    data = model.read_bytes()
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf raises exceptions of its own
        raise BundleError(f"{model} is not an ONNX file, or truncated: {error}") from error
    if not proto.HasField("graph"):  # such as an empty file
        raise BundleError(f"{model} is not an ONNX file, or truncated: it has no graph")
    return write_trees(proto, data, model)


def write_trees(proto: onnx.ModelProto, data: bytes, model: Path) -> TreesExport:
    """Writes the trees file of ``model``, a file that holds, or will hold, ``data``, the bytes of ``proto``.

    If no tree is taken, a trees file of an earlier model is removed. Raises OSError, and BundleError if the
    trees are damaged: a child or feature that does not exist, a cycle, a weight that is not finite.
    """
    path = trees_path(model)
    columns = _columns(proto.graph)
    try:
        taken, left = _taken_nodes(proto.graph, columns)
        read = dict.fromkeys(node.input[0] for node, _ in taken)
        ensembles = [_Ensemble.from_nodes(name, columns[name], taken) for name in read]
    except ValueError as error:
        raise BundleError(f"{model} has damaged trees: {error}") from error
    if not taken:
        has_file = path.exists()
        path.unlink(missing_ok=True)
        return TreesExport(0, tuple(left), has_file)
    head = {
        "format": FORMAT,
        "model_xxh64": f"{_native.xxh64(data):016x}",
        "ensembles": [{key: getattr(ensemble, key) for key in _HEAD_KEYS} for ensemble in ensembles],
    }
    rest = _without(proto, {name for ensemble in ensembles for name in ensemble.outputs})
    members = {
        f"{key}.{index}": array
        for index, ensemble in enumerate(ensembles)
        for key, array in ensemble.arrays.items()
    }
    members["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    members["rest"] = np.frombuffer(rest.SerializeToString(), np.uint8)
    with file_aside(path) as file:
        np.savez(file, **members)  # type: ignore[arg-type]
    return TreesExport(sum(ensemble.n_trees for ensemble in ensembles), tuple(left))


@dataclass(frozen=True, eq=False)
class _Ensemble:
    """All trees that read one input, so that its columns are sorted once."""

    input: str
    columns: int
    outputs: list[str]
    arrays: Mapping[str, NDArray[Any]]
    n_trees: int

    @classmethod
    def from_nodes(cls, name: str, columns: int, taken: Sequence[_TakenNode]) -> _Ensemble:
        """Returns the ensemble of the nodes that read ``name``. Raises ValueError if they are damaged."""
        nodes_of_input = [(node.output[0], arrays) for node, arrays in taken if node.input[0] == name]
        outputs = [output for output, _ in nodes_of_input]
        nodes = [arrays for _, arrays in nodes_of_input]
        joined = {key: np.concatenate([arrays[key] for arrays in nodes]) for key in nodes[0]}
        joined["sums"] = np.repeat(np.arange(len(nodes)), [len(arrays["sizes"]) for arrays in nodes])
        n_trees = len(make_ensemble(joined, columns, len(outputs)))
        stored = {key: joined[key].astype(dtype) for key, (dtype, _) in ARRAYS.items()}
        return cls(name, columns, outputs, stored, n_trees)


def _columns(graph: onnx.GraphProto) -> dict[str, int]:
    """Returns {input: number of columns} of float32 inputs with two axes, the second of a fixed size."""
    weights = {weight.name for weight in graph.initializer}
    columns = {}
    for port in graph.input:
        tensor = port.type.tensor_type
        sizes = [axis.dim_value for axis in tensor.shape.dim]
        is_matrix = tensor.elem_type == onnx.TensorProto.FLOAT and len(sizes) == 2
        if is_matrix and 0 < sizes[1] <= MAX_COLUMNS and port.name not in weights:
            columns[port.name] = sizes[1]
    return columns


def _taken_nodes(graph: onnx.GraphProto, columns: Mapping[str, int]) -> tuple[list[_TakenNode], list[str]]:
    """Returns the nodes that the library takes, each with its arrays, and why others are left."""
    taken: list[_TakenNode] = []
    left = []
    names = Counter(name for node in graph.node for name in node.output)
    names.update({*(port.name for port in graph.input), *(weight.name for weight in graph.initializer)})
    trees = [node for node in graph.node if node.op_type.startswith(_ANY_TREES)]
    if trees and _has_weights_outside(graph):
        # The rest of the model is loaded from bytes, and ONNX Runtime reads other files for a file only.
        return [], ["weights of the model are stored outside of its file"]
    for node in trees:
        try:
            arrays = _read_node(node, columns)
            if names[node.output[0]] > 1:
                raise UnsupportedTrees("something else of the graph has this name")
            taken.append((node, arrays))
        except UnsupportedTrees as reason:
            left.append(f"{', '.join(node.output)[:60]}: {reason}")
    return taken, left


def _has_weights_outside(graph: onnx.GraphProto) -> bool:
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    tensors = [
        *graph.initializer,
        *(tensor for attribute in attributes for tensor in (attribute.t, *attribute.tensors)),
    ]
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors) or any(
        _has_weights_outside(inner) for attribute in attributes for inner in (attribute.g, *attribute.graphs)
    )


def _read_node(node: onnx.NodeProto, columns: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    if (node.op_type, node.domain) != (_KIND, _DOMAIN):
        raise UnsupportedTrees(f"it is a {node.op_type[:60]}")
    if len(node.input) != 1 or len(node.output) != 1 or node.input[0] not in columns:
        raise UnsupportedTrees("it reads no input of the graph that is float32 (N, a fixed size)")
    return _read_attributes(node.attribute)


def _read_attributes(attributes: Iterable[onnx.AttributeProto]) -> dict[str, NDArray[Any]]:
    """Returns the arrays of ``_native.TreeEnsemble`` without ``sums``: nodes tree by tree, each root first.

    Raises UnsupportedTrees if the library does not score such trees, and ValueError for a split by a feature
    below 0, which the library would read as a leaf. ``make_ensemble`` checks the nodes later.
    """
    given = {item.name: _value_of(item) for item in attributes if item.name not in _UNREAD}
    for name, required in _REQUIRED.items():
        value = given.pop(name, required)
        if type(value) is not bytes or value != required:
            raise UnsupportedTrees(f"its {name} is not {required!r}")
    n_targets = given.pop("n_targets", None)
    if type(n_targets) is not int or n_targets != 1:
        raise UnsupportedTrees("its n_targets is not 1")
    modes = given.get("nodes_modes")
    given.setdefault(f"nodes_{_MISSING}", np.zeros(len(modes) if isinstance(modes, list) else 0, np.int64))
    names = [
        *(f"nodes_{name}" for name in (*_NODE_LISTS, _MISSING)),
        *(f"target_{name}" for name in _LEAF_LISTS),
    ]
    missing = [name for name in names if not _is_list_of(given.get(name), name)]
    unknown = sorted(set(given) - set(names))
    if missing or unknown:
        raise UnsupportedTrees(f"it has no list {missing[0]}" if missing else f"it has {unknown[0][:60]}")
    nodes = {name: given[f"nodes_{name}"] for name in (*_NODE_LISTS, _MISSING)}
    leaves = {name: given[f"target_{name}"] for name in _LEAF_LISTS}
    for lists in (nodes, leaves):
        if len({len(values) for values in lists.values()}) > 1 or not len(lists["treeids"]):
            raise UnsupportedTrees("its lists are empty or have different lengths")
    unsupported_modes = sorted({*nodes["modes"]} - {_SPLIT, _LEAF})
    if unsupported_modes:
        raise UnsupportedTrees(f"it splits by {unsupported_modes[0].decode('utf-8', 'replace')[:60]}")
    return _arrays_of(nodes, leaves)


def _value_of(attribute: onnx.AttributeProto) -> Any:
    """Returns the number, text, array or list of texts; None for another type."""
    kind = onnx.AttributeProto
    match attribute.type:
        case kind.INT:
            return attribute.i
        case kind.STRING:
            return attribute.s
        case kind.INTS:
            return np.array(attribute.ints, np.int64)
        case kind.FLOATS:
            return np.array(attribute.floats, np.float32)
        case kind.STRINGS:
            return list(attribute.strings)
    return None


def _arrays_of(nodes: Mapping[str, Any], leaves: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    trees, node_ids = nodes["treeids"], nodes["nodeids"]
    starts = np.append(0, 1 + np.flatnonzero(trees[1:] != trees[:-1]))
    sizes = np.diff(starts, append=len(trees))
    if (trees[1:] < trees[:-1]).any() or (
        node_ids != np.arange(len(node_ids)) - np.repeat(starts, sizes)
    ).any():
        raise UnsupportedTrees("its nodes are not ordered by tree and numbered from 0")
    leaf = np.fromiter((mode == _LEAF for mode in nodes["modes"]), bool, len(trees))
    order = np.lexsort((leaves["nodeids"], leaves["treeids"]))
    expected = [trees[leaf], node_ids[leaf], np.zeros(leaf.sum(), np.int64)]
    if any(
        not np.array_equal(leaves[name][order], values)
        for name, values in zip(_LEAF_LISTS, expected, strict=False)
    ):
        raise UnsupportedTrees("its leaves do not have exactly one weight of one target each")
    max_leaves = np.add.reduceat(leaf.astype(np.int64), starts).max()
    if max_leaves > _native.TreeEnsemble.MAX_LEAVES:
        raise UnsupportedTrees(f"a tree has {max_leaves} leaves, more than {_native.TreeEnsemble.MAX_LEAVES}")
    values = nodes["values"].copy()
    values[leaf] = leaves["weights"][order]
    invalid = np.flatnonzero(~leaf & (nodes["featureids"] < 0))
    if len(invalid):
        raise ValueError(
            f"node {node_ids[invalid[0]]} of tree {trees[invalid[0]]} splits by feature "
            f"{nodes['featureids'][invalid[0]]}"
        )
    features = np.where(leaf, -1, nodes["featureids"])
    children = np.stack([nodes["truenodeids"], nodes["falsenodeids"]], axis=1)
    return {
        "sizes": sizes,
        "features": features,
        "values": values,
        "children": children,
        "missing_first": nodes[_MISSING] != 0,
    }


def _is_list_of(value: Any, name: str) -> bool:
    """Returns True if ``value`` has the type of the attribute ``name``: texts, float32 or int64."""
    if name == "nodes_modes":
        return isinstance(value, list)
    kind = "f" if name.endswith(("values", "weights")) else "i"
    return isinstance(value, np.ndarray) and value.dtype.kind == kind


def _without(proto: onnx.ModelProto, taken: set[str]) -> onnx.ModelProto:
    """Returns the model without the nodes that give ``taken``; these names become inputs of its graph."""
    rest = onnx.ModelProto()
    rest.CopyFrom(proto)
    del rest.graph.node[:]
    rest.graph.node.extend(node for node in proto.graph.node if not taken.intersection(node.output))
    for name in sorted(taken):
        # ONNX gives all axes of one name the same size, so this axis has no name.
        rest.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 1]))
    return rest
