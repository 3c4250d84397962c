"""What a model predicts of encoded examples, and the score by which a training keeps its best epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.accuracy import auc
from karec.learn._torch import Tensor, torch
from karec.learn.fit.batches import Batches
from karec.learn.nets.logistic_regression import LogisticRegression
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.nets.towers import Towers


def predict(model: MmoeRanker | LogisticRegression | Towers, batches: Batches) -> NDArray[Any]:
    """(M, H) logits of a ranker, or of towers with the fused one first."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(inputs) for inputs in batches.in_order(model.inputs)])
    return np.asarray(logits.cpu().numpy())


def mean_auc(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """The mean over the tasks of ``labels (N, T)`` of the AUC; a task of one class does not count."""
    values = [auc(labels[:, task], logits[:, task]) for task in range(labels.shape[1])]
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else 0.0


def task_weights(tasks: Sequence[str], weights: Mapping[str, float], device: torch.device) -> Tensor:
    """(H,) the weight of each task's loss, 1 where nothing is said."""
    return torch.tensor([weights.get(task, 1.0) for task in tasks], dtype=torch.float32, device=device)
