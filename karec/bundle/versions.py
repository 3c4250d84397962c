"""Which model version a part of a bundle may be of."""

from __future__ import annotations

from pathlib import Path

from karec.bundle.vector_spaces import SPACES
from karec.errors import BundleError


def check_version(path: Path, version: int, of_bundle: int) -> None:
    """BundleError unless the part at ``path``, which says that it is of ``version``, may be in a bundle of
    that one."""
    tower = next((space.user_tower for space in SPACES if path.match(space.others)), None)
    if tower is None:
        if version != of_bundle:
            raise BundleError(f"{path} is of model version {version}, its bundle of {of_bundle}")
    elif path.name != f"{tower}.v{version:010d}.onnx" or version == of_bundle:
        raise BundleError(
            f"{path} is of model version {version}, its bundle of {of_bundle}: the tower "
            f"of another version N is called {tower}.vN.onnx, N in ten digits"
        )
