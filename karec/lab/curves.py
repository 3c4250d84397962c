"""``curves.svg``: the loss by step and the validation AUC by epoch, for each training of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from karec.files import write_text_aside
from karec.lab.report import BLUE, GREY, ORANGE, Chart, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHING = 9  # points


def write_curves(run: Mapping[str, Any], path: Path) -> None:
    """Draws ``curves`` and ``epochs`` of a run.json: the loss by step, smoothed, and the score by epoch.

    Writes nothing if the run has no curves. Raises MissingExtra if matplotlib is not installed.
    """
    names = [name for name, curve in run["curves"].items() if curve]
    if names:
        height = 2.2 * len(names) + 0.4
        chart = Chart("", lambda *panels: _draw(panels, run, names), "", 8.5, height, (len(names), 1))
        write_text_aside(path, svg(chart))


def _draw(panels: Sequence[Axes], run: Mapping[str, Any], names: Sequence[str]) -> None:
    for panel, name in zip(panels, names, strict=True):
        steps, loss = np.array(run["curves"][name]).T
        panel.plot(steps, loss, color=GREY, linewidth=0.8)
        width = min(SMOOTHING, len(loss))
        panel.plot(steps[width - 1 :], np.convolve(loss, np.ones(width) / width, "valid"), color=BLUE)
        panel.set_ylabel("loss", color=BLUE)
        panel.set_title(name, loc="left", fontsize=10)
        epochs = run["epochs"][name]
        score = panel.twinx()
        score.spines[["top", "left"]].set_visible(False)
        ends = (np.arange(len(epochs)) + 1) * (steps[-1] + 1) / len(epochs)
        score.plot(ends, [epoch["score"] for epoch in epochs], "o-", color=ORANGE, markersize=4)
        score.set_ylabel("validation AUC", color=ORANGE)
    panels[-1].set_xlabel("step")
