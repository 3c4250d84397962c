"""``karec calibrate``: probabilities for the scores of a scene with several item types."""

from __future__ import annotations

from typing import Annotated

import typer

from karec.cli.options import Config
from karec.cli.output import make_console, text_table


def calibrate(
    config: Config,
    scene: Annotated[str, typer.Option(metavar="NAME", help="Scene of CONFIG with a table mix.")],
    days: Annotated[
        float, typer.Option(min=0.01, metavar="DAYS", help="Newest days of the rank logs to learn from.")
    ] = 7.0,
) -> None:
    """Learn the probability that a user enjoys an item from its score, for each item type of a mixed scene.

    It reads the rank logs and the events of the online store. The error is measured on
    the last day, with a calibration learned from the days before. The file gets a calibration learned from
    all days.
    """
    from karec.config.calibrate import calibrate_scene
    from karec.evaluate.tables import format_measure

    rows = [
        (
            result.item_type,
            result.scene,
            f"{result.n_rows:,}",
            f"{result.rate:.4f}",
            f"{result.error.n_rows:,}",
            format_measure(result.error.ece, result.error.interval),
        )
        for result in calibrate_scene(config, scene, days=days)
    ]
    head = ("item type", "shown in", "items", "enjoyed", "items on the last day", "calibration error")
    make_console().print(text_table(f"Calibration of {scene} (95 % intervals over users)", head, rows))
