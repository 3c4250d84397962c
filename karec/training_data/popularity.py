"""The popularity baseline: each work's smoothed rate before the row's moment, as a logit."""

from __future__ import annotations

import numpy as np

from karec.training_data.examples import Examples
from karec.types import Array

PRIOR_SHOWS = 20.0


def popularity_logits(examples: Examples, works: Array | None = None) -> Array:
    """(M, T): the logit of each work's smoothed rate before the row's moment, (positives + m·mean) / (shows + m).

    m = 20 shows, mean over the examples' own works. It knows the work and nothing of the user. ``works (M,)``, rows of
    works, are scored in place of the examples' own.
    """
    counters = list(examples.encoder.works.counters)
    own = examples.work_counts
    counts = own if works is None else examples.works_past.at(works, examples.as_of)
    shows = counts[:, counters.index("count_exposed")].astype(np.float64)
    logits = []
    for task in examples.encoder.tasks:
        at = counters.index(f"count_{task}")
        wins = counts[:, at].astype(np.float64)
        overall = own[:, at].sum(dtype=np.float64) / max(
            own[:, counters.index("count_exposed")].sum(dtype=np.float64), 1
        )
        mean = np.clip(overall, 1e-6, 1 - 1e-6)
        rate = (wins + PRIOR_SHOWS * mean) / (shows + PRIOR_SHOWS)
        logits.append(np.log(rate) - np.log1p(-rate))
    return np.stack(logits, axis=1).astype(np.float32)
