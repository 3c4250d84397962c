"""Tests of the inputs of ranker and towers, and of their ONNX export."""

from functools import partial

import numpy as np
import pytest
import torch

from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.batches import Batches
from karec.learn.nets.matching import MATCHED, Matching
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.towers import Towers, UserOutputs
from karec.models.onnx_model import OnnxModel

USER_SIDE = ("user_ids", "user_numbers", "history", "skipped", "context")


@pytest.fixture(scope="module")
def batches(examples):
    return Batches.from_examples(examples, MmoeRanker.inputs)


def build(model, examples, batches):
    """Returns a model with weights far from zero, so that a difference would show."""
    torch.manual_seed(0)
    result = model(examples.encoder, batches.edges(4), dim=4)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return result.eval()


@pytest.fixture(scope="module")
def mmoe(examples, batches):
    return build(MmoeRanker, examples, batches)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "matching"])
def towers(examples, batches, request):
    return build(partial(Towers, matching=request.param), examples, batches)


@pytest.fixture(scope="module")
def wide_towers(examples, batches):
    return build(partial(Towers, wide=True), examples, batches)


def as_tensors(inputs, names):
    return {name: torch.from_numpy(inputs[name]) for name in names}


def test_batches_inputs_equal_examples_inputs(examples, batches, mmoe):
    rows = np.array([3, 99, 99, 500])
    served, trained = examples.inputs(rows), batches.inputs(torch.from_numpy(rows))
    for name in MmoeRanker.inputs:
        value = trained["works"][trained[f"{name}_at"]] if name in ("history", "skipped") else trained[name]
        np.testing.assert_array_equal(value.numpy(), served[name], err_msg=name)
    with torch.no_grad():
        torch.testing.assert_close(
            mmoe(trained), mmoe(as_tensors(served, MmoeRanker.inputs)), atol=1e-6, rtol=1e-6
        )


@pytest.mark.parametrize("rows", [[7], [3, 99, 99, 500], [*range(590, 200, -1), *range(400)]])
@pytest.mark.parametrize(
    "kind",
    [MmoeRanker, partial(Towers, wide=True), partial(Towers, matching=True)],
    ids=["mmoe", "wide towers", "matching towers"],
)
def test_logits_and_gradients_by_user_equal_those_by_row(examples, kind, rows):
    batches = Batches.from_examples(
        examples, tuple(dict.fromkeys((*MATCHED, *MmoeRanker.inputs, *Towers.inputs)))
    )
    model, rows = build(kind, examples, batches), torch.tensor(rows)
    weights = torch.randn(len(rows), 1, generator=torch.Generator().manual_seed(0))
    results = []
    for inputs in (batches.inputs(rows, model.inputs), batches.inputs_by_user(rows, model.inputs)):
        logits = model(inputs)
        model.zero_grad()
        (logits * weights).mean().backward()
        results.append((logits, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert len(inputs["user_ids"]) <= 2 * len(torch.unique(batches.sides[rows]))
    (by_row, expected), (by_user, gradients) = results
    torch.testing.assert_close(by_user, by_row, atol=1e-6, rtol=1e-6)
    assert len(gradients) == len(expected)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-6, rtol=1e-4)


def test_mmoe_ranker_onnx_equals_torch(examples, mmoe, tmp_path):
    path = tmp_path / "ranker.onnx"
    inputs = {name: examples.inputs(np.arange(20))[name] for name in MmoeRanker.inputs}
    export = partial(export_onnx, mmoe, inputs, ["logits"], path, kind="ranker", tasks=("a", "b", "c"))
    export(model_version=3, shared=USER_SIDE)
    ranker = OnnxModel(path)
    assert (ranker.kind, ranker.model_version, ranker.tasks) == ("ranker", 3, ("a", "b", "c"))
    assert b".py" not in path.read_bytes(), "the ONNX file must not name source files"
    other = {name: examples.inputs(np.arange(100, 400, 3))[name] for name in MmoeRanker.inputs}
    with torch.no_grad():
        expected = mmoe(as_tensors(other, MmoeRanker.inputs)).numpy()
    np.testing.assert_allclose(ranker.run(other, "logits")[0], expected, atol=1e-5)
    # one user, many items: the user's row once, or repeated for each item
    shared = {name: value[:1] if name in USER_SIDE else value for name, value in other.items()}
    repeated = {n: np.repeat(value, 100, axis=0) if len(value) == 1 else value for n, value in shared.items()}
    np.testing.assert_allclose(ranker.run(shared, "logits")[0], ranker.run(repeated, "logits")[0], atol=1e-5)


def test_towers_onnx_equals_torch(examples, towers, tmp_path):
    rows = examples.inputs(np.arange(100, 400, 3))
    vectors = {}
    for tower, outputs in ((towers.user, UserOutputs._fields), (towers.item, ["item_vector"])):
        path = tmp_path / f"{outputs[0]}.onnx"
        inputs = {name: examples.inputs(np.arange(20))[name] for name in tower.inputs}
        export_onnx(tower, inputs, outputs, path, kind="tower", tasks=examples.encoder.tasks, model_version=1)
        vectors |= dict(zip(outputs, OnnxModel(path).run(rows, *outputs), strict=True))
    assert vectors["user_vector"].shape == (100, 64) and vectors["task_vectors"].shape == (100, 3, 64)
    slopes, levels = vectors.pop("slopes"), vectors.pop("levels")
    assert slopes.shape == levels.shape == (100, 4) and slopes.min() > 0
    for name, value in vectors.items():
        np.testing.assert_allclose(np.linalg.norm(value, axis=-1), 1.0, atol=1e-5, err_msg=name)
    users = np.concatenate([vectors["user_vector"][:, None], vectors["task_vectors"]], axis=1)
    cosines = np.einsum("ntd,nd->nt", users, vectors["item_vector"])
    with torch.no_grad():
        expected = towers(as_tensors(rows, towers.inputs)).numpy()
        scale, bias = towers.scale.numpy(), towers.bias.numpy()
    np.testing.assert_allclose(scale * (slopes * cosines + levels) + bias, expected, atol=1e-4)


def test_exported_cross_weights_equal_the_wide_part(examples, wide_towers):
    rows = examples.inputs(np.arange(100, 400, 3))
    weights = wide_towers.wide.to_weights()
    terms = np.stack([weights.terms(rows["crosses"], head).sum(axis=1) for head in range(4)], axis=1)
    tensors = as_tensors(rows, wide_towers.inputs)
    with torch.no_grad():
        np.testing.assert_allclose(wide_towers.wide(tensors["crosses"]), terms, atol=1e-4)
        users, items = wide_towers.user(tensors), wide_towers.item(tensors)
        vectors = torch.cat([users.user_vector.unsqueeze(1), users.task_vectors], dim=1)
        scores = torch.einsum("nhd,nd->nh", vectors, items) + torch.from_numpy(terms).float()
        logits = wide_towers.scale * (users.slopes * scores + users.levels) + wide_towers.bias
        torch.testing.assert_close(wide_towers(tensors), logits, atol=1e-3, rtol=1e-4)


def test_user_tower_does_not_depend_on_the_item(examples, towers):
    assert "crosses" not in towers.inputs
    rows = as_tensors(examples.inputs(np.arange(30)), towers.inputs)
    turned = {name: value.flip(0) if name in towers.item.inputs else value for name, value in rows.items()}
    with torch.no_grad():
        users = [towers.user(inputs)[0] for inputs in (rows, turned)]
    torch.testing.assert_close(users[0], users[1])


def test_slopes_and_levels_keep_the_order_of_one_users_items(examples, towers):
    inputs = as_tensors(examples.inputs(np.arange(30)), towers.inputs)
    one = {
        name: value[:1].expand_as(value) if name in towers.user.inputs else value
        for name, value in inputs.items()
    }
    with torch.no_grad():
        users, works = towers.user(one), towers.item(one)
        vectors = torch.cat([users.user_vector.unsqueeze(1), users.task_vectors], dim=1)
        cosines = torch.einsum("nhd,nd->nh", vectors, works)
        ascending = towers(one).gather(0, cosines.argsort(dim=0))
        assert (ascending.diff(dim=0) > -1e-5).all() and (ascending[-1] > ascending[0]).all()
        outputs = towers.user(inputs)
    for values in (outputs.slopes, outputs.levels):
        assert values.std(dim=0).min() > 0.01, "slopes and levels must differ between users"


@pytest.fixture
def matching_only(examples, batches):
    """Matching towers with zero networks, no prior, and weight 0 for every list."""
    towers = build(partial(Towers, matching=True), examples, batches)
    with torch.no_grad():
        for part in (towers.user.out, towers.user.line, towers.item.layers[2]):
            part.weight.zero_()
            part.bias.zero_()
        matching = towers.user.matching
        matching.likeness.fill_(1.0)
        matching.prior.fill_(-10.0)  # κ of about 5e-5, so that nothing over nothing is 0
        for weights in (matching.by_column, matching.by_edge, matching.by_alike):
            weights.zero_()
    return towers


def vector_of(codes, code_values, column):
    """Returns the vectors of codes of one column; code 0 and unseen codes have vector 0 of the column."""
    return codes.table.weight[
        torch.where(code_values < codes.sizes[column], code_values, 0) + codes.offsets[column]
    ]


def work_vectors(codes, code_values):
    return sum(vector_of(codes, code_values[..., column], column) for column in range(code_values.shape[-1]))


@pytest.mark.parametrize("name", ["history", "skipped"])
def test_matching_adds_the_cosine_of_item_and_list(examples, matching_only, name):
    """⟨u, v⟩ is the cosine between the item's codes and the list's codes, weighted by column."""
    towers, matching = matching_only, matching_only.user.matching
    with torch.no_grad():
        weights = torch.linspace(0.5, 2.0, matching.by_column.shape[1])
        matching.by_column[("history", "skipped").index(name)] = weights
        rows = as_tensors(examples.inputs(np.arange(40)), towers.inputs)
        cosines = (towers(rows) - towers.bias) / towers.scale
        listed = rows[name]
        list_sum = sum(w * vector_of(matching.codes, listed[..., c], c) for c, w in enumerate(weights))
        is_item = (listed.amax(dim=2) > 0).unsqueeze(2)
        work = work_vectors(matching.codes, rows["item_ids"])
        expected = torch.nn.functional.cosine_similarity((list_sum * is_item).sum(dim=1), work)
    assert is_item.any() and not is_item.all()
    torch.testing.assert_close(cosines, expected.unsqueeze(1).expand(-1, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["follows", "friends"])
def test_matching_adds_the_cosine_of_creator_and_social_edges(examples, matching_only, name):
    towers, matching = matching_only, matching_only.user.matching
    with torch.no_grad():
        matching.by_edge[matching.edges.index(name)] = 1.0
        rows = as_tensors(examples.inputs(np.arange(60)), towers.inputs)
        codes, column = rows[name], matching.creator
        known = (codes > 0) & (codes < matching.codes.sizes[column])
        total = (vector_of(matching.codes, codes, column) * known.unsqueeze(2)).sum(dim=1)
        cosines = (towers(rows) - towers.bias) / towers.scale
        work = work_vectors(matching.codes, rows["item_ids"])
        expected = torch.nn.functional.cosine_similarity(total, work)
    assert known.any() and not known.all()
    torch.testing.assert_close(cosines, expected.unsqueeze(1).expand(-1, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("limit", [0, 4096], ids=["items gathered", "codes counted"])
def test_matching_towers_give_equal_logits_in_training_and_serving(examples, limit, monkeypatch):
    """A training batch has each item of its lists once and known creators only; the vectors are the same."""
    monkeypatch.setattr("karec.learn.nets.layers.MAX_COUNTED_CODES", limit)
    names = (*MATCHED, *Towers.inputs)
    batches = Batches.from_examples(examples, tuple(dict.fromkeys(names)))
    towers = build(partial(Towers, matching=True), examples, batches)
    rows = np.arange(5, 400, 7)
    trained = batches.inputs(torch.from_numpy(rows), towers.inputs)
    assert trained["follows"].shape[1] < examples.inputs(rows)["follows"].shape[1]
    with torch.no_grad():
        served = towers(as_tensors(examples.inputs(rows), towers.inputs))
        torch.testing.assert_close(towers(trained), served, atol=1e-5, rtol=1e-5)
        towers.user.matching.train()  # a different summation, without randomness
        torch.testing.assert_close(towers(trained), served, atol=1e-5, rtol=1e-5)


def test_matching_prior_shrinks_the_mean_of_short_lists(examples, matching_only):
    """A mean over n items with prior κ is n/(n + κ) of the plain mean."""
    matching = matching_only.user.matching
    with torch.no_grad():
        matching.by_column[0] = 1.0
        rows = as_tensors(examples.inputs(np.arange(40)), matching_only.inputs)
        plain = matching(rows)[:, 0]
        matching.prior.fill_(100.0)  # softplus(100) = 100
        shrunk = matching(rows)[:, 0]
        n = (rows["history"].amax(dim=2) > 0).sum(dim=1, keepdim=True)
    torch.testing.assert_close(shrunk, plain * n / (n + 100.0), atol=1e-5, rtol=1e-4)


def test_matching_uses_only_lists_if_items_have_no_creators(examples, batches):
    class Bare:  # encoder of a platform whose items have only ids and tags
        tasks, shared = ("a",), ()
        sizes, names = {"item_ids": (5, 3)}, {"item_ids": ("id", "tag")}

    matching = Matching(Bare, 2, 8).eval()
    assert matching.inputs == ("history", "skipped")
    lists = {name: torch.tensor([[[1, 2], [0, 0]]]) for name in matching.inputs}
    assert matching(lists).shape == (1, 2, 8)
