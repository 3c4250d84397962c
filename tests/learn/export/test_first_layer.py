"""A ranker's first layer in int8: nearly the same logits, whatever stands beside a work; nothing else
changes."""

import json

import numpy as np
import onnx
import pytest
from small_settings import changed

from karec.learn.export.first_layer import PRECISION, RANGES, lowered, ranges_text
from karec.learn.export.onnx_export import metadata_of, write_onnx
from karec.learn.fit.prepare import prepare
from karec.learn.run.rankers import train_ranker
from karec.learn.settings.train import TrainSettings
from karec.models.onnx_model import OnnxModel

SETTINGS = changed(
    TrainSettings(),
    features={"history_length": 8, "min_count": 3},
    optimizer={"batch_size": 64},
    ranker={"epochs": 1},
    run={"threads": 1},
)


@pytest.fixture(scope="module")
def prepared(dataset, tmp_path_factory):
    return prepare(dataset, SETTINGS, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """The float32 ranker of one epoch."""
    path = tmp_path_factory.mktemp("run") / "ranker.onnx"
    train_ranker("mmoe", prepared, SETTINGS, path)
    return path


@pytest.fixture(scope="module")
def inputs(prepared):
    return prepared.valid.inputs(np.arange(0, len(prepared.valid), 3))


def written(proto, path):
    write_onnx(proto, path, kind="ranker", tasks=["click"], model_version=1)
    return OnnxModel(path)


def logits_of(model, inputs):
    return model.run(inputs, "logits")[0]


def test_training_writes_int8_where_its_settings_say_so(prepared, trained, inputs, tmp_path):
    path = tmp_path / "ranker.onnx"
    train_ranker("mmoe", prepared, changed(SETTINGS, ranker={"precision": "int8", "epochs": 1}), path)
    plain, small = OnnxModel(trained), OnnxModel(path)
    for attribute in ("inputs", "outputs", "kind", "tasks", "model_version"):
        assert getattr(small, attribute) == getattr(plain, attribute)
    assert small.fingerprint != plain.fingerprint
    assert metadata_of(onnx.load(path))[PRECISION] == "int8"
    expected, found = logits_of(plain, inputs), logits_of(small, inputs)
    gap = np.sqrt(((found - expected) ** 2).mean(axis=0)) / expected.std(axis=0)
    assert 0 < gap.max() < 0.05


def test_a_works_logits_do_not_depend_on_those_beside_it(trained, inputs, tmp_path):
    small = written(lowered(onnx.load(trained)), tmp_path / "x.onnx")
    together = logits_of(small, inputs)
    other = {name: np.concatenate([value[5:6], value[:1] * 0, value[7:9]]) for name, value in inputs.items()}
    np.testing.assert_allclose(logits_of(small, other)[[0, 2, 3]], together[[5, 7, 8]], atol=1e-6)


def test_only_the_first_layer_is_in_int8_and_no_sum_of_two_products_leaves_16_bits(trained):
    before, after = onnx.load(trained), lowered(onnx.load(trained))
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in after.graph.initializer}
    in_int8 = {name: value for name, value in weights.items() if value.dtype == np.int8}
    assert len(in_int8) == SETTINGS.ranker.members + 1
    assert max(int(np.abs(value.astype(np.int64)).max()) for value in in_int8.values()) * 255 * 2 < 2**15
    held = {t.name: onnx.numpy_helper.to_array(t) for t in before.graph.initializer}
    for name in weights.keys() & held.keys():
        same = np.array_equal(weights[name], held[name])
        assert same != name.endswith("from_user.bias")
    assert RANGES in metadata_of(before) and RANGES not in metadata_of(after)


def test_what_training_never_saw_counts_as_the_farthest_it_saw(trained, inputs, tmp_path):
    small = written(lowered(onnx.load(trained)), tmp_path / "x.onnx")
    far = {**inputs, "crosses": inputs["crosses"] + np.float32(1e6)}
    farther = {**inputs, "crosses": inputs["crosses"] + np.float32(1e7)}
    wide = logits_of(OnnxModel(trained), farther) - logits_of(OnnxModel(trained), far)
    assert np.abs(wide).max() > 1e3  # float32 has no such bound
    proto = onnx.load(trained)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith(".items.wide"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 0, tensor.name))
    small = written(lowered(proto), tmp_path / "y.onnx")  # without the linear part, which stays in float32
    np.testing.assert_array_equal(logits_of(small, far), logits_of(small, farther))


def test_a_column_that_was_always_zero_stays_zero(trained, inputs, tmp_path):
    proto = onnx.load(trained)
    lowest, highest = (np.array(bound) for bound in json.loads(metadata_of(proto)[RANGES]))
    lowest[-3:], highest[-3:] = 0.0, 0.0
    onnx.helper.set_model_props(proto, {**metadata_of(proto), RANGES: ranges_text(lowest, highest)})
    assert np.isfinite(logits_of(written(lowered(proto), tmp_path / "x.onnx"), inputs)).all()


@pytest.mark.parametrize("change", ["no ranges", "other ranges", "another graph"])
def test_a_model_that_has_no_such_layer_is_refused(trained, change):
    proto = onnx.load(trained)
    facts = metadata_of(proto)
    if change == "no ranges":
        del facts[RANGES]
    elif change == "other ranges":
        facts[RANGES] = ranges_text(np.zeros(3), np.ones(3))
    else:
        for node in proto.graph.node:
            if node.op_type == "Gemm":
                node.input[1] = node.input[1].replace("items.first", "elsewhere")
    onnx.helper.set_model_props(proto, facts)
    with pytest.raises(ValueError, match="feature_ranges" if change == "no ranges" else "first layer"):
        lowered(proto)
