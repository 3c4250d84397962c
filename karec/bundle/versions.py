"""Which model version a part of a bundle may be of."""

from __future__ import annotations

from pathlib import Path

from karec.errors import BundleError

OTHER_TOWERS = "user_tower.v*.onnx"  # of other versions than the bundle's


def check_version(path: Path, version: int, of_bundle: int) -> None:
    """BundleError unless the part at ``path``, which says that it is of ``version``, may be in a bundle of that one."""
    if not path.match(OTHER_TOWERS):
        if version != of_bundle:
            raise BundleError(f"{path} is of model version {version}, its bundle of {of_bundle}")
    elif path.name != f"user_tower.v{version:010d}.onnx" or version == of_bundle:
        raise BundleError(
            f"{path} is of model version {version}, its bundle of {of_bundle}: the tower "
            "of another version N is called user_tower.vN.onnx, N in ten digits"
        )
