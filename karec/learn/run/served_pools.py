"""What served requests had to choose from, for towers from scratch: a new ranker orders these pools, and they
learn it.

The served log says which works met which user at which moment. Its logits are of another ranker, with an
encoder of its own, and teach nothing here: the new ranker scores the pools anew, as it scores the first log,
into OUT/served_log. Cost: one run of the ranker over each pool, ``shadow.at_most`` of them at most.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from zlib import crc32

import numpy as np

from karec.catalog.dataset import Dataset
from karec.learn.fit.prepare import TrainingData, prepare_served
from karec.learn.settings.settings import TrainSettings
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.lists import DRAWS, LoggedLists, example_of, list_bounds, lists_of
from karec.samples.replay import write_served_pools
from karec.samples.served_log import ServedLog, read_served_log
from karec.samples.soft_labels import SoftLabels, read_teacher_log
from karec.times import Progress


def read_served_pools(
    folder: Path, dataset: Dataset, settings: TrainSettings, version: int | None = None
) -> ServedLog:
    """The lists of the log in ``folder`` that are long enough to teach, ``shadow.at_most`` of them at most,
    drawn from the settings' seed. Raises as ``read_served_log``.
    """
    served = read_served_log(folder, None, dataset.tasks, dataset.snapshot, dataset.valid_until_ms, version)
    starts, ends = list_bounds(served.log)
    long = np.flatnonzero(ends - starts >= settings.distil.list_works)
    generator = np.random.default_rng(settings.seed)
    chosen = np.sort(generator.permutation(long)[: settings.shadow.at_most])
    places = np.concatenate([*(np.arange(starts[at], ends[at]) for at in chosen), np.empty(0, np.int64)])
    told = (
        f"served log: {len(chosen):,} of {len(long):,} lists of at least {settings.distil.list_works} works "
        f"teach"
    )
    return ServedLog(served.log.take(places), (*served.notes, told))


def named(served: ServedLog) -> str:
    """What a checkpoint says of the pools that its towers learn from."""
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
    """What towers learn from: ``prepared``, ``soft`` and ``lists`` of the first log, and the served pools as
    the ranker in ``out`` orders them.
    """
    folder = out / "served_log"
    shutil.rmtree(folder, ignore_errors=True)
    if not len(served.log):
        return prepared, soft, lists
    both = prepare_served(dataset, prepared.encoder, settings, served, None, progress, prepared)
    starts, _ = list_bounds(served.log)
    rows = example_of(both.train, served.log.user_id[starts], served.log.time_ms[starts])
    ranker, fusion = OnnxModel(out / "ranker.onnx"), ObjectiveWeights(settings.fusion)
    write_served_pools(both.train, served.log, rows, ranker, fusion, folder, progress, settings.run.threads)
    log = read_teacher_log(folder, dataset.tasks)
    more = lists_of(both.train, log, settings.distil.list_works, settings.seed, DRAWS)
    soft = soft.followed_by_unknown(len(both.train) - len(prepared.train))
    return both, soft, LoggedLists.joined([more, lists])
