"""``karec demo``: trains, serves and measures a cascade on a simulated platform, or on other data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karec.cli.datasets import WORLD, load_data
from karec.cli.options import DataChoice, TrainingSettings
from karec.cli.output import ProgressReport, make_console, require_extra

if TYPE_CHECKING:
    from rich.console import Console

    from karec.learn.run.train import TrainResult
    from karec.learn.settings.settings import TrainSettings

WORLD_DATA = DataChoice(data=WORLD)
WIDTH = 100  # columns of the screen


def demo(
    choice: DataChoice = WORLD_DATA,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for models, bundle and config (default: karec-demo-DATA)."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for report.json and report.html (default: --out)."),
    ] = None,
    requests: Annotated[int, typer.Option(min=1, metavar="N", help="Requests to serve.")] = 200,
    scene: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Also serve this scene of the world: following, city, live, song_request, room, comment, "
            "creators, or all.",
        ),
    ] = None,
    settings: TrainingSettings = None,
) -> None:
    """Train, publish and serve a cascade, and show measurements on one screen and in a report."""
    require_extra("lab", "karec demo")
    require_extra("train", "karec demo")
    console = make_console()
    from karec.bundle import next_version
    from karec.config.project import check_outputs
    from karec.lab.demo.report import write_demo
    from karec.lab.demo.run import Demo
    from karec.lab.demo.scenes import scene_templates
    from karec.lab.simulate.world.item_types import with_item_types
    from karec.learn.run.from_log import ServedRun, train_from_log
    from karec.learn.run.train import train

    start = time.perf_counter()
    scenes = scene_templates(scene, choice.data)
    out = out or Path(f"karec-demo-{Path(choice.data).name}")
    report = report or out
    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        dataset = loaded.dataset
        if scenes and loaded.world is not None:
            dataset = with_item_types(loaded.world)

        def train_models() -> TrainResult:
            training = training_settings(settings, choice.seed, is_world=choice.data == WORLD)
            training = training.replace(model_version=next_version(out / "bundles"))
            check_outputs(dataset, training, out, report, serves=True)
            return train(dataset, training, out / "run", progress, evaluate=False)

        def learn_from_log(folder: Path, log: Path) -> TrainResult:
            served, version = ServedRun.from_folder(folder), next_version(out / "bundles")
            second = served.settings.replace(model_version=version, towers={"epochs": 1})
            folder, log_version = out / f"run-{version}", served.settings.model_version
            return train_from_log(dataset, served, log, second, folder, progress, version=log_version)

        run = Demo(
            dataset,
            loaded.world,
            loaded.ids,
            out,
            n_requests=requests,
            scenes=scenes,
            seed=choice.seed or 0,
        )
        result = run.run(train_models, learn_from_log, progress)
    _, page = write_demo(result, report)
    _print_screen(console, result)
    print(f"report  {page}")
    print(f"next    karec recommend {result['config']} --user {result['page']['user']} --trace")
    print(f"{time.perf_counter() - start:.0f} s in all")


def training_settings(path: Path | None, seed: int | None, *, is_world: bool) -> TrainSettings:
    """Returns the settings of the file, else the defaults; for the world an MMoE, and towers in less time."""
    from karec.learn.settings.settings import TrainSettings

    settings = TrainSettings() if path is None else TrainSettings.from_toml(path)
    settings = settings.replace(run={"final_fit": False})  # the test days measure the published models
    if path is None and is_world:
        settings = settings.replace(ranker={"kind": "mmoe"}, towers={"epochs": 2}, shadow={"at_most": 2_000})
    return settings if seed is None else settings.replace(seed=seed)


def _print_screen(console: Console, report: Mapping[str, Any]) -> None:
    """Prints at most 40 lines of WIDTH columns."""
    from rich.table import Table

    from karec.lab.demo.screen import screen_tables

    for table in screen_tables(report):
        grid = Table(box=None, pad_edge=False, header_style="")
        for column, name in enumerate(table.head):
            grid.add_column(name, justify="right" if column else "left", no_wrap=True)
        for row in table.rows:
            grid.add_row(*row)
        console.print(table.title, style="bold", highlight=False)
        console.print(grid, width=WIDTH)
        console.print()
