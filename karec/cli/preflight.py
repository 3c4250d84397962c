"""What would fail after a training, when its run is published, served and told of, refused before the
training."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from karec.catalog.dataset import Dataset
from karec.config.project import main_scene
from karec.config.scenes import Config
from karec.config.templates import home_scene_text
from karec.learn.settings.settings import TrainSettings

LOG_ROW = 24  # bytes in a rank log's part, beside four for each logit
INDEX_ROW = 80  # bytes of a work in the index, beside two for each dimension


def check_outputs(
    dataset: Dataset, settings: TrainSettings, out: Path, report: Path | None = None, *, serves: bool = False
) -> None:
    """Refuse an ``out`` or a folder for the ``report`` that cannot be written, or where there is no room, and
    a ``karec.toml`` in ``out`` that is none or, where the run ``serves``, lacks the data's main scene.

    Raises ConfigError for the ``karec.toml``, and OSError for the rest, naming the path. Writes nothing.
    """
    for folder in (
        out,
        out / "run",
        out / "run" / "rank_log",
        out / "bundles",
        *([] if report is None else [report]),
    ):
        _check_writable(folder)
    scene, config = main_scene(dataset), out / "karec.toml"
    if not config.exists():
        home_scene_text(scene, dataset.snapshot, dataset.objectives)
    elif serves:
        Config.read(config).scene(scene)
    else:
        Config.read(config)
    wanted, free = bytes_of_run(dataset, settings), shutil.disk_usage(_existing(out)).free
    if free < wanted:
        raise OSError(
            errno.ENOSPC,
            f"the run, its rank log and its bundle take at least {wanted / 2**30:.1f} GiB, "
            f"and {free / 2**30:.1f} GiB are free: name another --out, or make room",
            str(out),
        )


def bytes_of_run(dataset: Dataset, settings: TrainSettings) -> int:
    """What the rank log, the index and the snapshot of a run take at least. Models are small beside them."""
    shadow, works, snapshot = settings.shadow, dataset.snapshot.works, dataset.snapshot
    shown = len(dataset.split()[0])
    pools = min(round(shadow.share * shown), shadow.at_most) if settings.distil.needs_lists else 0
    rows = shown + pools * min(shadow.works, len(works)) // 4  # as if four exposures were one request
    log = rows * (LOG_ROW + 4 * len(dataset.tasks))
    index = len(works) * (INDEX_ROW + 2 * settings.towers.vector)
    tables = sum(column.nbytes for table in (works, snapshot.users) for column in table.columns.values())
    lists = sum(relation.values.nbytes for relation in snapshot.relations.values())
    return log + index + tables + lists


def _check_writable(folder: Path) -> None:
    there = _existing(folder)
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a folder belongs here, and there is a file", str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "the folder cannot be written", str(there))


def _existing(path: Path) -> Path:
    """``path``, or the nearest of its parents that exists."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists() or each.is_symlink())
