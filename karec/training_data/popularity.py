"""The popularity baseline: each work's smoothed rate before the row's moment, as a logit."""

from __future__ import annotations

import numpy as np

from karec.platform.rates import mean_rate, smoothed_rate
from karec.training_data.examples import Examples
from karec.types import Array

RATES = (1e-6, 1 - 1e-6)  # a mean rate of 0 or 1 has no logit


def popularity_logits(examples: Examples, works: Array | None = None) -> Array:
    """(M, T) float32: the logit of each work's smoothed rate (``platform.rates``) before the row's moment.

    The mean is taken over the examples' own works. The baseline knows the work and nothing of the user. ``works (M,)``,
    rows of works, are scored in place of the examples' own.
    """
    counters = list(examples.encoder.works.counters)
    own = examples.work_counts
    counts = own if works is None else examples.works_past.at(works, examples.as_of)
    exposed = counters.index("count_exposed")
    logits = []
    for task in examples.encoder.tasks:
        at = counters.index(f"count_{task}")
        mean = float(np.clip(mean_rate(own[:, at], own[:, exposed]), *RATES))
        rate = smoothed_rate(counts[:, at], counts[:, exposed], mean)
        logits.append(np.log(rate) - np.log1p(-rate))
    return np.stack(logits, axis=1).astype(np.float32)
