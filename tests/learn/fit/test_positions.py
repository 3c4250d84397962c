"""Positions of a log correct its clicks: models learn from them and are served without them."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.impressions import Impressions
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.fit.batches import Batches
from karec.learn.nets.logistic_regression import INPUTS, LogisticRegression
from karec.samples.examples import build_examples
from karec.samples.served_log import concat_impressions

N_ROWS, N_ITEMS = 6000, 12


@pytest.fixture(scope="module")
def log(dataset):
    """The better an item, the lower it is shown; a click needs that the user looks at its position."""
    rng = np.random.default_rng(4)
    item, user = rng.integers(0, N_ITEMS, N_ROWS), rng.integers(0, len(dataset.snapshot.users), N_ROWS)
    position = 1 + item + rng.integers(0, 6, N_ROWS)
    logit = 1 + 0.12 * item - 1.5 * np.log(position)
    click = (rng.random(N_ROWS) < 1 / (1 + np.exp(-logit))).astype(np.uint8)
    return Impressions(
        dataset.snapshot.users.ids[user],
        dataset.snapshot.works.ids[item],
        dataset.snapshot.time_ms + np.arange(N_ROWS) * 1000,
        np.zeros(N_ROWS, np.int32),
        {"click": click},
        position=position.astype(np.int16),
    )


def make_examples(dataset, log):
    encoder = Encoder.fit(dataset.snapshot, log, ("click",), min_count=1)
    return build_examples(encoder, dataset.snapshot, log)


@pytest.fixture(scope="module")
def examples(dataset, log):
    return make_examples(dataset, log)


def learned_order(examples):
    """Returns the items in the order of their mean served scores by a trained logistic regression."""
    torch.manual_seed(0)
    batches = Batches.from_examples(examples, INPUTS)
    model = LogisticRegression(examples.encoder, batches.edges(8))
    inputs, click = batches.inputs(slice(None)), torch.from_numpy(examples.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(inputs), click).backward()
        optimizer.step()
    pools = [examples.pool(row, np.arange(N_ITEMS)) for row in range(N_ROWS - 40, N_ROWS)]
    with torch.no_grad():
        scores = [model({name: torch.from_numpy(pool[name]) for name in INPUTS})[:, 0] for pool in pools]
    return np.argsort(torch.stack(scores).mean(dim=0).numpy(), kind="stable")


def correlation_with_quality(order):
    return float(np.corrcoef(np.argsort(order), np.arange(N_ITEMS))[0, 1])


def test_log_position_recovers_the_order_of_items(dataset, log, examples):
    assert correlation_with_quality(learned_order(examples)) > 0.8
    without_positions = make_examples(dataset, replace(log, position=None))
    assert correlation_with_quality(learned_order(without_positions)) < 0.3


def test_log_position_is_an_input_of_learned_rows_only(examples, log):
    column = examples.encoder.names["crosses"].index("log_position")
    rows = np.arange(100)
    learned = Batches.from_examples(examples, ("crosses",)).inputs(slice(0, 100))["crosses"][:, column]
    np.testing.assert_allclose(learned, np.log(log.position[:100]), rtol=1e-6)
    assert not examples.inputs(rows)["crosses"][:, column].any()
    assert not examples.pool(3, np.arange(9))["crosses"][:, column].any()


def test_encoder_has_no_log_position_if_the_log_has_none(dataset, log, tmp_path):
    for position in (None, np.zeros(N_ROWS, np.int16), np.ones(N_ROWS, np.int16)):
        encoder = Encoder.fit(dataset.snapshot, replace(log, position=position), ("click",))
        assert "log_position" not in encoder.names["crosses"]
    encoder = Encoder.fit(dataset.snapshot, log, ("click",))
    encoder.save(tmp_path / "encoder.npz")
    assert Encoder.load(tmp_path / "encoder.npz").names["crosses"][-1] == "log_position"


def test_impressions_concat_and_take_keep_positions(log):
    without = replace(log, position=None).take(slice(0, 2))
    joined = concat_impressions([log.take(slice(0, 2)), without], ("click",))
    assert joined.position.tolist() == [*log.position[:2], 0, 0]
    assert concat_impressions([without, log], ("click",)).position is None
