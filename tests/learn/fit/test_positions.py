"""Positions of a log correct its clicks: models learn from them and are served without them."""

from dataclasses import replace

import numpy as np
import pytest

from karec.catalog.impressions import Impressions
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.fit.batches import Batches
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


@pytest.fixture(scope="module")
def examples(dataset, log):
    return build_examples(Encoder.fit(dataset.snapshot, log, ("click",)), dataset.snapshot, log)


def learned_order(examples, column):
    """Returns the items by a logistic regression on the item, and on a column of batches if there is one."""
    names = examples.encoder.names["crosses"]
    columns = [names.index(column)] if column else []
    inputs = Batches(examples, ("crosses",)).inputs(slice(None))["crosses"][:, columns]
    item, click = torch.from_numpy(examples.item_rows), torch.from_numpy(examples.labels[:, 0])
    bias = torch.zeros(N_ITEMS, requires_grad=True)
    weight = torch.zeros(len(columns), requires_grad=True)
    optimizer = torch.optim.LBFGS([bias, weight], max_iter=100)

    def loss():
        optimizer.zero_grad()
        logits = bias[item] + inputs @ weight
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, click)
        value.backward()
        return value

    optimizer.step(loss)
    return np.argsort(bias.detach().numpy())


def correlation_with_quality(order):
    return float(np.corrcoef(np.argsort(order), np.arange(N_ITEMS))[0, 1])


def test_log_position_recovers_the_order_of_items(examples):
    assert correlation_with_quality(learned_order(examples, "log_position")) > 0.8
    assert correlation_with_quality(learned_order(examples, None)) < 0.3


def test_log_position_is_an_input_of_learned_rows_only(examples, log):
    column = examples.encoder.names["crosses"].index("log_position")
    rows = np.arange(100)
    learned = Batches(examples, ("crosses",)).inputs(slice(0, 100))["crosses"][:, column]
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
