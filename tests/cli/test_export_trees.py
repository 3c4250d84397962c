"""`karec export trees M.onnx`: what it prints, writes and refuses."""

import numpy as np
import onnx
import pytest
from random_trees import random_tree, tree_node, write_model

from karec import cli
from karec.models.onnx_model import OnnxModel


def test_export_trees_writes_the_file_and_prints_other_trees(tmp_path, capsys):
    small, large = (random_tree(np.random.default_rng(0), leaves, 4) for leaves in (5, 257))
    nodes = [tree_node([small], "dense", "small"), tree_node([large], "dense", "large")]
    nodes.append(onnx.helper.make_node("Add", ["small", "large"], ["logits"]))
    model = write_model(tmp_path / "own.onnx", nodes, {"dense": 4})
    assert cli.main(["export", "trees", str(model)]) == 0
    stays, written = capsys.readouterr().out.splitlines()
    assert stays == f"{model}: trees that stay with ONNX Runtime: large: a tree has 257 leaves, more than 256"
    assert written == f"{tmp_path / 'own.trees.npz'}: 1 trees"
    assert OnnxModel(model).trees == 1


@pytest.mark.parametrize(
    ("has_file", "outcome"), [(False, "nothing was written"), (True, "{} was removed")], ids=str
)
def test_export_trees_refuses_a_model_without_trees(tmp_path, capsys, has_file, outcome):
    trees = tmp_path / "own.trees.npz"
    if has_file:
        trees.touch()
    node = onnx.helper.make_node("Abs", ["dense"], ["logits"])
    model = write_model(tmp_path / "own.onnx", [node], {"dense": 1})
    assert cli.main(["export", "trees", str(model)]) == 2
    assert (
        f"own.onnx has no trees that karec's library scores: {outcome.format(trees)}"
        in capsys.readouterr().err.replace("\n", " ")
    )
    assert not trees.exists()


def test_export_trees_names_an_empty_file_and_keeps_its_trees_file(tmp_path, capsys):
    (tmp_path / "own.onnx").touch()
    (tmp_path / "own.trees.npz").touch()
    assert cli.main(["export", "trees", str(tmp_path / "own.onnx")]) == 2
    assert "own.onnx is not an ONNX file" in capsys.readouterr().err
    assert (tmp_path / "own.trees.npz").exists()


def test_export_trees_names_a_file_that_is_missing(tmp_path, capsys):
    assert cli.main(["export", "trees", str(tmp_path / "missing.onnx")]) == 2
    assert "missing.onnx" in capsys.readouterr().err
