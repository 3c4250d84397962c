"""Settings that choose themselves: a short list is tried on the validation days, and the best one trains.

First rankers are trained, each alone. The best one writes its log over the training days, and towers learn
from that log, one change at a time: each is tried upon the best settings so far and stays when it is better.
Better means a higher mean over the tasks of the AUC on the validation days, of the exported models. The test
days are not looked at.

Nothing is tried that the time left would not cover, judged by the slowest try of its part; the first of each
part always is. What time allows depends on the machine, so a choice is kept as a settings file that repeats
its training.
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
    """Settings that are tried: ``keys`` {section: {key: value}}."""

    name: str
    keys: Mapping[str, Mapping[str, Any]]

    def of(self, settings: TrainSettings) -> TrainSettings:
        return settings.replace(**self.keys)


AS_GIVEN = Change("as given", {})
RANKERS = (
    Change("mmoe", {"ranker": {"kind": "mmoe"}}),
    Change("lightgbm", {"ranker": {"kind": "lightgbm"}}),
    Change("both", {"ranker": {"kind": "both"}}),
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
class Tried:
    """One row of the table. ``score``: of CRITERION; ``gain`` over the best before it, with its 95 %
    interval, paired over users; all None where it was not tried, and ``why_not``.
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
    """``settings``: those that were chosen, complete. ``tried``: every change of the list, in order."""

    settings: TrainSettings
    tried: tuple[Tried, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"criterion": CRITERION, "tried": [asdict(each) for each in self.tried]}


def choose_settings(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    minutes: float,
    progress: Progress | None = None,
    *,
    resume: bool = False,
) -> Choice:
    """Try the list within ``minutes``, upon ``settings``; what was chosen, written to ``folder`` too.

    ``folder`` afterwards: choice.json and chosen.toml, a settings file. With ``resume``, a choice that an
    earlier call of the same data and settings finished there is taken as it is. Raises ValueError unless
    minutes > 0, and what ``check_training`` raises.
    """
    if not minutes > 0:
        raise ValueError(f"--choose {minutes:g}: minutes above 0 are wanted")
    settings = settings.resolve(dataset)
    check_training(dataset, settings)
    facts = fingerprint(dataset, settings)
    if resume and (kept := _kept(folder, facts, settings)) is not None:
        return kept
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with torch_threads(settings.run.threads):
        search = _Search(prepare(dataset, settings, folder, progress), folder, minutes * 60.0, progress)
        settings = search.towers(search.rankers(settings))
    shutil.rmtree(folder)
    folder.mkdir()
    choice = Choice(settings, tuple(search.tried))
    write_text_aside(folder / CHOSEN, settings.to_toml())
    write_text_aside(
        folder / CHOICE, json.dumps({"format": FORMAT, "of": facts, **choice.as_dict()}, indent=1)
    )
    return choice


def _kept(folder: Path, facts: str, settings: TrainSettings) -> Choice | None:
    """The choice that ``folder`` holds, if it is one of these data and settings."""
    if not (folder / CHOICE).is_file():
        return None
    said = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
    if said.get("format") != FORMAT or said.get("of") != facts:
        return None
    chosen = TrainSettings.from_toml(folder / CHOSEN)
    tried = tuple(Tried(**row) for row in said["tried"])
    return Choice(chosen.replace(model_version=settings.model_version), tried)


def _lacking(settings: TrainSettings, tasks: Sequence[str]) -> str:
    """Why this ranker cannot be tried; an empty text where it can."""
    kind, beside = settings.ranker.kind, sorted(set(settings.fusion) - set(tasks))
    if kind in ("lightgbm", "both") and not find_spec("lightgbm"):
        return "lightgbm is not installed"
    return f"fusion weighs {', '.join(beside)}" if beside and kind not in ("mmoe", "both") else ""


class _Search:
    """The tries of one choice: what was tried, and how much time is left."""

    def __init__(
        self, prepared: TrainingData, folder: Path, seconds: float, progress: Progress | None
    ) -> None:
        self.prepared, self.folder, self.progress = prepared, folder, progress
        self.tried: list[Tried] = []
        self._until = time.monotonic() + seconds
        self._slowest = {"ranker": 0.0, "towers": 0.0}
        self._bootstrap = UserBootstrap(prepared.valid.exposures.user_id, RESAMPLES)

    def rankers(self, given: TrainSettings) -> TrainSettings:
        """The settings with the best ranker, which is left in ``folder``/ranker.onnx."""
        best, best_logits, seen = given, None, []
        for change in (AS_GIVEN, *RANKERS):
            settings = change.of(given)
            if settings in seen:
                continue
            seen.append(settings)
            needs = _lacking(settings, self.prepared.encoder.tasks)
            if needs or not self._time_for("ranker"):
                self.tried.append(Tried("ranker", change.name, why_not=needs or "no time"))
                continue
            start, path = time.monotonic(), self.folder / "try.onnx"
            train_ranker(settings.ranker.kind, self.prepared, settings, path, self.progress)
            n_tasks = len(self.prepared.encoder.tasks)
            valid, threads = self.prepared.valid, settings.run.threads
            logits = ranker_logits(valid, OnnxModel(path), threads=threads)[:, :n_tasks]
            if self._better("ranker", change.name, logits, best_logits, start):
                best, best_logits = settings, logits
                copy_model(path, self.folder / "ranker.onnx")
        return best

    def towers(self, given: TrainSettings) -> TrainSettings:
        """The settings with the best towers, which learn from the log of ``folder``/ranker.onnx."""
        log = self.folder / "rank_log"
        write_first_log(
            self.prepared.train, self.folder / "ranker.onnx", given, log, self.progress, pools=True
        )
        tasks = self.prepared.encoder.tasks
        soft = read_soft_labels(self.prepared.train.exposures, log, tasks)
        lists = read_lists(self.prepared.train, log, tasks, given.distil.list_works, given.seed)
        best, best_logits, seen = given, None, []
        for change in (AS_GIVEN, *TOWERS):
            settings = change.of(best)
            if settings in seen:
                continue
            seen.append(settings)
            without = settings.distil.needs_lists and not len(lists)
            needs = f"the rank log holds no list of {settings.distil.list_works} works" if without else ""
            if needs or not self._time_for("towers"):
                self.tried.append(Tried("towers", change.name, why_not=needs or "no time"))
                continue
            start = time.monotonic()
            logits = self._tower_logits(settings, soft, lists)
            if self._better("towers", change.name, logits, best_logits, start):
                best, best_logits = settings, logits
        return best

    def _tower_logits(self, settings: TrainSettings, soft: SoftLabels, lists: LoggedLists) -> NDArray[Any]:
        wanted = lists if settings.distil.needs_lists else None
        _, heads = train_towers(self.prepared, soft, wanted, settings, self.folder, self.progress)
        user, item = (OnnxModel(self.folder / f"{side}_tower.onnx") for side in ("user", "item"))
        return tower_logits(self.prepared.valid, user, item, heads, settings.run.threads)

    def _time_for(self, part: str) -> bool:
        return not self._slowest[part] or time.monotonic() + self._slowest[part] <= self._until

    def _better(
        self,
        part: Literal["ranker", "towers"],
        name: str,
        logits: NDArray[Any],
        best: NDArray[Any] | None,
        start: float,
    ) -> bool:
        """Whether the try beats the best so far; its row joins the table."""
        valid, tasks = self.prepared.valid, self.prepared.encoder.tasks
        score, seconds = mean_auc(logits, valid.labels), time.monotonic() - start
        self._slowest[part] = max(self._slowest[part], seconds)
        kept, gain, interval = True, None, None
        if best is not None:
            gain = score - mean_auc(best, valid.labels)
            interval = bootstrap_interval(self._drawn(logits) - self._drawn(best))
            kept = gain > 0
        if kept and part == "ranker":  # one ranker is kept; what is kept of the towers adds up
            self.tried = [replace(each, kept=False) for each in self.tried]
        by_task = {task: auc(valid.labels[:, at], logits[:, at]) for at, task in enumerate(tasks)}
        self.tried.append(Tried(part, name, score, by_task, gain, interval, round(seconds, 1), kept))
        return kept

    def _drawn(self, logits: NDArray[Any]) -> NDArray[Any]:
        """(RESAMPLES,) the criterion in each draw of users."""
        labels = self.prepared.valid.labels
        draws = [self._bootstrap.auc(labels[:, at], logits[:, at]) for at in range(labels.shape[1])]
        return np.asarray(np.nanmean(draws, axis=0))
