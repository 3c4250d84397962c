"""The vector spaces of a bundle: the file with the item vectors of a space, and the towers that make them.

An index file holds a ``space_id`` for each model version: the XXH64 of the file of the item tower that made
its vectors. manifest.txt holds it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from karec import _native
from karec.errors import BundleError


@dataclass(frozen=True)
class Space:
    """The file names of a space. ``user_tower`` and ``item_tower`` are without the suffix ``.onnx``."""

    index: str
    user_tower: str
    item_tower: str

    @property
    def own(self) -> str:
        """The file of the user tower of the bundle's model version."""
        return f"{self.user_tower}.onnx"

    @property
    def item(self) -> str:
        return f"{self.item_tower}.onnx"

    @property
    def others(self) -> str:
        """The pattern of files with user towers of other model versions."""
        return f"{self.user_tower}.v*.onnx"

    def user_tower_of(self, version: int, bundle_version: int) -> str:
        """Returns the file of the user tower of ``version`` in a bundle of ``bundle_version``."""
        return self.own if version == bundle_version else f"{self.user_tower}.v{version:010d}.onnx"

    def others_of(self, names: Iterable[str]) -> list[str]:
        """Returns the ``names`` of user towers of other model versions, sorted."""
        return sorted(name for name in names if "/" not in name and Path(name).match(self.others))


PRERANK = Space("index.karec", "user_tower", "item_tower")
RECALL = Space("recall.karec", "recall_user_tower", "recall_item_tower")  # a bundle may have none
SPACES = (PRERANK, RECALL)


def space_id_of(item_tower: Path) -> int:
    """Returns the id of the space of this tower's vectors. It is never 0, the id of an unknown space."""
    return int(_native.xxh64_of_file(os.fsencode(item_tower))) or 1


def spaces_of(folder: Path) -> dict[Space, int]:
    """Returns {space: space id} of the item towers in ``folder``."""
    return {space: space_id_of(folder / space.item) for space in SPACES if (folder / space.item).exists()}


def check_version(path: Path, version: int, bundle_version: int) -> None:
    """Raises BundleError if the part at ``path``, of model version ``version``, may not be in a bundle of
    ``bundle_version``."""
    tower = next((space.user_tower for space in SPACES if path.match(space.others)), None)
    if tower is None:
        if version != bundle_version:
            raise BundleError(f"{path} is of model version {version}, its bundle of {bundle_version}")
    elif path.name != f"{tower}.v{version:010d}.onnx" or version == bundle_version:
        raise BundleError(
            f"{path} is of model version {version}, its bundle of {bundle_version}: the tower "
            f"of another version N is called {tower}.vN.onnx, N in ten digits"
        )
