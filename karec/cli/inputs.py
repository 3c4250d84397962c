"""What several commands need: data, settings, a console, bars."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from karec.errors import MissingExtra

if TYPE_CHECKING:
    from rich.console import Console

    from karec.cli.progress import ProgressBars
    from karec.learn.settings.train import TrainSettings
    from karec.platform.dataset import Dataset
    from karec.simulate.world import World

PIPED_WIDTH = 140  # columns of a table that goes into a file or another program


def table_console() -> Console:
    try:
        from rich.console import Console
    except ImportError as error:
        raise MissingExtra("rich", "cli", "the command line") from error
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def progress_bars() -> ProgressBars:
    from karec.cli.progress import ProgressBars

    return ProgressBars()


def load_dataset(arguments: argparse.Namespace, progress: ProgressBars) -> Dataset:
    """The dataset that --data names: the synthetic world, KuaiRand, or a folder with a data.toml."""
    with loaded(arguments, progress) as (dataset, _):
        return dataset


@contextmanager
def loaded(arguments: argparse.Namespace, progress: ProgressBars) -> Iterator[tuple[Dataset, Path | None]]:
    """``load_dataset``, and a folder, there while the block runs, with the maps of its ids; None: ids are numbers."""
    if arguments.data == "kuairand":
        yield load_kuairand(arguments, progress), None
        return
    if arguments.data == "world":
        yield build_world(arguments, progress).dataset, None
        return
    from karec.data.own.load import load
    from karec.data.own.presets import PRESETS

    preset = arguments.data if arguments.data in PRESETS else None
    if preset is not None and arguments.root is None:
        raise ValueError(f"--data {preset} needs --root DIR, the folder that holds the files of its download")
    folder = Path(arguments.data) if preset is None else arguments.root
    with tempfile.TemporaryDirectory(prefix="karec-ids-") as ids:
        dataset = load(folder, Path(ids), progress, skip_bad=arguments.skip_bad, preset=preset).dataset
        for note in dataset.notes:
            progress.note(note)
        yield dataset, Path(ids)


def load_kuairand(arguments: argparse.Namespace, progress: ProgressBars) -> Dataset:
    from karec.data import kuairand

    if arguments.root is None:
        raise ValueError("--data kuairand needs --root DIR, the folder that holds log_standard_4_22_to_5_08_pure.csv")
    dataset = kuairand.load(arguments.root, progress)
    for note in dataset.notes:
        progress.note(note)
    return dataset


def build_world(arguments: argparse.Namespace, progress: ProgressBars) -> World:
    from karec.simulate.world import make_world

    sizes = arguments.works, arguments.users, arguments.exposures
    return make_world(*sizes, seed=arguments.seed or 0, progress=progress)


def train_settings(arguments: argparse.Namespace) -> TrainSettings:
    from karec.learn.settings.train import TrainSettings

    settings = TrainSettings() if arguments.settings is None else TrainSettings.from_toml(arguments.settings)
    return settings if arguments.seed is None else dataclasses.replace(settings, seed=arguments.seed)
