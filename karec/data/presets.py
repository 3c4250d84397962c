"""Presets: a data.toml that comes with the package, for the files of a public data set as they are
downloaded."""

from __future__ import annotations

import os
from pathlib import Path

from karec.data.contract import Contract, contract_of
from karec.errors import ConfigError

FOLDER = Path(__file__).parent / "presets"
PRESETS = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def preset_contract(name: str, root: Path) -> Contract:
    """The preset ``name``, of files in ``root``, or in ``root/data`` where the log lies there and not in
    ``root``."""
    contract = contract_of(_path(name), root)
    if not os.path.lexists(root / contract.events.path) and os.path.lexists(
        root / "data" / contract.events.path
    ):
        return contract_of(_path(name), root / "data")
    return contract


def preset_text(name: str) -> str:
    """The commented data.toml. ConfigError: there is no such preset."""
    return _path(name).read_text(encoding="utf-8")


def _path(name: str) -> Path:
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return FOLDER / f"{name}.toml"
