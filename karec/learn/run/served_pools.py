"""Adds pools of served requests to a training from scratch: the new ranker scores them for the towers.

The served log contains users, times and items of requests. Its logits are of another ranker with another
encoder and are not used: the new ranker scores the pools again, into OUT/served_log. Cost: one run of the
ranker per pool, at most ``shadow.at_most`` pools.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from zlib import crc32

import numpy as np

from karec.catalog.dataset import Dataset
from karec.learn.fit.prepare import TrainingData, prepare_served
from karec.learn.settings.settings import TrainSettings
from karec.logs.parts import LogFolder
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.lists import DRAWS, LoggedLists, find_examples, list_bounds, select_lists
from karec.samples.replay import RankLogReplay
from karec.samples.served_log import ServedLog, read_served_log
from karec.samples.soft_labels import SoftLabels, read_teacher_log
from karec.times import Progress


def read_served_pools(
    folder: LogFolder, dataset: Dataset, settings: TrainSettings, version: int | None = None
) -> ServedLog:
    """Returns at most ``shadow.at_most`` lists of the log in ``folder``, sampled with the settings' seed.

    Only lists of at least ``distil.list_works`` items are used. Raises the errors of ``read_served_log``.
    """
    served = read_served_log(
        folder,
        None,
        dataset.tasks,
        dataset.snapshot,
        dataset.valid_until_ms,
        version,
        settings.experiment.rows,
    )
    starts, ends = list_bounds(served.log)
    long_lists = np.flatnonzero(ends - starts >= settings.distil.list_works)
    generator = np.random.default_rng(settings.seed)
    chosen = np.sort(generator.permutation(long_lists)[: settings.shadow.at_most])
    positions = np.concatenate([*(np.arange(starts[i], ends[i]) for i in chosen), np.empty(0, np.int64)])
    note = (
        f"served log: {len(chosen):,} of {len(long_lists):,} lists of at least {settings.distil.list_works} "
        "items are used"
    )
    return ServedLog(served.log.take(positions), (*served.notes, note))


def describe_pools(served: ServedLog) -> str:
    """Returns a text that identifies the pools in checkpoints."""
    log = served.log
    rows = crc32(np.ascontiguousarray(log.user_id).data, crc32(np.ascontiguousarray(log.item_id).data))
    return f"served pools {len(log)} {crc32(np.ascontiguousarray(log.time_ms).data, rows):08x}"


def with_served_pools(
    dataset: Dataset,
    prepared: TrainingData,
    soft: SoftLabels,
    lists: LoggedLists,
    served: ServedLog,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
) -> tuple[TrainingData, SoftLabels, LoggedLists]:
    """Returns ``prepared``, ``soft`` and ``lists`` of the first log, extended by the served pools.

    The ranker in ``out`` scores the pools.
    """
    folder = out / "served_log"
    shutil.rmtree(folder, ignore_errors=True)
    if not len(served.log):
        return prepared, soft, lists
    both_logs = prepare_served(dataset, prepared.encoder, settings, served, out, progress, prepared=prepared)
    starts, _ = list_bounds(served.log)
    rows = find_examples(both_logs.train, served.log.user_id[starts], served.log.time_ms[starts])
    ranker, fusion = OnnxModel(out / "ranker.onnx"), ObjectiveWeights(settings.fusion)
    replay = RankLogReplay(both_logs.train, ranker, fusion, folder, progress, settings.run.threads)
    replay.write_served_pools(served.log, rows)
    log = read_teacher_log(folder, dataset.tasks)
    served_lists = select_lists(both_logs.train, log, settings.distil.list_works, settings.seed, DRAWS)
    soft = soft.pad_unknown(len(both_logs.train) - len(prepared.train))
    return both_logs, soft, LoggedLists.concat([served_lists, lists])
