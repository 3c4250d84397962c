"""Corrects logits for sampled negatives, so that scores do not depend on how often an item is sampled.

A row is a positive, or a negative sampled with probability q of its item. A logistic loss then learns log
p(item | user) − log q + a constant. With log q subtracted from the logit before the loss, the logit itself is
log p(item | user) + a constant, which ranks items as a page needs.
Source  X. Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019.
"""

from __future__ import annotations

import numpy as np

from karec.learn._torch import Tensor, torch
from karec.learn.fit.prepare import TrainingData


def sampling_log_probabilities(data: TrainingData) -> Tensor | None:
    """Returns (M, 1) float32: log(q · items) of each training row's item, or None.

    q depends on the item's positives in training, see Dataset.drawn.
    """
    if data.drawn is None:
        return None
    train = data.train
    n_positives = np.bincount(train.item_rows[train.labels[:, 0] > 0], minlength=len(train.snapshot.works))
    probability = (n_positives + 1.0) ** data.drawn
    log_probability = np.log(probability / probability.mean())
    return torch.from_numpy(log_probability[train.item_rows].astype(np.float32)[:, None]).to(
        data.train_batches.device
    )
