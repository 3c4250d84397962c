"""Training loop of every torch model: one-cycle AdamW, early stopping on validation; the best epoch is kept.

A training can be killed at any time. It resumes from its checkpoint with the same random draws and ends with
the same weights.
Source  L. N. Smith, N. Topin, Super-convergence, 2018 (one cycle); I. Loshchilov, F. Hutter, ICLR 2019
        (AdamW).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sized
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from karec.errors import KarecError
from karec.learn._torch import Tensor, nn, torch
from karec.learn.distributed.ranks import broadcast, is_connected, rank, share_errors
from karec.learn.distributed.step import RankGradients
from karec.learn.distributed.tables import (
    TABLE_RATE,
    RowwiseAdagrad,
    gather_tables,
    shard_tables,
    sharded_weights,
)
from karec.learn.fit.checkpoint import RESTART_HINT, Checkpoint, CheckpointError
from karec.learn.fit.rank_checkpoint import RankCheckpoint
from karec.learn.settings.settings import OptimizerSettings
from karec.times import Progress

WARM_UP = 0.1
FIRST_STEPS, EXPLODED = 20, 20.0  # a loss above 20 times the mean of the first 20 steps does not recover
CURVE_POINTS = 200
WEIGHTS = ("model", "best_state")  # parts of a checkpoint that have rows of sharded tables
PART_ROWS = 4  # whole user sides have 0.0007 less validation AUC (notebook/2026-12-01-user-day-batches.md)
B = TypeVar("B", bound=Sized)


class TrainingDiverged(KarecError):
    """The loss or a weight is not finite, or the loss has exploded."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows: their mean loss, and the validation score (higher is better) if there
    is one."""

    loss: float
    score: float | None


@dataclass
class FitState:
    """Progress of one training; a resumed one also needs model, optimizer and generators."""

    epoch: int = 0
    step: int = 0  # of the epoch
    rows: int = 0  # of the epoch
    total: float = 0.0  # sum of loss times rows, in the epoch
    first: float = 0.0  # sum of the losses of the first FIRST_STEPS steps
    history: list[Epoch] = field(default_factory=list)
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step of the training, loss)
    best: float = -math.inf
    done: bool = False

    @property
    def best_epoch(self) -> int:
        """The number of epochs after which the score was the best; all of them without scores."""
        scores = [epoch.score for epoch in self.history if epoch.score is not None]
        return scores.index(max(scores)) + 1 if scores else len(self.history)


def fit(
    model: nn.Module,
    n_rows: int,
    loss_of: Callable[[B, int], Tensor],
    score: Callable[[], float] | None,
    *,
    order: Callable[[torch.Generator], Iterable[B]],
    optimizer: OptimizerSettings,
    epochs: int,
    seed: int,
    title: str,
    checkpoint: Checkpoint | RankCheckpoint | None = None,
    progress: Progress | None = None,
    sharded_rows: int | None = None,
) -> FitState:
    """Trains ``model`` in place and leaves it with the weights of its best epoch.

    The order of rows and dropout depend on ``seed``: the same seed, data and number of threads give the same
    model, whether or not the training was killed and resumed. Stops after ``optimizer.patience`` epochs
    without a better score.

    On several ranks, each has a part of a batch, and all end with the same weights. ``score`` is called on
    all ranks; that of rank 0 counts.

    Args
      loss_of   (batch, step) → mean loss of the batch's rows at a step of the training
      order     generator → batches of an epoch, ceil(n_rows / batch_size), for example by ``shuffle``; on
                ranks the parts of this rank (``rank_parts``)
      score     returns the validation score of the current model; None: all ``epochs`` run, the last is kept
      title     name of the training in progress reports and errors
      sharded_rows   ranks divide the embedding tables of at least this many rows; None: no table

    Raises TrainingDiverged with step and loss; the checkpoint then still has finite weights.
    """
    torch.manual_seed(seed + 1_000_003 * rank())
    if is_connected() and sharded_rows is not None:
        shard_tables(model, sharded_rows)
    generator = torch.Generator().manual_seed(seed)
    steps = -(-n_rows // optimizer.batch_size)
    loop = _Loop(model, generator, optimizer, epochs, steps, title, checkpoint)
    loop.begin()
    state = loop.state
    while not state.done:
        epoch_order = generator.get_state()
        model.train()
        for step, batch in enumerate(order(generator)):
            if step >= state.step:
                loop.step(batch, loss_of, epoch_order)
                if progress is not None:
                    progress(state.epoch * steps + step + 1, epochs * steps, title)
        loop.end_epoch(score, optimizer.patience)
    if progress is not None:
        progress(epochs * steps, epochs * steps, title)
    model.load_state_dict(loop.best_weights)
    gather_tables(model)
    model.eval()
    if isinstance(checkpoint, RankCheckpoint):
        checkpoint.save_weights({"progress": asdict(state), "best_state": model.state_dict()})
    return state


def shuffle(
    n_rows: int, batch_size: int, generator: torch.Generator, groups: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Returns the rows below ``n_rows`` in random batches of ``batch_size`` rows; the last may have fewer.

    ``groups`` (n_rows,) int64: parts of PART_ROWS rows of a group stay together, so that a step reads their
    shared inputs once. None: each row is in a random batch.
    """
    rows = torch.randperm(n_rows, generator=generator)
    if groups is not None:
        rows = rows[torch.argsort(groups[rows], stable=True)]
        _, sizes = torch.unique_consecutive(groups[rows], return_counts=True)
        place = torch.arange(n_rows) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        part = (place % PART_ROWS == 0).cumsum(0) - 1
        rows = rows[torch.argsort(torch.randperm(n_rows, generator=generator)[part], stable=True)]
    return torch.split(rows, batch_size)


class _Loop:
    """State of a running training: model, optimizer, progress, and the weights of the best epoch."""

    def __init__(
        self,
        model: nn.Module,
        generator: torch.Generator,
        settings: OptimizerSettings,
        epochs: int,
        steps: int,
        title: str,
        checkpoint: Checkpoint | RankCheckpoint | None,
    ) -> None:
        self.model, self.generator = model, generator
        self.epochs, self.steps, self.title = epochs, steps, title
        self.checkpoint = checkpoint
        self.ranks = RankGradients(model) if is_connected() else None
        self.max_rate = settings.learning_rate
        self.tables = RowwiseAdagrad(list(sharded_weights(model)))
        self.optimizer = _optimizer(model, settings.learning_rate, settings.weight_decay)
        total = epochs * steps
        # torch divides by 0 if the rise ends exactly with the first step
        warm_up = WARM_UP + 0.01 if WARM_UP * total == 1.0 else WARM_UP
        self.cycle = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, settings.learning_rate, total_steps=total, pct_start=warm_up
        )
        self.parts: dict[str, Any] = {"model": model, "optimizer": self.optimizer, "cycle": self.cycle}
        self.curve_stride = max(epochs * steps // CURVE_POINTS, 1)
        self.state = FitState()
        self.best_weights: dict[str, Any] = {}

    def begin(self) -> None:
        with share_errors():
            saved = None if self.checkpoint is None else self.checkpoint.load()
        if self.ranks is not None:
            self.ranks.synchronize()
        if self.checkpoint is None or saved is None:
            self.best_weights = copy.deepcopy(self.model.state_dict())
        else:
            try:
                self._restore(saved)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise CheckpointError(
                    f"{self.checkpoint.path} belongs to a model of another structure: {reason}; "
                    f"{RESTART_HINT}"
                ) from error

    def step(self, batch: B, loss_of: Callable[[B, int], Tensor], epoch_order: Tensor) -> None:
        """Runs one optimizer step. ``epoch_order``: state of ``generator`` at the start of the epoch."""
        state = self.state
        training_step = state.epoch * self.steps + state.step
        n_rows = len(batch)
        if self.ranks is None:
            loss = loss_of(batch, training_step)
            value = loss.item()
            self._check_loss(value, training_step)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            value, n_rows = self.ranks.compute(lambda: loss_of(batch, training_step), n_rows)
            self._check_loss(value, training_step)
        self.optimizer.step()
        self.tables.step(TABLE_RATE * float(self.cycle.get_last_lr()[0]) / self.max_rate)
        self.cycle.step()
        state.rows += n_rows
        state.total += value * n_rows
        state.first += value if training_step < FIRST_STEPS else 0.0
        state.step += 1
        if training_step % self.curve_stride == 0:
            state.curve.append((training_step, value))
        if (
            self.checkpoint is not None
            and state.step < self.steps
            and (training_step + 1) % self.checkpoint.every_steps == 0
        ):
            self._check_weights(training_step)
            self._save(self.checkpoint, epoch_order)

    def end_epoch(self, score: Callable[[], float] | None, patience: int) -> None:
        """Scores the model, keeps its weights if they are the best so far, and sets ``state.done``."""
        state = self.state
        self._check_weights(state.epoch * self.steps + state.step)
        self.model.eval()
        if self.ranks is not None:
            self.ranks.synchronize()
        value = None if score is None else broadcast(score())
        state.history.append(Epoch(state.total / state.rows, value))
        state.epoch += 1
        state.step = state.rows = 0
        state.total = 0.0
        if value is None or value > state.best:
            state.best = state.best if value is None else value
            self.best_weights = copy.deepcopy(self.model.state_dict())
        state.done = state.epoch == self.epochs or state.epoch - state.best_epoch >= patience
        if self.checkpoint is not None:
            self._save(self.checkpoint, self.generator.get_state())

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
                f"{self.title}: the loss is {loss:.4g} at step {step}{than}; lower the "
                f"rate{self._last_good()}"
            )

    def _check_weights(self, step: int) -> None:
        with share_errors():
            for name, parameter in self.model.named_parameters():
                if not torch.isfinite(parameter).all():
                    raise TrainingDiverged(
                        f"{self.title}: {name} is not finite after step {step}; lower the rate"
                        f"{self._last_good()}"
                    )

    def _last_good(self) -> str:
        if self.checkpoint is None or not self.checkpoint.path.exists():
            return ""
        return f". The last good state is {self.checkpoint.path}"

    def _save(self, checkpoint: Checkpoint | RankCheckpoint, epoch_order: Tensor) -> None:
        state: dict[str, Any] = {
            "progress": asdict(self.state),
            "best_state": self.best_weights,
            **{name: part.state_dict() for name, part in self.parts.items()},
        }
        if isinstance(checkpoint, Checkpoint):
            cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
            random = {"order": epoch_order, "torch": torch.get_rng_state(), "cuda": cuda}
            checkpoint.save({**state, "random": random})
            return
        shards: dict[str, Tensor] = {}
        for weight, keys in sharded_weights(self.model).items():
            for name in WEIGHTS:
                shards[f"{name}/{keys[0]}"] = state[name][keys[0]]
                state[name] = {key: value for key, value in state[name].items() if key not in keys}
            shards[f"sum/{keys[0]}"] = self.tables.sums[weight]
        step = self.state.epoch * self.steps + self.state.step
        checkpoint.save(step, {**state, "random": {"order": epoch_order}}, shards)

    def _restore(self, saved: dict[str, Any]) -> None:
        for weight, keys in sharded_weights(self.model).items():
            for name in WEIGHTS:
                saved[name] |= dict.fromkeys(keys, saved["shards"][f"{name}/{keys[0]}"])
            self.tables.sums[weight].copy_(saved["shards"][f"sum/{keys[0]}"])
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        self.generator.set_state(saved["random"]["order"])
        if "torch" in saved["random"]:
            torch.set_rng_state(saved["random"]["torch"])
        if saved["random"].get("cuda"):
            torch.cuda.set_rng_state_all(saved["random"]["cuda"])
        state = dict(saved["progress"])
        state["history"] = [Epoch(**epoch) for epoch in state["history"]]
        state["curve"] = [(int(step), float(loss)) for step, loss in state["curve"]]
        self.state = FitState(**state)
        self.best_weights = saved["best_state"]


def _optimizer(model: nn.Module, rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Returns AdamW with weight decay only for embeddings, without sharded tables."""
    named = [(name, p) for name, p in model.named_parameters() if p not in sharded_weights(model)]
    tables = [p for name, p in named if name.endswith("table.weight")]
    rest = [p for name, p in named if not name.endswith("table.weight")]
    groups = [{"params": tables, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, fused=True)
