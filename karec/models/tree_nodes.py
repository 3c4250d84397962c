"""One node ``TreeEnsembleRegressor`` of an ONNX graph → the arrays of which karec's library makes a
``TreeEnsemble``.

Names and meanings of attributes: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleRegressor.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from karec import _native
from karec.models.protobuf import Value, bytes_of, fields, text_of
from karec.types import Array

_OF_NODES = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
_OF_LEAVES = ("treeids", "nodeids", "ids", "weights")
_MISSING = "missing_value_tracks_true"  # 0 for all nodes where it is left out
_USUAL = {"aggregate_function": b"SUM", "post_transform": b"NONE"}  # what the library's sums are
_UNREAD = {"nodes_hitrates"}  # statistics of training
_SPLIT, _LEAF = b"BRANCH_LEQ", b"LEAF"


class NotRead(Exception):
    """Trees that ONNX defines and karec's library does not take; the message says what of them."""


@dataclass(frozen=True, eq=False)
class TreeNodes:
    """M nodes of T trees, tree by tree, each root first: what ``TreeEnsemble`` takes, of one sum.

    ``sizes (T,)``; ``features (M,)``, −1 for a leaf; ``values (M,)`` thresholds and weights; ``children (M,
    2)``; ``missing_first (M,)`` where NaN goes to the first child.
    """

    sizes: Array
    features: Array
    values: Array
    children: Array
    missing_first: Array


def read_trees(attributes: Sequence[Value]) -> TreeNodes:
    """The trees of a node's ``attributes``, as they lie in the file. O(attributes).

    NotRead for what the library does not take. Whether the numbers make trees is for the library to check.
    ValueError for bytes that are no message, and for a split by a feature below 0, which the library would
    take for a leaf.
    """
    given = dict(_attribute(bytes_of(value)) for value in attributes)
    for name, usual in _USUAL.items():
        value = given.pop(name, usual)
        if type(value) is not type(usual) or value != usual:
            raise NotRead(f"its {name} is another than {usual!r}")
    if given.pop("n_targets", None) != 1:
        raise NotRead("its n_targets is another than 1")
    modes = given.get("nodes_modes")
    given.setdefault(f"nodes_{_MISSING}", np.zeros(len(modes) if isinstance(modes, list) else 0, np.int64))
    names = [
        *(f"nodes_{name}" for name in (*_OF_NODES, _MISSING)),
        *(f"target_{name}" for name in _OF_LEAVES),
    ]
    lacking = [name for name in names if not _is_list_of(given.get(name), name)]
    other = sorted(set(given) - {*names, *_UNREAD})
    if lacking or other:
        raise NotRead(f"it has no list {lacking[0]}" if lacking else f"it has {other[0][:60]}")
    nodes = {name: given[f"nodes_{name}"] for name in (*_OF_NODES, _MISSING)}
    leaves = {name: given[f"target_{name}"] for name in _OF_LEAVES}
    for lists in (nodes, leaves):
        if len({len(each) for each in lists.values()}) > 1 or not len(lists["treeids"]):
            raise NotRead("its lists are empty or have different lengths")
    by = sorted({*nodes["modes"]} - {_SPLIT, _LEAF})
    if by:
        raise NotRead(f"it splits by {by[0].decode('utf-8', 'replace')[:60]}")
    return _joined(nodes, leaves)


def _joined(nodes: Mapping[str, Any], leaves: Mapping[str, Array]) -> TreeNodes:
    trees, at = nodes["treeids"], nodes["nodeids"]
    starts = np.append(0, 1 + np.flatnonzero(trees[1:] != trees[:-1]))
    sizes = np.diff(starts, append=len(trees))
    if (trees[1:] < trees[:-1]).any() or (at != np.arange(len(at)) - np.repeat(starts, sizes)).any():
        raise NotRead("its nodes do not stand tree by tree, numbered from 0 on")
    leaf = np.fromiter((mode == _LEAF for mode in nodes["modes"]), bool, len(trees))
    order = np.lexsort((leaves["nodeids"], leaves["treeids"]))
    of_nodes = [trees[leaf], at[leaf], np.zeros(leaf.sum(), np.int64)]
    if any(
        not np.array_equal(leaves[name][order], each)
        for name, each in zip(_OF_LEAVES, of_nodes, strict=False)
    ):
        raise NotRead("its leaves have not one weight each, of one target")
    most = np.add.reduceat(leaf.astype(np.int64), starts).max()
    if most > _native.TreeEnsemble.MOST_LEAVES:
        raise NotRead(f"a tree has {most} leaves, more than {_native.TreeEnsemble.MOST_LEAVES}")
    values = nodes["values"].copy()
    values[leaf] = leaves["weights"][order]
    below = np.flatnonzero(~leaf & (nodes["featureids"] < 0))
    if len(below):
        raise ValueError(
            f"node {at[below[0]]} of tree {trees[below[0]]} splits by feature {nodes['featureids'][below[0]]}"
        )
    features = np.where(leaf, -1, nodes["featureids"])
    children = np.stack([nodes["truenodeids"], nodes["falsenodeids"]], axis=1)
    return TreeNodes(sizes, features, values, children, nodes[_MISSING] != 0)


def _is_list_of(value: Any, name: str) -> bool:
    """Whether it is what an attribute of that name holds: texts, float32 or int64."""
    if name == "nodes_modes":
        return isinstance(value, list)
    return isinstance(value, np.ndarray) and value.dtype.kind == (
        "f" if name.endswith(("values", "weights")) else "i"
    )


def _attribute(view: memoryview) -> tuple[str, Any]:
    """Its name, and its number, its text, or its list: an array, or texts. None where it is something
    else."""
    name: str = ""
    value: Any = None
    numbers, floats, texts = [], [], []
    for number, part in fields(view):
        if number == 1:
            name = text_of(part)
            if name in _UNREAD:
                break
        elif number in (3, 4):
            value = part if isinstance(part, int) else bytes(part)
        elif number == 7:
            floats.append(bytes_of(part))
        elif number == 8 and isinstance(part, int):
            numbers.append(part)
        elif number == 9:
            texts.append(bytes(bytes_of(part)))
    if numbers:
        value = np.array(numbers, np.uint64).astype(np.int64)
    elif floats:
        value = np.frombuffer(b"".join(floats), "<f4")
    elif texts:
        value = texts
    return name, value
