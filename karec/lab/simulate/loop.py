"""The closed loop: for each arm, days are played on one population. Each day

    publish   the platform as the day begins, item vectors by the arm's item tower, as a bundle of the arm's
    upload    creators upload by what they are seen; what the arm's screening refuses comes onto no platform
    play      potential sessions: who comes asks the arm's cascade page after page, and answers by hidden
              tastes
    fold      what was shown moves counters, histories, creators and users
    train     every so many nights, where the arm's cascade reads a user vector

A work that is uploaded during a day is there from the next morning. A checkpoint a day: a run that was killed
goes on with ``resume`` and ends as one that was not.

    OUT/simulation.json   what is played, to refuse another simulation here
    OUT/models/…          the first training of each of the arms' different settings; other simulations may
                          share it
    OUT/ARM/              the arm's log (``arm_log``), its checkpoint and events, its bundle, rank log and
                          nights
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from karec.config.assemble import check_steps
from karec.config.scenes import Config
from karec.errors import DataError
from karec.files import write_text_aside
from karec.lab.simulate.arm import ArmRun
from karec.lab.simulate.arms import MODELS, Arms
from karec.lab.simulate.nightly import check_settings, first_training
from karec.lab.simulate.population import Population, Sizes, make_population
from karec.lab.simulate.screening_days import check_screening, files_of, screening_of
from karec.lab.simulate.sessions import SCENE
from karec.lab.simulate.workers import usable_cores
from karec.lab.simulate.world.satiation import KUAIRAND
from karec.screening.settings import ScreeningSettings
from karec.times import Progress

FORMAT = 3
HEAD = "simulation.json"


def simulate(
    arms: Arms,
    folder: Path,
    sizes: Sizes,
    out: Path,
    *,
    resume: bool = False,
    models: Path | None = None,
    cores: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Plays every arm of ``arms``, whose file lies in ``folder``, into ``out``/NAME; see ``arm_log.ArmLog``.

    ``models``: a folder of first trainings, OUT/models unless it is given; what another simulation trained
    there of the same world with the same settings is used. ``cores`` changes no result; None: all that this
    process may use.

    Before the first day: ConfigError for an arm whose config does not build, DataError for an ``out`` of
    another simulation, of one that was begun and is not resumed, or that another process plays into,
    TrainingFailed.
    """
    with _held(out):
        _simulate(arms, folder, sizes, out, resume, models or out / MODELS, cores or usable_cores(), progress)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """``out`` is made and is this process's alone. DataError: it is another's.

    The trainings and players that it starts hold it too: none of a process that was killed writes beside the
    next one.
    """
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.set_inheritable(descriptor, True)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"{out} is played into by another process, or by what one that was killed had started: wait "
                "for its end"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _simulate(
    arms: Arms,
    folder: Path,
    sizes: Sizes,
    out: Path,
    resume: bool,
    models: Path,
    cores: int,
    progress: Progress | None,
) -> None:
    written = {arm.name: (folder / arm.config).read_text(encoding="utf-8") for arm in arms.arms if arm.config}
    screenings = [screening_of(arm, folder) for arm in arms.arms]
    files = {
        arm.name: files_of(screening)
        for arm, screening in zip(arms.arms, screenings, strict=True)
        if screening is not None
    }
    told = {"format": FORMAT, **asdict(sizes), "arms": asdict(arms), "configs": written, "files": files}
    head = json.dumps(told, indent=1, sort_keys=True, default=str)
    _check(out, head, resume)
    population = make_population(
        sizes, replace(KUAIRAND, scale=arms.satiation), progress, arms.new_creators_per_day
    )
    configs = _configs(arms, folder, out, population)
    for arm, screening in zip(arms.arms, screenings, strict=True):
        if screening is not None:
            check_screening(arm, screening, population)
    write_text_aside(out / HEAD, head)
    first = _trained(arms, population, sizes, models, progress)
    _play(_runs(arms, configs, first, screenings, out, population, sizes, cores, progress))


def play_on(
    run: Path, arms: Arms, population: Population, sizes: Sizes, out: Path, progress: Progress | None = None
) -> None:
    """Plays ``arms``, none of which has a config of its own, with the models of the run folder ``run`` and no
    training but at nights, into ``out``, which is emptied. Beside ``run`` lies ``bundles``, as ``karec
    train`` leaves it.
    """
    shutil.rmtree(out, ignore_errors=True)
    with _held(out):
        configs = _configs(arms, out, out, population)
        first, screenings = [run] * len(configs), [screening_of(arm, out) for arm in arms.arms]
        _play(_runs(arms, configs, first, screenings, out, population, sizes, usable_cores(), progress))


def _configs(arms: Arms, folder: Path, out: Path, population: Population) -> list[Config]:
    weights = population.world.dataset.objectives
    configs = []
    for arm in arms.arms:
        config = arms.config_of(arm, out / arm.name / "karec.toml", folder, population.snapshot, weights)
        check_steps(config.scene(SCENE))  # a mistake in its text is refused before anything is trained
        configs.append(config)
    return configs


def _runs(
    arms: Arms,
    configs: Sequence[Config],
    first: Sequence[Path],
    screenings: Sequence[ScreeningSettings | None],
    out: Path,
    population: Population,
    sizes: Sizes,
    cores: int,
    progress: Progress | None,
) -> list[ArmRun]:
    return [
        ArmRun(
            arm=arm,
            config=config,
            out=out,
            first=trained,
            settings=arms.settings_of(arm),
            screening=screening,
            nights=arms.train_every,
            population=population,
            sizes=sizes,
            cores=cores,
            progress=progress,
        )
        for arm, config, trained, screening in zip(arms.arms, configs, first, screenings, strict=True)
    ]


def _play(runs: Sequence[ArmRun]) -> None:
    for run in runs:
        run.check()
    for run in runs:
        if not run.ended:
            run.run()


def _check(out: Path, head: str, resume: bool) -> None:
    """Refuses an ``out`` that holds anything but the simulation that ``head`` tells, or that where it may not
    go on.

    One of which no day was played holds models at most, and may be begun anew with other arms.
    """
    if not (out / HEAD).exists():
        if any(not path.is_dir() for path in out.rglob("*")):  # an empty folder may wait for the report
            raise DataError(f"{out} holds something else than a simulation: name another folder with --out")
        return
    if not any(out.glob("*/day-*.npz")):
        return
    try:
        theirs, ours = json.loads((out / HEAD).read_text(encoding="utf-8")), json.loads(head)
    except ValueError as error:
        raise DataError(f"{out / HEAD} cannot be read: {error}") from error
    for key in ours:
        if theirs.get(key) != ours[key]:
            told = "" if key in ("arms", "configs", "files") else f" ({theirs.get(key)}, and not {ours[key]})"
            raise DataError(
                f"{out} is of a simulation with other {key}{told}: name another folder with --out"
            )
    if not resume:
        raise DataError(
            f"{out} holds this simulation, begun or done: go on with --resume, or name another folder"
        )


def _trained(
    arms: Arms, population: Population, sizes: Sizes, models: Path, progress: Progress | None
) -> list[Path]:
    """The run folder of each arm's first models; arms with the same settings share one."""
    settings = [json.dumps(arms.settings_of(arm), sort_keys=True) for arm in arms.arms]
    different = list(dict.fromkeys(settings))
    world = [sizes.works, sizes.users, sizes.exposures, sizes.seed, asdict(population.truth.satiation)]
    folders = {
        text: models / hashlib.sha256(json.dumps([world, text]).encode()).hexdigest()[:12]
        for text in different
    }
    # the first with them
    arm_of = {text: arm.name for arm, text in reversed([*zip(arms.arms, settings, strict=True)])}
    check_settings(
        {arm_of[text]: json.loads(text) for text, folder in folders.items() if not folder.exists()}
    )
    runs = {}
    for at, text in enumerate(different):
        if progress is not None:
            progress(at, len(different), "first trainings")
        runs[text] = first_training(population.world, json.loads(text), sizes.seed, folders[text])
    if progress is not None:
        progress(len(different), len(different), "first trainings")
    return [runs[text] for text in settings]
