"""The table of exposures, out of the database: in order of time, one for each user, item and moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karec.data.own.contract import Contract
from karec.data.own.database import Database
from karec.platform.events import Exposures
from karec.types import Array

ONE_SCENE = "home"  # where the log names none


@dataclass(frozen=True, eq=False)
class Shown:
    """``exposures`` in order of time, then user, then item; names of ``scenes``, sorted; ``repeated`` rows were of the
    user, item and moment of another one, and are in its exposure.
    """

    exposures: Exposures
    scenes: list[str]
    repeated: int


def read_shown(database: Database, contract: Contract) -> Shown:
    """From the table ``shown`` of the database, whose ids are numbers."""
    there = set(database.columns("shown"))
    scenes, scene = [""], "0"
    if "scene" in there:
        scenes = [row[0] for row in database.rows("SELECT DISTINCT coalesce(scene, '') FROM shown ORDER BY 1")]
        scene = "(SELECT code FROM scenes WHERE scenes.scene = coalesce(shown.scene, ''))"
    labels = {name: f"l{at}" for at, name in enumerate(contract.label_names)}
    cells = {"u": "u", "i": "i", "t": "t", "scene": f"({scene})::INTEGER", **{each: each for each in labels.values()}}
    if "play_ms" in there:
        cells["play_ms"] = "coalesce(play_ms, 0)"
    listed = ", ".join(f"{cell} AS {name}" for name, cell in cells.items())
    with database.table("scenes", scene=scenes, code=np.arange(len(scenes))):
        columns = database.arrays(f"SELECT {listed} FROM shown ORDER BY t, u, i", database.count("shown"))
    columns, repeated = _one_a_moment(columns)
    exposures = Exposures(
        columns["u"], columns["i"], columns["t"], columns["scene"],
        {name: columns[label] for name, label in labels.items()}, columns.get("play_ms"),
    )  # fmt: skip
    return Shown(exposures, [name or ONE_SCENE for name in scenes], repeated)


def _one_a_moment(columns: dict[str, Array]) -> tuple[dict[str, Array], int]:
    """Sorted rows → one for each user, item and moment, and how many were merged into another: a label is positive
    where one of them says so, the play time is the longest, the scene the first by name.
    """
    new = np.ones(len(columns["t"]), bool)
    for at, name in enumerate(("t", "u", "i")):
        differs = columns[name][1:] != columns[name][:-1]
        new[1:] = differs if at == 0 else new[1:] | differs
    repeated = len(new) - int(np.count_nonzero(new))
    if not repeated:
        return columns, 0
    starts = np.flatnonzero(new)
    keys = ("t", "u", "i")
    merged = {
        name: column[starts]
        if name in keys
        else (np.minimum if name == "scene" else np.maximum).reduceat(column, starts)
        for name, column in columns.items()
    }
    return merged, repeated
