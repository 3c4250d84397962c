"""The closed loop: the days of each arm are played on one population. Each day:

    publish   the platform at the beginning of the day, with vectors of the arm's item tower, as a bundle
    upload    creators upload by their attention
    play      potential sessions: users request pages and give feedback by hidden tastes
    update    impressions change counters, histories, creators and users
    train     every few nights, if the arm's cascade reads a user vector

A work uploaded during a day is published the next morning. There is a checkpoint per day: a killed run that
continues with ``resume`` ends like one that was not killed.

    OUT/simulation.json   sizes and arms, to reject another simulation in this folder
    OUT/models/…          the first training of each different settings; other simulations may share it
    OUT/ARM/              the arm's log (``arm_log``), checkpoint, events, bundle, rank log and trainings
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
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
from karec.lab.simulate.sessions import SCENE
from karec.lab.simulate.user_changes import write_traits
from karec.lab.simulate.world.satiation import KUAIRAND
from karec.pipeline.deadline import usable_cores
from karec.times import Progress

FORMAT = 1
HEAD = "simulation.json"
TRAININGS = "first trainings"

OnEnd = Callable[[str, float], None]


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
    on_end: OnEnd | None = None,
) -> None:
    """Plays every arm of ``arms`` into ``out``/NAME; see ``arm_log.ArmLog``.

    Args:
        folder: folder of the arms file.
        models: folder of first trainings, default OUT/models. Trainings of the same world with the same
            settings are reused.
        cores: number of processes, default: all cores of this process. It changes no result.
        on_end: is called with TRAININGS after the first trainings, and with the name of each arm after its
            last day, and the processor seconds that it took with all child processes.

    Raises:
        ConfigError: the config of an arm does not build.
        DataError: ``out`` has another simulation, is not resumed, or is locked by another process.
        TrainingFailed: a first training failed.
    """
    with _lock(out):
        models = models or out / MODELS
        _simulate(arms, folder, sizes, out, resume, models, cores or usable_cores(), progress, on_end)


@contextmanager
def _lock(out: Path) -> Iterator[None]:
    """Makes ``out`` and locks it for this process. Raises DataError if another process has locked it.

    Child processes (trainings, players) hold the lock too, so a child of a killed process never writes beside
    the next one.
    """
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.set_inheritable(descriptor, True)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"{out} is locked by another process, or by a child of a killed one. Wait until it ends."
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
    on_end: OnEnd | None,
) -> None:
    configs_text = {
        arm.name: (folder / arm.config).read_text(encoding="utf-8") for arm in arms.arms if arm.config
    }
    head_table = {
        "format": FORMAT,
        **asdict(sizes),
        "arms": asdict(arms),
        "configs": configs_text,
    }
    head = json.dumps(head_table, indent=1, sort_keys=True, default=str)
    _check(out, head, resume)
    population = make_population(sizes, replace(KUAIRAND, scale=arms.satiation), progress)
    configs = _configs(arms, folder, out, population)
    write_text_aside(out / HEAD, head)
    write_traits(out, population)
    begin = _processor_seconds()
    first_models = _train_first_models(arms, population, sizes, models, progress)
    if on_end is not None:
        on_end(TRAININGS, _processor_seconds() - begin)
    _play(_runs(arms, configs, first_models, out, population, sizes, cores, progress), on_end)


def simulate_with_models(
    run: Path, arms: Arms, population: Population, sizes: Sizes, out: Path, progress: Progress | None = None
) -> None:
    """Plays ``arms``, none with its own config, with the models of the run folder ``run``, into ``out``.

    There is no first training. ``out`` is emptied. The folder ``bundles`` beside ``run`` must exist, as
    ``karec train`` writes it.
    """
    shutil.rmtree(out, ignore_errors=True)
    with _lock(out):
        configs = _configs(arms, out, out, population)
        first_models = [run] * len(configs)
        _play(_runs(arms, configs, first_models, out, population, sizes, usable_cores(), progress))


def _configs(arms: Arms, folder: Path, out: Path, population: Population) -> list[Config]:
    weights = population.world.dataset.objectives
    configs = []
    for arm in arms.arms:
        config = arms.config_of(arm, out / arm.name / "karec.toml", folder, population.snapshot, weights)
        check_steps(config.scene(SCENE))  # rejects a mistake before any training
        configs.append(config)
    return configs


def _runs(
    arms: Arms,
    configs: Sequence[Config],
    first_models: Sequence[Path],
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
            first_models=models,
            settings=arms.settings_of(arm),
            train_every=arms.train_every,
            returns=arms.returns,
            population=population,
            sizes=sizes,
            cores=cores,
            progress=progress,
        )
        for arm, config, models in zip(arms.arms, configs, first_models, strict=True)
    ]


def _play(runs: Sequence[ArmRun], on_end: OnEnd | None = None) -> None:
    for run in runs:
        run.check()
    for run in runs:
        if run.has_ended:
            continue
        begin = _processor_seconds()
        run.run()
        if on_end is not None:
            on_end(run.arm.name, _processor_seconds() - begin)


def _processor_seconds() -> float:
    """Returns the processor time of this process and of its ended child processes."""
    return sum(os.times()[:4])


def _check(out: Path, head: str, resume: bool) -> None:
    """Raises DataError if ``out`` has other files than the simulation of ``head``, or may not be continued.

    If no day was played, it has at most models and may be started again with other arms.
    """
    if not (out / HEAD).exists():
        if any(not path.is_dir() for path in out.rglob("*")):  # An empty folder may be meant for the report.
            raise DataError(f"{out} has files that are not a simulation. Name another folder with --out.")
        return
    if not any(out.glob("*/day-*.npz")):
        return
    try:
        stored_head = json.loads((out / HEAD).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{out / HEAD} cannot be read: {error}") from error
    for key, value in json.loads(head).items():
        if stored_head.get(key) != value:
            values = "" if key in ("arms", "configs") else f" ({stored_head.get(key)}, expected {value})"
            raise DataError(
                f"{out} has a simulation with other {key}{values}. Name another folder with --out."
            )
    if not resume:
        raise DataError(f"{out} has this simulation already. Continue with --resume, or name another folder.")


def _train_first_models(
    arms: Arms, population: Population, sizes: Sizes, models: Path, progress: Progress | None
) -> list[Path]:
    """Returns the run folder of the first models of each arm. Arms with equal settings share one."""
    settings = [json.dumps(arms.settings_of(arm), sort_keys=True) for arm in arms.arms]
    different = list(dict.fromkeys(settings))
    world = [sizes.works, sizes.users, sizes.exposures, sizes.seed, asdict(population.truth.satiation)]
    folders = {
        text: models / hashlib.sha256(json.dumps([world, text]).encode()).hexdigest()[:12]
        for text in different
    }
    # The first arm with these settings.
    arm_of = {text: arm.name for arm, text in reversed([*zip(arms.arms, settings, strict=True)])}
    check_settings(
        {arm_of[text]: json.loads(text) for text, folder in folders.items() if not folder.exists()}
    )
    runs = {}
    for number, text in enumerate(different):
        if progress is not None:
            progress(number, len(different), TRAININGS)
        runs[text] = first_training(population.world, json.loads(text), sizes.seed, folders[text])
    if progress is not None:
        progress(len(different), len(different), TRAININGS)
    return [runs[text] for text in settings]
