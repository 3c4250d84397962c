"""The closed loop: for each arm, days are played on one population. Each day

    publish   the platform as the day begins, item vectors by the arm's item tower, as a bundle of the arm
    play      potential sessions: who comes asks the arm's cascade page after page, and answers by hidden tastes
    fold      what was shown moves counters, histories, creators and users
    train     every so many nights, where the arm's cascade reads a user vector

A work that is uploaded during a day is there from the next morning. A checkpoint a day: a run that was killed goes on
with ``resume`` and ends as one that was not.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from karec._clock import DAY_MS, Progress
from karec._files import file_aside, write_text_aside
from karec.bundle import Bundle
from karec.config.assemble import Cascade, build_cascade
from karec.config.scenes import Config
from karec.errors import DataError
from karec.platform.events import Exposures
from karec.platform.folds.advance import advance
from karec.platform.snapshot import Snapshot
from karec.refresh.publish import publish_bundle
from karec.simulate.arm_log import EXPOSURES, ArmLog, read_day, write_day
from karec.simulate.arms import Arm, Arms
from karec.simulate.nightly import first_training, joined, learn_on
from karec.simulate.population import Population, Sizes, make_population
from karec.simulate.sessions import SCENE, Played, Today
from karec.simulate.uploads import Creators
from karec.simulate.workers import play_day, usable_cores
from karec.simulate.world import World
from karec.simulate.world.satiation import FORMER
from karec.simulate.world.tastes import SCENES, TASKS
from karec.types import Array

FORMAT = 1
HEAD = "simulation.json"
USER_VECTOR = "request.user_vector"


def simulate(
    arms: Arms,
    folder: Path,
    sizes: Sizes,
    out: Path,
    *,
    resume: bool = False,
    cores: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Plays every arm of ``arms``, whose file lies in ``folder``, into ``out``/NAME; see ``ArmLog``.

    ``cores`` changes no result. Before the first day: ConfigError for an arm whose config does not build, DataError for
    an ``out`` of another simulation, or of one that was begun and is not resumed.
    """
    _claim(out, arms, sizes, resume)
    population = make_population(sizes, replace(FORMER, scale=arms.satiation), progress)
    weights = population.world.dataset.objectives
    parts = []
    for arm in arms.arms:
        place = out / arm.name
        place.mkdir(exist_ok=True)
        config = arms.config_of(arm, place / "karec.toml", folder, population.snapshot, weights)
        config.scene(SCENE)  # refuses a mistake in the text; steps are built once there are models
        parts.append((arm, place, config))
    runs = _trained(arms, population.world, sizes.seed, out, progress)
    plays = [
        _ArmRun(arm, place, config, runs[at], population, arms, sizes, cores or usable_cores(), progress)
        for at, (arm, place, config) in enumerate(parts)
    ]
    for each in plays:
        each.check()
    for each in plays:
        each.run()


def _claim(out: Path, arms: Arms, sizes: Sizes, resume: bool) -> None:
    """``out`` is there, and of this simulation."""
    text = json.dumps({"format": FORMAT, **asdict(sizes), "arms": asdict(arms)}, indent=1, sort_keys=True)
    head = out / HEAD
    out.mkdir(parents=True, exist_ok=True)
    if not head.exists():
        if any(out.iterdir()):
            raise DataError(f"{out} holds something else than a simulation: name another folder with --out")
        write_text_aside(head, text)
        return
    theirs, ours = json.loads(head.read_text(encoding="utf-8")), json.loads(text)
    for key in ours:
        if theirs.get(key) != ours[key]:
            told = f": {theirs.get(key)}, and not {ours[key]}" if key != "arms" else ""
            raise DataError(f"{out} is of a simulation with other {key}{told}; name another folder with --out")
    if not resume:
        raise DataError(f"{out} holds this simulation, begun or done: go on with --resume, or name another folder")


def _trained(arms: Arms, world: World, seed: int, out: Path, progress: Progress | None) -> list[Path]:
    """The run folder of each arm's first models; arms with the same settings share one."""
    settings = [arms.settings_of(arm) for arm in arms.arms]
    different = list(dict.fromkeys(json.dumps(each, sort_keys=True) for each in settings))
    runs = {}
    for at, text in enumerate(different):
        if progress is not None:
            progress(at, len(different), "first trainings")
        runs[text] = first_training(world, json.loads(text), seed, out / "models" / f"{at}")
    if progress is not None:
        progress(len(different), len(different), "first trainings")
    return [runs[json.dumps(each, sort_keys=True)] for each in settings]


@dataclass(eq=False)
class _State:
    """An arm between two days. ``day``: the next one to be played."""

    day: int
    levels: Array
    lately: Array
    creators: Creators
    sessions: Array
    run: str
    requests: int = 0
    ms: float = 0.0
    seconds: float = 0.0


class _ArmRun:
    """One arm, from its first day or from its checkpoint."""

    def __init__(
        self,
        arm: Arm,
        place: Path,
        config: Config,
        first: Path,
        population: Population,
        arms: Arms,
        sizes: Sizes,
        cores: int,
        progress: Progress | None,
    ) -> None:
        self.arm, self.place, self.config, self.first = arm, place, config, first
        self.population, self.arms, self.sizes, self.cores = population, arms, sizes, cores
        self.progress = progress

    def check(self) -> None:
        """Builds the arm's cascade on the first day's platform. ConfigError."""
        if not (self.place / "arm.json").exists():
            state = self._start()
            self._cascade(self._published(state, self.population.snapshot))

    def run(self) -> None:
        """All days that are left, and the end of the log."""
        if (self.place / "arm.json").exists():
            return
        state = self._resumed() or self._start()
        snapshot = self._platform(state.day)
        while state.day < self.sizes.days:
            begin = time.perf_counter()
            snapshot = self._day(state, snapshot)
            state.seconds += time.perf_counter() - begin
            self._keep(state)
        self._end(state)

    def _day(self, state: _State, snapshot: Snapshot) -> Snapshot:
        """Plays the day that ``state`` stands at, and moves it on: the platform as the next one begins."""
        day, population = state.day, self.population
        state.creators = state.creators.upload(population.potential, day)
        served = self._published(state, snapshot)
        cascade = self._cascade(served)
        learns = self._learns(cascade)
        today = Today(population, day, served.snapshot, replace(cascade, observers=()), cascade if learns else None)
        say = partial(self._say, what=f"{self.arm.name}: day {day + 1} of {self.sizes.days}")
        played = play_day(today, state.levels, state.lately, self.cores, say)
        del today, cascade, served
        exposures = self._logged(day, played)
        state.levels[played.users] = played.levels
        state.lately[played.users] = played.lately
        state.sessions[day, played.users] = played.sessions
        state.requests += played.requests
        state.ms += played.ms
        creators = population.truth.works.creator[played.shown["work"]]
        state.creators = state.creators.look(population.potential, day, creators)
        state.day = day + 1
        snapshot = advance(snapshot, exposures, population.first_ms + state.day * DAY_MS)
        nights = self.arms.train_every
        if learns and nights and state.day % nights == 0 and state.day < self.sizes.days:
            self._say(0, 1, f"{self.arm.name}: night {state.day}")
            served_so_far = joined([read_events(self.place, at, population) for at in range(state.day)])
            there = state.creators.upload_day < state.day
            folder = self.place / "learn" / f"night-{state.day:04d}"
            log = self.place / "rank_log"
            state.run = str(learn_on(population, there, served_so_far, Path(state.run), folder, log))
            self._say(1, 1, f"{self.arm.name}: night {state.day}")
        return snapshot

    def _learns(self, cascade: Cascade) -> bool:
        steps = (*cascade.recall.sources, *(step for stage in cascade.stages for step in stage.steps))
        return bool(self.arms.train_every) and any(USER_VECTOR in step.needs for step in steps)

    def _published(self, state: _State, snapshot: Snapshot) -> Bundle:
        """The bundle of the morning: works that are there, as ``snapshot`` counts them."""
        there = state.creators.upload_day < state.day
        released = replace(snapshot, works=snapshot.works.take(there))
        root = self.place / "bundles"
        shutil.rmtree(root, ignore_errors=True)
        for model in self.first.glob("baseline_*.onnx"):
            shutil.copyfile(model, self.place / model.name)
        publish_bundle(Path(state.run), released, root)
        return Bundle.open(root, verify=False)

    def _cascade(self, bundle: Bundle) -> Cascade:
        return build_cascade(self.config, SCENE, bundle)

    def _logged(self, day: int, played: Played) -> Exposures:
        """Writes what was shown, as the arm's log and as events; the events, in order of time."""
        population, shown = self.population, played.shown
        truth = population.truth
        order = np.lexsort((shown["position"], shown["user"], shown["time_ms"]))
        rows = {name: column[order] for name, column in shown.items()}
        work = rows["work"]
        columns = {
            **{name: rows[name] for name in EXPOSURES if name in rows},
            "day": np.full(len(work), day),
            "creator": truth.works.creator[work],
            "age_ms": rows["time_ms"] - truth.works.upload_ms[work],
            "play_s": rows["play_ms"] / 1000.0,
        }
        write_day(self.place, day, columns)
        with file_aside(_events_path(self.place, day)) as file:
            np.savez(file, **{name: rows[name] for name in EVENTS})
        return _exposures(rows, population)

    def _platform(self, day: int) -> Snapshot:
        """The platform as ``day`` begins, from the events of the days before."""
        snapshot = self.population.snapshot
        for past in range(day):
            until = self.population.first_ms + (past + 1) * DAY_MS
            snapshot = advance(snapshot, read_events(self.place, past, self.population), until)
        return snapshot

    def _start(self) -> _State:
        population = self.population
        shutil.rmtree(self.place / "rank_log", ignore_errors=True)
        return _State(
            day=0,
            levels=population.levels.copy(),
            lately=population.lately.copy(),
            creators=Creators.at_start(population.potential, population.shares),
            sessions=np.zeros((self.sizes.days, self.sizes.users), np.int32),
            run=str(self.first),
        )

    def _keep(self, state: _State) -> None:
        """The checkpoint."""
        arrays = {name: getattr(state, name) for name in ("levels", "lately", "sessions")}
        numbers = {name: getattr(state, name) for name in ("day", "requests", "ms", "seconds")}
        with file_aside(self.place / "checkpoint.npz") as file:
            np.savez(file, run=np.array(state.run), **arrays, **numbers, **vars(state.creators))

    def _resumed(self) -> _State | None:
        path = self.place / "checkpoint.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            kept = {name: file[name] for name in file.files}
        creators = Creators(*(kept[name] for name in ("seen", "unseen", "quit_day", "upload_day")))
        numbers = {"requests": int(kept["requests"]), "ms": float(kept["ms"]), "seconds": float(kept["seconds"])}
        arrays = {name: kept[name] for name in ("levels", "lately", "sessions")}
        return _State(day=int(kept["day"]), creators=creators, run=str(kept["run"]), **arrays, **numbers)

    def _end(self, state: _State) -> None:
        population = self.population
        facts = {
            "seed": self.sizes.seed,
            "sizes": asdict(self.sizes),
            "arm": asdict(self.arm),
            "train_every": self.arms.train_every,
            "satiation": asdict(population.truth.satiation),
            "settings": self.arms.settings_of(self.arm),
            "scene": {name: list(getattr(self.config.scene(SCENE), name)) for name in ("recall", "stages")},
            "run": state.run,
            "requests": state.requests,
            "ms_a_request": state.ms / max(state.requests, 1),
            "seconds": state.seconds,
        }
        log = ArmLog(
            name=self.arm.name,
            days=self.sizes.days,
            n_users=self.sizes.users,
            creators=population.potential.creators,
            exposures=_all_days(self.place, self.sizes.days),
            work_upload_day=state.creators.upload_day,
            work_creator=population.truth.works.creator,
            upload_ms=population.truth.works.upload_ms,
            sessions=state.sessions,
            quit_day=state.creators.quit_day,
            facts=facts,
        )
        log.write_end(self.place)

    def _say(self, done: int, total: int, what: str) -> None:
        if self.progress is not None:
            self.progress(done, total, what)


EVENTS = ("user", "work", "time_ms", "play_ms", *TASKS)


def _events_path(place: Path, day: int) -> Path:
    return place / f"events-{day:04d}.npz"


def read_events(place: Path, day: int, population: Population) -> Exposures:
    """What was shown on one day of an arm, with all that users did."""
    with np.load(_events_path(place, day), allow_pickle=False) as file:
        return _exposures({name: file[name] for name in EVENTS}, population)


def _exposures(rows: Mapping[str, Array], population: Population) -> Exposures:
    snapshot = population.snapshot
    scene = np.full(len(rows["user"]), SCENES.index(SCENE), np.int32)
    ids = snapshot.users.ids[rows["user"]], snapshot.works.ids[rows["work"]]
    return Exposures(*ids, rows["time_ms"], scene, {task: rows[task] for task in TASKS}, rows["play_ms"])


def _all_days(place: Path, days: int) -> dict[str, Any]:
    parts = [read_day(place, day) for day in range(days)]
    return {name: np.concatenate([part[name] for part in parts]) for name in EXPOSURES}
