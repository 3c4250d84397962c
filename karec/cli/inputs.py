"""What several commands need: data, settings, a console, bars."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from karec.errors import MissingExtra

if TYPE_CHECKING:
    from rich.console import Console

    from karec.catalog.dataset import Dataset
    from karec.cli.progress import ProgressBars
    from karec.lab.simulate.world import World
    from karec.learn.settings.settings import TrainSettings

PIPED_WIDTH = 140  # columns of a table that goes into a file or another program


def table_console() -> Console:
    try:
        from rich.console import Console
    except ImportError as error:
        raise MissingExtra("rich", "cli", "the command line") from error
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(width=width, markup=False, emoji=False)  # names of works may hold brackets and colons


def need_lab(purpose: str) -> None:
    """Raises MissingExtra if the extra `lab` is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "lab", purpose)


def progress_bars() -> ProgressBars:
    from karec.cli.progress import ProgressBars

    return ProgressBars()


def load_dataset(arguments: argparse.Namespace, progress: ProgressBars) -> Dataset:
    """The dataset that --data names: the synthetic world, a preset, or a folder with a data.toml."""
    with loaded(arguments, progress) as data:
        return data.dataset


class Loaded(NamedTuple):
    """The dataset that --data names; ``ids``, a folder, there while the data are, with the maps of its ids,
    None where ids are numbers; and the world, where the data are one.
    """

    dataset: Dataset
    ids: Path | None = None
    world: World | None = None


@contextmanager
def loaded(arguments: argparse.Namespace, progress: ProgressBars) -> Iterator[Loaded]:
    """The data, while the block runs."""
    if arguments.data == "world":
        world = build_world(arguments, progress)
        yield Loaded(world.dataset, None, world)
        return
    from karec.data.contract import PRESETS
    from karec.data.load import load

    preset = arguments.data if arguments.data in PRESETS else None
    if preset is not None and arguments.root is None:
        raise ValueError(f"--data {preset} needs --root DIR, the folder that holds the files of its download")
    folder = Path(arguments.data) if preset is None else arguments.root
    with tempfile.TemporaryDirectory(prefix="karec-ids-") as ids:
        dataset = load(folder, Path(ids), progress, skip_bad=arguments.skip_bad, preset=preset).dataset
        for note in dataset.notes:
            progress.note(note)
        yield Loaded(dataset, Path(ids))


def build_world(arguments: argparse.Namespace, progress: ProgressBars) -> World:
    from karec.lab.simulate.world import make_world

    sizes = arguments.works, arguments.users, arguments.exposures
    return make_world(*sizes, seed=arguments.seed or 0, progress=progress)


def train_settings(arguments: argparse.Namespace) -> TrainSettings:
    """Returns the settings of --settings, or the defaults.

    In the world's demo the default ranker is "both": there the MMoE is behind LightGBM.
    """
    from karec.learn.settings.settings import TrainSettings

    settings = TrainSettings() if arguments.settings is None else TrainSettings.from_toml(arguments.settings)
    if arguments.command == "demo" and arguments.settings is None and arguments.data == "world":
        settings = settings.replace(ranker={"kind": "both"})
    return settings if arguments.seed is None else settings.replace(seed=arguments.seed)
