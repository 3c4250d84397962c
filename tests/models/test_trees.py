"""Trees of an ONNX file: the library scores them with ONNX Runtime's bits, or export prints a reason."""

import json
import re
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from random_trees import Tree, random_rows, random_tree, tree_node, write_model

from karec.errors import BundleError, Unavailable
from karec.learn.export.trees import TreesExport, export_trees
from karec.models.onnx_model import OnnxModel
from karec.models.trees import copy_model, trees_path


def onnx_runtime(model, inputs):
    """Returns the outputs of ONNX Runtime on one thread. Several threads add trees in another order."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options).run(None, inputs)[0]


def same_bits(path, inputs, trees):
    """Checks scores and the number ``trees``. Returns the model and ``TreesExport.left``."""
    exported = export_trees(path)
    model = OnnxModel(path)
    (result,) = model.run(inputs, "logits")
    expected = onnx_runtime(str(path), {name: inputs[name] for name in model.inputs})
    np.testing.assert_array_equal(result.view(np.int32), expected.view(np.int32))
    assert model.trees == exported.n_trees == trees
    assert trees_path(path).exists() == (trees > 0)
    return model, exported.left


def grown(generator, *leaves):
    return [random_tree(generator, n, 4, chain=n % 2 == 0) for n in leaves]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 80))
def test_trees_have_the_bits_of_onnx_runtime(tmp_path_factory, seed, leaves, n):
    generator = np.random.default_rng(seed)
    trees = grown(generator, *leaves)
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    write_model(path, [tree_node(trees, "dense", "logits")], {"dense": 4})
    same_bits(path, {"dense": random_rows(generator, trees, n, 4)}, len(trees))


def mixed(generator, path):
    """Two ensembles and a product of the same rows, and a third ensemble of others."""
    parts = [grown(generator, 15, 15, 3), grown(generator, 40, 1), grown(generator, 7)]
    nodes = [tree_node(parts[0], "dense", "a"), helper.make_node("MatMul", ["dense", "W"], ["m"])]
    nodes += [tree_node(parts[1], "dense", "b"), tree_node(parts[2], "other", "c")]
    nodes.append(helper.make_node("Concat", ["a", "m", "b", "c"], ["logits"], axis=1))
    weight = numpy_helper.from_array(generator.normal(size=(4, 2)).astype(np.float32), "W")
    return write_model(path, nodes, {"dense": 4, "other": 5}, [weight], width=5), parts


def test_graph_with_trees_keeps_its_inputs_and_bits(tmp_path):
    generator = np.random.default_rng(2)
    path, parts = mixed(generator, tmp_path / "mixed.onnx")
    inputs = {
        "dense": random_rows(generator, parts[0], 100, 4),
        "other": random_rows(generator, parts[2], 100, 5),
    }
    model, left = same_bits(path, inputs, 6)
    assert model.inputs == ("dense", "other") and left == ()
    assert {name: str(port) for name, port in model.input_ports.items()} == {
        "dense": "float32 (N, 4)",
        "other": "float32 (N, 5)",
    }


def test_rows_of_another_shape_fail_as_in_onnx_runtime(tmp_path):
    path, _ = mixed(np.random.default_rng(2), tmp_path / "mixed.onnx")
    export_trees(path)
    with pytest.raises(Unavailable, match=r"mixed\.onnx failed"):
        OnnxModel(path).run(
            {"dense": np.ones((3, 3), np.float32), "other": np.ones((3, 5), np.float32)}, "logits"
        )
    with pytest.raises(Unavailable, match=r"mixed\.onnx failed"):
        OnnxModel(path).run(
            {"dense": np.ones((3, 4), np.float32), "other": np.ones((2, 5), np.float32)}, "logits"
        )


FEW = grown(np.random.default_rng(3), 5, 4)
N_LEAVES = 9
MODES = ["BRANCH_EQ" if feature >= 0 else "LEAF" for tree in FEW for feature in tree.features]
STAY = {
    "categories": ({"nodes_modes": MODES}, "it splits by BRANCH_EQ"),
    "an average": ({"aggregate_function": "AVERAGE"}, "its aggregate_function is not b'SUM'"),
    "a transform": ({"post_transform": "LOGISTIC"}, "its post_transform is not b'NONE'"),
    "two targets": ({"n_targets": 2, "target_ids": [0, 1] * 4 + [0]}, "its n_targets is not 1"),
    "a base": ({"base_values": [0.5]}, "it has base_values"),
    "a leaf without a weight": (
        {
            "target_ids": [0] * (N_LEAVES - 1),
            **{
                f"target_{name}": list(helper.get_attribute_value(entry))[1:]
                for name in ("treeids", "nodeids", "weights")
                for entry in tree_node(FEW, "dense", "logits").attribute
                if entry.name == f"target_{name}"
            },
        },
        "its leaves do not have exactly one weight",
    ),
}


@pytest.mark.parametrize("what", STAY)
def test_unsupported_trees_stay_with_onnx_runtime(tmp_path, what):
    changed, reason = STAY[what]
    node = tree_node(FEW, "dense", "trees", **changed)
    sums = helper.make_node("ReduceSum", ["trees", "axis"], ["logits"], keepdims=1)
    axis = numpy_helper.from_array(np.array([1]), "axis")
    path = write_model(tmp_path / "r.onnx", [node, sums], {"dense": 4}, [axis])
    rows = random_rows(np.random.default_rng(4), FEW, 50, 4)
    _, (left,) = same_bits(path, {"dense": rows}, 0)
    assert left.startswith("trees: ") and reason in left


def test_export_takes_one_ensemble_and_leaves_another(tmp_path):
    large = [random_tree(np.random.default_rng(5), 257, 4)]
    nodes = [tree_node(FEW, "dense", "small"), tree_node(large, "dense", "large")]
    nodes.append(helper.make_node("Add", ["small", "large"], ["logits"]))
    path = write_model(tmp_path / "r.onnx", nodes, {"dense": 4})
    _, left = same_bits(path, {"dense": random_rows(np.random.default_rng(6), FEW, 70, 4)}, 2)
    assert left == ("large: a tree has 257 leaves, more than 256",)


def test_trees_that_read_computed_values_stay(tmp_path):
    nodes = [helper.make_node("Abs", ["dense"], ["x"]), tree_node(FEW, "x", "logits")]
    path = write_model(tmp_path / "r.onnx", nodes, {"dense": 4})
    _, left = same_bits(path, {"dense": random_rows(np.random.default_rng(7), FEW, 20, 4)}, 0)
    assert "it reads no input of the graph" in left[0]


def test_trees_of_a_model_with_external_weights_stay(tmp_path):
    path, _ = mixed(np.random.default_rng(8), tmp_path / "r.onnx")
    onnx.save_model(
        onnx.load(path), str(path), save_as_external_data=True, location="weights", size_threshold=0
    )
    inputs = {name: np.ones((3, n), np.float32) for name, n in (("dense", 4), ("other", 5))}
    assert same_bits(path, inputs, 0)[1] == ("weights of the model are stored outside of its file",)


def outside(values, name, path):
    """Returns a tensor whose values are stored in ``path``, in the folder of the model."""
    path.write_bytes(values.tobytes())
    tensor = numpy_helper.from_array(values, name)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=path.name)
    return tensor


def test_trees_of_a_node_with_external_weights_stay(tmp_path):
    constant = helper.make_node(
        "Constant", [], ["c"], value=outside(np.ones((1, 1), np.float32), "c", tmp_path / "w")
    )
    nodes = [tree_node(FEW, "dense", "trees"), constant, helper.make_node("Add", ["trees", "c"], ["logits"])]
    path = write_model(tmp_path / "r.onnx", nodes, {"dense": 4})
    rows = random_rows(np.random.default_rng(1), FEW, 9, 4)
    assert same_bits(path, {"dense": rows}, 0)[1] == ("weights of the model are stored outside of its file",)


def test_trees_accept_any_name_of_the_row_axis(tmp_path):
    nodes = [helper.make_node("Abs", ["other"], ["o"]), helper.make_node("Exp", ["o"], ["p"])]
    nodes += [tree_node(FEW, "dense", "trees"), helper.make_node("ReduceSum", ["p", "axes"], ["s"])]
    nodes += [helper.make_node("Add", ["s", "trees"], ["z"]), helper.make_node("Neg", ["trees"], ["u"])]
    nodes += [
        helper.make_node("MatMul", ["u", "one"], ["v"]),
        helper.make_node("Sub", ["z", "v"], ["logits"]),
    ]
    weights = [numpy_helper.from_array(np.array([0, 1]), "axes")]
    weights.append(numpy_helper.from_array(np.ones((1, 1), np.float32), "one"))
    path = write_model(tmp_path / "r.onnx", nodes, {"dense": 4, "other": 1}, weights)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.save_model(model, str(path))
    rows = random_rows(np.random.default_rng(1), FEW, 50, 4)
    same_bits(path, {"dense": rows, "other": np.ones((1, 1), np.float32)}, 2)


def test_trees_of_an_input_with_a_default_value_are_exported(tmp_path):
    nodes = [tree_node(FEW, "w", "trees"), helper.make_node("Add", ["trees", "dense"], ["logits"])]
    value = numpy_helper.from_array(random_rows(np.random.default_rng(1), FEW, 3, 4), "w")
    path = write_model(tmp_path / "r.onnx", nodes, {"dense": 1, "w": 4}, [value])
    same_bits(path, {"dense": np.ones((3, 1), np.float32)}, 0)


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ([tree_node(FEW, "dense", "logits", n_targets=None)], []),
        ([tree_node(FEW, "dense", "logits"), tree_node(FEW[:1], "dense", "logits")], []),
        (
            [tree_node(FEW, "dense", "w"), helper.make_node("Add", ["w", "w"], ["logits"])],
            [numpy_helper.from_array(np.ones((5, 1), np.float32), "w")],
        ),
        ([tree_node(FEW, "dense", "dense"), helper.make_node("Abs", ["dense"], ["logits"])], []),
    ],
    ids=["no number of targets", "one name of two nodes", "a name of a weight", "a name of an input"],
)
def test_export_refuses_models_that_onnx_runtime_refuses(tmp_path, nodes, weights):
    ort.set_default_logger_severity(4)
    path = write_model(tmp_path / "r.onnx", nodes, {"dense": 4}, weights)
    with suppress(BundleError):  # two nodes of one name: no trees file
        export_trees(path)
    with pytest.raises(BundleError, match="does not load as an ONNX model"):
        OnnxModel(path)


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_export_refuses_a_path_that_is_not_a_file(tmp_path, name):
    with pytest.raises(BundleError, match="does not load as an ONNX model"):
        OnnxModel(tmp_path / name)


def test_split_by_a_negative_feature_is_not_a_leaf(tmp_path):
    lone = Tree([0], [7.0], [[0, 0]], [False])
    node = tree_node([*FEW, lone], "dense", "logits")
    features = next(entry for entry in node.attribute if entry.name == "nodes_featureids")
    features.ints[-1] = -1
    path = write_model(tmp_path / "r.onnx", [node], {"dense": 4})
    with pytest.raises(BundleError, match=f"node 0 of tree {len(FEW)} splits by feature -1"):
        export_trees(path)


def make_tree(**changed):
    tree = Tree(
        [0, 1, -1, -1, -1], [0.0, 1.0, 2.0, 3.0, 4.0], [[1, 2], [3, 4], [0, 0], [0, 0], [0, 0]], [False] * 5
    )
    for name, (at, value) in changed.items():
        getattr(tree, name)[at] = value
    return tree


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (make_tree(children=(0, [2, 9])), "tree 0: node 0 has the child 9 of 5 nodes"),
        (make_tree(features=(1, 4)), "tree 0: node 1 reads feature 4 of 4"),
        (make_tree(values=(1, float("nan"))), "tree 0: node 1 compares with NaN"),
        (make_tree(values=(3, float("inf"))), "tree 0: node 3 has a weight that is not finite"),
    ],
)
def test_damaged_trees_are_refused_with_tree_and_node(tmp_path, tree, reason):
    path = write_model(tmp_path / "r.onnx", [tree_node([tree], "dense", "logits")], {"dense": 4})
    with pytest.raises(BundleError, match=re.escape(f"{path} has damaged trees: {reason}")):
        export_trees(path)
    assert not trees_path(path).exists()


@pytest.fixture
def stored(tmp_path):
    """A model with a trees file, ``members`` {name: array}. ``write(**changes)`` writes changed members."""
    path = write_model(tmp_path / "r.onnx", [tree_node(FEW, "dense", "logits")], {"dense": 4})
    export_trees(path)
    with np.load(trees_path(path)) as archive:
        members = dict(archive)

    def write(**changes):
        changed = {name: value for name, value in {**members, **changes}.items() if value is not None}
        np.savez(trees_path(path), **changed)

    return SimpleNamespace(path=path, members=members, write=write)


def refusal(path):
    with pytest.raises(BundleError) as refused:
        OnnxModel(path)
    message = str(refused.value)
    assert message.startswith(f"{trees_path(path)} is not a trees file, or a damaged one: ")
    assert message.endswith(f"Write it again: karec export trees {path}")
    return message


def changed(array, at, value):
    copy = array.copy()
    copy[at] = value
    return copy


DAMAGES = {
    "head": ("head", lambda a: np.frombuffer(b"{", np.uint8), "Expecting property name"),
    "no head": ("head", lambda a: None, "it has no array 'head'"),
    "head of numbers": ("head", lambda a: a.astype(np.int64), "head is int64 with 1 axes"),
    "another format": (
        "head",
        lambda a: change_head(a, format=2),
        "value 2 - at `.*format`",
    ),
    "no hash": (
        "head",
        lambda a: change_head(a, model_xxh64=None),
        "got `null` - at `.*xxh64`",
    ),
    "no list": (
        "head",
        lambda a: change_head(a, ensembles={}),
        "got `object` - at `.*ensembles`",
    ),
    "no object": (
        "head",
        lambda a: change_head(a, ensembles=[3]),
        "got `int` - at `.*ensembles",
    ),
    "two ensembles": (
        "head",
        lambda a: change_head(a, of_ensemble={}, copies=2),
        "it has no array 'sizes.1'",
    ),
    "no ensemble": ("head", lambda a: change_head(a, ensembles=[]), "it has no ensembles"),
    "columns below 1": (
        "head",
        lambda a: change_head(a, of_ensemble={"columns": 0}),
        "`int` >= 1 - at",
    ),
    "too many columns": (
        "head",
        lambda a: change_head(a, of_ensemble={"columns": 2**40}),
        "`int` <= 2147483647",
    ),
    "fewer columns": ("head", lambda a: change_head(a, of_ensemble={"columns": 1}), r"reads feature \d of 1"),
    "columns of another port": (
        "head",
        lambda a: change_head(a, of_ensemble={"columns": 5}),
        r"input 'dense' of its model without trees is float32 \(N, 4\), expected float32 \(N, 5\)",
    ),
    "most columns": (
        "head",
        lambda a: change_head(a, of_ensemble={"columns": 2**31 - 1}),
        r"is float32 \(N, 4\), expected float32 \(N, 2147483647\)",
    ),
    "input is its output": (
        "head",
        lambda a: change_head(a, of_ensemble={"input": "logits"}),
        "'logits' of its head is an input and an output",
    ),
    "output is its input": (
        "head",
        lambda a: change_head(a, of_ensemble={"outputs": ["dense"]}),
        "'dense' of its head is an input and an output",
    ),
    "output of another type": (
        "rest",
        lambda a: change_rest(a, "logits", elem_type=11),
        r"is double \(N, 1\)",
    ),
    "output of two columns": ("rest", lambda a: change_rest(a, "logits", columns=2), r"is float32 \(N, 2\)"),
    "input of another type": ("rest", lambda a: change_rest(a, "dense", elem_type=11), r"is double \(N, 4\)"),
    "cut model": ("rest", lambda a: a[:-1], "one: the rest of its model does not load as an ONNX model"),
    "empty model": ("rest", lambda a: a[:0], "one: the rest of its model does not load as an ONNX model"),
    "no metadata": (
        "rest",
        lambda a: change_rest(a, metadata=False),
        "the rest of its model: metadata lacks",
    ),
    "output twice": (
        "head",
        lambda a: change_head(a, of_ensemble={"outputs": ["a", "a"]}),
        "expected distinct",
    ),
    "another input": ("head", lambda a: change_head(a, of_ensemble={"input": "x"}), "has no input 'x'"),
    "another output": ("head", lambda a: change_head(a, of_ensemble={"outputs": ["x"]}), "has no input 'x'"),
    "no outputs": (
        "head",
        lambda a: change_head(a, of_ensemble={"outputs": []}),
        "n_outputs must be positive",
    ),
    "no model": ("rest", lambda a: None, "it has no array 'rest'"),
    "long trees": ("sizes.0", lambda a: changed(a, 0, 99), "tree 0 has 99 nodes, of"),
    "sizes of another dtype": ("sizes.0", lambda a: a.astype(np.float64), "sizes.0 is float64 with 1 axes"),
    "fewer nodes": ("values.0", lambda a: a[1:], "values has shape"),
    "child": ("children.0", lambda a: changed(a, (0, 0), 10**6), "node 0 has the child 1000000 of"),
    "flat children": ("children.0", lambda a: a.ravel(), "children.0 is int32 with 1 axes"),
    "bool": ("missing_first.0", lambda a: changed(a, 0, 2), "missing_first.0 holds 2, expected 0 or 1"),
}


def change_head(head, of_ensemble=None, copies=1, **changes):
    facts = json.loads(head.tobytes()) | changes
    if of_ensemble is not None:
        facts["ensembles"] = [facts["ensembles"][0] | of_ensemble] * copies
    return np.frombuffer(json.dumps(facts).encode(), np.uint8)


def change_rest(rest, name="dense", columns=None, elem_type=None, metadata=True):
    """Returns ``rest`` with another type or number of columns of the input ``name``."""
    model = onnx.load_model_from_string(rest.tobytes())
    if not metadata:
        del model.metadata_props[:]
    port = next(port for port in model.graph.input if port.name == name).type.tensor_type
    port.elem_type = elem_type or port.elem_type
    port.shape.dim[1].dim_value = columns or port.shape.dim[1].dim_value
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.append(helper.make_node("Constant", [], ["one"], value_float=1.0))
    model.graph.output.append(helper.make_tensor_value_info("one", onnx.TensorProto.FLOAT, []))
    return np.frombuffer(model.SerializeToString(), np.uint8)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_trees_file_is_refused_with_a_reason(stored, name):
    member, change, reason = DAMAGES[name]
    stored.write(**{member: change(stored.members[member])})
    assert re.search(reason, refusal(stored.path))


TWO_ENSEMBLES = {
    "the same outputs": ({"outputs": ["a", "b"]}, "2 outputs of its head are 'a'"),
    "the input of another": ({"outputs": ["dense"]}, "'dense' of its head is an input and an output"),
    "an output of another": ({"input": "b"}, "'b' of its head is an input and an output"),
}


@pytest.mark.parametrize("name", TWO_ENSEMBLES)
def test_trees_file_with_a_name_used_twice_is_refused(tmp_path, name):
    change, reason = TWO_ENSEMBLES[name]
    path, _ = mixed(np.random.default_rng(2), tmp_path / "r.onnx")
    export_trees(path)
    with np.load(trees_path(path)) as archive:
        members = dict(archive)
    head = json.loads(members["head"].tobytes())
    head["ensembles"][1] |= change
    members["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(trees_path(path), **members)
    assert reason in refusal(path)


def test_trees_file_that_cannot_be_read_is_named_with_the_command(stored):
    trees_path(stored.path).unlink()
    trees_path(stored.path).mkdir()
    with pytest.raises(BundleError) as refused:
        OnnxModel(stored.path)
    assert str(refused.value) == (
        f"{trees_path(stored.path)} cannot be read: Is a directory. Write it again: karec export trees "
        f"{stored.path}"
    )


def test_model_at_fault_is_named_in_place_of_its_trees_file(tmp_path):
    path = write_model(tmp_path / "r.onnx", [tree_node(FEW, "dense", "logits")], {"dense": 4})
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save_model(model, str(path))
    assert export_trees(path).n_trees == len(FEW)
    with pytest.raises(BundleError, match=f"^{re.escape(str(path))}: metadata lacks"):
        OnnxModel(path)


def test_model_with_a_fixed_number_of_rows_keeps_its_trees(tmp_path):
    path = write_model(tmp_path / "r.onnx", [tree_node(FEW, "dense", "logits")], {"dense": 4})
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save_model(model, str(path))
    same_bits(path, {"dense": random_rows(np.random.default_rng(1), FEW, 3, 4)}, 2)


def test_trees_file_altered_anywhere_is_refused_or_scores_the_same(stored):
    generator = np.random.default_rng(9)
    path = trees_path(stored.path)
    whole, rows = path.read_bytes(), random_rows(generator, FEW, 20, 4)
    expected = onnx_runtime(str(stored.path), {"dense": rows})
    served = 0
    for _ in range(150):
        altered = bytearray(whole)
        altered[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        path.write_bytes(altered)
        try:
            (result,) = OnnxModel(stored.path).run({"dense": rows}, "logits")
        except BundleError:
            continue
        served += 1  # a field of the archive that is not read
        np.testing.assert_array_equal(result, expected)
    assert 0 < served < 75


def test_trees_file_of_another_model_is_not_used_and_logged(stored, caplog):
    other = onnx.load(stored.path)
    other.doc_string = "another file"
    onnx.save(other, stored.path)
    model = OnnxModel(stored.path)
    assert model.trees == 0 and model.inputs == ("dense",)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"{trees_path(stored.path)} was made from another file than r.onnx")
    export_trees(stored.path)
    assert OnnxModel(stored.path).trees == len(FEW)


def test_export_of_a_model_without_trees_removes_an_old_trees_file(stored):
    write_model(stored.path, [helper.make_node("Identity", ["dense"], ["logits"])], {"dense": 1})
    for has_removed_file in (True, False):
        assert export_trees(stored.path) == TreesExport(0, (), has_removed_file)
    assert not trees_path(stored.path).exists()


def test_copy_model_copies_the_trees_file_or_removes_an_old_one(stored, tmp_path):
    copy_model(stored.path, tmp_path / "copy.onnx")
    assert OnnxModel(tmp_path / "copy.onnx").trees == len(FEW)
    plain = write_model(
        tmp_path / "plain.onnx", [helper.make_node("Abs", ["dense"], ["logits"])], {"dense": 1}
    )
    copy_model(plain, tmp_path / "copy.onnx")
    assert not trees_path(tmp_path / "copy.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"\xff" * 100], ids=["empty", "bytes"])
def test_export_trees_rejects_a_file_that_is_not_onnx(tmp_path, content):
    (tmp_path / "r.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"r\.onnx is not an ONNX file, or truncated"):
        export_trees(tmp_path / "r.onnx")
