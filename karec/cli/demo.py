"""``karec demo``: trains, serves and measures a cascade on a simulated platform, or on other data."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.cli.inputs import loaded, progress_bars
from karec.cli.lab import lab_console

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100  # columns of the screen


def demo(arguments: argparse.Namespace) -> None:
    console = lab_console("karec demo")
    from karec.cli.train import learn
    from karec.lab.demo.report import write_demo
    from karec.lab.demo.run import Demo
    from karec.lab.demo.scenes import scene_templates

    start = time.perf_counter()
    scenes = scene_templates(arguments.scene, arguments.data)
    if arguments.out is None:
        arguments.out = Path(f"karec-demo-{Path(arguments.data).name}")
    if arguments.report is None:
        arguments.report = arguments.out
    with progress_bars() as progress, loaded(arguments, progress) as data:
        run = Demo(
            data.dataset,
            data.world,
            data.ids,
            arguments.out,
            n_requests=arguments.requests,
            scenes=scenes,
            seed=arguments.seed or 0,
        )
        report = run.run(lambda: learn(arguments, data, progress, serves=True), progress)
    _, page = write_demo(report, arguments.report)
    _print_screen(console, report)
    print(f"report  {page}")
    print(f"next    karec recommend --config {report['config']} --user {report['page']['user']} --trace")
    print(f"{time.perf_counter() - start:.0f} s in all")


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
