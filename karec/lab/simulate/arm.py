"""Plays the days of one arm, one after the other. ``loop`` describes a day."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.bundle import Bundle
from karec.catalog.snapshot import Snapshot
from karec.config.assemble import build_cascade
from karec.config.scenes import Config
from karec.errors import ConfigError
from karec.exposure.controller import ExposureController
from karec.lab.simulate.arm_log import EXPOSURES, ArmLog, read_day, write_day
from karec.lab.simulate.arms import Arm
from karec.lab.simulate.checkpoint import State, advance_day, platform_at, read_events, write_events
from karec.lab.simulate.nightly import continue_training, join_impressions
from karec.lab.simulate.oracle import set_population
from karec.lab.simulate.pages import describe_pages
from karec.lab.simulate.play_day import play_day
from karec.lab.simulate.population import Population, Sizes
from karec.lab.simulate.sessions import SCENE, SimulatedDay
from karec.lab.simulate.uploads import Creators
from karec.models.trees import copy_model
from karec.pipeline.cascade import Cascade
from karec.refresh.publish_run import publish
from karec.steps.side_effects.exposure_counter import ExposureCounter
from karec.steps.side_effects.rank_log import RankLog
from karec.times import DAY_MS, Progress

COMMUNITY = "community"  # this source needs communities; a user's own (module:Class) may need them too
USER_VECTOR = "request.user_vector"
END = "arm.json"


@dataclass(frozen=True, eq=False)
class ArmRun:
    """The simulation of ``arm`` with its ``config``, in a folder of ``out``.

    first_models  run folder of its first models
    settings      settings of their training
    train_every   days between two trainings; 0: no training
    returns       scale of the effect of enjoyment on sessions
    """

    arm: Arm
    config: Config
    out: Path
    first_models: Path
    settings: dict[str, Any]
    train_every: int
    returns: float
    population: Population
    sizes: Sizes
    cores: int
    progress: Progress | None

    @property
    def folder(self) -> Path:
        return self.out / self.arm.name

    @property
    def has_ended(self) -> bool:
        return (self.folder / END).exists()

    def check(self) -> None:
        """Builds the arm's cascade on the platform of the first models. Raises ConfigError if it fails."""
        self.folder.mkdir(exist_ok=True)
        for model in self.first_models.glob("baseline_*.onnx"):
            copy_model(model, self.folder / model.name)  # The arm's steps may refer to them.
        cascade = self._cascade(Bundle.open(self.first_models.parent / "bundles", verify=False))
        has_rank_log = any(isinstance(queue.side_effect, RankLog) for queue in cascade.side_effects)
        if self._can_learn(cascade) and not has_rank_log:
            raise ConfigError(
                f"arm {self.arm.name!r}: its towers learn from its rank log, but no side effect writes one. "
                'Add { use = "rank_log" } to the scene\'s side_effects, or train_every = 0.'
            )

    def run(self) -> None:
        """Plays the remaining days, then writes the end of the log."""
        state = State.read(self.folder) or self._start()
        self._remove_unfinished_day(state)
        snapshot = platform_at(self.folder, state.day, self.population)
        while state.day < self.sizes.days:
            begin = time.perf_counter()
            snapshot = self._day(state, snapshot)
            state.seconds += time.perf_counter() - begin
            state.logged = tuple(sorted(part.name for part in self._log.glob("*")))
            state.write(self.folder)
        self._end(state)

    @property
    def _log(self) -> Path:
        return self.folder / "rank_log"

    def _remove_unfinished_day(self, state: State) -> None:
        """Removes rank log parts of a day that did not end, since it is played again."""
        for part in self._log.glob("*"):
            if part.name not in state.logged:
                part.unlink()

    def _start(self) -> State:
        for name in ("rank_log", "learn"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        population = self.population
        return State(
            day=0,
            levels=population.levels.copy(),
            recent_works=population.recent_works.copy(),
            creators=Creators.from_potential(population.potential, population.daily_impressions),
            sessions=np.tile(np.where(population.is_visitor, 0, -1).astype(np.int32), (self.sizes.days, 1)),
            run="",
        )

    def _day(self, state: State, snapshot: Snapshot) -> Snapshot:
        """Plays the day of ``state`` and advances it. Returns the platform at its end."""
        day, population = state.day, self.population
        message = f"{self.arm.name}: day {day + 1} of {self.sizes.days}"
        state.creators = state.creators.upload(population.potential, day)
        bundle = self._publish(state, snapshot)
        cascade = self._cascade(bundle)
        can_learn = self._can_learn(cascade)
        simulated_day = SimulatedDay(
            population=population,
            number=day,
            snapshot=bundle.snapshot,
            cascade=replace(cascade, side_effects=()),
            logging_cascade=_without_exposure_counter(cascade) if can_learn else None,
            exposure=self._controller(cascade, state),
            returns=self.returns,
        )
        report = partial(self._report, message=message)
        result = play_day(simulated_day, state.levels, state.recent_works, self.cores, report)
        if simulated_day.exposure is not None:
            state.exposure = simulated_day.exposure.to_json().decode()
        self._write(day, result.impressions)
        state.levels[result.users] = result.levels
        state.recent_works[result.users] = result.recent_works
        state.sessions[day, result.users] = result.sessions
        state.requests += result.requests
        state.ms += result.ms
        creators = population.truth.works.creator[result.impressions["work"]]
        state.creators = state.creators.after_day(population.potential, day, creators)
        state.day = day + 1
        if can_learn and state.day % self.train_every == 0 and state.day < self.sizes.days:
            self._learn(state)
        return advance_day(snapshot, self.folder, day, population)

    def _controller(self, cascade: Cascade, state: State) -> ExposureController | None:
        """Returns the exposure controller of ``cascade`` with the state at the end of the last day."""
        controller = cascade.exposure
        if controller is not None:
            saved = state.exposure.encode() if state.exposure else None
            controller.restore(saved, self.population.first_ms + state.day * DAY_MS)
        return controller

    def _can_learn(self, cascade: Cascade) -> bool:
        """Returns True if a step reads the user vector of the towers, so that training changes pages."""
        steps = (*cascade.recall.sources, *(step for stage in cascade.stages for step in stage.steps))
        return self.train_every > 0 and any(USER_VECTOR in step.needs for step in steps)

    def _learn(self, state: State) -> None:
        message = f"{self.arm.name}: night {state.day}"
        self._report(0, 1, message)
        run = continue_training(
            self.population,
            is_uploaded=state.creators.upload_day < state.day,
            served=join_impressions(
                [read_events(self.folder, day, self.population) for day in range(state.day)]
            ),
            models=self._models(state),
            folder=self.folder / "learn" / f"night-{state.day:04d}",
            log=self._log,
            settings=self.settings,
            seed=self.sizes.seed,
        )
        state.run = str(run.relative_to(self.folder))
        self._report(1, 1, message)

    def _models(self, state: State) -> Path:
        return self.folder / state.run if state.run else self.first_models

    def _publish(self, state: State, snapshot: Snapshot) -> Bundle:
        """Publishes the works that exist at the beginning of the day, with the counters of ``snapshot``.

        Inverted lists and communities are made only if a source reads them: at 300,000 works and 20,000 users
        they take four fifths of the time of a publication.
        """
        is_uploaded = state.creators.upload_day < state.day
        root, sources = self.folder / "bundles", self.config.scene(SCENE).recall
        shutil.rmtree(root, ignore_errors=True)
        publish(
            self._models(state),
            replace(snapshot, works=snapshot.works.take(is_uploaded)),
            root,
            lists=any(source.get("exact") is False for source in sources),
            grouped=any(source["use"] == COMMUNITY or ":" in source["use"] for source in sources),
        )
        return Bundle.open(root, verify=False)

    def _cascade(self, bundle: Bundle) -> Cascade:
        cascade = build_cascade(self.config, SCENE, bundle)
        set_population(cascade, self.population)
        return cascade

    def _write(self, day: int, impressions: Mapping[str, NDArray[Any]]) -> None:
        """Writes the impressions in time order: as the arm's log, and as events."""
        order = np.lexsort((impressions["position"], impressions["user"], impressions["time_ms"]))
        rows = {name: column[order] for name, column in impressions.items()}
        works, work = self.population.truth.works, rows["work"]
        columns = {
            **{name: rows[name] for name in EXPOSURES if name in rows},
            "day": np.full(len(work), day),
            "creator": works.creator[work],
            "age_ms": rows["time_ms"] - works.upload_ms[work],
            "play_s": rows["play_ms"] / 1000.0,
        }
        write_day(self.folder, day, columns)
        write_events(self.folder, day, rows)

    def _end(self, state: State) -> None:
        bundle = Bundle.open(self.folder / "bundles", verify=False)
        controller = self._controller(replace(self._cascade(bundle), side_effects=()), state)
        population, scene = self.population, self.config.scene(SCENE)
        exposures = self._all_days()
        facts = {
            "pages": describe_pages(exposures, population.snapshot.works, self.sizes.seed),
            "sizes": asdict(self.sizes),
            "arm": asdict(self.arm),
            "settings": self.settings,
            "train_every": self.train_every,
            "returns": self.returns,
            "satiation": asdict(population.truth.satiation),
            "scene": {"recall": list(scene.recall), "stages": list(scene.stages), "candidates": scene.limit},
            "run": state.run,
            "model_version": bundle.model_version,
            "exposure": None if controller is None else controller.snapshot(),
            "requests": state.requests,
            "ms_a_request": state.ms / max(state.requests, 1),
            "seconds": state.seconds,
        }
        ArmLog(
            name=self.arm.name,
            days=self.sizes.days,
            n_users=self.sizes.users,
            creators=population.potential.creators,
            exposures=exposures,
            work_upload_day=state.creators.upload_day,
            work_creator=population.truth.works.creator,
            upload_ms=population.truth.works.upload_ms,
            sessions=state.sessions,
            quit_day=state.creators.quit_day,
            facts=facts,
        ).write_end(self.folder)

    def _all_days(self) -> dict[str, NDArray[Any]]:
        parts = [read_day(self.folder, day) for day in range(self.sizes.days)]
        return {name: np.concatenate([part[name] for part in parts]) for name in EXPOSURES}

    def _report(self, done: int, total: int, message: str) -> None:
        if self.progress is not None:
            self.progress(done, total, message)


def _without_exposure_counter(cascade: Cascade) -> Cascade:
    """Returns ``cascade`` without the exposure counter: a simulation counts in time order itself."""
    return replace(
        cascade,
        side_effects=tuple(
            queue for queue in cascade.side_effects if not isinstance(queue.side_effect, ExposureCounter)
        ),
    )
