"""First rank log: the ranker's logits of the training days, before it has served; and validation pools."""

from __future__ import annotations

import shutil
from pathlib import Path

from karec.evaluate.agreement import RankedPools
from karec.learn.fit.prepare import TrainingData
from karec.learn.settings.settings import TrainSettings
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.samples.lists import LoggedLists, select_lists
from karec.samples.replay import RankLogReplay
from karec.samples.soft_labels import SoftLabels, join_soft_labels, read_teacher_log
from karec.times import Progress


def write_and_read_first_log(
    prepared: TrainingData, settings: TrainSettings, folder: Path, progress: Progress | None = None
) -> tuple[SoftLabels, LoggedLists | None]:
    """Writes ``folder``/rank_log with the scores of ``folder``/ranker.onnx, and reads it.

    Returns soft labels and logged lists; the lists are None if no loss needs them.
    """
    log = folder / "rank_log"
    train = prepared.train
    tasks = prepared.encoder.tasks
    distil = settings.distil
    shutil.rmtree(log, ignore_errors=True)
    write_first_log(train, folder / "ranker.onnx", settings, log, progress, pools=distil.needs_lists)
    teacher = read_teacher_log(log, tasks)
    soft = join_soft_labels(train.exposures, teacher)
    if not distil.needs_lists:
        return soft, None
    return soft, select_lists(train, teacher, distil.list_works, settings.seed)


def rank_validation_pools(
    prepared: TrainingData, settings: TrainSettings, ranker: Path, progress: Progress | None = None
) -> RankedPools | None:
    """Returns pools of validation requests with the scores of the model ``ranker``, to choose an epoch.

    None if no epoch is chosen by agreement: in a final fit, without a teacher, or with too few items.
    """
    if prepared.is_final or not settings.distil.has_teacher:
        return None
    fusion, threads, seed = ObjectiveWeights(settings.fusion), settings.run.threads, settings.seed
    return RankedPools.from_ranker(
        prepared.valid, OnnxModel(ranker), fusion, seed=seed, threads=threads, progress=progress
    )


def write_first_log(
    train: Examples,
    ranker: Path,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    *,
    pools: bool,
) -> None:
    """Writes the rank log of the model ``ranker`` for the examples ``train``.

    ``pools``: also log whole pools of a fraction of the requests.
    """
    weights, threads = ObjectiveWeights(settings.fusion), settings.run.threads
    replay = RankLogReplay(train, OnnxModel(ranker), weights, folder, progress, threads)
    replay.write_exposures()
    if pools:
        shadow, seed = settings.shadow, settings.seed
        replay.write_pools(share=shadow.share, max_requests=shadow.at_most, n_items=shadow.works, seed=seed)
