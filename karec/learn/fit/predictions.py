"""Predictions for encoded examples, and the score that selects a training's best epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.accuracy import auc
from karec.learn._torch import Tensor, torch
from karec.learn.fit.batches import IN_ORDER, Batches
from karec.learn.nets.logistic_regression import LogisticRegression
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.towers import Towers


def predict(model: MmoeRanker | LogisticRegression | Towers, batches: Batches) -> NDArray[Any]:
    """Returns the logits (M, H) of a ranker, or of towers with the fused head first."""
    model.eval()
    order = torch.argsort(batches.sides, stable=True)
    read = batches.inputs if isinstance(model, LogisticRegression) else batches.inputs_by_user
    with torch.no_grad():
        logits = torch.cat([model(read(rows, model.inputs)) for rows in torch.split(order, IN_ORDER)])
    return np.asarray(logits[torch.argsort(order)].cpu().numpy())


def mean_auc(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Returns the mean AUC over tasks of ``labels (N, T)``, without tasks of one class."""
    values = [auc(labels[:, task], logits[:, task]) for task in range(labels.shape[1])]
    defined = [value for value in values if np.isfinite(value)]
    return float(np.mean(defined)) if defined else 0.0


def task_weights(tasks: Sequence[str], weights: Mapping[str, float], device: torch.device) -> Tensor:
    """Returns (H,) float32: the loss weight of each task, 1 if ``weights`` does not name it."""
    return torch.tensor([weights.get(task, 1.0) for task in tasks], dtype=torch.float32, device=device)
