"""The table of exposures, out of the database: in order of time, one for each user, item and moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.data.contract import Contract
from karec.data.database import Database

ONE_SCENE = "home"  # where the log names none


@dataclass(frozen=True, eq=False)
class Shown:
    """``exposures`` in order of time, then user, then item; names of ``scenes``, sorted; ``repeated`` rows
    were of the user, item and moment of another one, and are in its exposure, ``differing`` of them with
    other values.
    """

    exposures: Impressions
    scenes: list[str]
    repeated: int
    differing: int


def read_shown(database: Database, contract: Contract, table: str = "shown") -> Shown:
    """From ``table`` of the database, whose ids are numbers."""
    there = set(database.columns(table))
    scenes, scene = [""], "0"
    if "scene" in there:
        scenes = list(contract.events.scenes) or [
            row[0] for row in database.rows(f"SELECT DISTINCT coalesce(scene, '') FROM {table} ORDER BY 1")
        ]
        scene = f"(SELECT code FROM scenes WHERE scenes.scene = coalesce({table}.scene, ''))"
    labels = {name: f"l{at}" for at, name in enumerate(contract.label_names)}
    cells = {
        "u": "u",
        "i": "i",
        "t": "t",
        "scene": f"({scene})::INTEGER",
        **{each: each for each in labels.values()},
    }
    if "play_ms" in there:
        cells["play_ms"] = "coalesce(play_ms, 0)"
    listed = ", ".join(f"{cell} AS {name}" for name, cell in cells.items())
    with database.table("scenes", {"scene": scenes, "code": np.arange(len(scenes))}):
        order = "t, u, i, place" if "place" in there else "t, u, i"
        columns = database.arrays(f"SELECT {listed} FROM {table} ORDER BY {order}")
    columns, repeated, differing = _one_a_moment(columns, contract.events.repeats == "first")
    exposures = Impressions(
        columns["u"], columns["i"], columns["t"], columns["scene"],
        {name: columns[label] for name, label in labels.items()}, columns.get("play_ms"),
    )  # fmt: skip
    names = list(contract.events.scenes.values()) or [name or ONE_SCENE for name in scenes]
    return Shown(exposures, names, repeated, differing)


def _one_a_moment(columns: dict[str, NDArray[Any]], first: bool) -> tuple[dict[str, NDArray[Any]], int, int]:
    """Sorted rows → one for each user, item and moment; how many others there were, and how many of them with
    other values than the row before. The one is the ``first``, or merged of all: a label is positive where
    one of them says so, the play time is the longest, the scene the first by name.
    """
    new = np.ones(len(columns["t"]), bool)
    for at, name in enumerate(("t", "u", "i")):
        differs = columns[name][1:] != columns[name][:-1]
        new[1:] = differs if at == 0 else new[1:] | differs
    repeated = len(new) - int(np.count_nonzero(new))
    if not repeated:
        return columns, 0, 0
    starts, again = np.flatnonzero(new), np.flatnonzero(~new)
    keys = ("t", "u", "i")
    differing = np.zeros(len(again), bool)
    for column in columns.values():
        differing |= column[again] != column[again - 1]
    if first:
        return {name: column[starts] for name, column in columns.items()}, repeated, int(differing.sum())
    merged = {
        name: column[starts]
        if name in keys
        else (np.minimum if name == "scene" else np.maximum).reduceat(column, starts)
        for name, column in columns.items()
    }
    return merged, repeated, int(differing.sum())
