"""Compares arms over several worlds: the mean change against one arm, with Student's t interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.lab.report import Table
from karec.lab.simulate.report_tables import CREATORS_SIDE, USERS_SIDE, format_change

USER_MEASURES = ("play_s", "play_s_an_exposure", "long_views", "likes", "follows", "sessions")
MEASURES = (*USER_MEASURES, "creators_1_a_day", "works_1_a_day")
HEADS = {**USERS_SIDE, **CREATORS_SIDE}
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # 97.5 %, 1 to 9 degrees
MAX_WORLDS = len(T_QUANTILES) + 1


def mean_interval(values: NDArray[Any]) -> tuple[float, tuple[float, float]]:
    """Returns the mean of ``values`` (2 to MAX_WORLDS,) and its 95 % interval by Student's t."""
    mean, n = float(values.mean()), len(values)
    half = T_QUANTILES[n - 2] * float(values.std(ddof=1)) / n**0.5
    return mean, (mean - half, mean + half)


def worlds_table(reports: Sequence[Mapping[str, Any]], baseline: str) -> Table:
    """Returns the change of each arm against ``baseline`` in percent; ``reports``: of ``loop_report``."""
    values = {
        arm: np.array(
            [[report["arms"][arm]["measures"][name]["value"] for name in MEASURES] for report in reports]
        )
        for arm in reports[0]["arms"]
    }
    base = np.where(values[baseline] > 0, values[baseline], np.nan)
    rows = [
        [arm, *(_cell(change) for change in (100.0 * (value / base - 1.0)).T)]
        for arm, value in values.items()
        if arm != baseline
    ]
    title = f"Change against {baseline} in percent, mean of {len(reports)} worlds with Student's t interval"
    return Table(title, ["arm", *(HEADS[name][0] for name in MEASURES)], rows)


def _cell(changes: NDArray[Any]) -> str:
    return format_change(*mean_interval(changes), 1) if np.isfinite(changes).all() else "–"
