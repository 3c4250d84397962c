"""One training loop for every torch model: one-cycle AdamW, early stopping on validation, the best state kept.

It can be killed at any moment: from its checkpoint it goes on with the same draws and ends with the same weights.
Source  L. N. Smith, N. Topin, Super-convergence, 2018 (one cycle); I. Loshchilov, F. Hutter, ICLR 2019 (AdamW).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from karec._clock import Progress
from karec.errors import KarecError
from karec.learn.run.checkpoint import ANEW, Checkpoint, CheckpointError

WARM_UP = 0.1
FIRST_STEPS, EXPLODED = 20, 20.0  # a loss so many times the mean of the first steps comes back from nowhere
CURVE_POINTS = 200


class TrainingDiverged(KarecError):
    """The loss, or a weight, is no longer a finite number, or the loss has exploded."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows: their mean loss, and the score on validation (higher is better)."""

    loss: float
    score: float


@dataclass
class Progressed:
    """How far a training is: everything beside the model, the optimizer and the generators that it goes on from."""

    epoch: int = 0
    step: int = 0  # of the epoch
    total: float = 0.0  # of losses times rows, in the epoch
    first: float = 0.0  # the sum of the first steps' losses
    history: list[Epoch] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)
    best: float = -math.inf
    done: bool = False

    @property
    def stale(self) -> int:
        """Epochs since the best one."""
        return len(self.history) - 1 - max(range(len(self.history)), key=lambda at: self.history[at].score)


def fit(
    model: nn.Module,
    n_rows: int,
    loss_of: Callable[[Tensor, int], Tensor],
    score: Callable[[], float],
    *,
    epochs: int,
    batch_size: int,
    rate: float,
    weight_decay: float,
    patience: int,
    seed: int,
    what: str,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Progressed:
    """Train ``model`` in place, leave it in the state of its best epoch; epochs in order and the loss's curve.

    ``loss_of(rows, step)`` is the mean loss of the rows (a tensor of indices below ``n_rows``) in the training's step,
    ``score()`` the validation score of the model as it is. Stops after ``patience`` epochs without a better score. The
    order of rows is drawn from ``seed``, and so is dropout: the same seed, data and number of threads give the same
    model, killed and resumed from ``checkpoint`` or not. Raises TrainingDiverged naming step and loss; what the
    checkpoint then holds is finite.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    optimizer = _optimizer(model, rate, weight_decay)
    steps = -(-n_rows // batch_size)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps, pct_start=WARM_UP)
    parts = {"model": model, "optimizer": optimizer, "cycle": cycle}
    at, best_state = _begin(parts, order, checkpoint)
    stride = max(epochs * steps // CURVE_POINTS, 1)
    _tell(checkpoint, at)
    while not at.done:
        began = order.get_state()
        model.train()
        for step, rows in enumerate(torch.split(torch.randperm(n_rows, generator=order), batch_size)):
            if step < at.step:
                continue
            now = at.epoch * steps + step
            loss = loss_of(rows, now)
            value = loss.item()
            _check(value, now, at.first / FIRST_STEPS, what, checkpoint)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
            at.total += value * len(rows)
            at.first += value if now < FIRST_STEPS else 0.0
            at.step = step + 1
            if now % stride == 0:
                at.curve.append((now, value))
                _tell(checkpoint, at)
            if checkpoint is not None and at.step < steps and (now + 1) % checkpoint.every == 0:
                _check_weights(model, now, what, checkpoint)
                checkpoint.save(_state(at, parts, best_state, began))
            if progress is not None:
                progress(now + 1, epochs * steps, what)
        _check_weights(model, at.epoch * steps + at.step, what, checkpoint)
        model.eval()
        at.history.append(Epoch(at.total / n_rows, score()))
        at.epoch, at.step, at.total = at.epoch + 1, 0, 0.0
        if at.history[-1].score > at.best:
            at.best, best_state = at.history[-1].score, copy.deepcopy(model.state_dict())
        at.done = at.epoch == epochs or at.stale >= patience
        if checkpoint is not None:
            checkpoint.save(_state(at, parts, best_state, order.get_state()))
        _tell(checkpoint, at)
    if progress is not None:
        progress(epochs * steps, epochs * steps, what)
    model.load_state_dict(best_state)
    model.eval()
    return at


def _optimizer(model: nn.Module, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    tables = [p for name, p in model.named_parameters() if name.endswith("table.weight")]
    others = [p for name, p in model.named_parameters() if not name.endswith("table.weight")]
    groups = [{"params": tables, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate)


def _check(loss: float, step: int, first: float, what: str, checkpoint: Checkpoint | None) -> None:
    exploded = step >= FIRST_STEPS and first > 0 and loss > EXPLODED * first
    if not math.isfinite(loss) or exploded:
        than = f", more than {EXPLODED:g} times the first {FIRST_STEPS} steps' {first:.4g}" if exploded else ""
        raise TrainingDiverged(
            f"{what}: the loss is {loss:.4g} at step {step}{than}; lower the rate{_kept(checkpoint)}"
        )


def _check_weights(model: nn.Module, step: int, what: str, checkpoint: Checkpoint | None) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise TrainingDiverged(f"{what}: {name} is not finite after step {step}; lower the rate{_kept(checkpoint)}")


def _tell(checkpoint: Checkpoint | None, at: Progressed) -> None:
    if checkpoint is not None and checkpoint.watch is not None:
        checkpoint.watch(at)


def _kept(checkpoint: Checkpoint | None) -> str:
    there = checkpoint is not None and checkpoint.path.exists()
    return f". The last good state is {checkpoint.path}" if there and checkpoint is not None else ""


def _state(at: Progressed, parts: dict[str, Any], best_state: dict[str, Any], order: Tensor) -> dict[str, Any]:
    """``order`` is the state of the generator of row orders as the epoch began."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "progress": asdict(at),
        "best_state": best_state,
        "random": {"order": order, "torch": torch.get_rng_state(), "cuda": cuda},
        **{name: part.state_dict() for name, part in parts.items()},
    }


def _begin(
    parts: dict[str, Any], order: torch.Generator, checkpoint: Checkpoint | None
) -> tuple[Progressed, dict[str, Any]]:
    """How far the training is and its best state: at the beginning, or where the checkpoint goes on."""
    saved = None if checkpoint is None else checkpoint.load()
    if checkpoint is None or saved is None:
        return Progressed(), copy.deepcopy(parts["model"].state_dict())
    try:
        return _restore(saved, parts, order)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise CheckpointError(f"{checkpoint.path} is of a model that was built otherwise: {why}; {ANEW}") from error


def _restore(saved: dict[str, Any], parts: dict[str, Any], order: torch.Generator) -> tuple[Progressed, dict[str, Any]]:
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    order.set_state(saved["random"]["order"])
    torch.set_rng_state(saved["random"]["torch"])
    if saved["random"]["cuda"]:
        torch.cuda.set_rng_state_all(saved["random"]["cuda"])
    told = dict(saved["progress"])
    told["history"] = [Epoch(**epoch) for epoch in told["history"]]
    told["curve"] = [(int(step), float(loss)) for step, loss in told["curve"]]
    return Progressed(**told), saved["best_state"]
