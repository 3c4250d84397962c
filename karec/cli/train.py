"""``karec train``: a first training, or one that learns on from what was served; published, if it is no
worse."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from karec.cli.going_on import alone_in_out, gone_on_with
from karec.cli.inputs import loaded, progress_bars, table_console, train_settings
from karec.errors import ConfigError, DataError, MissingExtra

if TYPE_CHECKING:
    from karec.cli.inputs import Loaded
    from karec.cli.progress import ProgressBars
    from karec.config.project import ItemTypesOf
    from karec.learn.run.train import TrainResult
    from karec.online.read_log import EventSource

NOT_PUBLISHED = 3  # exit status: trained, and worse than the version in service, which stays


def learn(
    arguments: argparse.Namespace,
    data: Loaded,
    progress: ProgressBars,
    *,
    serves: bool = False,
    resume: bool = False,
) -> TrainResult:
    """Data → trained run in ``--out``. Whoever ``serves`` it at once evaluates the run meanwhile."""
    from karec.bundle import next_version
    from karec.cli.preflight import check_outputs
    from karec.learn.run.preflight import check_run
    from karec.learn.run.search import choose_settings
    from karec.learn.run.train import train

    version = next_version(arguments.out / "bundles")
    settings = train_settings(arguments).replace(model_version=version)
    if getattr(arguments, "quick", False):
        settings = settings.quick(len(data.dataset.split()[0]))
    check_outputs(data.dataset, settings, arguments.out, getattr(arguments, "report", None), serves=serves)
    run = _run_folder(arguments)
    minutes, choice = getattr(arguments, "choose", None), None
    if minutes is not None:
        check_run(data.dataset, settings.resolve(data.dataset))
        choice = choose_settings(
            data.dataset, settings, arguments.out / "choice", minutes, progress, resume=resume
        )
        settings = choice.settings
        resume = resume and run.is_dir()
    return train(
        data.dataset,
        settings,
        run,
        progress,
        resume=resume,
        choice=choice,
        evaluate=not serves,
        **_log(arguments),
    )


def _log(arguments: argparse.Namespace) -> dict[str, Any]:
    """The served log whose pools a training from scratch learns too."""
    log = getattr(arguments, "log", None)
    return {} if log is None else {"log": log, "log_version": arguments.log_version}


def _run_folder(arguments: argparse.Namespace) -> Path:
    """Into which a training goes: OUT/run, or OUT/run-VERSION where the run in service stays."""
    from karec.bundle import next_version

    beside = getattr(arguments, "margin", None) is not None and _in_service(arguments.out) is not None
    if beside or _learns_on(arguments):
        return Path(arguments.out / f"run-{next_version(arguments.out / 'bundles')}")
    return Path(arguments.out / "run")


def _learns_on(arguments: argparse.Namespace) -> bool:
    """Whether towers go on from those of an earlier run."""
    return getattr(arguments, "log", None) is not None and not arguments.from_scratch


def _learn_from_log(
    arguments: argparse.Namespace, data: Loaded, progress: ProgressBars, *, resume: bool = False
) -> TrainResult:
    """Served log → towers that learn on."""
    from karec.bundle import next_version
    from karec.cli.preflight import check_outputs
    from karec.learn.run.from_log import ServedRun, train_from_log

    run = ServedRun.from_folder(arguments.run_folder or _run_that_served(arguments))
    version = next_version(arguments.out / "bundles")
    settings = run.settings if arguments.settings is None else train_settings(arguments)
    check_outputs(data.dataset, settings, arguments.out)
    return train_from_log(
        data.dataset,
        run,
        arguments.log,
        settings.replace(model_version=version),
        _run_folder(arguments),
        progress,
        version=arguments.log_version,
        resume=resume,
    )


def _run_that_served(arguments: argparse.Namespace) -> Path:
    """OUT/run; with --publish-if-no-worse, the run folder of the version in service. DataError: it is
    gone."""
    from karec.evaluate.quality import read_run

    first = Path(arguments.out / "run")
    served = None if arguments.margin is None else _in_service(arguments.out)
    if served is None:
        return first
    version = int(served.name[1:])
    for folder in (arguments.out / f"run-{version}", first):
        if folder.is_dir() and read_run(folder)["settings"]["model_version"] == version:
            return folder
    raise DataError(
        f"{arguments.out} has no run folder of version {version}, which is in service: name it with --run"
    )


def _in_service(out: Path) -> Path | None:
    """The folder of the bundle that ``out/bundles/current`` names; None where nothing is published."""
    current = out / "bundles" / "current"
    return current.resolve() if current.exists() else None


def publish_run(
    arguments: argparse.Namespace,
    data: Loaded,
    run: Path,
    progress: ProgressBars,
    *,
    lists: bool = True,
    scenes: Sequence[str] = (),
    item_types_of: ItemTypesOf | None = None,
) -> Path:
    """The curves of ``run``, and its models over the platform as ``--out``'s current bundle; the config's
    path. ``lists``, ``scenes`` and ``item_types_of`` as ``set_up``."""
    from karec.config.project import set_up
    from karec.evaluate.quality import read_run
    from karec.lab.curves import write_curves
    from karec.refresh.publish_run import KEEP

    facts = read_run(run)
    try:
        write_curves(facts, run / "curves.svg")
    except MissingExtra as error:
        progress.note(f"curves.svg is not drawn: {error}")
    return set_up(
        data.dataset,
        run,
        facts["settings"],
        arguments.out,
        progress,
        ids=data.ids,
        keep=getattr(arguments, "keep", KEEP),
        signing_key=getattr(arguments, "signing_key", None),
        lists=lists,
        scenes=scenes,
        item_types_of=item_types_of,
        is_rolling=getattr(arguments, "rolling", False),
    )


def train(arguments: argparse.Namespace) -> None:
    """Ends with NOT_PUBLISHED where the version in service stays."""
    console = table_console()
    _check_options(arguments)
    from karec.samples.from_events import newest_append_ms

    events = None if arguments.events is None else _event_source(arguments.events)
    if events is not None:
        newest_append_ms(events)
    with progress_bars() as progress, loaded(arguments, progress) as read, alone_in_out(arguments.out):

        def published(data: Loaded, resume: bool) -> _Done:
            return _published(arguments, data, resume, progress)

        data, trained, compared, config = gone_on_with(
            arguments, _run_folder(arguments), read, events, published, progress
        )
    from karec.cli.tables import choice_table, compared_table, run_tables
    from karec.evaluate.quality import read_run

    if arguments.choose is not None:
        console.print(choice_table(read_run(trained.folder)["choice"]))
    for table in run_tables(trained.quality, data.dataset.tasks):
        console.print(table)
    for note in (*data.dataset.notes, *trained.notes):
        console.print(f"note: {note}")
    if compared is not None:
        console.print(compared_table(compared))
    if config is None:
        assert compared is not None
        new, old = compared["versions"]
        console.print(f"not published: version {new} may be worse than version {old}, which stays in service")
        raise SystemExit(NOT_PUBLISHED)
    console.print(
        f"published: {config.parent / 'bundles'}\nserve it:  karec recommend --config {config} --user ID"
    )


class _Done(NamedTuple):
    """What a training learned from and left; ``config``: of what it published, None where nothing was."""

    data: Loaded
    trained: TrainResult
    compared: dict[str, Any] | None
    config: Path | None


def _published(arguments: argparse.Namespace, data: Loaded, resume: bool, progress: ProgressBars) -> _Done:
    from karec.learn.run.run_folder import remove_runs

    compared, config = None, None
    trained = (_learn_from_log if _learns_on(arguments) else learn)(arguments, data, progress, resume=resume)
    if arguments.margin is not None:
        compared = _compared(arguments, data, trained, progress)
    if compared is None or compared["no_worse"]:
        config = publish_run(arguments, data, trained.folder, progress)
        if arguments.upload is not None:
            from karec.bundle.remote import upload

            upload(arguments.out / "bundles" / "current", arguments.upload)
        for left in remove_runs(arguments.out) if arguments.margin is not None else ():
            progress.note(left)
    return _Done(data, trained, compared, config)


def _check_options(arguments: argparse.Namespace) -> None:
    """What is wrong by the options alone is refused before anything is read or trained."""
    from karec.bundle.manifest import load_key
    from karec.object_store import ObjectFolder
    from karec.refresh.next_version import open_refreshed_bundle

    if arguments.log is None and (arguments.run_folder is not None or arguments.log_version is not None):
        raise ValueError("--run and --log-version say whose log teaches: they need --log DIR")
    if arguments.from_scratch and arguments.log is None:
        raise ValueError(
            "--from-scratch says that a new ranker orders the pools of a served log: it needs --log DIR"
        )
    if arguments.from_scratch and arguments.run_folder is not None:
        raise ValueError(
            "--run names whose towers learn on, and --from-scratch that none do: leave one of them out"
        )
    if _learns_on(arguments) and (arguments.quick or arguments.choose is not None):
        raise ValueError(
            "--quick and --choose are for a training from scratch: leave them out, or add --from-scratch"
        )
    if arguments.rolling and not _learns_on(arguments):
        raise ValueError(
            "--rolling puts a model beside the one that served: it needs --log DIR, without --from-scratch"
        )
    if arguments.margin is not None and not 0 <= arguments.margin < math.inf:
        raise ValueError(f"--publish-if-no-worse {arguments.margin:g}: expected an AUC difference, 0 or more")
    if arguments.rolling:
        open_refreshed_bundle(arguments.out / "bundles")
    if arguments.upload is not None:
        ObjectFolder(arguments.upload)
    if arguments.signing_key is not None:
        load_key(arguments.signing_key, "private")


def _event_source(path: Path) -> EventSource:
    """Returns the online store of a karec.toml with its exported days, or the SQLite file ``path``."""
    from karec.config.scenes import Config
    from karec.online.read_log import EventSource
    from karec.online.store.open import SQLITE

    if path.suffix != ".toml":
        return EventSource(f"{SQLITE}{path.absolute()}")
    settings = Config.read(path).online
    if settings is None:
        raise ConfigError(f"{path} has no table [online], which names the online store")
    try:
        return settings.event_source(path.absolute().parent)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _compared(
    arguments: argparse.Namespace, data: Loaded, trained: TrainResult, progress: ProgressBars
) -> dict[str, Any] | None:
    """``compare_versions`` of the run and the version in service, put into run.json; None where nothing
    serves."""
    from karec.evaluate.non_inferiority import compare_versions
    from karec.evaluate.quality import read_run
    from karec.learn.run.run_folder import write_json

    served = _in_service(arguments.out)
    if served is None:
        return None
    facts = read_run(trained.folder)
    settings = facts["settings"]
    compared = compare_versions(
        data.dataset,
        trained.folder,
        served,
        arguments.margin,
        refresh_hours=settings["features"]["refresh_hours"],
        resamples=settings["evaluation"]["resamples"],
        seed=settings["seed"],
        threads=settings["run"]["threads"],
        progress=progress,
    )
    write_json(trained.folder / "run.json", {**facts, "compared": compared})
    return compared
