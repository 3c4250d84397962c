"""Tests of the recall towers: the loss in float64, the validation score, and the export."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_settings import SMALL

from karec.errors import DataError
from karec.learn.distil.recall_towers import (
    NAMES,
    SampledSoftmax,
    Validation,
    enjoyed_rows,
    train_recall_towers,
)
from karec.learn.fit.checkpoint import Checkpoint
from karec.learn.fit.prepare import prepare
from karec.learn.nets.towers import Towers, UserTower
from karec.learn.run.train import train
from karec.learn.settings.check import check_training
from karec.models.onnx_model import OnnxModel

SETTINGS = SMALL.replace(
    recall={"on": True, "epochs": 2, "vector": 6, "negatives": 20}, optimizer={"learning_rate": 0.01}
).resolve


@pytest.fixture(scope="module")
def settings(dataset):
    return SETTINGS(dataset)


@pytest.fixture(scope="module")
def prepared(dataset, settings, tmp_path_factory):
    return prepare(dataset, settings, tmp_path_factory.mktemp("prepared"))


def towers(prepared, settings):
    torch.manual_seed(3)
    edges = prepared.train_batches.edges(settings.features.bins)
    return Towers(prepared.encoder, edges, dim=4, hidden=16, vector=6, id_dropout=0.0, by_task=False).eval()


def test_sampled_softmax_equals_float64(prepared, settings):
    """Candidates: the batch's own items, then 20 sampled items. log Q: 30 rows · fraction + 20 / published
    items."""
    model, train = towers(prepared, settings), prepared.train
    enjoyed = enjoyed_rows(train)
    loss = SampledSoftmax(model, prepared, enjoyed, settings)
    rows = torch.arange(30)
    own_rows = enjoyed[:30]
    time_rows, sampled = loss._sample(own_rows, 5)
    with torch.no_grad():
        users = (
            model.user(prepared.train_batches.inputs(torch.from_numpy(own_rows), UserTower.inputs))[0]
            .double()
            .numpy()
        )
        sides = [train.items(own_rows, train.item_rows[own_rows]), train.items(time_rows, sampled)]
        items = [
            model.item({k: torch.from_numpy(v) for k, v in side.items()}).double().numpy() for side in sides
        ]
    items_all, ids = np.concatenate(items), np.concatenate([train.item_rows[own_rows], sampled])
    published = train.snapshot.published_ms
    n_published = np.mean([(published <= moment).sum() for moment in train.as_of[own_rows]])
    expected = []
    for row in range(30):
        logits = []
        for candidate, work in enumerate(ids):
            fraction = (train.item_rows[enjoyed] == work).mean()
            log_q = np.log(30 * fraction + 20 / n_published)
            if work != ids[row] or candidate == row:
                logits.append(items_all[candidate] @ users[row] / settings.recall.temperature - log_q)
            if candidate == row:
                own = logits[-1]
        max_logit = max(logits)
        expected.append(max_logit + np.log(np.sum(np.exp(np.array(logits) - max_logit))) - own)
    assert loss(rows, 5).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_sampled_softmax_negatives_depend_only_on_the_step(prepared, settings):
    loss = SampledSoftmax(towers(prepared, settings), prepared, enjoyed_rows(prepared.train), settings)
    rows = torch.arange(10)
    assert loss(rows, 1).item() == loss(rows, 1).item() != loss(rows, 2).item()


def test_sampled_negatives_are_published_by_the_rows_time(prepared, settings):
    loss = SampledSoftmax(towers(prepared, settings), prepared, enjoyed_rows(prepared.train), settings)
    moments, drawn = loss._sample(np.arange(40), 0)
    assert len(drawn) == 20 and set(moments) <= set(range(40))
    assert (prepared.train.snapshot.published_ms[drawn] <= prepared.train.as_of[moments]).all()


def test_validation_score_is_the_fraction_of_rows_in_the_top_percent(prepared, settings):
    model, valid = towers(prepared, settings), prepared.valid
    validation = Validation(prepared, settings.seed)
    rows = validation.rows.numpy()
    inputs = {name: torch.from_numpy(value) for name, value in valid.inputs(rows).items()}
    with torch.no_grad():
        users, own = model.user(inputs)[0].numpy(), model.item(inputs).numpy()
        works = model.item(validation.items).numpy()
    above = (works @ users.T > (users * own).sum(axis=1)).mean(axis=0)
    assert set(rows) == set(enjoyed_rows(valid))
    assert validation.score(model) == pytest.approx((above < 0.01).mean(), abs=2 / len(rows))  # float32 ties


def test_exported_recall_towers_equal_torch(prepared, settings, tmp_path):
    checkpoint = Checkpoint(tmp_path / "recall_towers.pt", 100, "recall")
    train_recall_towers(prepared, settings, tmp_path, checkpoint=checkpoint)
    model = towers(prepared, settings)
    model.load_state_dict(torch.load(tmp_path / "recall_towers.pt", weights_only=True)["best_state"])
    inputs = prepared.valid.inputs(np.arange(40))
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with torch.no_grad():
        expected = {"user": model.user(tensors)[0].numpy(), "item": model.item(tensors).numpy()}
    for side, vectors in expected.items():
        onnx = OnnxModel(tmp_path / f"{NAMES[side]}.onnx")
        assert (onnx.kind, onnx.outputs, onnx.model_version) == (NAMES[side], (f"{side}_vector",), 1)
        (found,) = onnx.run(inputs, f"{side}_vector")
        np.testing.assert_allclose(found, vectors, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


QUICK = SMALL.replace(ranker={"epochs": 1}, towers={"epochs": 1}, evaluation={"baselines": ()})


def test_run_writes_recall_towers_if_on_and_removes_older_ones(dataset, tmp_path):
    on = QUICK.replace(recall={"on": True, "epochs": 1, "vector": 6, "negatives": 20})
    result = train(dataset, on, tmp_path)
    files = {f"{name}.onnx" for name in NAMES.values()}
    assert files <= {path.name for path in tmp_path.iterdir()}
    assert len(result.epochs["recall_towers"]) == 1 and result.seconds["recall towers"] > 0
    assert "recall_towers" not in train(dataset, QUICK, tmp_path).epochs
    assert not files & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("days", ["training", "validation"])
def test_days_without_enjoyed_items_are_refused_before_training(dataset, settings, days):
    exposures = dataset.exposures
    here = exposures.time_ms < dataset.train_until_ms
    if days == "validation":
        here = ~here & (exposures.time_ms < dataset.valid_until_ms)
    labels = {name: np.where(here, 0, label).astype(np.uint8) for name, label in exposures.labels.items()}
    nothing = replace(dataset, exposures=replace(exposures, labels=labels))
    with pytest.raises(DataError, match=rf"no work was enjoyed on the {days} days .* set recall.on to false"):
        check_training(nothing, settings)
