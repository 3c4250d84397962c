"""Recall towers: they learn by sampled softmax which items of the whole library a user enjoys.

The pre-ranking towers learn the order within a pool, from exposures and from the ranker. Recall towers learn
which items to retrieve. A training row is a user with an enjoyed item. Its negatives are the items of the
other rows in the batch, and items sampled uniformly from those published by the row's time. log Q, the log of
a candidate's expected count in the step, is subtracted from its logit, so that frequently sampled items do
not get too low scores.

Source  J. Yang et al., Mixed negative sampling for learning two-tower neural networks in recommendations, WWW
        2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.snapshot import Snapshot
from karec.learn._torch import Tensor, nn, torch
from karec.learn.distil.distillation import new_towers
from karec.learn.distil.losses import contrastive_loss
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.checkpoint import Checkpoint
from karec.learn.fit.loop import FitState, fit
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.towers import Towers, UserTower
from karec.learn.settings.settings import TrainSettings
from karec.samples.examples import Examples
from karec.times import Progress

VALIDATION_ROWS, VALIDATION_ITEMS = 2_000, 10_000
TOP_FRACTION = 0.01  # of the sampled items; a validation row counts if its own item is within this top
NAMES = {"user": "recall_user_tower", "item": "recall_item_tower"}


def train_recall_towers(
    prepared: TrainingData,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> FitState:
    """Trains the recall towers and writes recall_user_tower.onnx and recall_item_tower.onnx to ``folder``.

    The epoch with the best ``Validation.score`` is kept. Training and validation days must have enjoyed rows.
    """
    recall = settings.recall
    enjoyed = enjoyed_rows(prepared.train)
    validation = Validation(prepared, settings.seed)
    model = new_towers(prepared, settings, vector=recall.vector, by_task=False)
    state = fit(
        model,
        len(enjoyed),
        SampledSoftmax(model, prepared, enjoyed, settings),
        lambda: validation.score(model),
        optimizer=settings.optimizer,
        epochs=recall.epochs,
        seed=settings.seed,
        title="training the recall towers",
        checkpoint=checkpoint,
        progress=progress,
    )
    model.cpu()
    for side, output in (("user", "user_vector"), ("item", "item_vector")):
        tower, path = getattr(model, side), folder / f"{NAMES[side]}.onnx"
        export_onnx(
            _FusedVector(tower) if side == "user" else tower,
            prepared.example_batch(tower.inputs),
            [output],
            path,
            kind=NAMES[side],
            tasks=prepared.encoder.tasks,
            model_version=settings.model_version,
        )
    return state


def enjoyed_rows(examples: Examples) -> NDArray[Any]:
    """Returns the indices of the examples whose item was enjoyed, as defined by the snapshot."""
    return np.flatnonzero(examples.snapshot.meaning.is_enjoyed(examples.exposures.labels))


class SampledSoftmax:
    """Loss of one step; called with (rows, step), where ``rows`` are indices into ``enjoyed``.

    The negatives of a step depend only on seed and step, so a resumed training samples the same ones.
    """

    def __init__(
        self, model: Towers, prepared: TrainingData, enjoyed: NDArray[Any], settings: TrainSettings
    ) -> None:
        self.model, self.prepared = model, prepared
        self.recall, self.seed = settings.recall, settings.seed
        self.enjoyed = torch.from_numpy(enjoyed)
        self.library = PublishedItems(prepared.train.snapshot)
        items = prepared.train.item_rows[enjoyed]
        counts = np.bincount(items, minlength=len(prepared.train.snapshot.works))
        self.item_fraction = counts / len(items)

    def __call__(self, rows: Tensor, step: int) -> Tensor:
        model, batches, examples = self.model, self.prepared.train_batches, self.prepared.train
        enjoyed = self.enjoyed[rows]
        inputs = batches.inputs(enjoyed, model.inputs)
        users = model.user(inputs).user_vector
        own = enjoyed.numpy()
        time_rows, sampled = self._sample(own, step)
        items = torch.cat(
            [model.item(inputs), model.item(tensors(examples.items(time_rows, sampled), batches.device))]
        )
        ids = np.concatenate([examples.item_rows[own], sampled])
        n_published = self.library.n_published(examples.as_of[own]).mean()
        expected = len(own) * self.item_fraction[ids] + len(sampled) / n_published
        return contrastive_loss(
            users,
            items,
            torch.arange(len(own), device=users.device),
            torch.from_numpy(ids).to(users.device),
            torch.from_numpy(np.log(expected).astype(np.float32)).to(users.device),
            self.recall.temperature,
        )

    def _sample(self, rows: NDArray[Any], step: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns ``recall.negatives`` rows, whose times are used, and a published item for each."""
        generator = np.random.default_rng((self.seed, step))
        time_rows = generator.choice(rows, self.recall.negatives)
        return time_rows, self.library.sample(self.prepared.train.as_of[time_rows], generator)


class PublishedItems:
    """Samples item rows. Built once in O(W log W) for W items; a sample costs one binary search per time."""

    def __init__(self, snapshot: Snapshot) -> None:
        published = snapshot.published_ms
        self._by_age = np.argsort(published, kind="stable")
        self._published = published[self._by_age]

    def n_published(self, time_ms: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64: the number of items published by each time."""
        return np.searchsorted(self._published, time_ms, side="right")

    def sample(self, time_ms: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        """Returns (N,) int64: for each time the row of a published item, uniformly, with replacement.

        Raises ValueError if no item was published by one of the times.
        """
        n_published = self.n_published(time_ms)
        empty = np.flatnonzero(n_published == 0)
        if len(empty):
            raise ValueError(f"no item was published by {int(time_ms[empty[0]])} (Unix ms)")
        return np.asarray(self._by_age[generator.integers(0, n_published)])


class Validation:
    """Measures retrieval on validation days: enjoyed rows against items sampled from the library."""

    def __init__(self, prepared: TrainingData, seed: int) -> None:
        valid, generator = prepared.valid, np.random.default_rng(seed)
        rows = generator.permutation(enjoyed_rows(valid))[:VALIDATION_ROWS]
        self.batches, self.rows = prepared.valid_batches, torch.from_numpy(np.sort(rows))
        time_rows = generator.choice(rows, VALIDATION_ITEMS)
        self.items = tensors(
            valid.items(time_rows, PublishedItems(valid.snapshot).sample(valid.as_of[time_rows], generator)),
            self.batches.device,
        )

    def score(self, model: Towers) -> float:
        """Returns the fraction of rows whose own item is within the top TOP_FRACTION of the sampled items."""
        with torch.no_grad():
            inputs = self.batches.inputs(self.rows, model.inputs)
            users = model.user(inputs).user_vector
            own = (users * model.item(inputs)).sum(dim=1, keepdim=True)
            above = (users @ model.item(self.items).T > own).float().mean(dim=1)
            return float((above < TOP_FRACTION).float().mean())


class _FusedVector(nn.Module):
    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        vector: Tensor = self.tower(inputs).user_vector
        return vector


def tensors(inputs: Mapping[str, NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)).to(device) for name, value in inputs.items()}
