"""One training loop for every torch model: one-cycle AdamW, early stopping on validation, the best state kept.

Source  L. N. Smith, N. Topin, Super-convergence, 2018 (one cycle); I. Loshchilov, F. Hutter, ICLR 2019 (AdamW).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from karec.errors import KarecError

Progress = Callable[[int, int, str], None]
WARM_UP = 0.1


class TrainingDiverged(KarecError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows: their mean loss, and the score on validation (higher is better)."""

    loss: float
    score: float


def fit(
    model: nn.Module,
    n_rows: int,
    loss_of: Callable[[Tensor], Tensor],
    score: Callable[[], float],
    *,
    epochs: int,
    batch_size: int,
    rate: float,
    weight_decay: float,
    patience: int,
    seed: int,
    what: str,
    progress: Progress | None = None,
) -> list[Epoch]:
    """Train ``model`` in place, leave it in the state of its best epoch, and return the epochs in order.

    ``loss_of(rows)`` is the mean loss of the rows (a tensor of indices below ``n_rows``), ``score()`` the validation
    score of the model as it is. Stops after ``patience`` epochs without a better score. The order of rows is drawn from
    ``seed``, and so is dropout: the same seed, data and number of threads give the same model. Raises
    TrainingDiverged naming step and loss.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    tables = [p for name, p in model.named_parameters() if name.endswith("table.weight")]
    others = [p for name, p in model.named_parameters() if not name.endswith("table.weight")]
    optimizer = torch.optim.AdamW(
        [{"params": tables, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}], lr=rate
    )
    steps = -(-n_rows // batch_size)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps, pct_start=WARM_UP)
    history: list[Epoch] = []
    best, best_state = -float("inf"), copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for step, rows in enumerate(torch.split(torch.randperm(n_rows, generator=order), batch_size)):
            loss = loss_of(rows)
            if not torch.isfinite(loss):
                raise TrainingDiverged(
                    f"{what}: the loss is {loss.item()} at step {epoch * steps + step}; lower the rate"
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
            total += loss.item() * len(rows)
            if progress is not None:
                progress(epoch * steps + step + 1, epochs * steps, what)
        model.eval()
        history.append(Epoch(total / n_rows, score()))
        if history[-1].score > best:
            best, best_state = history[-1].score, copy.deepcopy(model.state_dict())
        elif len(history) - 1 - max(range(len(history)), key=lambda at: history[at].score) >= patience:
            if progress is not None:
                progress(epochs * steps, epochs * steps, what)
            break
    model.load_state_dict(best_state)
    model.eval()
    return history
