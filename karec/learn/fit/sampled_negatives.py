"""The correction for negatives that were drawn. Without it a model learns how much more often a work is taken
than drawn.

A row is a positive, or a negative drawn with chance q of its work. What a logistic loss learns of them is
log p(work | user) − log q + a constant; with log q taken off the logit before the loss, the logit itself is
log p(work | user) + a constant, the order in which a feed wants works.
Source  X. Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019.
"""

from __future__ import annotations

import numpy as np

from karec.learn._torch import Tensor, torch
from karec.learn.fit.prepare import Prepared


def drawn_log_chances(prepared: Prepared) -> Tensor | None:
    """(M, 1) float32: log(q · works) of each training row's work, q as ``Dataset.drawn`` says of positives
    that train; None where no negatives were drawn.
    """
    if prepared.drawn is None:
        return None
    train = prepared.train
    taken = np.bincount(train.work_rows[train.labels[:, 0] > 0], minlength=len(train.snapshot.works))
    chance = (taken + 1.0) ** prepared.drawn
    log_chance = np.log(chance / chance.mean())
    return torch.from_numpy(log_chance[train.work_rows].astype(np.float32)[:, None]).to(
        prepared.train_batches.device
    )
