"""Tests of the towers' training: losses by recipe, inputs, and hidden profiles."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_settings import LISTS, SMALL

from karec.errors import DataError
from karec.evaluate import agreement
from karec.evaluate.agreement import RankedPools
from karec.evaluate.metrics.accuracy import auc
from karec.learn.distil.distillation import fit_towers
from karec.learn.distil.step_loss import StepLoss
from karec.learn.distil.targets import Targets, fused_labels
from karec.learn.distil.tower_logits import item_vectors, logits_of_request
from karec.learn.fit.batches import Batch
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.towers import Towers, UserTower
from karec.learn.settings.settings import RECIPES
from karec.samples.lists import LoggedLists, item_numbers

SETTINGS = SMALL.replace(optimizer={"learning_rate": 0.01}, distil=LISTS, shadow={"works": 20})


@pytest.fixture(scope="module")
def lists(prepared):
    """Random items whose ranker scores are higher for even rows."""
    generator = np.random.default_rng(0)
    rows = np.arange(0, len(prepared.train), 9)
    works = np.stack([generator.choice(40, 10, replace=False) for _ in rows])
    fused = np.where(works % 2 == 0, 0.8, 0.2) + generator.uniform(-0.1, 0.1, works.shape)
    numbers = item_numbers(prepared.train, rows, works)
    logits = generator.normal(size=(*works.shape, 3)).astype(np.float32)
    return LoggedLists(rows, works, numbers, logits, fused.astype(np.float32))


@pytest.fixture(scope="module")
def targets(prepared, lists):
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(len(prepared.train), 4)).astype(np.float32)
    fused = np.log(lists.fused) - np.log1p(-lists.fused)
    return Targets(
        rows, generator.random(len(rows)) < 0.9, np.concatenate([fused[..., None], lists.logits], axis=2)
    )


def step_loss(prepared, targets, lists, settings):
    torch.manual_seed(0)
    edges = prepared.train_batches.edges(3)
    model = Towers(prepared.encoder, edges, dim=4, hidden=16, vector=8, id_dropout=0.0).eval()
    return StepLoss(model, prepared, targets, lists, settings)


def first_rows(prepared, n=40):
    return Batch(torch.arange(n), prepared.train_batches, torch.arange(n))


def logits_of_lists(model, prepared, lists):
    train, device = prepared.train, prepared.train_batches.device
    requests = zip(lists.rows.tolist(), lists.items, strict=True)
    return np.stack([logits_of_request(model, train.pool(row, items), device) for row, items in requests])


def loss_at(prepared, targets, lists, settings, step):
    return step_loss(prepared, targets, lists, settings)(first_rows(prepared), step).item()


def test_soft_labels_are_used_only_after_warm_up(prepared, targets, lists):
    settings = SETTINGS.with_recipe("list").replace(distil={"warm_up": 0.5})
    n_steps = 2 * -(-len(prepared.train) // 64)
    hard_loss = loss_at(prepared, targets, lists, SETTINGS.with_recipe("hard"), 0)
    assert loss_at(prepared, targets, lists, settings, n_steps // 2 - 1) == pytest.approx(hard_loss, rel=1e-6)
    assert loss_at(prepared, targets, lists, settings, n_steps // 2) != pytest.approx(hard_loss, rel=1e-2)


def test_recipes_have_different_losses(prepared, targets, lists):
    loss_by_recipe = {
        name: loss_at(prepared, targets, lists, SETTINGS.with_recipe(name), 10**6) for name in RECIPES
    }
    # these two differ only in their teacher
    same = {"model-distillation": "feature-distillation"}
    for name, loss in loss_by_recipe.items():
        for other, other_loss in loss_by_recipe.items():
            alike = same.get(name, name) == same.get(other, other)
            assert (loss == pytest.approx(other_loss, rel=1e-6)) == alike, (name, other)


@pytest.mark.parametrize("weight", ["list_weight", "pool_weight"])
def test_loss_is_linear_in_its_weight(prepared, targets, lists, weight, monkeypatch):
    monkeypatch.setattr("karec.learn.distil.step_loss.CENTERING_WEIGHT", 0.0)
    base = SETTINGS.with_recipe("hard")
    losses = [
        loss_at(prepared, targets, lists, base.replace(distil={weight: w}), 10**6) for w in (0.0, 1.0, 2.0)
    ]
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-4)
    assert losses[1] > losses[0]


def test_fused_label_is_the_weighted_mean_of_labels():
    labels = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    assert fused_labels(labels, ("click", "long_view", "like"), {"click": 1.0, "like": 3.0}).tolist() == [
        0.25,
        1.0,
    ]


def test_list_loss_teaches_the_order_of_lists(prepared, targets, lists):
    """Trains one epoch, so that this epoch is kept: validation does not favor even rows."""
    even = (lists.items % 2 == 0).ravel()
    auc_by_recipe = {}
    for recipe in ("hard", "list"):
        settings = SETTINGS.with_recipe(recipe).replace(towers={"epochs": 1}, optimizer={"batch_size": 8})
        model, _ = fit_towers(prepared, targets, lists, settings)
        auc_by_recipe[recipe] = auc(even, logits_of_lists(model, prepared, lists)[..., 0].ravel())
    assert auc_by_recipe["hard"] < 0.6 and auc_by_recipe["list"] > 0.7, auc_by_recipe


def test_agreement_with_the_ranker_chooses_the_epoch(prepared, targets, lists, monkeypatch):
    monkeypatch.setattr(agreement, "TOPS", (2, 5))
    valid, items = prepared.valid, np.arange(40)
    rows = np.unique(valid.user_rows, return_index=True)[1]
    ranked = np.where(items % 2 == 0, 0.8, 0.2) + items / 1000
    pools = RankedPools(valid, rows, np.tile(items, (len(rows), 1)), np.tile(ranked, (len(rows), 1)))
    settings = SETTINGS.with_recipe("list").replace(towers={"epochs": 3})
    model, state = fit_towers(prepared, targets, lists, settings, pools=pools)
    scores = [epoch.score for epoch in state.history]

    def fused_logits(row, items):
        return logits_of_request(model, valid.pool(row, items), prepared.valid_batches.device)[:, 0]

    assert max(scores) == scores[state.best_epoch - 1] == pools.agreement(fused_logits)
    assert len(set(scores)) > 1


def test_step_loss_includes_the_squared_mean_item_vector(prepared, targets, lists, monkeypatch):
    """Uses all lists in one step, so the result does not depend on the order of lists."""
    settings = SETTINGS.with_recipe("list").replace(distil={"lists_per_step": len(lists)})
    loss = step_loss(prepared, targets, lists, settings)
    with_centering = loss(first_rows(prepared), 10**6).item()
    vectors = item_vectors(
        loss.model, prepared.train_batches, torch.from_numpy(lists.items), torch.from_numpy(lists.numbers)
    )
    mean = vectors.detach().double().numpy().reshape(-1, vectors.shape[-1]).mean(axis=0)
    monkeypatch.setattr("karec.learn.distil.step_loss.CENTERING_WEIGHT", 0.0)
    without = loss(first_rows(prepared), 10**6).item()
    assert with_centering - without == pytest.approx(0.5 * mean @ mean, rel=1e-3)


def test_pool_loss_is_the_divergence_over_all_items_of_the_lists(prepared, targets, lists, monkeypatch):
    """Sum over heads with their weights; all lists in one step, so the result does not depend on their
    order."""
    monkeypatch.setattr("karec.learn.distil.step_loss.CENTERING_WEIGHT", 0.0)
    base = SETTINGS.with_recipe("hard").replace(distil={"lists_per_step": len(lists)})
    base = base.replace(task_weights={"fused": 0.5, "like": 2.0})
    step = step_loss(prepared, targets, lists, base.replace(distil={"pool_weight": 3.0}))
    loss = step(first_rows(prepared), 10**6).item() - loss_at(prepared, targets, lists, base, 10**6)
    s, t = (
        logits_of_lists(step.model, prepared, lists).astype(np.float64),
        targets.lists.astype(np.float64),
    )
    p, q = (1 / (1 + np.exp(-logit / SETTINGS.distil.temperature)) for logit in (t, s))
    weights = np.array([0.5] + [2.0 if task == "like" else 1.0 for task in prepared.encoder.tasks])
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert loss == pytest.approx(
        3.0 * SETTINGS.distil.temperature**2 * (kl.mean(axis=(0, 1)) @ weights), rel=1e-4
    )


def test_list_recipe_is_refused_if_the_log_has_no_lists(prepared, targets):
    with pytest.raises(DataError, match="'list' needs lists of 10 items, and the rank log has none"):
        fit_towers(prepared, targets, None, SETTINGS.with_recipe("list"))


def test_soft_labels_are_refused_if_the_log_has_no_training_row(prepared, targets, lists):
    strange = replace(targets, known=np.zeros_like(targets.known))
    with pytest.raises(DataError, match="'list' needs the ranker's logits, and the rank log has no row of"):
        fit_towers(prepared, strange, lists, SETTINGS.with_recipe("list"))
    fit_towers(prepared, strange, lists, SETTINGS.replace(distil={"soft_weight": 0.0}, towers={"epochs": 1}))


def test_ranker_without_crosses_reads_only_tower_inputs(prepared):
    edges = prepared.train_batches.edges(3)
    ranker = MmoeRanker(prepared.encoder, edges, crossed=False, dim=4, hidden=8, n_experts=2).eval()
    assert set(ranker.inputs) == set(Towers.inputs)
    inputs = prepared.train_batches.inputs(torch.arange(50), Towers.inputs)
    assert ranker(inputs).shape == (50, len(prepared.encoder.tasks))


def test_profile_dropout_hides_profiles_only_in_training(prepared):
    torch.manual_seed(0)
    tower = Towers(
        prepared.encoder,
        prepared.train_batches.edges(3),
        dim=4,
        vector=8,
        id_dropout=0.0,
        profile_dropout=0.5,
    ).user
    inputs = prepared.train_batches.inputs(torch.arange(200), UserTower.inputs)
    bare = {**inputs, **{name: torch.zeros_like(inputs[name]) for name in UserTower.inputs[:3]}}
    served, hidden = tower.eval()(inputs)[0], tower.eval()(bare)[0]
    trained = tower.train()(inputs)[0]
    is_bare = torch.isclose(trained, hidden, atol=1e-6).all(dim=1)
    is_whole = torch.isclose(trained, served, atol=1e-6).all(dim=1)
    assert (is_bare | is_whole).all()
    assert 0.35 < is_bare.float().mean() < 0.65
