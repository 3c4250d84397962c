"""Data sets that many have, described once: a data.toml for the files of their official download."""

from __future__ import annotations

import os
from pathlib import Path

from karec.data.own.contract import Contract, read_contract
from karec.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "presets"
PRESETS = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def preset_text(name: str) -> str:
    """The commented data.toml. ConfigError: there is no such preset."""
    return _path(name).read_text(encoding="utf-8")


def read_preset(name: str, root: Path) -> Contract:
    """The preset's contract, of files in ``root``, or in ``root/data`` where the log lies there alone."""
    contract = read_contract(root, _path(name))
    if not os.path.lexists(root / contract.events.path) and os.path.lexists(root / "data" / contract.events.path):
        return read_contract(root / "data", _path(name))
    return contract


def _path(name: str) -> Path:
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return FOLDER / f"{name}.toml"
