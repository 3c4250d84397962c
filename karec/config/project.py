"""Publishes a trained run in a folder, and writes the karec.toml that serves it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from karec.aggregates.advance import advance
from karec.bundle import Bundle
from karec.catalog.dataset import Dataset
from karec.catalog.snapshot import Snapshot
from karec.config.host_stage import export_stages, hosted_stages
from karec.config.open import input_times_mistake
from karec.config.scenes import Config
from karec.config.templates import added_scene_text, home_scene_text, scenes_of_types
from karec.errors import ConfigError
from karec.files import check_writable_folder, existing_parent, read_json, write_text_aside
from karec.refresh.item_types import DerivedItemType, derive_item_type
from karec.refresh.next_version import publish_next_version
from karec.refresh.publish_run import KEEP, publish
from karec.times import Progress

if TYPE_CHECKING:
    from karec.learn.settings.settings import TrainSettings

LOG_ROW_BYTES = 24  # of a rank log, in addition to four for each logit
ONLINE = '[online]\nurl = "sqlite:online.db"\n'
INDEX_ROW_BYTES = 80  # of an item in the index, in addition to two for each dimension

ItemTypesOf = Callable[[Snapshot], Mapping[str, DerivedItemType]]


def set_up(
    dataset: Dataset,
    run: Path,
    settings: Mapping[str, Any],
    out: Path,
    progress: Progress | None = None,
    *,
    ids: Path | None = None,
    keep: int = KEEP,
    signing_key: Path | None = None,
    scenes: Sequence[str] = (),
    item_types_of: ItemTypesOf | None = None,
    is_rolling: bool = False,
    until_ms: int | None = None,
) -> Path:
    """Publishes the models of ``run``. Writes ``out/karec.toml`` if there is none. Returns its path.

    Args:
        settings: those of the run's run.json. ``ranked_by`` orders pages of a new karec.toml. With
            features.refresh_hours = 0 it has an online store.
        ids, keep, signing_key: as for ``karec.publish``.
        scenes: templates of scenes that a new karec.toml gets in addition to the main scene and the scenes
            of the dataset's item types.
        item_types_of: returns further item types for these scenes from the published snapshot.
        is_rolling: publishes next to the version in service (``karec.refresh.next_version``).
        until_ms: the snapshot has the events before it; None: all events.

    With a new karec.toml, the first stages of the main scene that C++ hosts have are exported for them;
    ``karec export stage`` does it again after a change of the file.
    """
    until_ms = dataset.end_ms if until_ms is None else until_ms
    snapshot = advance(dataset.snapshot, dataset.exposures, until_ms).drop_unpublished()
    item_types = {name: derive_item_type(table, snapshot) for name, table in dataset.item_types.items()}
    folder = (publish_next_version if is_rolling else publish)(
        run,
        snapshot,
        out / "bundles",
        progress,
        ids=ids,
        keep=keep,
        signing_key=signing_key,
        item_types=item_types if item_types_of is None else {**item_types, **item_types_of(snapshot)},
    )
    config = out / "karec.toml"
    if not config.exists():  # else the user may have changed it
        scene = main_scene(dataset)
        ranked_by = read_json(run / "run.json").get("ranked_by", "ranker")
        text = home_scene_text(scene, snapshot, settings["fusion"], ranked_by=ranked_by)
        text = f"{text}\n{ONLINE}" if settings["features"]["refresh_hours"] == 0 else text
        scenes = [*dict.fromkeys([*scenes, *scenes_of_types(dataset.item_types)])]
        write_text_aside(config, "\n".join([text, *_texts(scenes, scene, Bundle.open(folder, verify=False))]))
        stages = hosted_stages(config, scene)
        if stages:
            export_stages(config, scene, stages, out / f"stages-{scene}.json")
    return config


def _texts(scenes: Sequence[str], main: str, bundle: Bundle) -> list[str]:
    """Returns the texts of the templates ``scenes`` for the item types of ``bundle``."""
    snapshots = {name: bundle.item_type(name).snapshot for name in bundle.item_types}
    learned = bundle.encoder.learned_labels
    return [added_scene_text(name, main, snapshots, learned) for name in scenes if name != main]


def main_scene(dataset: Dataset) -> str:
    """Returns the scene with the most impressions."""
    scene = dataset.exposures.scene  # −1: an event of a scene that the data do not name
    return dataset.snapshot.labels["scene"][int(np.bincount(scene[scene >= 0], minlength=1).argmax())]


def check_outputs(
    dataset: Dataset, settings: TrainSettings, out: Path, report: Path | None = None, *, serves: bool = False
) -> None:
    """Raises before a training if its results could not be written or served. Writes nothing.

    OSError: ``out`` or the folder for the ``report`` cannot be written, or the disk is too small.
    ConfigError: ``out``/karec.toml is wrong, lacks the main scene of the data if the run ``serves``, or its
        service does not encode the moments that the training encodes.
    """
    reports = [] if report is None else [report]
    for folder in (out, out / "run", out / "run" / "rank_log", out / "bundles", *reports):
        check_writable_folder(folder)
    config = out / "karec.toml"
    scene = main_scene(dataset)
    if not config.exists():
        home_scene_text(scene, dataset.snapshot, dataset.objectives)
    elif serves:
        Config.read(config).scene(scene)
    check_input_times(config, settings.features.refresh_hours)
    needed = _bytes_of_run(dataset, settings)
    free = shutil.disk_usage(existing_parent(out)).free
    if free < needed:
        raise OSError(
            f"{out}: the run, its rank log and its bundle take at least {-(-needed // 2**20):,} MiB, and "
            f"{free // 2**20:,} MiB are free. Name another --out, or make room."
        )


def has_online_store(out: Path) -> bool:
    """Returns True if ``out``/karec.toml has an online store. Raises ConfigError if the file is wrong."""
    config = out / "karec.toml"
    return config.exists() and Config.read(config).online is not None


def check_input_times(config: Path, refresh_hours: float) -> None:
    """Raises ConfigError if ``config`` exists and its service encodes other moments than a training with
    ``refresh_hours`` (``input_times_mistake``)."""
    mistake = input_times_mistake(Config.read(config), refresh_hours) if config.exists() else None
    if mistake is not None:
        raise ConfigError(f"{config}: {mistake}")


def _bytes_of_run(dataset: Dataset, settings: TrainSettings) -> int:
    """Returns a lower bound for rank log, index and snapshot of a run. Models are small in comparison."""
    shadow = settings.shadow
    snapshot = dataset.snapshot
    n_items = len(snapshot.works)
    n_impressions = len(dataset.split()[0]) + (len(dataset.exposures) if settings.run.final_fit else 0)
    n_pools = min(round(shadow.share * n_impressions), shadow.at_most) if settings.distil.needs_lists else 0
    n_rows = n_impressions + n_pools * min(shadow.works, n_items) // 4  # about four impressions a request
    tables = sum(
        column.nbytes for table in (snapshot.works, snapshot.users) for column in table.columns.values()
    )
    return (
        n_rows * (LOG_ROW_BYTES + 4 * len(dataset.tasks))
        + n_items * (INDEX_ROW_BYTES + 2 * settings.towers.vector)
        + tables
        + sum(relation.values.nbytes for relation in snapshot.relations.values())
    )
