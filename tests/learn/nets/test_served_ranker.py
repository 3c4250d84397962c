"""Tests that the serving forms of the MMoE ranker equal the trained network."""

from functools import partial

import numpy as np
import onnx
import pytest
import torch

from karec import _native
from karec.features.encoder import USER_SIDE
from karec.learn.export.onnx_export import copy_as_version, export_onnx
from karec.learn.export.row_sums import RowSumsExport
from karec.learn.fit.batches import Batches
from karec.learn.nets import summed_ranker
from karec.learn.nets.calibration import Calibrated
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.served_ranker import ServedRanker
from karec.learn.nets.summed_ranker import SummedRanker, UnsupportedSums, summed_form
from karec.learn.run.rankers import make_summed_form
from karec.models.onnx_model import OnnxModel
from karec.models.row_sums import NO_SUMS, StoredSums, sums_path

SHARED = [name for name in MmoeRanker.inputs if name in USER_SIDE]
SHAPES = {
    "as trained by default": {"extra": ("follow", "play_time")},
    "tasks alone": {},
    "one member": {"members": 1, "n_experts": 3, "hidden": 6, "extra": ("follow",)},
    "one expert": {"members": 3, "n_experts": 1, "hidden": 5},
}


def make_inputs(examples, rows):
    """Returns inputs by name; the first user liked nothing, the second skipped nothing."""
    inputs = {name: examples.inputs(rows)[name].copy() for name in MmoeRanker.inputs}
    inputs["history"][0], inputs["skipped"][1] = 0, 0
    return inputs


def run_torch(module, inputs):
    with torch.no_grad():
        return module({name: torch.from_numpy(value) for name, value in inputs.items()}).numpy()


def make_ranker(examples, spread=0.1, **shape):
    """Returns (calibrated, ranker) with weights far from zero, so that a difference would show."""
    torch.manual_seed(0)
    ranker = MmoeRanker(
        examples.encoder, Batches.from_examples(examples, MmoeRanker.inputs).edges(4), dim=4, **shape
    )
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
    heads = len(examples.encoder.tasks) + len(shape.get("extra", ()))
    scale, bias = np.linspace(0.5, 1.5, heads, dtype=np.float32), np.linspace(-1, 1, heads, dtype=np.float32)
    return Calibrated(ranker, scale, bias).eval(), ranker


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_served_ranker_equals_the_trained_ranker(examples, shape):
    calibrated, ranker = make_ranker(examples, **shape)
    served = ServedRanker(calibrated, ranker)
    inputs = make_inputs(examples, np.arange(0, 600, 3))
    expected = run_torch(calibrated, inputs)
    assert expected.std(axis=0).min() > 0.01
    np.testing.assert_allclose(run_torch(served, inputs), expected, atol=2e-6, rtol=2e-6)
    for user in range(3):  # one user, given once, with many works
        once = {name: value[user : user + 1] if name in SHARED else value for name, value in inputs.items()}
        np.testing.assert_allclose(run_torch(served, once), run_torch(calibrated, once), atol=2e-6, rtol=2e-6)


def test_served_ranker_logits_are_finite_for_extreme_scores(examples):
    calibrated, ranker = make_ranker(examples)
    with torch.no_grad():
        ranker.item_codes.table.weight.mul_(1e3)
        ranker.from_item.weight.mul_(1e3)
    assert np.isfinite(
        run_torch(ServedRanker(calibrated, ranker), make_inputs(examples, np.arange(50)))
    ).all()


@pytest.mark.parametrize("gathered", [[], [1], "all"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_row_sums_and_summed_ranker_equal_float64(examples, tmp_path, shape, gathered):
    """Also for codes that no table has, and for numbers outside of the pieces."""
    served = ServedRanker(*make_ranker(examples, **shape))
    summed = SummedRanker(
        served, range(len(served.items.item_codes.sizes)) if gathered == "all" else gathered
    )
    inputs = make_inputs(examples, np.arange(0, 600, 3))
    inputs["item_ids"][::7] += 1000
    inputs["item_numbers"][::5] *= 3
    outputs = [{"name": name, "width": width} for name, width in summed.outputs.items()]
    head = {"n_codes": inputs["item_ids"].shape[1], "outputs": outputs}
    RowSumsExport(head, summed.table(), onnx.ModelProto()).write(b"", tmp_path / "r.onnx")
    _, _, sums = _native.RowSums.read(sums_path(tmp_path / "r.onnx").read_bytes())
    found = run_torch(summed, inputs | StoredSums(tmp_path, sums, b"").run(inputs))
    doubles = {name: x.astype(float) if x.dtype == np.float32 else x for name, x in inputs.items()}
    np.testing.assert_allclose(found, run_torch(served.double(), doubles), atol=1e-5)
    assert len(np.unique(found[:, 0])) > 50


def export(examples, path):
    """Exports a ranker and returns it."""
    calibrated, ranker = make_ranker(examples)
    inputs = make_inputs(examples, np.arange(20))
    facts = {"kind": "ranker", "tasks": examples.encoder.tasks, "model_version": 1}
    form = ServedRanker(calibrated, ranker)
    summed = partial(make_summed_form, form)
    export_onnx(calibrated, inputs, ["logits"], path, **facts, shared=SHARED, form=form, summed=summed)
    return calibrated


@pytest.fixture(scope="module")
def exported(examples, tmp_path_factory):
    """Returns (path, trained ranker)."""
    path = tmp_path_factory.mktemp("exported") / "r.onnx"
    return path, export(examples, path)


@pytest.mark.parametrize("plain", [False, True], ids=["row sums", "ONNX Runtime alone"])
def test_exported_ranker_has_the_logits_of_the_trained_ranker(examples, exported, plain):
    path, calibrated = exported
    model, other = OnnxModel(path, plain=plain), make_inputs(examples, np.arange(100, 400, 3))
    assert (model.row_sums_bytes == 0) == plain and set(model.inputs) == set(MmoeRanker.inputs)
    once = {name: value[:1] if name in SHARED else value for name, value in other.items()}
    for inputs in (other, once):
        (logits,) = model.run(inputs, "logits")
        np.testing.assert_allclose(logits, run_torch(calibrated, inputs), atol=1e-5)
        assert len(np.unique(logits[:, 0])) > 50


def test_served_ranker_graph_has_no_mask_and_no_softmax(exported):
    for model in (onnx.load(exported[0]), RowSumsExport.read(exported[0]).rest):
        assert not {"Softmax", "Einsum", "Not"} & {node.op_type for node in model.graph.node}


def test_rest_has_no_weights_of_codes_and_numbers(examples, exported):
    rest = RowSumsExport.read(exported[0]).rest
    n_inputs = {weight.dims[0] for weight in rest.graph.initializer if "first" in weight.name}
    assert n_inputs == {4 * 4 + len(examples.encoder.names["crosses"])}  # of the lists and crosses
    onnx.checker.check_model(rest)


def test_copy_as_version_keeps_the_row_sums(examples, exported, tmp_path):
    copy_as_version(exported[0], tmp_path / "again.onnx", 9)
    first, again = OnnxModel(exported[0]), OnnxModel(tmp_path / "again.onnx")
    assert again.model_version == 9 and again.fingerprint == first.fingerprint
    assert again.row_sums_bytes == first.row_sums_bytes > 0
    inputs = make_inputs(examples, np.arange(30))
    np.testing.assert_array_equal(again.run(inputs, "logits"), first.run(inputs, "logits"))


@pytest.mark.parametrize("limit", ["MAX_COLUMN_ROWS", "MAX_BYTES"])
def test_largest_code_columns_are_gathered_above_a_limit(examples, monkeypatch, limit):
    served = ServedRanker(*make_ranker(examples))
    sizes = examples.encoder.sizes["item_ids"]
    assert summed_form(served).gathered == []
    bounds = {"MAX_COLUMN_ROWS": max(sizes) - 1, "MAX_BYTES": SummedRanker(served, []).table()["rows"].nbytes}
    monkeypatch.setattr(summed_ranker, limit, bounds[limit])
    form = summed_form(served)
    assert form.gathered and max(sizes) in {sizes[c] for c in form.gathered}
    assert form.table()["rows"].nbytes <= summed_ranker.MAX_BYTES


def bend_table(monkeypatch):
    table = SummedRanker.table
    monkeypatch.setattr(
        SummedRanker, "table", lambda self: (found := table(self)) | {"rows": 1.01 * found["rows"]}
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda monkeypatch: monkeypatch.setattr(summed_ranker, "MAX_BYTES", "1"), "not supported between"),
        (bend_table, "of row sums differs from torch's by"),
    ],
    ids=["an error", "other logits"],
)
def test_ranker_without_row_sums_is_exported_with_the_reason(examples, tmp_path, monkeypatch, change, reason):
    change(monkeypatch)
    sums_path(tmp_path / "r.onnx").write_bytes(b"of an earlier model")
    export(examples, tmp_path / "r.onnx")
    model = OnnxModel(tmp_path / "r.onnx")
    assert reason in model.metadata[NO_SUMS] and not sums_path(model.path).exists()
    assert str(tmp_path) not in model.metadata[NO_SUMS]


def test_numbers_above_the_limit_have_no_row_sums(examples, monkeypatch):
    monkeypatch.setattr(summed_ranker, "MAX_BYTES", 1000)
    with pytest.raises(UnsupportedSums, match="row sums of its numbers take up to"):
        summed_form(ServedRanker(*make_ranker(examples)))
