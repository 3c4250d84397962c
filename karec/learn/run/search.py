"""Searches settings: tries a short list of changes by pages on the validation days.

The given settings are trained first: ranker, its log of the training days, towers. Then rankers and towers
are trained with one change at a time. A change is kept if the NDCG@20 of its pages is above that of the best
before by more than its 95 % interval, paired over users. The test days are not read.

A trial is skipped if the slowest trial of its part would exceed the remaining time; the given settings are
always tried. The time limit depends on the machine, so the choice is also written as a settings file that
repeats its training.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.errors import ConfigError, DataError, MissingExtra
from karec.evaluate.metrics.accuracy import UserBootstrap
from karec.evaluate.model_pages import RANKER, TOWERS, model_pages
from karec.evaluate.pages import DECIDING, validation_requests
from karec.files import write_text_aside
from karec.learn._torch import torch_threads
from karec.learn.distil.distillation import train_towers
from karec.learn.fit.prepare import prepare
from karec.learn.run.first_log import rank_validation_pools, write_and_read_first_log
from karec.learn.run.rankers import train_ranker
from karec.learn.settings.check import check_training, fingerprint
from karec.learn.settings.from_data import Rule
from karec.learn.settings.settings import TrainSettings
from karec.times import Progress

FORMAT = 1  # of choice.json
CHOICE, CHOSEN = "choice.json", "chosen.toml"
CRITERION = "NDCG@20 of pages on the validation days"

Part = Literal["ranker", "towers"]
Keys = Mapping[str, Mapping[str, Any]]  # {section: {key: value}} of settings

AS_GIVEN = "as given"
CHANGES: Mapping[Part, Mapping[str, Keys]] = {
    "ranker": {
        "lr": {"ranker": {"kind": "lr"}},
        "lightgbm": {"ranker": {"kind": "lightgbm"}},
        "mmoe": {"ranker": {"kind": "mmoe"}},
        "mmoe, experts of 64": {"ranker": {"kind": "mmoe", "hidden": 64}},
        "mmoe, 6 epochs": {"ranker": {"kind": "mmoe", "epochs": 6}},
    },
    "towers": {
        "vectors of 128": {"towers": {"vector": 128}},
        "hidden layers of 256": {"towers": {"hidden": 256}},
        "10 epochs": {"towers": {"epochs": 10}},
    },
}
ROWS: Mapping[Part, str] = {"ranker": RANKER, "towers": TOWERS}


@dataclass(frozen=True)
class Trial:
    """One row of the table.

    score     CRITERION; None if it was not tried
    gain      over the best trial before it, with its 95 % interval, paired over users
    why_not   reason if it was not tried
    """

    part: Part
    name: str
    score: float | None = None
    gain: float | None = None
    gain_ci: tuple[float, float] | None = None
    seconds: float | None = None
    kept: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class Choice:
    """Result of a search.

    settings   the chosen settings, complete
    trials     all trials, in order
    rules      reasons of the settings that data or trials decided
    """

    settings: TrainSettings
    trials: tuple[Trial, ...]
    rules: tuple[Rule, ...]

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
    with the same data and settings is returned. Raises ValueError unless minutes > 0, DataError if no user
    has a page on the validation days, and the errors of ``check_training``.
    """
    if not minutes > 0:
        raise ValueError(f"--choose is {minutes:g}, expected minutes above 0")
    settings, rules = settings.resolve_with_rules(dataset)
    check_training(dataset, settings)
    facts = fingerprint(dataset, settings)
    if resume and (choice := _read_choice(folder, facts, settings)) is not None:
        return choice
    search = _Search(dataset, settings, folder, time.monotonic() + minutes * 60.0, progress)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with torch_threads(settings.run.threads):
        search.try_changes()
    shutil.rmtree(folder)
    folder.mkdir()
    rules = list({rule.setting: rule for rule in (*rules, *search.rules)}.values())
    choice = Choice(search.best, tuple(search.trials), tuple(rules))
    content = {"format": FORMAT, "of": facts, "rules": rules, **choice.to_dict()}
    write_text_aside(folder / CHOSEN, choice.settings.to_toml())
    write_text_aside(folder / CHOICE, json.dumps(content, indent=1))
    return choice


def _read_choice(folder: Path, facts: str, settings: TrainSettings) -> Choice | None:
    """Returns the choice in ``folder`` if it has the same data and settings."""
    if not (folder / CHOICE).is_file():
        return None
    content = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
    if content.get("format") != FORMAT or content.get("of") != facts:
        return None
    chosen = TrainSettings.from_toml(folder / CHOSEN).replace(model_version=settings.model_version)
    trials = tuple(Trial(**row) for row in content["tried"])
    return Choice(chosen, trials, tuple(Rule(*rule) for rule in content["rules"]))


class _Search:
    """Trials in ``folder`` until ``until`` (s, of ``time.monotonic``).

    ``best``: the given settings with the changes that were kept.
    All towers learn from the log of the given ranker. In a large library, all rankers order the items that
    the given towers score best.
    """

    def __init__(
        self, dataset: Dataset, given: TrainSettings, folder: Path, until: float, progress: Progress | None
    ) -> None:
        self.best = given
        self.trials: list[Trial] = []
        self.rules: list[Rule] = []
        self._dataset = dataset
        self._folder = folder
        self._until = until
        self._progress = progress
        self._fit_seconds: dict[Part, float] = {}  # of the newest models
        self._slowest: dict[Part, float] = {}
        self._best_ndcg: dict[Part, NDArray[Any]] = {}
        self._requests = validation_requests(dataset, given.seed)
        if not len(self._requests):
            raise DataError(
                f"{dataset.name}: no user enjoyed a new item on the validation days, so --choose cannot "
                "measure pages. Train without it, or with more validation days."
            )
        self._bootstrap = UserBootstrap(self._requests.users, given.evaluation.resamples, given.seed)

    def try_changes(self) -> None:
        """Tries the given settings, then each change of the list together with those that were kept."""
        given, tried = self.best, [self.best]
        self._prepared = prepare(self._dataset, given, self._folder, self._progress)
        self._fit("ranker", given)
        self._targets = write_and_read_first_log(self._prepared, given, self._folder, self._progress)
        ranker = self._folder / "ranker.onnx"
        self._pools = rank_validation_pools(self._prepared, given, ranker, self._progress)
        self._fit("towers", given)
        for part, changes in CHANGES.items():
            self._measure(part, AS_GIVEN, {})
            for name, keys in changes.items():
                settings = self.best.replace(**keys)
                if settings in tried:
                    continue
                tried.append(settings)
                if reason := self._reason_to_skip(part, settings):
                    self.trials.append(Trial(part, name, why_not=reason))
                    continue
                self._fit(part, settings)
                self._measure(part, name, keys)
            (self._folder / "ranker.onnx").unlink(missing_ok=True)  # towers are measured without it

    def _fit(self, part: Part, settings: TrainSettings) -> None:
        """Trains the models of ``part`` into the folder."""
        start = time.monotonic()
        ranker = self._folder / "ranker.onnx"
        if part == "ranker":
            train_ranker(settings.ranker.kind, self._prepared, settings, ranker, self._progress)
        else:
            targets, pools = self._targets, self._pools
            train_towers(self._prepared, *targets, settings, self._folder, self._progress, pools=pools)
        self._fit_seconds[part] = time.monotonic() - start

    def _reason_to_skip(self, part: Part, settings: TrainSettings) -> str:
        """Returns why ``settings`` cannot be tried, "" if they can."""
        try:
            check_training(self._dataset, settings)
        except (ConfigError, MissingExtra) as error:
            return str(error)
        return "" if time.monotonic() + self._slowest[part] <= self._until else "no time"

    def _measure(self, part: Part, name: str, keys: Keys) -> None:
        """Adds the trial of the models in the folder. Keeps its settings if its pages are better."""
        start = time.monotonic()
        settings = self.best.replace(**keys)
        pages = model_pages(self._dataset, self._requests, self._folder, settings.to_dict())
        ndcg = self._requests.measure(pages[ROWS[part]])[DECIDING]
        seconds = self._fit_seconds[part] + time.monotonic() - start
        self._slowest[part] = max(self._slowest.get(part, 0.0), seconds)
        gain, interval = None, None
        if part in self._best_ndcg:
            gain, interval = self._bootstrap.mean_with_interval(ndcg - self._best_ndcg[part]).values()
        kept = interval is None or interval[0] > 0
        self.trials.append(Trial(part, name, float(ndcg.mean()), gain, interval, round(seconds, 1), kept))
        if kept:
            self.best = settings
            self._best_ndcg[part] = ndcg
            changed = {f"{section}.{key}": value for section in keys for key, value in keys[section].items()}
            reason = f"--choose: {ndcg.mean():.4f} {CRITERION}"
            self.rules += [Rule(key, value, reason) for key, value in changed.items()]
