"""Runs trainings as child processes: first models from the past weeks, and at night from served impressions.

MODELS/HASH/settings.toml, MODELS/HASH/run   first training of one of the different settings of the arms
ARM/learn/night-NNNN/out/run-V               towers that continued from the rank log of the arm
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.impressions import Impressions
from karec.errors import ConfigError, KarecError
from karec.files import write_text_aside
from karec.lab.simulate.population import Population, with_works
from karec.lab.simulate.world import World
from karec.lab.simulate.write_dataset import write_dataset

READ_SETTINGS = """import sys
from pathlib import Path
from karec.learn.settings.settings import TrainSettings
for path in sys.argv[1:]:
    TrainSettings.from_toml(Path(path))"""
VALIDATION, TEST = 0.04, 0.02  # fractions of an arm's impressions, the last ones


class TrainingFailed(KarecError):
    """A training of an arm ended with an error."""


def check_settings(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Checks {arm: settings} in one process, about two seconds.

    Raises ConfigError if ``karec train`` rejects the settings of an arm.
    """
    if not settings:
        return
    with tempfile.TemporaryDirectory(prefix="karec-settings-") as folder:
        paths = [Path(folder) / f"{arm}.toml" for arm in settings]
        for path, table in zip(paths, settings.values(), strict=True):
            path.write_text(to_toml(table), encoding="utf-8")
        child = subprocess.run(
            [sys.executable, "-c", READ_SETTINGS, *map(str, paths)],
            capture_output=True,
            text=True,
            check=False,
        )
    if child.returncode:
        last = (child.stderr.strip() or "no reason given").splitlines()[-1]
        match = re.search(rf"{re.escape(folder)}/(.*?)\.toml:(?:\d+:)? (.*)", last)
        if match is None:
            raise ConfigError(last)
        raise ConfigError(f"arm {match[1]!r}: karec train rejects [learn]: {match[2]}")


def first_training(world: World, settings: Mapping[str, Any], seed: int, folder: Path) -> Path:
    """Returns the run folder of models trained on the weeks before the days; trains them if missing."""
    run = folder / "run"
    if (folder / "karec.toml").exists():  # karec train writes this file last.
        return run
    folder.mkdir(parents=True, exist_ok=True)
    tested = {**settings, "run": {"final_fit": False, **settings.get("run", {})}}
    write_text_aside(folder / "settings.toml", to_toml(tested))
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    write_dataset(data, world.start, world.past, world.dataset)
    _train(str(data), f"--seed={seed}", f"--out={folder}", f"--settings={folder / 'settings.toml'}")
    shutil.rmtree(data)
    return run


def continue_training(
    population: Population,
    *,
    is_uploaded: NDArray[Any],
    served: Impressions,
    models: Path,
    folder: Path,
    log: Path,
    settings: Mapping[str, Any],
    seed: int,
) -> Path:
    """Continues the towers of the run folder ``models`` for one epoch with the rank log ``log``.

    Returns the new run folder, in ``folder``. ``is_uploaded`` (W,) bool: works on the platform; ``served``:
    the impressions so far; ``settings``, ``seed``: those of the training of ``models``.
    """
    data, out = folder / "data", folder / "out"
    for path in (data, out):
        shutil.rmtree(path, ignore_errors=True)
    start, dataset = population.world.start, population.world.dataset
    impressions = join_impressions([dataset.exposures, served])
    cuts = impressions.time_ms[list(validation_and_test(impressions, dataset.tasks))].tolist()
    snapshot = with_works(start, population.truth)
    snapshot = replace(snapshot, works=snapshot.works.take(is_uploaded))
    extended = replace(dataset, exposures=impressions, train_until_ms=cuts[0], valid_until_ms=cuts[1])
    write_dataset(data, snapshot, population.world.past, extended)
    one_epoch = {**settings, "towers": {**settings.get("towers", {}), "epochs": 1}}
    write_text_aside(folder / "settings.toml", to_toml(one_epoch))
    options = [f"--seed={seed}", f"--out={out}", f"--settings={folder / 'settings.toml'}"]
    _train(str(data), *options, f"--run={models}", f"--log={log}")
    shutil.rmtree(data)
    (run_folder,) = out.glob("run-*")
    return run_folder


def validation_and_test(impressions: Impressions, tasks: Sequence[str]) -> tuple[int, int]:
    """Returns the rows at which validation and test begin, by VALIDATION and TEST.

    Both begin earlier if a task had only one class in the test, which ``karec train`` rejects.
    """
    n = len(impressions)
    default = int(n * (1 - TEST))
    class_rows = [np.flatnonzero(impressions.labels[task] == value) for task in tasks for value in (0, 1)]
    test = min([default, *(int(rows[-1]) for rows in class_rows if len(rows))])
    return max(int(n * (1 - (VALIDATION + TEST))) - (default - test), 0), test


def join_impressions(parts: Sequence[Impressions]) -> Impressions:
    """Concatenates impressions, which all have play times."""
    labels = {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels}

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Impressions(
        column("user_id"), column("work_id"), column("time_ms"), column("scene"), labels, column("play_ms")
    )


def _train(*options: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, "-m", "karec.cli", "train", *options]
    child = subprocess.run(  # The child keeps the lock of the simulation's folder, so descriptors stay open.
        command, env=environment, capture_output=True, text=True, check=False, close_fds=False
    )
    if child.returncode:
        last = (child.stderr.strip() or child.stdout.strip()).splitlines()[-1:]
        raise TrainingFailed(
            f"karec train {' '.join(options)} ended with {child.returncode}: {' '.join(last)}"
        )


def to_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """Returns ``table`` of numbers, texts, booleans, lists and tables as dotted keys, one per line."""
    lines = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines.append(to_toml(value, f"{prefix}{key}."))
        else:
            lines.append(f"{prefix}{key} = {_value(value)}\n")
    return "".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value))
