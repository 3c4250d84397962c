"""Regression trees of the library: sums of the reached leaves, in the order of the trees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_trees import Tree, arrays_of, followed, random_rows, random_tree

from karec import _native


def ensemble(trees, n_features, outputs=None):
    outputs = outputs or [0] * len(trees)
    sizes = {"n_features": n_features, "n_outputs": max(outputs, default=0) + 1}
    return make_ensemble({**arrays_of(trees), "outputs": outputs, **sizes})


def make_ensemble(arrays):
    """Returns the library's ensemble, whose arguments are positional."""
    names = ("sizes", "outputs", "features", "values", "children", "missing_first", "n_features", "n_outputs")
    return _native.TreeEnsemble(*(arrays[name] for name in names))


def same_bits(a, b):
    assert a.dtype == b.dtype == np.float32
    np.testing.assert_array_equal(a.view(np.int32), b.view(np.int32))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 140))
def test_trees_add_leaves_in_order(seed, leaves, n):
    generator = np.random.default_rng(seed)
    trees = [random_tree(generator, n_leaves, 3, chain=bool(generator.integers(2))) for n_leaves in leaves]
    rows = random_rows(generator, trees, n, 3)
    same_bits(ensemble(trees, 3).scores(rows), followed(trees, rows)[None])


@pytest.mark.parametrize("leaves", [1, 2, 31, 32, 33, 64, 65, 256])
@pytest.mark.parametrize("chain", [False, True])
def test_trees_of_any_size_and_shape_are_followed(leaves, chain):
    generator = np.random.default_rng(leaves)
    trees = [random_tree(generator, leaves, 5, chain) for _ in range(3)]
    rows = random_rows(generator, trees, 200, 5)
    same_bits(ensemble(trees, 5).scores(rows), followed(trees, rows)[None])


def test_trees_are_summed_for_each_output():
    generator = np.random.default_rng(0)
    trees = [random_tree(generator, 15, 4) for _ in range(6)]
    rows = random_rows(generator, trees, 70, 4)
    result = ensemble(trees, 4, [3, 0, 1, 0, 3, 0]).scores(rows)
    trees_of_outputs = [[1, 3, 5], [2], [], [0, 4]]
    expected = [followed([trees[t] for t in numbers], rows) for numbers in trees_of_outputs]
    same_bits(result, np.stack(expected))


def test_trees_route_threshold_values_and_nan():
    for missing_first in (False, True):
        tree = Tree([0, -1, -1], [0.0, 1.0, 2.0], [[1, 2], [0, 0], [0, 0]], [missing_first, False, False])
        rows = np.array(
            [0.0, -0.0, np.nextafter(np.float32(0), np.float32(1)), np.nan, np.inf, -np.inf], np.float32
        )
        nan = 1.0 if missing_first else 2.0
        assert ensemble([tree], 1).scores(rows[:, None]).tolist() == [[1.0, 1.0, 2.0, nan, 2.0, 1.0]]
        tree.values[0] = np.inf  # LightGBM's split of NaN from everything else
        assert ensemble([tree], 1).scores(rows[:, None]).tolist() == [[1.0, 1.0, 1.0, nan, 1.0, 1.0]]
        tree.values[0] = -np.inf
        assert ensemble([tree], 1).scores(rows[:, None]).tolist() == [[2.0, 2.0, 2.0, nan, 2.0, 1.0]]


def test_trees_of_no_trees_or_rows_are_zero_or_empty():
    assert ensemble([], 2).scores(np.ones((3, 2))).tolist() == [[0.0, 0.0, 0.0]]
    assert ensemble([Tree()], 2).scores(np.ones((0, 2))).shape == (1, 0)
    assert len(ensemble([Tree(), Tree()], 1)) == 2


SPLIT = [[1, 2], [0, 0], [0, 0]]
DAMAGES = {
    "a child after the last node": ({"children": [[1, 3], *SPLIT[1:]]}, "node 0 has the child 3 of 3 nodes"),
    "the root as a child": ({"children": [[0, 1], *SPLIT[1:]]}, "node 0 has the child 0 of 3 nodes"),
    "a child below zero": ({"children": [[-1, 2], *SPLIT[1:]]}, "node 0 has the child -1 of 3 nodes"),
    "a node with two parents": ({"children": [[1, 1], *SPLIT[1:]]}, "node 1 is the child of two"),
    "a cycle": ({"features": [-1, 0, 0], "children": [[0, 0], [2, 1], [0, 0]]}, "tree 0: node"),
    "a cycle beside the root": (
        {"sizes": [5], "features": [-1, 0, 0, -1, -1], "children": [[0, 0], [2, 3], [1, 4], [0, 0], [0, 0]]},
        "tree 0: 4 nodes are not reached from the root",
    ),
    "unreachable nodes": ({"features": [-1, -1, -1]}, "2 nodes are not reached from the root"),
    "a feature after the last one": ({"features": [4, -1, -1]}, "node 0 reads feature 4 of 4"),
    "a feature below zero": ({"features": [-2, -1, -1]}, "node 0 reads feature -2 of 4"),
    "a threshold of NaN": ({"values": [np.nan, 1, 2]}, "node 0 compares with NaN"),
    "an infinite weight": ({"values": [0, np.inf, 2]}, "node 1 has a weight that is not finite"),
    "a tree without nodes": ({"sizes": [0]}, "tree 0 has 0 nodes, of 3 that are left"),
    "a tree with too many nodes": ({"sizes": [4]}, "tree 0 has 4 nodes, of 3 that are left"),
    "nodes without a tree": ({"sizes": [1], "features": [-1, -1, -1]}, "2 nodes belong to no tree"),
    "an output after the last one": ({"outputs": [1]}, "tree 0 belongs to output 1 of 1"),
    "an output below zero": ({"outputs": [-1]}, "tree 0 belongs to output -1 of 1"),
    "too few values": ({"values": [0, 1]}, r"values has shape \(2,\), expected \(3,\)"),
    "too few children": ({"children": SPLIT[:2]}, r"children has shape \(2, 2\), expected \(3, 2\)"),
    "no features": ({"n_features": 0}, "n_features must be positive, got 0"),
    "no outputs": ({"n_outputs": 0}, "n_outputs must be positive, got 0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_trees_reject_invalid_nodes_by_tree_and_node(damage):
    changed, message = DAMAGES[damage]
    arrays = {"sizes": [3], "outputs": [0], "features": [0, -1, -1], "values": [0, 1, 2], "children": SPLIT}
    sizes = {"n_features": 4, "n_outputs": 1}
    given_arrays = {**arrays, **sizes, **changed}
    given_arrays.setdefault("missing_first", [False] * len(given_arrays["features"]))
    if len(given_arrays["features"]) == 5:
        given_arrays["values"] = [0.0] * 5
    with pytest.raises(ValueError, match=message):
        make_ensemble(given_arrays)


def test_trees_reject_too_many_leaves():
    tree = random_tree(np.random.default_rng(0), _native.TreeEnsemble.MAX_LEAVES + 1, 2)
    with pytest.raises(ValueError, match="tree 1: it has 257 leaves, expected at most 256"):
        ensemble([Tree(), tree], 2)


def test_trees_reject_rows_of_another_width():
    with pytest.raises(ValueError, match=r"rows has shape \(5, 3\), expected \(N, 2\)"):
        ensemble([Tree()], 2).scores(np.ones((5, 3)))
