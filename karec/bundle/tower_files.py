"""The files of a bundle with the item vectors, and with the towers that make item and user vectors.

The index file holds a ``space_id`` for each model version: the XXH64 of the file of the item tower that made
its vectors. manifest.json holds it too.
"""

from __future__ import annotations

import os
from pathlib import Path

from karec import _native
from karec.errors import BundleError

INDEX = "index.karec"
ITEM_TOWER = "item_tower.onnx"
USER_TOWER = "user_tower.onnx"  # of the bundle's model version
CROSS_WEIGHTS = "cross_weights.npz"  # of wide towers
OTHER_USER_TOWERS = "user_tower.v*.onnx"  # pattern: user towers of other model versions


def user_tower_file(version: int, bundle_version: int) -> str:
    """Returns the file of the user tower of ``version`` in a bundle of ``bundle_version``."""
    return USER_TOWER if version == bundle_version else f"user_tower.v{version:010d}.onnx"


def cross_weights_file(version: int, bundle_version: int) -> str:
    """Returns the file of the cross weights of ``version`` in a bundle of ``bundle_version``."""
    return CROSS_WEIGHTS if version == bundle_version else f"cross_weights.v{version:010d}.npz"


def space_id_of(item_tower: Path) -> int:
    """Returns the id of the space of this tower's vectors. It is never 0, the id of an unknown space."""
    return int(_native.xxh64_of_file(os.fsencode(item_tower))) or 1


def check_version(path: Path, version: int, bundle_version: int) -> None:
    """Raises BundleError if the part at ``path``, of model version ``version``, may not be in a bundle of
    ``bundle_version``."""
    if not path.match(OTHER_USER_TOWERS):
        if version != bundle_version:
            raise BundleError(f"{path} is of model version {version}, its bundle of {bundle_version}")
    elif path.name != user_tower_file(version, bundle_version):
        raise BundleError(
            f"{path} is of model version {version}, its bundle of {bundle_version}: the tower "
            f"of another version N is called user_tower.vN.onnx, N in ten digits"
        )
