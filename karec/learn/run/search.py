"""Searches settings: tries a short list on the validation days and trains with the best.

First each ranker is trained. The best one writes its log of the training days, and towers learn from that log
with one change at a time; a change stays if it is better. Better means a higher mean over the tasks of the
AUC of the exported models on the validation days. The test days are not read.

A trial is skipped if the slowest trial of its part would exceed the remaining time; the first of each part
always runs. The time limit depends on the machine, so the choice is also written as a settings file that
repeats its training.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.evaluate.metrics.accuracy import UserBootstrap, auc, bootstrap_interval
from karec.evaluate.quality import tower_logits
from karec.files import write_text_aside
from karec.learn._torch import torch_threads
from karec.learn.distil.distillation import train_towers
from karec.learn.fit.predictions import mean_auc
from karec.learn.fit.prepare import TrainingData, prepare
from karec.learn.run.first_log import write_first_log
from karec.learn.run.rankers import train_ranker
from karec.learn.settings.check import check_training, fingerprint
from karec.learn.settings.settings import RECIPES, TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.models.trees import copy_model
from karec.samples.lists import LoggedLists, read_lists
from karec.samples.replay import ranker_logits
from karec.samples.soft_labels import SoftLabels, read_soft_labels
from karec.times import Progress

FORMAT = 1  # of choice.json
CHOICE, CHOSEN = "choice.json", "chosen.toml"
RESAMPLES = 100
CRITERION = "mean over the tasks of the AUC on the validation days"


@dataclass(frozen=True)
class Change:
    """Settings to try: ``keys`` {section: {key: value}}."""

    name: str
    keys: Mapping[str, Mapping[str, Any]]

    def apply_to(self, settings: TrainSettings) -> TrainSettings:
        return settings.replace(**self.keys)


AS_GIVEN = Change("as given", {})
RANKERS = (
    Change("lr", {"ranker": {"kind": "lr"}}),
    Change("mmoe", {"ranker": {"kind": "mmoe"}}),
    Change("lightgbm", {"ranker": {"kind": "lightgbm"}}),
    Change("mmoe, 6 epochs", {"ranker": {"kind": "mmoe", "epochs": 6}}),
)
TOWERS = (
    Change("matching", {"towers": {"matching": True}}),
    Change("without matching", {"towers": {"matching": False}}),
    *(
        Change(f"recipe {name}", {"distil": {"recipe": name, **RECIPES[name]["distil"]}})
        for name in ("list", "feature-distillation", "pools")
    ),
    Change("10 epochs", {"towers": {"epochs": 10}}),
    Change("vectors of 128", {"towers": {"vector": 128}}),
    Change("hidden layers of 256", {"towers": {"hidden": 256}}),
)


@dataclass(frozen=True)
class Trial:
    """One row of the table.

    score     of CRITERION; None if it was not tried
    gain      over the best trial before it, with its 95 % interval, paired over users
    why_not   reason if it was not tried
    """

    part: Literal["ranker", "towers"]
    name: str
    score: float | None = None
    by_task: Mapping[str, float] = field(default_factory=dict)
    gain: float | None = None
    gain_ci: tuple[float, float] | None = None
    seconds: float | None = None
    kept: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class Choice:
    """The chosen settings, complete, and every change of the list in order."""

    settings: TrainSettings
    trials: tuple[Trial, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"criterion": CRITERION, "tried": [asdict(trial) for trial in self.trials]}


def search_settings(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    minutes: float,
    progress: Progress | None = None,
    *,
    resume: bool = False,
) -> Choice:
    """Tries the list within ``minutes``. Returns the choice and writes it to ``folder``.

    ``folder`` then has choice.json and chosen.toml, a settings file. With ``resume``, a finished choice there
    with the same data and settings is returned. Raises ValueError unless minutes > 0, and the errors of
    ``check_training``.
    """
    if not minutes > 0:
        raise ValueError(f"--choose is {minutes:g}, expected minutes above 0")
    settings = settings.resolve(dataset)
    check_training(dataset, settings)
    facts = fingerprint(dataset, settings)
    if resume and (choice := _read_choice(folder, facts, settings)) is not None:
        return choice
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with torch_threads(settings.run.threads):
        search = _Search(prepare(dataset, settings, folder, progress), folder, minutes * 60.0, progress)
        settings = search.towers(search.rankers(settings))
    shutil.rmtree(folder)
    folder.mkdir()
    choice = Choice(settings, tuple(search.trials))
    write_text_aside(folder / CHOSEN, settings.to_toml())
    write_text_aside(
        folder / CHOICE, json.dumps({"format": FORMAT, "of": facts, **choice.to_dict()}, indent=1)
    )
    return choice


def _read_choice(folder: Path, facts: str, settings: TrainSettings) -> Choice | None:
    """Returns the choice in ``folder`` if it has the same data and settings."""
    if not (folder / CHOICE).is_file():
        return None
    content = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
    if content.get("format") != FORMAT or content.get("of") != facts:
        return None
    chosen = TrainSettings.from_toml(folder / CHOSEN)
    trials = tuple(Trial(**row) for row in content["tried"])
    return Choice(chosen.replace(model_version=settings.model_version), trials)


def _missing_requirement(settings: TrainSettings, tasks: Sequence[str]) -> str:
    kind, auxiliary = settings.ranker.kind, sorted(set(settings.fusion) - set(tasks))
    if kind == "lightgbm" and not find_spec("lightgbm"):
        return "lightgbm is not installed"
    return f"fusion weighs {', '.join(auxiliary)}" if auxiliary and kind != "mmoe" else ""


class _Search:
    def __init__(
        self, prepared: TrainingData, folder: Path, seconds: float, progress: Progress | None
    ) -> None:
        self.prepared, self.folder, self.progress = prepared, folder, progress
        self.trials: list[Trial] = []
        self._until = time.monotonic() + seconds
        self._slowest = {"ranker": 0.0, "towers": 0.0}
        self._bootstrap = UserBootstrap(prepared.valid.exposures.user_id, RESAMPLES)

    def rankers(self, base: TrainSettings) -> TrainSettings:
        """Returns the settings with the best ranker, whose model is left in ``folder``/ranker.onnx."""
        best, best_logits, tried = base, None, []
        for change in (AS_GIVEN, *RANKERS):
            settings = change.apply_to(base)
            if settings in tried:
                continue
            tried.append(settings)
            reason = _missing_requirement(settings, self.prepared.encoder.tasks)
            if reason or not self._time_for("ranker"):
                self.trials.append(Trial("ranker", change.name, why_not=reason or "no time"))
                continue
            start, path = time.monotonic(), self.folder / "try.onnx"
            train_ranker(settings.ranker.kind, self.prepared, settings, path, self.progress)
            n_tasks = len(self.prepared.encoder.tasks)
            valid, threads = self.prepared.valid, settings.run.threads
            logits = ranker_logits(valid, OnnxModel(path), threads=threads)[:, :n_tasks]
            if self._add_trial("ranker", change.name, logits, best_logits, start):
                best, best_logits = settings, logits
                copy_model(path, self.folder / "ranker.onnx")
        return best

    def towers(self, base: TrainSettings) -> TrainSettings:
        """Returns the settings with the best towers, which learn from the log of ``folder``/ranker.onnx."""
        log = self.folder / "rank_log"
        write_first_log(
            self.prepared.train, self.folder / "ranker.onnx", base, log, self.progress, pools=True
        )
        tasks = self.prepared.encoder.tasks
        soft = read_soft_labels(self.prepared.train.exposures, log, tasks)
        lists = read_lists(self.prepared.train, log, tasks, base.distil.list_works, base.seed)
        best, best_logits, tried = base, None, []
        for change in (AS_GIVEN, *TOWERS):
            settings = change.apply_to(best)
            if settings in tried:
                continue
            tried.append(settings)
            lacks_lists = settings.distil.needs_lists and not len(lists)
            reason = f"the rank log has no list of {settings.distil.list_works} items" if lacks_lists else ""
            if reason or not self._time_for("towers"):
                self.trials.append(Trial("towers", change.name, why_not=reason or "no time"))
                continue
            start = time.monotonic()
            logits = self._tower_logits(settings, soft, lists)
            if self._add_trial("towers", change.name, logits, best_logits, start):
                best, best_logits = settings, logits
        return best

    def _tower_logits(self, settings: TrainSettings, soft: SoftLabels, lists: LoggedLists) -> NDArray[Any]:
        used_lists = lists if settings.distil.needs_lists else None
        _, heads = train_towers(self.prepared, soft, used_lists, settings, self.folder, self.progress)
        user, item = (OnnxModel(self.folder / f"{side}_tower.onnx") for side in ("user", "item"))
        return tower_logits(self.prepared.valid, user, item, heads, settings.run.threads)

    def _time_for(self, part: str) -> bool:
        return not self._slowest[part] or time.monotonic() + self._slowest[part] <= self._until

    def _add_trial(
        self,
        part: Literal["ranker", "towers"],
        name: str,
        logits: NDArray[Any],
        best: NDArray[Any] | None,
        start: float,
    ) -> bool:
        """Adds the trial to the table. Returns True if it is better than the best so far."""
        valid, tasks = self.prepared.valid, self.prepared.encoder.tasks
        score, seconds = mean_auc(logits, valid.labels), time.monotonic() - start
        self._slowest[part] = max(self._slowest[part], seconds)
        kept, gain, interval = True, None, None
        if best is not None:
            gain = score - mean_auc(best, valid.labels)
            interval = bootstrap_interval(self._resampled(logits) - self._resampled(best))
            kept = gain > 0
        if kept and part == "ranker":  # only one ranker is kept; kept changes of the towers accumulate
            self.trials = [replace(trial, kept=False) for trial in self.trials]
        by_task = {task: auc(valid.labels[:, column], logits[:, column]) for column, task in enumerate(tasks)}
        self.trials.append(Trial(part, name, score, by_task, gain, interval, round(seconds, 1), kept))
        return kept

    def _resampled(self, logits: NDArray[Any]) -> NDArray[Any]:
        """Returns (RESAMPLES,) the criterion in each resample of users."""
        labels = self.prepared.valid.labels
        draws = [self._bootstrap.auc(labels[:, t], logits[:, t]) for t in range(labels.shape[1])]
        return np.asarray(np.nanmean(draws, axis=0))
