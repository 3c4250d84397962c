"""Loads the dataset that a command names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from karec.cli.options import DataChoice, WorldChoice
from karec.cli.output import ProgressReport

if TYPE_CHECKING:
    from karec.catalog.dataset import Dataset
    from karec.lab.simulate.world import World

WORLD = "world"


@dataclass(frozen=True)
class LoadedData:
    """A dataset.

    ids     folder with the maps of its ids; None if they are numbers
    world   the synthetic platform that it is from, with its true outcomes
    """

    dataset: Dataset
    ids: Path | None = None
    world: World | None = None


@contextmanager
def load_data(choice: DataChoice, progress: ProgressReport, *folders: Path) -> Iterator[LoadedData]:
    """Yields the data without rows of tombstones in ``folders``. Its ``ids`` exist during the block."""
    if choice.data == WORLD and choice.root is None:
        world = build_world(choice, progress)
        yield LoadedData(world.dataset, world=world)
        return
    given = [
        name
        for name in ("works", "users", "exposures")
        if getattr(choice, name) != getattr(WorldChoice, name)
    ]
    if given:
        options = ", ".join(f"--{name}" for name in given)
        raise ValueError(
            f"{options}: sizes of the synthetic platform, but DATA is {choice.data}. Leave them out."
        )
    from karec.data.contract import PRESETS
    from karec.data.load import load
    from karec.erasure import Tombstones

    preset = choice.data if choice.data in PRESETS else None
    if preset is not None and choice.root is None:
        raise ValueError(f"{preset} needs --root DIR, the folder with the files of its download")
    if preset is None and choice.root is not None:
        raise ValueError(f"--root is for {', '.join(PRESETS)}, but DATA is {choice.data}. Leave it out.")
    folder = Path(choice.data) if choice.root is None or preset is None else choice.root
    with tempfile.TemporaryDirectory(prefix="karec-ids-") as ids:
        tombstones = [Tombstones(one) for one in folders]
        dataset = load(
            folder, Path(ids), progress, skip_bad=choice.skip_bad, preset=preset, tombstones=tombstones
        ).dataset
        for note in dataset.notes:
            progress.note(note)
        yield LoadedData(dataset, Path(ids))


def build_world(choice: WorldChoice, progress: ProgressReport) -> World:
    from karec.lab.simulate.world import make_world

    sizes = choice.works, choice.users, choice.exposures
    return make_world(*sizes, seed=choice.seed or 0, progress=progress)
