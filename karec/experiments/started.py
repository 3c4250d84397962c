"""Stores the settings of started experiments that may not change, in a file next to experiments.toml."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct, json, to_builtins
from msgspec.structs import asdict

from karec.errors import one_line
from karec.experiments.settings import Experiments
from karec.files import write_text_aside
from karec.toml import Place, with_lines

_log = logging.getLogger("karec.experiments")


class StartedVersion(Struct, frozen=True):
    """Settings that decide the units of each arm and their pages.

    `weights`: (arm, weight) in the order of the file. `patches`: those of each arm, and its bundle.
    """

    layer: str
    salt: str
    unit: str
    start: datetime
    weights: tuple[tuple[str, float], ...]
    patches: dict[str, dict[str, Any]]
    holdout: float
    interleave: bool


Versions = Mapping[str, StartedVersion]  # by EXPERIMENT.VERSION


def check_unchanged(experiments: Experiments, known: Versions, path: Path) -> None:
    """Raises ConfigError if an experiment differs from the same version in `known`, and that has started.

    Another `version` may differ. Coverage, end, debug ids and metrics may change. `path`: experiments.toml.
    """
    place = Place(path)["experiments"]
    now = datetime.now(UTC)
    errors = []
    for key, new in _versions(experiments).items():
        old = known.get(key, new)
        name, _, version = key.rpartition(".")
        errors += [
            place[name].refusal(
                f"{field} is {value!r}, expected {before!r}: version {version} has started. Start a new "
                f"version: version = {int(version) + 1}"
            )
            for (field, value), before in zip(asdict(new).items(), asdict(old).values(), strict=True)
            if value != before and old.start <= now
        ]
    if errors:
        raise with_lines(errors, path)


def read_versions(path: Path) -> Versions:
    """Returns the versions that `add_versions` wrote for the experiments.toml at `path`, or none.

    A file that cannot be read is logged.
    """
    file = _file_of(path)
    try:
        return json.decode(file.read_bytes(), type=dict[str, StartedVersion])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # ValueError: not JSON, or other keys or types
        _log.warning("%s", one_line(f"{file} cannot be read, {path} is not compared with it: {error}"))
        return {}


def add_versions(experiments: Experiments, known: Versions, path: Path) -> Versions:
    """Adds the versions of `experiments` to the file. Returns them together with `known`.

    Versions of removed experiments stay in the file. It contains no ids of units. An OSError is logged.
    """
    old = read_versions(path)
    new = {**old, **known, **_versions(experiments)}
    try:
        if new != old:
            write_text_aside(_file_of(path), json.format(json.encode(new).decode()) + "\n")
    except OSError as error:
        _log.warning("%s", one_line(f"a restart cannot check that {path} is unchanged: {error}"))
    return new


def _versions(experiments: Experiments) -> dict[str, StartedVersion]:
    return {
        f"{name}.{experiment.version}": StartedVersion(
            experiment.layer,
            experiments.layers[experiment.layer].salt,
            experiments.layers[experiment.layer].unit,
            experiment.start,
            tuple((arm, table.weight) for arm, table in experiment.arms.items()),
            {arm: to_builtins(table.changes) for arm, table in experiment.arms.items()},
            experiment.holdout,
            experiment.interleave,
        )
        for name, experiment in experiments.experiments.items()
    }


def _file_of(path: Path) -> Path:
    return path.with_suffix(".started.json")
