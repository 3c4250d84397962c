"""Publishes a trained run in a folder, and writes the karec.toml that serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from karec.aggregates.advance import advance
from karec.bundle import Bundle
from karec.catalog.dataset import Dataset
from karec.catalog.snapshot import Snapshot
from karec.config.host_stage import export_stage
from karec.config.templates import added_scene_text, home_scene_text
from karec.files import write_text_aside
from karec.refresh.item_types import DerivedItemType
from karec.refresh.next_version import publish_next_version
from karec.refresh.publish_run import KEEP, publish
from karec.times import Progress

KindsOf = Callable[[Snapshot], Mapping[str, DerivedItemType]]


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
    lists: bool = True,
    scenes: Sequence[str] = (),
    kinds_of: KindsOf | None = None,
    rolling: bool = False,
) -> Path:
    """Publish the models of ``run`` over the platform as test begins; write ``out/karec.toml`` where there is
    none. ``settings`` are those of the run's run.json.

    ``keep`` and ``lists`` as ``karec.publish``. Beside a new ``karec.toml`` lies its prerank for C++ hosts;
    whoever edits it calls ``karec export stage`` again. ``ids`` is a folder with the maps of the platform's
    ids, where they are not the dataset's numbers. ``scenes``: templates that a new config has beside its main
    scene; ``kinds_of``: what they recommend beside works, songs and creators, as of the snapshot that is
    published. ``rolling``: beside the version in service (``karec.refresh.next_version``), in place of a
    bundle of
    its own vectors alone.
    """
    snapshot = advance(dataset.snapshot, dataset.exposures, dataset.valid_until_ms).drop_unpublished()
    published: dict[str, Any] = {
        "ids": ids,
        "keep": keep,
        "signing_key": signing_key,
        "item_types": {} if kinds_of is None else kinds_of(snapshot),
        "lists": lists,
    }
    publisher = publish_next_version if rolling else publish
    folder = publisher(run, snapshot, out / "bundles", progress, **published)
    config = out / "karec.toml"
    if not config.exists():  # its owner may have changed it
        scene = main_scene(dataset)
        by_towers = dataset.drawn is not None and settings["distil"]["recipe"] == "retrieval"
        text = home_scene_text(scene, snapshot, settings["fusion"], is_ranked_by_towers=by_towers)
        write_text_aside(config, "\n".join([text, *_texts(scenes, scene, Bundle.open(folder, verify=False))]))
        export_stage(config, scene, "prerank", out / f"prerank-{scene}.txt")
    return config


def _texts(scenes: Sequence[str], main: str, bundle: Bundle) -> list[str]:
    """The templates of ``scenes``, for the items that ``bundle`` holds."""
    kinds = {name: bundle.item_type(name).index.columns.keys() for name in bundle.item_types}
    return [added_scene_text(name, main, kinds) for name in scenes if name != main]


def main_scene(dataset: Dataset) -> str:
    """The name of the scene with the most exposures."""
    scene = dataset.exposures.scene  # −1: a scene that the data do not name, of an event log
    return dataset.snapshot.labels["scene"][int(np.bincount(scene[scene >= 0], minlength=1).argmax())]
