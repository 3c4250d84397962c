"""Presets: a data.toml that comes with the package, for the files of a public data set as they are downloaded."""

from __future__ import annotations

from pathlib import Path

from karec.data.own.contract import Contract, contract_of

FOLDER = Path(__file__).parents[1] / "presets"
PRESETS = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def preset_contract(name: str, root: Path) -> Contract:
    """The preset ``name``, of files in ``root``. Raises ConfigError naming the presets."""
    return contract_of(FOLDER / f"{name}.toml", root)
