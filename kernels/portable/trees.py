"""Regression trees, as ``native/src/trees/tree_ensemble.hpp`` defines them, node by node; the same bits."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike

from karec.kernels.portable.arrays import Float32, Int64, bool_input, float32_input, int64_input


class TreeEnsemble:
    MOST_LEAVES = 256

    def __init__(
        self,
        sizes: ArrayLike,
        outputs: ArrayLike,
        features: ArrayLike,
        values: ArrayLike,
        children: ArrayLike,
        missing_first: ArrayLike,
        n_features: int,
        n_outputs: int,
    ) -> None:
        self._sizes = int64_input(sizes, "sizes", ("T",)).copy()
        self._outputs = int64_input(outputs, "outputs", self._sizes.shape).copy()
        self._features = int64_input(features, "features", ("M",)).copy()
        n = len(self._features)
        self._values = float32_input(values, "values", (n,)).copy()
        self._children = int64_input(children, "children", (n, 2)).copy()
        self._missing_first = bool_input(missing_first, "missing_first", (n,)).copy()
        for name, size in (("n_features", n_features), ("n_outputs", n_outputs)):
            if size <= 0:
                raise ValueError(f"{name} must be positive, got {size}")
        self._n_features, self._n_outputs = n_features, n_outputs
        self._check()

    def __len__(self) -> int:
        return len(self._sizes)

    def scores(self, rows: ArrayLike) -> Float32:
        x = float32_input(rows, "rows", ("N", self._n_features))
        out = np.zeros((self._n_outputs, len(x)), np.float32)
        _add_leaves(
            x,
            self._sizes,
            self._outputs,
            self._features,
            self._values,
            self._children,
            self._missing_first,
            out,
        )
        return out

    def _check(self) -> None:
        first = 0
        for t, size in enumerate(self._sizes.tolist()):
            output, left = self._outputs[t], len(self._features) - first
            if not 0 <= output < self._n_outputs:
                raise ValueError(f"tree {t} belongs to output {output} of {self._n_outputs}")
            if not 1 <= size <= left:
                raise ValueError(f"tree {t} has {size} nodes, of {left} that are left")
            try:
                self._check_tree(slice(first, first + size))
            except ValueError as reason:
                raise ValueError(f"tree {t}: {reason}") from None
            first += size
        if first != len(self._features):
            raise ValueError(f"{len(self._features) - first} nodes are of no tree")

    def _check_tree(self, of: slice) -> None:
        features, children = self._features[of], self._children[of]
        size, parents = len(features), np.zeros(len(features), bool)
        for i, feature in enumerate(features.tolist()):
            value = self._values[of][i]
            if feature >= 0 and np.isnan(value):
                raise ValueError(f"node {i} compares with NaN")
            if feature < 0 and not np.isfinite(value):
                raise ValueError(f"node {i} has a weight that is not finite")
            if not -1 <= feature < self._n_features:
                raise ValueError(f"node {i} reads feature {feature} of {self._n_features}")
            for child in children[i].tolist() if feature >= 0 else ():
                if not 1 <= child < size:
                    raise ValueError(f"node {i} has the child {child} of {size} nodes")
                if parents[child]:
                    raise ValueError(f"node {child} is the child of two")
                parents[child] = True
        reached = [0]
        for node in reached:
            reached += children[node].tolist() if features[node] >= 0 else []
        if len(reached) != size:
            raise ValueError(f"{size - len(reached)} nodes are not reached from the root")
        leaves = int((features < 0).sum())
        if leaves > self.MOST_LEAVES:
            raise ValueError(f"it has {leaves} leaves, at most {self.MOST_LEAVES} are taken")


@numba.njit(cache=True, nogil=True)
def _add_leaves(
    x: Any,
    sizes: Int64,
    outputs: Int64,
    features: Int64,
    values: Any,
    children: Int64,
    missing_first: Any,
    out: Any,
) -> None:
    first = 0
    for t in range(len(sizes)):
        for row in range(len(x)):
            node = first
            while features[node] >= 0:
                value = x[row, features[node]]
                second = not (missing_first[node] if np.isnan(value) else value <= values[node])
                node = first + children[node, 1 if second else 0]
            out[outputs[t], row] += values[node]
        first += sizes[t]
