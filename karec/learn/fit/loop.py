"""One training loop for every torch model: one-cycle AdamW, early stopping on validation, the best state
kept.

It can be killed at any moment: from its checkpoint it goes on with the same draws and ends with the same
weights.
Source  L. N. Smith, N. Topin, Super-convergence, 2018 (one cycle); I. Loshchilov, F. Hutter, ICLR 2019
        (AdamW).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from karec.errors import KarecError
from karec.learn._torch import Tensor, nn, torch
from karec.learn.fit.checkpoint import ANEW, Checkpoint, CheckpointError
from karec.learn.fit.state import Epoch, FitState
from karec.times import Progress

WARM_UP = 0.1
FIRST_STEPS, EXPLODED = 20, 20.0  # a loss of more than so many times the first steps' mean does not come back
CURVE_POINTS = 200


class TrainingDiverged(KarecError):
    """The loss, or a weight, is no longer a finite number, or the loss has exploded."""


@dataclass(frozen=True)
class Recording:
    """Where a training is recorded: its checkpoint, and ``watch``, which gets its state as it begins or goes
    on, at each point of the curve and after each epoch."""

    checkpoint: Checkpoint | None = None
    watch: Callable[[FitState], None] | None = None


NOT_RECORDED = Recording()


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
    recording: Recording = NOT_RECORDED,
    progress: Progress | None = None,
) -> FitState:
    """Train ``model`` in place and leave it in the state of its best epoch.

    ``loss_of(rows, step)`` is the mean loss of the rows (a tensor of indices below ``n_rows``) in the
    training's step, ``score()`` the validation score of the model as it is. Stops after ``patience`` epochs
    without a better score. The order of rows is drawn from ``seed``, and so is dropout: the same seed, data
    and number of threads give the same model, killed and resumed from its checkpoint or not. Raises
    TrainingDiverged naming step and loss; what the checkpoint then holds is finite.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    steps = -(-n_rows // batch_size)
    loop = _Loop(model, order, rate, weight_decay, epochs, steps, what, recording)
    loop.begin()
    state = loop.state
    while not state.done:
        epoch_order = order.get_state()
        model.train()
        for step, rows in enumerate(torch.split(torch.randperm(n_rows, generator=order), batch_size)):
            if step >= state.step:
                loop.step(rows, loss_of, epoch_order)
                if progress is not None:
                    progress(state.epoch * steps + step + 1, epochs * steps, what)
        loop.end_epoch(n_rows, score, patience)
    if progress is not None:
        progress(epochs * steps, epochs * steps, what)
    model.load_state_dict(loop.best_weights)
    model.eval()
    return state


class _Loop:
    """A training under way: the model, what trains it, how far it is, and the weights of its best epoch."""

    def __init__(
        self,
        model: nn.Module,
        order: torch.Generator,
        rate: float,
        weight_decay: float,
        epochs: int,
        steps: int,
        what: str,
        recording: Recording,
    ) -> None:
        self.model, self.order, self.epochs, self.steps, self.what = model, order, epochs, steps, what
        self.recording, self.checkpoint = recording, recording.checkpoint
        self.optimizer = _optimizer(model, rate, weight_decay)
        self.cycle = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=epochs * steps, pct_start=WARM_UP
        )
        self.parts: dict[str, Any] = {"model": model, "optimizer": self.optimizer, "cycle": self.cycle}
        self.curve_stride = max(epochs * steps // CURVE_POINTS, 1)
        self.state = FitState()
        self.best_weights: dict[str, Any] = {}

    def begin(self) -> None:
        """From the checkpoint, if there is one, or anew."""
        saved = None if self.checkpoint is None else self.checkpoint.load()
        if self.checkpoint is None or saved is None:
            self.best_weights = copy.deepcopy(self.model.state_dict())
        else:
            try:
                self._restore(saved)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                why = " ".join(str(error).split())
                raise CheckpointError(
                    f"{self.checkpoint.path} is of a model that was built otherwise: {why}; {ANEW}"
                ) from error
        self._tell()

    def step(self, rows: Tensor, loss_of: Callable[[Tensor, int], Tensor], epoch_order: Tensor) -> None:
        """One step of the optimizer; ``epoch_order`` is the state of ``order`` as the epoch began."""
        state = self.state
        now = state.epoch * self.steps + state.step
        loss = loss_of(rows, now)
        value = loss.item()
        self._check_loss(value, now)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.cycle.step()
        state.total += value * len(rows)
        state.first += value if now < FIRST_STEPS else 0.0
        state.step += 1
        if now % self.curve_stride == 0:
            state.curve.append((now, value))
            self._tell()
        if self.checkpoint is not None and state.step < self.steps and (now + 1) % self.checkpoint.every == 0:
            self._check_weights(now)
            self._save(self.checkpoint, epoch_order)

    def end_epoch(self, n_rows: int, score: Callable[[], float], patience: int) -> None:
        """Score the model, keep its weights where they are the best, and say whether the training is done."""
        state = self.state
        self._check_weights(state.epoch * self.steps + state.step)
        self.model.eval()
        state.history.append(Epoch(state.total / n_rows, score()))
        state.epoch, state.step, state.total = state.epoch + 1, 0, 0.0
        if state.history[-1].score > state.best:
            state.best, self.best_weights = state.history[-1].score, copy.deepcopy(self.model.state_dict())
        state.done = state.epoch == self.epochs or state.stale >= patience
        if self.checkpoint is not None:
            self._save(self.checkpoint, self.order.get_state())
        self._tell()

    def _tell(self) -> None:
        if self.recording.watch is not None:
            self.recording.watch(self.state)

    def _check_loss(self, loss: float, step: int) -> None:
        first = self.state.first / FIRST_STEPS
        exploded = step >= FIRST_STEPS and first > 0 and loss > EXPLODED * first
        if not math.isfinite(loss) or exploded:
            than = (
                f", more than {EXPLODED:g} times the first {FIRST_STEPS} steps' {first:.4g}"
                if exploded
                else ""
            )
            raise TrainingDiverged(
                f"{self.what}: the loss is {loss:.4g} at step {step}{than}; lower the rate{self._last_good()}"
            )

    def _check_weights(self, step: int) -> None:
        for name, parameter in self.model.named_parameters():
            if not torch.isfinite(parameter).all():
                raise TrainingDiverged(
                    f"{self.what}: {name} is not finite after step {step}; lower the rate{self._last_good()}"
                )

    def _last_good(self) -> str:
        there = self.checkpoint is not None and self.checkpoint.path.exists()
        return (
            f". The last good state is {self.checkpoint.path}"
            if there and self.checkpoint is not None
            else ""
        )

    def _save(self, checkpoint: Checkpoint, epoch_order: Tensor) -> None:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint.save(
            {
                "progress": asdict(self.state),
                "best_state": self.best_weights,
                "random": {"order": epoch_order, "torch": torch.get_rng_state(), "cuda": cuda},
                **{name: part.state_dict() for name, part in self.parts.items()},
            }
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        self.order.set_state(saved["random"]["order"])
        torch.set_rng_state(saved["random"]["torch"])
        if saved["random"]["cuda"]:
            torch.cuda.set_rng_state_all(saved["random"]["cuda"])
        state = dict(saved["progress"])
        state["history"] = [Epoch(**epoch) for epoch in state["history"]]
        state["curve"] = [(int(step), float(loss)) for step, loss in state["curve"]]
        self.state = FitState(**state)
        self.best_weights = saved["best_state"]


def _optimizer(model: nn.Module, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW that decays embeddings alone."""
    tables = [p for name, p in model.named_parameters() if name.endswith("table.weight")]
    others = [p for name, p in model.named_parameters() if not name.endswith("table.weight")]
    groups = [{"params": tables, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate)
