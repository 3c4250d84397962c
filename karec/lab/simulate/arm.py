"""One arm: days played one after the other. ``loop`` says what a day is."""

from __future__ import annotations

import json
import shutil
import time
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
from karec.lab.simulate.checkpoint import State, advanced, platform_at, read_events, write_events
from karec.lab.simulate.exposure_days import play_controlled
from karec.lab.simulate.nightly import joined, learn_on
from karec.lab.simulate.population import Population, Sizes
from karec.lab.simulate.screening_days import screened_day, told_of
from karec.lab.simulate.sessions import SCENE, Played, Today
from karec.lab.simulate.uploads import Creators
from karec.lab.simulate.workers import play_day
from karec.models.trees import copy_model
from karec.pipeline.cascade import Cascade
from karec.pipeline.side_effects import SideEffectQueue
from karec.refresh.publish_run import publish
from karec.screening.settings import ScreeningSettings
from karec.steps.side_effects.exposure_counter import ExposureCounter
from karec.steps.side_effects.rank_log import RankLog
from karec.times import DAY_MS, Progress

COMMUNITY = "community"  # the channel; one of the user's own, module:Class, may read what it does
USER_VECTOR = "request.user_vector"
END = "arm.json"
SCREENED = "screened"


@dataclass(frozen=True, eq=False)
class ArmRun:
    """``arm`` with its ``config``, in the folder ``place`` of the simulation ``out``.

    first     the run folder of its first models
    settings  of their training
    screening  what a day's uploads must pass, None: nothing
    nights    between two trainings; 0: none
    """

    arm: Arm
    config: Config
    out: Path
    first: Path
    settings: dict[str, Any]
    screening: ScreeningSettings | None
    nights: int
    population: Population
    sizes: Sizes
    cores: int
    progress: Progress | None

    @property
    def place(self) -> Path:
        return self.out / self.arm.name

    @property
    def ended(self) -> bool:
        return (self.place / END).exists()

    def check(self) -> None:
        """Builds the arm's cascade once, on the platform that the first models were published with.
        ConfigError."""
        self.place.mkdir(exist_ok=True)
        for model in self.first.glob("baseline_*.onnx"):
            copy_model(model, self.place / model.name)  # an arm's steps may name one
        cascade = self._cascade(Bundle.open(self.first.parent / "bundles", verify=False))
        if cascade.exposure is not None and cascade.exposure.settings.state is not None:
            raise ConfigError(
                f"the arm {self.arm.name!r}: exposure.state names a file, and a simulation keeps the "
                "exposure state in its checkpoint: delete the key"
            )
        logs = any(isinstance(queue.side_effect, RankLog) for queue in cascade.side_effects)
        if self._learns(cascade) and not logs:
            raise ConfigError(
                f"the arm {self.arm.name!r}: its towers learn at night from its rank log, and no observer "
                "writes one: "
                'add { use = "rank_log" } to the scene\'s side_effects, or train_every = 0'
            )

    def run(self) -> None:
        """All days that are left, then the end of the log."""
        state = State.kept(self.place) or self._start()
        self._forget_half_a_day(state)
        snapshot = platform_at(self.place, state.day, self.population)
        while state.day < self.sizes.days:
            begin = time.perf_counter()
            snapshot = self._day(state, snapshot)
            state.seconds += time.perf_counter() - begin
            state.logged = tuple(sorted(part.name for part in self._log.glob("*")))
            state.keep(self.place)
        self._end(state)

    @property
    def _log(self) -> Path:
        return self.place / "rank_log"

    def _forget_half_a_day(self, state: State) -> None:
        """Removes what a day that did not end left in the rank log: it is played again, and would stand there
        twice."""
        for part in self._log.glob("*"):
            if part.name not in state.logged:
                part.unlink()

    def _start(self) -> State:
        for left in ("rank_log", "learn", SCREENED):
            shutil.rmtree(self.place / left, ignore_errors=True)
        population = self.population
        return State(
            day=0,
            levels=population.levels.copy(),
            lately=population.lately.copy(),
            creators=Creators.at_start(population.potential, population.seen),
            sessions=np.tile(np.where(population.comers, 0, -1).astype(np.int32), (self.sizes.days, 1)),
            run="",
        )

    def _day(self, state: State, snapshot: Snapshot) -> Snapshot:
        """Plays the day that ``state`` stands at, and moves it on: the platform as the next one begins."""
        day, population = state.day, self.population
        say = partial(self._say, what=f"{self.arm.name}: day {day + 1} of {self.sizes.days}")
        state.creators = state.creators.upload(population.potential, day)
        if self.screening is not None:
            place = self.place / SCREENED
            state.creators = screened_day(self.screening, place, day, state.creators, snapshot, population)
        bundle = self._published(state, snapshot)
        cascade = self._cascade(bundle)
        learns = self._learns(cascade)
        logged = replace(cascade, side_effects=_logging(cascade)) if learns else None
        controller = self._controller(cascade, state)
        today = Today(population, day, bundle.snapshot, replace(cascade, side_effects=()), logged, controller)
        if controller is None:
            played = play_day(today, state.levels, state.lately, self.cores, say)
        else:
            played = play_controlled(today, controller, state.levels, state.lately, self.cores, say)
            state.exposure = json.dumps(controller.to_dict())
        self._write(day, played)
        state.levels[played.users] = played.levels
        state.lately[played.users] = played.lately
        state.sessions[day, played.users] = played.sessions
        state.requests += played.requests
        state.ms += played.ms
        creators = population.truth.works.creator[played.shown["work"]]
        state.creators = state.creators.look(population.potential, day, creators)
        state.day = day + 1
        if learns and state.day % self.nights == 0 and state.day < self.sizes.days:
            self._learn(state)
        return advanced(snapshot, self.place, day, population)

    def _controller(self, cascade: Cascade, state: State) -> ExposureController | None:
        """Returns the exposure controller of ``cascade`` with the state at the end of the last day."""
        controller = cascade.exposure
        if controller is not None:
            saved = json.loads(state.exposure) if state.exposure else None
            controller.restore(saved, self.population.first_ms + state.day * DAY_MS)
        return controller

    def _learns(self, cascade: Cascade) -> bool:
        """Whether nights can change anything: some step reads the towers' user vector."""
        steps = (*cascade.recall.sources, *(step for stage in cascade.stages for step in stage.steps))
        return self.nights > 0 and any(USER_VECTOR in step.needs for step in steps)

    def _learn(self, state: State) -> None:
        say = partial(self._say, total=1, what=f"{self.arm.name}: night {state.day}")
        say(0)
        served = joined([read_events(self.place, day, self.population) for day in range(state.day)])
        there = state.creators.upload_day < state.day
        folder, log = self.place / "learn" / f"night-{state.day:04d}", self._log
        models, seed = self._models(state), self.sizes.seed
        run = learn_on(self.population, there, served, models, folder, log, self.settings, seed)
        state.run = str(run.relative_to(self.place))
        say(1)

    def _models(self, state: State) -> Path:
        return self.place / state.run if state.run else self.first

    def _published(self, state: State, snapshot: Snapshot) -> Bundle:
        """The bundle of the morning: the works that are there, as ``snapshot`` counts them.

        Lists of works and communities of users are made where a channel reads them: at 300,000 works and
        20,000 users they are four fifths of a morning.
        """
        there = state.creators.upload_day < state.day
        root, channels = self.place / "bundles", self.config.scene(SCENE).recall
        shutil.rmtree(root, ignore_errors=True)
        publish(
            self._models(state),
            replace(snapshot, works=snapshot.works.take(there)),
            root,
            lists=any(channel.get("exact") is False for channel in channels),
            grouped=any(channel["use"] == COMMUNITY or ":" in channel["use"] for channel in channels),
        )
        return Bundle.open(root, verify=False)

    def _cascade(self, bundle: Bundle) -> Cascade:
        return build_cascade(self.config, SCENE, bundle)

    def _write(self, day: int, played: Played) -> None:
        """What was shown, in order of time: as the arm's log, and as events."""
        shown, works = played.shown, self.population.truth.works
        order = np.lexsort((shown["position"], shown["user"], shown["time_ms"]))
        rows = {name: column[order] for name, column in shown.items()}
        work = rows["work"]
        columns = {
            **{name: rows[name] for name in EXPOSURES if name in rows},
            "day": np.full(len(work), day),
            "creator": works.creator[work],
            "age_ms": rows["time_ms"] - works.upload_ms[work],
            "play_s": rows["play_ms"] / 1000.0,
        }
        write_day(self.place, day, columns)
        write_events(self.place, day, rows)

    def _end(self, state: State) -> None:
        bundle = Bundle.open(self.place / "bundles", verify=False)
        controller = self._controller(replace(self._cascade(bundle), side_effects=()), state)
        population, scene = self.population, self.config.scene(SCENE)
        facts = {
            "sizes": asdict(self.sizes),
            "arm": asdict(self.arm),
            "settings": self.settings,
            "train_every": self.nights,
            "satiation": asdict(population.truth.satiation),
            "scene": {"recall": list(scene.recall), "stages": list(scene.stages), "candidates": scene.limit},
            "run": state.run,
            "model_version": bundle.model_version,
            "screening": self._told_of_screening(state),
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
            exposures=self._all_days(),
            work_upload_day=state.creators.upload_day,
            work_creator=population.truth.works.creator,
            upload_ms=population.truth.works.upload_ms,
            sessions=state.sessions,
            quit_day=state.creators.quit_day,
            facts=facts,
        ).write_end(self.place)

    def _told_of_screening(self, state: State) -> dict[str, Any] | None:
        if self.screening is None:
            return None
        return told_of(self.place / SCREENED, self.sizes.days, state.creators, self.population)

    def _all_days(self) -> dict[str, NDArray[Any]]:
        parts = [read_day(self.place, day) for day in range(self.sizes.days)]
        return {name: np.concatenate([part[name] for part in parts]) for name in EXPOSURES}

    def _say(self, done: int, total: int, what: str) -> None:
        if self.progress is not None:
            self.progress(done, total, what)


def _logging(cascade: Cascade) -> tuple[SideEffectQueue, ...]:
    """Returns the side effects without the exposure counter: a simulation counts pages in order of time."""
    return tuple(
        queue for queue in cascade.side_effects if not isinstance(queue.side_effect, ExposureCounter)
    )
