"""Popularity as a baseline: a work's smoothed rate as of each row's moment."""

import numpy as np
import pytest

from karec.features.encoder import Encoder
from karec.training_data.examples import build_examples
from karec.training_data.popularity import popularity_logits


@pytest.fixture(scope="module")
def examples(dataset):
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks)
    return build_examples(encoder, dataset.snapshot, dataset.exposures)


def test_popularity_is_the_smoothed_rate_of_what_was_shown_before(examples):
    logits = popularity_logits(examples)
    rate = 1 / (1 + np.exp(-logits.astype(np.float64)))
    counters = list(examples.encoder.works.counters)
    shown, clicked = (examples.work_counts[:, counters.index(f"count_{name}")] for name in ("exposed", "click"))
    mean = clicked.sum() / shown.sum()
    np.testing.assert_allclose(rate[:, 0], (clicked + 20 * mean) / (shown + 20), rtol=1e-4)
