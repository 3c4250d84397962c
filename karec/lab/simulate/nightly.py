"""Training, called as a process: the first models of the history, and at night what was served.

MODELS/settings-NN.toml, MODELS/NN/run     a training for each of the arms' different settings
ARM/learn/data, ARM/learn/run-V            an arm's own data, and the towers that learned on from its log
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
from karec.catalog.snapshot import Snapshot
from karec.errors import ConfigError, KarecError
from karec.files import write_text_aside
from karec.lab.simulate.population import Population, with_works
from karec.lab.simulate.world import World
from karec.lab.simulate.write_dataset import write_dataset

READS = """import sys
from pathlib import Path
from karec.learn.settings.settings import TrainSettings
for path in sys.argv[1:]:
    TrainSettings.from_toml(Path(path))"""
VALIDATION, TEST = 0.04, 0.02  # shares of an arm's exposures, the last ones


class TrainingFailed(KarecError):
    """A training that an arm needs ended with an error."""


def check_settings(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """{arm: settings}. ConfigError: ``karec train`` does not take the settings of an arm. One process, two
    seconds."""
    if not settings:
        return
    with tempfile.TemporaryDirectory(prefix="karec-settings-") as folder:
        paths = [Path(folder) / f"{arm}.toml" for arm in settings]
        for path, table in zip(paths, settings.values(), strict=True):
            path.write_text(toml(table), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", READS, *map(str, paths)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        match = re.search(rf"{re.escape(folder)}/(.*?)\.toml:(?:\d+:)? (.*)", last)
        if match is None:
            raise ConfigError(last)
        raise ConfigError(f"the arm {match[1]!r}: [learn] has settings that karec train refuses: {match[2]}")


def first_training(world: World, settings: Mapping[str, Any], seed: int, folder: Path) -> Path:
    """The run folder of models that learned from the weeks before the days; trained where it is not there
    yet."""
    run = folder / "run"
    if (folder / "karec.toml").exists():  # the last file that karec train writes
        return run
    folder.mkdir(parents=True, exist_ok=True)
    write_text_aside(folder / "settings.toml", toml(settings))
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    write_dataset(data, world.start, world.past, world.dataset)
    _train(f"--data={data}", f"--seed={seed}", f"--out={folder}", f"--settings={folder / 'settings.toml'}")
    shutil.rmtree(data)
    return run


def learn_on(
    population: Population,
    uploaded: NDArray[Any],
    served: Impressions,
    run: Path,
    folder: Path,
    log: Path,
    settings: Mapping[str, Any],
    seed: int,
) -> Path:
    """One pass of towers that go on from those of ``run``, taught by the rank ``log``, in ``folder``: the run
    folder.

    ``uploaded (W,)`` bool: the works that are on the platform; ``served``: what was shown in the days so far;
    ``settings``, ``seed``: of the run's training.
    """
    data, out = folder / "data", folder / "out"
    for left in (data, out):
        shutil.rmtree(left, ignore_errors=True)
    start, dataset = population.world.start, population.world.dataset
    shown = joined([dataset.exposures, served])
    cuts = shown.time_ms[list(validation_and_test(shown, dataset.tasks))].tolist()
    snapshot = _only(with_works(start, population.truth), uploaded)
    more = replace(dataset, exposures=shown, train_until_ms=cuts[0], valid_until_ms=cuts[1])
    write_dataset(data, snapshot, population.world.past, more)
    short = {**settings, "towers": {**settings.get("towers", {}), "epochs": 1}}
    write_text_aside(folder / "settings.toml", toml(short))
    options = [f"--seed={seed}", f"--out={out}", f"--settings={folder / 'settings.toml'}"]
    _train(f"--data={data}", *options, f"--run={run}", f"--log={log}")
    shutil.rmtree(data)
    (done,) = out.glob("run-*")
    return done


def validation_and_test(shown: Impressions, tasks: Sequence[str]) -> tuple[int, int]:
    """The rows at which validation and test begin: the last VALIDATION + TEST and TEST of the exposures.

    Both begin earlier where a task would have one class in the test, which ``karec train`` refuses.
    """
    n = len(shown)
    usual = int(n * (1 - TEST))
    of_class = [np.flatnonzero(shown.labels[task] == value) for task in tasks for value in (0, 1)]
    test = min([usual, *(int(rows[-1]) for rows in of_class if len(rows))])
    return max(int(n * (1 - (VALIDATION + TEST))) - (usual - test), 0), test


def joined(parts: Sequence[Impressions]) -> Impressions:
    """One after the other; each says how long works were played."""
    labels = {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels}

    def each(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Impressions(
        each("user_id"), each("work_id"), each("time_ms"), each("scene"), labels, each("play_ms")
    )


def _only(snapshot: Snapshot, works: NDArray[Any]) -> Snapshot:
    return replace(snapshot, works=snapshot.works.take(works))


def _train(*options: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [sys.executable, "-m", "karec.cli", "train", *options]
    done = subprocess.run(  # it holds the simulation's folder too, see ``loop``: hence the open descriptors
        command, env=environment, capture_output=True, text=True, check=False, close_fds=False
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise TrainingFailed(
            f"karec train {' '.join(options)} ended with {done.returncode}: {' '.join(last)}"
        )


def toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """``table`` of numbers, texts, booleans, lists and tables as dotted keys, a line each."""
    lines = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines.append(toml(value, f"{prefix}{key}."))
        else:
            lines.append(f"{prefix}{key} = {_value(value)}\n")
    return "".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value))
