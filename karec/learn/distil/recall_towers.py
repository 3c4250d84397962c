"""The recall towers: which works of the whole library a user will enjoy, learned by sampled softmax.

Prerank's towers learn the order within a pool, from what was shown and from the ranker. These learn the set
that recall takes from the library. Each row is a user with a work that was enjoyed; its negatives are the
works of the batch's other rows and works drawn evenly from all that were published by the row's moment. The
logit of a candidate has the log of the count that the step expects of it taken off, so that a work is not
pushed down for being drawn often.

Source  J. Yang et al., Mixed negative sampling for learning two-tower neural networks in recommendations, WWW
        2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.learn._torch import Tensor, nn, torch
from karec.learn.distil.losses import contrastive_loss
from karec.learn.distil.round import new_towers
from karec.learn.export.onnx_export import export_onnx
from karec.learn.fit.loop import NOT_RECORDED, FitState, Recording, fit
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.towers import Towers, UserTower
from karec.learn.settings.settings import TrainSettings
from karec.samples.examples import Examples
from karec.samples.sampled_items import Library
from karec.times import Progress

VALIDATION_ROWS, VALIDATION_WORKS = 2_000, 10_000
FOUND_WITHIN = 0.01  # of the drawn works: a validation row counts whose own work stands above all but so many
NAMES = {"user": "recall_user_tower", "item": "recall_item_tower"}


def train_recall_towers(
    prepared: TrainingData,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    recording: Recording = NOT_RECORDED,
) -> FitState:
    """Train the recall towers and write recall_user_tower.onnx and recall_item_tower.onnx to ``folder``.

    The best epoch by ``Validation.score`` is kept. Some training rows and some validation rows must have been
    enjoyed.
    """
    recall, optimizer = settings.recall, settings.optimizer
    enjoyed = enjoyed_rows(prepared.train)
    validation = Validation(prepared, settings.seed)
    model = new_towers(prepared, settings, vector=recall.vector, by_task=False)
    state = fit(
        model,
        len(enjoyed),
        SampledSoftmax(model, prepared, enjoyed, settings),
        lambda: validation.score(model),
        epochs=recall.epochs,
        batch_size=optimizer.batch_size,
        rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        patience=optimizer.patience,
        seed=settings.seed,
        title="training the recall towers",
        recording=recording,
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
    """The examples whose work was enjoyed, as the snapshot's meaning says."""
    return np.flatnonzero(examples.snapshot.meaning.is_enjoyed(examples.exposures.labels))


class SampledSoftmax:
    """``step_loss(rows, step)``: the loss of a batch; ``rows`` point into ``enjoyed``, rows of the training
    examples.

    The negatives of a step depend on the settings' seed and the step alone, so that a resumed training draws
    the same.
    """

    def __init__(
        self, model: Towers, prepared: TrainingData, enjoyed: NDArray[Any], settings: TrainSettings
    ) -> None:
        self.model, self.prepared, self.recall, self.seed = model, prepared, settings.recall, settings.seed
        self.enjoyed = torch.from_numpy(enjoyed)
        self.library = Library(prepared.train.snapshot)
        works = prepared.train.work_rows[enjoyed]
        counts = np.bincount(works, minlength=len(prepared.train.snapshot.works))
        self.share = counts / len(works)

    def __call__(self, rows: Tensor, step: int) -> Tensor:
        model, batches, examples = self.model, self.prepared.train_batches, self.prepared.train
        at = self.enjoyed[rows]
        inputs = batches.inputs(at, model.inputs)
        users = model.user(inputs).user_vector
        own, moments, drawn = at.numpy(), *self._drawn(at.numpy(), step)
        works = torch.cat(
            [model.item(inputs), model.item(tensors(examples.items(moments, drawn), batches.device))]
        )
        ids = np.concatenate([examples.work_rows[own], drawn])
        there = self.library.n_there(examples.as_of[own]).mean()
        expected = len(own) * self.share[ids] + len(drawn) / there
        return contrastive_loss(
            users,
            works,
            torch.arange(len(own), device=users.device),
            torch.from_numpy(ids).to(users.device),
            torch.from_numpy(np.log(expected).astype(np.float32)).to(users.device),
            self.recall.temperature,
        )

    def _drawn(self, rows: NDArray[Any], step: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """(examples whose moments are taken, works there then): ``recall.negatives`` of each."""
        generator = np.random.default_rng((self.seed, step))
        moments = generator.choice(rows, self.recall.negatives)
        return moments, self.library.draw(self.prepared.train.as_of[moments], generator)


class Validation:
    """What the towers find on validation days: rows that were enjoyed against works drawn from the
    library."""

    def __init__(self, prepared: TrainingData, seed: int) -> None:
        valid, generator = prepared.valid, np.random.default_rng(seed)
        rows = generator.permutation(enjoyed_rows(valid))[:VALIDATION_ROWS]
        self.batches, self.rows = prepared.valid_batches, torch.from_numpy(np.sort(rows))
        moments = generator.choice(rows, VALIDATION_WORKS)
        self.works = tensors(
            valid.items(moments, Library(valid.snapshot).draw(valid.as_of[moments], generator)),
            self.batches.device,
        )

    def score(self, model: Towers) -> float:
        """The share of the rows whose own work scores above all but ``FOUND_WITHIN`` of the drawn works."""
        with torch.no_grad():
            inputs = self.batches.inputs(self.rows, model.inputs)
            users = model.user(inputs).user_vector
            own = (users * model.item(inputs)).sum(dim=1, keepdim=True)
            above = (users @ model.item(self.works).T > own).float().mean(dim=1)
            return float((above < FOUND_WITHIN).float().mean())


class _FusedVector(nn.Module):
    """A user tower without the vectors of tasks."""

    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        vector: Tensor = self.tower(inputs).user_vector
        return vector


def tensors(inputs: Mapping[str, NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)).to(device) for name, value in inputs.items()}
