"""The ranker and the towers: what they see, and that ONNX Runtime computes what torch computes."""

from functools import partial

import numpy as np
import pytest
import torch

from karec.features.encoder import Encoder
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.batches import Batches
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.towers import Towers
from karec.models.onnx_model import OnnxModel
from karec.training_data.examples import build_examples

USER_SIDE = ("user_ids", "user_numbers", "history", "skipped", "context")


@pytest.fixture(scope="module")
def examples(dataset):
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=8, min_count=3)
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


@pytest.fixture(scope="module")
def batches(examples):
    return Batches(examples, MmoeRanker.inputs)


def build(model, examples, batches):
    """With weights far from zero, so that a difference would show."""
    torch.manual_seed(0)
    built = model(examples.encoder, batches.edges(4), dim=4)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return built.eval()


@pytest.fixture(scope="module")
def mmoe(examples, batches):
    return build(MmoeRanker, examples, batches)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "matching"])
def towers(examples, batches, request):
    return build(partial(Towers, matching=request.param), examples, batches)


def as_tensors(inputs, names):
    return {name: torch.from_numpy(inputs[name]) for name in names}


def test_batches_hold_what_examples_give(examples, batches, mmoe):
    rows = np.array([3, 99, 99, 500])
    served, trained = examples.inputs(rows), batches.inputs(torch.from_numpy(rows))
    for name in MmoeRanker.inputs:
        value = trained["works"][trained[f"{name}_at"]] if name in ("history", "skipped") else trained[name]
        np.testing.assert_array_equal(value.numpy(), served[name], err_msg=name)
    with torch.no_grad():
        torch.testing.assert_close(mmoe(trained), mmoe(as_tensors(served, MmoeRanker.inputs)), atol=1e-6, rtol=1e-6)


def test_the_ranker_in_onnx_is_the_ranker_in_torch(examples, mmoe, tmp_path):
    path = tmp_path / "ranker.onnx"
    inputs = {name: examples.inputs(np.arange(20))[name] for name in MmoeRanker.inputs}
    export = partial(export_onnx, mmoe, inputs, ["logits"], path, kind="ranker", tasks=("a", "b", "c"))
    export(model_version=3, shared=USER_SIDE)
    ranker = OnnxModel(path)
    assert (ranker.kind, ranker.model_version, ranker.tasks) == ("ranker", 3, ("a", "b", "c"))
    assert b".py" not in path.read_bytes(), "a model tells nothing of the machine it was made on"
    other = {name: examples.inputs(np.arange(100, 400, 3))[name] for name in MmoeRanker.inputs}
    with torch.no_grad():
        expected = mmoe(as_tensors(other, MmoeRanker.inputs)).numpy()
    np.testing.assert_allclose(ranker.run(other, "logits")[0], expected, atol=1e-5)
    # one user, many works: the user's row given once, or repeated for each
    once = {name: value[:1] if name in USER_SIDE else value for name, value in other.items()}
    each = {name: np.repeat(value, 100, axis=0) if len(value) == 1 else value for name, value in once.items()}
    np.testing.assert_allclose(ranker.run(once, "logits")[0], ranker.run(each, "logits")[0], atol=1e-5)


def test_the_towers_in_onnx_are_the_towers_in_torch(examples, towers, tmp_path):
    rows = examples.inputs(np.arange(100, 400, 3))
    vectors = {}
    for tower, outputs in ((towers.user, ["user_vector", "task_vectors"]), (towers.item, ["item_vector"])):
        path = tmp_path / f"{outputs[0]}.onnx"
        inputs = {name: examples.inputs(np.arange(20))[name] for name in tower.inputs}
        export_onnx(tower, inputs, outputs, path, kind="tower", tasks=examples.encoder.tasks, model_version=1)
        vectors |= dict(zip(outputs, OnnxModel(path).run(rows, *outputs), strict=True))
    assert vectors["user_vector"].shape == (100, 64) and vectors["task_vectors"].shape == (100, 3, 64)
    for name, value in vectors.items():
        np.testing.assert_allclose(np.linalg.norm(value, axis=-1), 1.0, atol=1e-5, err_msg=name)
    users = np.concatenate([vectors["user_vector"][:, None], vectors["task_vectors"]], axis=1)
    cosines = np.einsum("ntd,nd->nt", users, vectors["item_vector"])
    with torch.no_grad():
        expected = towers(as_tensors(rows, Towers.inputs)).numpy()
        scale, bias = towers.scale.numpy(), towers.bias.numpy()
    np.testing.assert_allclose(scale * cosines + bias, expected, atol=1e-4)


def test_the_towers_see_no_cross_features(examples, towers):
    assert "crosses" not in Towers.inputs
    rows = as_tensors(examples.inputs(np.arange(30)), Towers.inputs)
    turned = {name: value.flip(0) if name in towers.item.inputs else value for name, value in rows.items()}
    with torch.no_grad():
        users = [towers.user(inputs)[0] for inputs in (rows, turned)]
    torch.testing.assert_close(users[0], users[1])


def test_matching_towers_know_how_alike_a_work_and_the_history_are(examples, batches):
    """With every other weight at nothing, ⟨u, v⟩ is the cosine between a work's codes and those of the history."""
    towers = build(partial(Towers, matching=True), examples, batches)
    with torch.no_grad():
        for part in (towers.user.out, towers.item.layers[2]):
            part.weight.zero_()
            part.bias.zero_()
        towers.user.likeness.fill_(1.0)
        rows = as_tensors(examples.inputs(np.arange(40)), Towers.inputs)
        cosines = (towers(rows) - towers.bias) / towers.scale
        table = towers.item.matching.table.weight
        codes = torch.where(rows["history"] < towers.item.matching.sizes, rows["history"], 0)
        each = table[codes + towers.item.matching.offsets].sum(dim=2)
        there = (rows["history"].amax(dim=2) > 0).unsqueeze(2)
        mean = (each * there).sum(dim=1)
        own = torch.where(rows["item_ids"] < towers.item.matching.sizes, rows["item_ids"], 0)
        work = table[own + towers.item.matching.offsets].sum(dim=1)
        expected = torch.nn.functional.cosine_similarity(mean, work)
    assert there.any() and not there.all()
    torch.testing.assert_close(cosines, expected.unsqueeze(1).expand(-1, 4), atol=1e-5, rtol=0)
