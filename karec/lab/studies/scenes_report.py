"""What scenes are worth, for people: a sentence and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from karec.evaluate.tables import with_interval

SCENES_HEAD = ("scene", "for", "requests", "items each", "random", "popular", "cascade", "against popular, %")
SCENES_NOTE = (
    "The mean over a feed of what its scene is for, by the world's own chances. All ways choose from the "
    "items that "
    "the scene's filters let through. In brackets: 95 % intervals over users; the last column is paired."
)


def scenes_rows(scenes: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row a scene; dashes where no request found an item."""
    rows = []
    for name, scene in scenes.items():
        head = (name, scene["what"], str(scene["requests"]))
        if "ways" not in scene:
            rows.append((*head, *["–"] * 5))
            continue
        digits = 1 if scene["ways"]["cascade"]["value"] >= 10.0 else 4
        ways = (with_interval(way["value"], way["ci"], digits) for way in scene["ways"].values())
        gain = scene["gain"]["popular"]
        rows.append((*head, f"{scene['eligible']:,}", *ways, with_interval(gain["percent"], gain["ci"], 0)))
    return rows
