"""Row sums against a float64 oracle, as inputs of a model, and files that are damaged or of another model."""

import json

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from random_row_sums import CODES, NUMBERS, make_table, write_sums
from random_trees import write_model

from karec.errors import BundleError
from karec.models.onnx_model import OnnxModel
from karec.models.row_sums import load_sums, sums_path
from karec.models.trees import copy_model


def make_arrays(generator, code_sizes=(5, 40), knot_counts=(1, 2, 9, 17, 3, 30)):
    return make_table(generator, list(code_sizes), list(knot_counts))


def store(path, arrays, head=None):
    """Writes a model, and its file of row sums."""
    nodes = [helper.make_node("Identity", ["item_numbers"], ["logits"])]
    write_model(path, nodes, {"item_numbers": NUMBERS}, width=NUMBERS)
    return write_sums(path, arrays, head=head)


@pytest.fixture
def stored(tmp_path):
    return store(tmp_path / "r.onnx", make_arrays(np.random.default_rng(0)))


def make_inputs(generator, n, arrays):
    """Returns inputs with codes that no table has, zeros, knots, and numbers far outside of them."""
    numbers = generator.normal(0, 3, (n, NUMBERS))
    numbers[generator.random((n, NUMBERS)) < 0.4] = 0
    at_knot = generator.random((n, NUMBERS)) < 0.2
    numbers[at_knot] = generator.choice(arrays["knots"], at_knot.sum())
    return {
        "item_ids": generator.integers(-2, 50, (n, CODES)),
        "item_numbers": numbers.astype(np.float32),
    }


def sum_in_float64(arrays, inputs):
    """Returns (N, W): the sums by the definition of native/src/sums/row_sums.hpp."""
    rows = arrays["rows"].astype(np.float64)
    total, first = np.repeat(rows[:1], len(inputs["item_ids"]), axis=0), 1
    for column, size in zip(arrays["code_columns"], arrays["code_sizes"], strict=True):
        codes = inputs["item_ids"][:, column]
        total += rows[first + np.where((codes >= 0) & (codes < size), codes, 0)]
        first += size
    numbers = inputs["item_numbers"].astype(np.float64)
    for x, knots in zip(
        numbers.T, np.split(arrays["knots"], np.cumsum(arrays["knot_counts"])[:-1]), strict=True
    ):
        values, slope = rows[first : first + len(knots)], rows[first + len(knots)]
        inside = np.stack([np.interp(x, knots, column) for column in values.T], axis=1)
        outside = (x - np.clip(x, knots[0], knots[-1]))[:, None] * slope
        total += np.where(x[:, None] == 0, 0, inside + outside)
        first += len(knots) + 1
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40), st.lists(st.integers(1, 300), max_size=2))
def test_row_sums_equal_a_float64_oracle(tmp_path_factory, seed, n, code_sizes):
    generator = np.random.default_rng(seed)
    arrays = make_arrays(generator, code_sizes, generator.integers(1, 40, NUMBERS).tolist())
    model = OnnxModel(store(tmp_path_factory.mktemp("sums") / "r.onnx", arrays))
    inputs = make_inputs(generator, n, arrays)
    (result,) = model.run(inputs, "logits")
    expected = sum_in_float64(arrays, inputs)
    terms = 10 + np.abs(inputs["item_numbers"]).sum(axis=1)
    assert (np.abs(result - expected) < 1e-6 * terms[:, None] + 1e-5).all()


def test_model_with_row_sums_reads_the_inputs_of_the_sums(stored):
    model = OnnxModel(stored)
    assert model.row_sums_bytes == len(make_arrays(np.random.default_rng(0))["rows"]) * 64 * 4
    assert set(model.inputs) == {"item_ids", "item_numbers"}
    assert OnnxModel(stored, plain=True).inputs == ("item_numbers",)


def test_row_sums_of_one_item_do_not_depend_on_the_others(stored):
    model, generator = OnnxModel(stored), np.random.default_rng(3)
    inputs = make_inputs(generator, 9, make_arrays(generator))
    (together,) = model.run(inputs, "logits")
    for i in range(9):
        (alone,) = model.run({name: values[i : i + 1] for name, values in inputs.items()}, "logits")
        np.testing.assert_array_equal(alone, together[i : i + 1])


def test_row_sums_of_infinite_numbers_and_nan_end(stored):
    inputs = make_inputs(np.random.default_rng(3), 3, make_arrays(np.random.default_rng(0)))
    inputs["item_numbers"][:] = np.array([[np.inf], [-np.inf], [np.nan]])
    (result,) = OnnxModel(stored).run(inputs, "logits")
    assert not np.isfinite(result).any()


DAMAGE = {
    "rows": [
        lambda x: x[:-1],
        lambda x: x[:, :-1],
        lambda x: x.T.copy(),
        lambda x: x * np.nan,
        lambda x: x.astype(float),
        None,
    ],
    "code_columns": [lambda x: x + 2, lambda x: x - 1, lambda x: x[:1], lambda x: x.astype(np.int32), None],
    "code_sizes": [lambda x: x * 0, lambda x: x + 1, lambda x: -x, lambda x: x + (1 << 60), None],
    "knot_counts": [lambda x: x * 0, lambda x: x + 1, lambda x: -x, lambda x: x[1:], lambda x: x + (1 << 62)],
    "knots": [lambda x: x * 0, lambda x: -x, lambda x: x * np.inf, lambda x: x[1:], None],
}


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in DAMAGE.items() for change in changes]
)
def test_damaged_table_is_refused(tmp_path, name, change):
    arrays = make_arrays(np.random.default_rng(0))
    array = arrays.pop(name)
    if change is not None:
        arrays[name] = change(array)
    refuse(store(tmp_path / "r.onnx", arrays))


@pytest.mark.parametrize(
    "head",
    [
        {"n_codes": 1},
        {"n_codes": -1},
        {"n_codes": 1 << 62},
        {"n_codes": "3"},
        {"outputs": []},
        {"outputs": [{"name": "first", "width": 40}]},
        {"outputs": [{"name": "first", "width": 36}, {"name": "linear", "width": 4}]},
        {"outputs": [{"name": "second", "width": 37}, {"name": "linear", "width": 3}]},
        {"outputs": [{"name": "first", "width": 0}, {"name": "linear", "width": 40}]},
        {"outputs": [{"name": "first", "width": 1 << 61}, {"name": "linear", "width": 3}]},
    ],
    ids=json.dumps,
)
def test_head_that_does_not_fit_is_refused(tmp_path, head):
    refuse(store(tmp_path / "r.onnx", make_arrays(np.random.default_rng(0)), head))


def refuse(path):
    with pytest.raises(BundleError) as refused:
        OnnxModel(path)
    assert str(refused.value).startswith(f"{sums_path(path)} is not a file of row sums, or a damaged one: ")


def test_file_altered_anywhere_is_refused_or_sums_the_same(stored):
    generator = np.random.default_rng(9)
    whole, inputs = sums_path(stored).read_bytes(), make_inputs(generator, 5, make_arrays(generator))
    (expected,) = OnnxModel(stored).run(inputs, "logits")
    served = 0
    for i in range(120):
        altered = bytearray(whole)
        altered[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        sums_path(stored).write_bytes(altered if i % 4 else altered[: generator.integers(len(whole))])
        try:
            (result,) = OnnxModel(stored).run(inputs, "logits")
        except BundleError:
            continue
        served += 1  # a field of the archive that is not read
        np.testing.assert_array_equal(result, expected)
    assert served < 60


def test_row_sums_of_another_model_are_not_used_and_logged(stored, caplog):
    other = onnx.load(stored)
    other.doc_string = "another file"
    onnx.save(other, stored)
    assert load_sums(stored) is None and OnnxModel(stored).row_sums_bytes == 0
    assert caplog.records[0].getMessage().startswith(f"{sums_path(stored)} was made from another file")


def test_copy_model_copies_the_row_sums_or_removes_old_ones(stored, tmp_path):
    copy_model(stored, tmp_path / "copy.onnx")
    assert OnnxModel(tmp_path / "copy.onnx").row_sums_bytes
    sums_path(stored).unlink()
    copy_model(stored, tmp_path / "copy.onnx")
    assert not sums_path(tmp_path / "copy.onnx").exists()
