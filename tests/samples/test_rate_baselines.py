"""Tests of the rate baselines."""

from dataclasses import replace

import numpy as np

from karec.catalog.table import Table
from karec.features.encoder import Encoder
from karec.samples.examples import build_examples
from karec.samples.rate_baselines import popularity_logits, rate_logits


def test_popularity_is_the_smoothed_rate_of_earlier_exposures(examples):
    logits = popularity_logits(examples)
    rate = 1 / (1 + np.exp(-logits.astype(np.float64)))
    counters = list(examples.encoder.works.counters)
    shown, clicked = (
        examples.item_counts[:, counters.index(f"count_{name}")] for name in ("exposed", "click")
    )
    mean = clicked.sum() / shown.sum()
    np.testing.assert_allclose(rate[:, 0], (clicked + 20 * mean) / (shown + 20), rtol=1e-4)


def logit(p):
    return np.log(p / (1 - p))


def test_rate_logits_add_the_users_smoothed_scene_rate(dataset, examples):
    encoder, exposures = examples.encoder, dataset.exposures
    users = list(encoder.users.counters)
    shown, clicked = (examples.user_counts[:, users.index(f"count_{name}")] for name in ("exposed", "click"))
    mean = clicked.sum() / shown.sum()
    train = exposures.time_ms < dataset.train_until_ms
    overall = exposures.labels["click"][train].mean()
    by_scene = [exposures.labels["click"][train & (exposures.scene == scene)] for scene in (0, 1)]
    scene_rates = np.array([(y.sum() + 10 * overall) / (len(y) + 10) for y in by_scene])[exposures.scene]
    user = (clicked + 20 * mean) / (shown + 20)
    expected = 1 / (1 + np.exp(-(logit(user) + logit(scene_rates) - logit(overall))))
    shown, clicked = examples.scene_counts[:, 0], examples.scene_counts[:, 1 + encoder.tasks.index("click")]
    scene_rate = (clicked + 20 * expected) / (shown + 20)
    added = (rate_logits(examples) - popularity_logits(examples))[:, 0]
    np.testing.assert_allclose(added, logit(scene_rate) - logit(mean), atol=1e-5)


def test_rate_logits_equal_popularity_without_user_counters(dataset):
    users = Table(dataset.snapshot.users.ids, {})
    snapshot = replace(dataset.snapshot, users=users, user_scene_counters=None)
    encoder = Encoder.fit(snapshot, dataset.split()[0], dataset.tasks)
    examples = build_examples(encoder, snapshot, dataset.exposures)
    np.testing.assert_array_equal(rate_logits(examples), popularity_logits(examples))
