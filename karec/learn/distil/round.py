"""One round of distillation: new towers, trained once on one set of targets."""

from __future__ import annotations

from collections.abc import Mapping

from karec.errors import DataError
from karec.learn._torch import Tensor, torch
from karec.learn.distil.retrieval import validation_score
from karec.learn.distil.step_loss import StepLoss
from karec.learn.distil.targets import Targets
from karec.learn.fit.loop import NOT_RECORDED, FitState, Recording, fit
from karec.learn.fit.predictions import mean_auc, predict
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.towers import Towers
from karec.learn.settings.settings import DistilSettings, TrainSettings
from karec.samples.lists import LoggedLists
from karec.times import Progress


def train_round(
    prepared: TrainingData,
    targets: Targets,
    lists: LoggedLists | None,
    settings: TrainSettings,
    progress: Progress | None = None,
    recording: Recording = NOT_RECORDED,
    what: str = "training the towers",
    start: Mapping[str, Tensor] | None = None,
) -> tuple[Towers, FitState]:
    """Towers trained on ``targets``, best epoch on validation kept; ``what`` is what progress calls it. The
    best by AUC, or by recall where the towers learn to retrieve. ``start`` are the weights to begin from,
    those of towers of the same encoder and sizes; None: drawn ones.

    Raises DataError when a loss needs lists, or soft labels of training rows, and there are none.
    """
    _check_targets(settings.distil, targets, lists)
    valid = prepared.valid_batches
    towers, optimizer = settings.towers, settings.optimizer
    model = new_towers(prepared, settings, vector=towers.vector)
    if start is not None:
        model.load_state_dict(start)

    def score() -> float:
        if settings.distil.retrieval_weight:
            return validation_score(model, prepared, settings.seed)
        return mean_auc(predict(model, valid)[:, 1:], prepared.valid.labels)

    state = fit(
        model,
        prepared.n_shown,
        StepLoss(model, prepared, targets, lists, settings),
        score,
        epochs=towers.epochs,
        batch_size=optimizer.batch_size,
        rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        patience=optimizer.patience,
        seed=settings.seed,
        title=what,
        recording=recording,
        progress=progress,
    )
    return model, state


def new_towers(
    prepared: TrainingData, settings: TrainSettings, *, vector: int, by_task: bool = True
) -> Towers:
    """Towers as they begin, of the sizes of [towers], with ``vector`` dimensions, weights drawn from the
    seed."""
    torch.manual_seed(settings.seed)
    towers, train = settings.towers, prepared.train_batches
    return Towers(
        prepared.encoder,
        train.edges(settings.features.bins),
        towers=towers.kind,
        dim=settings.features.dim,
        hidden=towers.hidden,
        vector=vector,
        id_dropout=towers.id_dropout,
        profile_dropout=towers.profile_dropout,
        matching=towers.matching is True,
        by_task=by_task,
    ).to(train.device)


def _check_targets(distil: DistilSettings, targets: Targets, lists: LoggedLists | None) -> None:
    if distil.needs_lists and (lists is None or not len(lists)):
        raise DataError(
            f"recipe {distil.recipe!r} learns from lists of {distil.list_works} works, and the rank log has "
            f"none "
            "so long for a training request: raise shadow.share, or set the weights of the list losses to 0"
        )
    if distil.soft_weight and not targets.known.any():
        raise DataError(
            f"recipe {distil.recipe!r} learns from what the ranker said, and the rank log has no row of a "
            f"training "
            "exposure: is it of these users, works and moments (in ms)? Or set distil.soft_weight to 0"
        )
