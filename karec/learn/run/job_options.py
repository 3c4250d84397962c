"""Options of a training, and the folders that they name.

OUT/run             the first run, and each run that nothing in service depends on
OUT/run-VERSION     a run next to the one in service: retrained towers, a warm start, or compared
OUT/bundles         published bundles
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

from karec.bundle import next_version
from karec.bundle.tower_files import ITEM_TOWER
from karec.errors import DataError
from karec.learn.settings.settings import TrainSettings
from karec.logs.parts import LogFolder
from karec.online.read_log import EventSource


@dataclass(frozen=True)
class TrainingJob:
    """Options of a training.

    out               folder of runs and bundles
    settings          None: those of the served run, else the built-in ones
    seed              None: that of the settings
    is_quick          a smaller ranker and fewer epochs (``TrainSettings.quick``)
    choose_minutes    longest choice of settings before training; None: no choice
    log               rank log of a service, from which the towers learn
    log_version       use only log rows of this model version
    served_run        run folder whose ranker wrote ``log``, or with ``warm_days`` whose models the training
                      continues; None: the run in service
    is_from_scratch   with ``log``: trains a new ranker, which scores the pools of the log for new towers
    warm_days         starts from the weights of the served run and learns from as many last days; a ``log``
                      adds its pools as from scratch. None: from scratch
    events            online store whose events are added to the data
    ids               maps of the data's ids, which get the ids of uploads; None: ids are numbers
    is_online         the service has an online store: features are as of each row's time
    margin            publish only if the mean AUC is at most this much below that of the version in service
    is_resumed        continue an interrupted training; CheckpointError if there is none
    """

    out: Path
    settings: TrainSettings | None = None
    seed: int | None = None
    is_quick: bool = False
    choose_minutes: float | None = None
    log: LogFolder | None = None
    log_version: int | None = None
    served_run: Path | None = None
    is_from_scratch: bool = False
    warm_days: int | None = None
    events: EventSource | None = None
    ids: Path | None = None
    is_online: bool = False
    margin: float | None = None
    is_resumed: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for options that exclude each other."""
        is_warm = self.warm_days is not None
        if self.log is None and self.log_version is not None:
            raise ValueError("--log-version needs --log, a rank log")
        if self.log is None and self.served_run is not None and not is_warm:
            raise ValueError("--run needs --log, the rank log of that run, or --warm-start")
        if is_warm and (self.settings is not None or self.is_quick or self.choose_minutes is not None):
            raise ValueError(
                "--warm-start has the settings of its run: leave out --settings, --quick, --choose"
            )
        if is_warm and self.is_from_scratch:
            raise ValueError("--warm-start and --from-scratch exclude each other")
        if self.is_from_scratch and self.log is None:
            raise ValueError("--from-scratch needs --log, whose pools the new ranker scores")
        if self.is_from_scratch and self.served_run is not None:
            raise ValueError(
                "--run continues the towers of a run, --from-scratch trains new ones. Give one of them"
            )
        if self.continues_towers and (self.is_quick or self.choose_minutes is not None):
            raise ValueError("--quick and --choose are for a training from scratch: add --from-scratch")
        if self.margin is not None and not 0 <= self.margin < math.inf:
            raise ValueError(
                f"--publish-if-no-worse is {self.margin:g}, expected an AUC difference, 0 or more"
            )

    @property
    def continues_towers(self) -> bool:
        """True if the towers start from those of the served run."""
        return self.log is not None and not self.is_from_scratch and self.warm_days is None

    @property
    def has_start(self) -> bool:
        """True if the training starts from weights of the served run."""
        return self.continues_towers or self.warm_days is not None

    @property
    def bundles(self) -> Path:
        return self.out / "bundles"

    @property
    def served_bundle(self) -> Path | None:
        """The folder of the version in service; None if nothing is published."""
        current = self.bundles / "current"
        return current.resolve() if current.exists() else None

    @property
    def run_folder(self) -> Path:
        is_compared = self.margin is not None and self.served_bundle is not None
        if is_compared or self.has_start:
            return self.out / f"run-{next_version(self.bundles)}"
        return self.out / "run"

    def check_finished_run(self) -> None:
        """Raises DataError if a training without ``log``, ``margin`` or ``warm_days`` would replace a run."""
        is_replaced = self.log is None and self.margin is None and not self.has_start and not self.is_resumed
        if is_replaced and (self.run_folder / "run.json").exists():
            raise DataError(
                f"{self.run_folder}: a training finished here. Name another --out, remove this folder, or "
                "add --publish-if-no-worse MARGIN, which trains the next version in a folder of its own."
            )

    def with_options(self, settings: TrainSettings | None) -> TrainSettings:
        """Returns ``settings``, or the built-in ones, with the job's seed and the times of its inputs."""
        settings = settings or TrainSettings()
        settings = settings.with_online_inputs() if self.is_online else settings
        return settings if self.seed is None else settings.replace(seed=self.seed)

    def run_in_service(self) -> Path:
        """Returns OUT/run; with a margin or a warm start, the run folder of the version in service.

        Raises DataError if that folder is missing.
        """
        bundle = None if self.margin is None and self.warm_days is None else self.served_bundle
        if bundle is None:
            return self.out / "run"
        folder = self.run_of_version(bundle)
        if folder is None:
            raise DataError(
                f"{self.out}: no run folder of version {int(bundle.name[1:])}, which is in service. Name it "
                "with --run."
            )
        return folder

    def run_of_version(self, bundle: Path) -> Path | None:
        """Returns the run folder whose models are in ``bundle``.

        OUT/run-VERSION may be of a training that was not published.
        """
        for folder in (self.out / f"run-{int(bundle.name[1:])}", self.out / "run"):
            item_tower = folder / ITEM_TOWER
            if item_tower.exists() and cmp(item_tower, bundle / ITEM_TOWER, shallow=False):
                return folder
        return None
