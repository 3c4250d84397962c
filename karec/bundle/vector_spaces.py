"""The vector spaces of a bundle: which files hold the item vectors of one, and the towers that make its
vectors.

An index file says in which space the vectors of each model version lie: ``space_id``, the XXH64 of the file
of the item tower that made them, which a bundle's manifest.txt names too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from karec import _native


@dataclass(frozen=True)
class Space:
    """``index``: the index file; ``user_tower``, ``item_tower``: the names of its models, without their
    ending."""

    index: str
    user_tower: str
    item_tower: str

    @property
    def own(self) -> str:
        """The user tower of the bundle's own model version."""
        return f"{self.user_tower}.onnx"

    @property
    def item(self) -> str:
        return f"{self.item_tower}.onnx"

    @property
    def others(self) -> str:
        """What the user towers of other model versions are called, as a pattern."""
        return f"{self.user_tower}.v*.onnx"

    def user_tower_of(self, version: int, of_bundle: int) -> str:
        """The user tower that makes the vectors of ``version`` in a bundle of model version ``of_bundle``."""
        return self.own if version == of_bundle else f"{self.user_tower}.v{version:010d}.onnx"

    def others_of(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that are user towers of other model versions, in order."""
        return sorted(name for name in names if "/" not in name and Path(name).match(self.others))


PRERANK = Space("index.karec", "user_tower", "item_tower")
RECALL = Space("recall.karec", "recall_user_tower", "recall_item_tower")  # a bundle may have none
SPACES = (PRERANK, RECALL)


def space_id_of(item_tower: Path) -> int:
    """Names the space of the vectors that the tower in this file makes; never 0, which is one that is not
    known."""
    return int(_native.xxh64_of_file(os.fsencode(item_tower))) or 1


def spaces_of(folder: Path) -> dict[Space, int]:
    """The spaces of the item towers that lie in ``folder``."""
    return {space: space_id_of(folder / space.item) for space in SPACES if (folder / space.item).exists()}
