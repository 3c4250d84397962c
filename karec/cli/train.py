"""``karec train``: trains models and publishes them. ``karec publish``: publishes a run folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from karec.cli.datasets import LoadedData, load_data
from karec.cli.evaluate import quality_tables
from karec.cli.options import DataChoice, Json, Publication, RunFolder, TrainingSettings
from karec.cli.output import ProgressReport, make_console, print_json, print_notes, require_extra, text_table
from karec.cli.pages import measure_pages, print_pages

if TYPE_CHECKING:
    from rich.table import Table

    from karec.catalog.dataset import Dataset
    from karec.learn.run.training_job import JobResult
    from karec.online.read_log import EventSource

NOT_PUBLISHED = 3  # exit code: trained, but the version in service stays


def train(
    choice: DataChoice,
    publication: Publication,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for runs, bundles and karec.toml.")],
    settings: TrainingSettings = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train a smaller ranker for fewer epochs, for a first look.")
    ] = False,
    choose: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            help="Search settings by pages on the validation days for at most MINUTES (default: no search).",
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="LOG", help="Rank log of a service, folder or URL; the towers are trained further on it."
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run folder whose ranker wrote LOG, or whose models --warm-start continues (default: the "
            "run in service).",
        ),
    ] = None,
    log_version: Annotated[
        int | None, typer.Option(metavar="N", help="Use only rows of LOG of this model version.")
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="STORE", help="Online store with more training rows: a SQLite file, or a karec.toml."
        ),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="With --log: train a new ranker, which scores the logged pools."),
    ] = False,
    warm_start: Annotated[
        int | None,
        typer.Option(
            metavar="DAYS",
            min=1,
            help="Start from the models in service, or those of --run, and learn the last DAYS days in one "
            "epoch (default: no warm start).",
        ),
    ] = None,
    publish_if_no_worse: Annotated[
        float | None,
        typer.Option(
            metavar="MARGIN",
            help="Publish only if the mean AUC is at most MARGIN below that of the version in service, by "
            "the lower end of a 95 % interval; else exit code 3.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Train in N processes of this machine, each with a part of the rows of a step (default: in "
            "this process). On several machines: torchrun … -m karec.cli train, or --engine ray.",
        ),
    ] = None,
    engine: Annotated[
        Literal["ray"] | None, typer.Option(help="Let Ray start the N processes on its machines (extra ray).")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster, for --engine ray: auto, or ray://HOST:PORT (default: this machine)."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Train ranker and towers, compute the item index, and publish a bundle.

    DIR gets the run folder, bundles/ (current names the published bundle), and karec.toml, which is
    written once: edit it as you like.
    """
    require_extra("train", "karec train")
    from karec.cli.on_ray import train_on_ray
    from karec.config.project import check_outputs, has_online_store
    from karec.learn.distributed import ranks
    from karec.learn.run.job_options import TrainingJob
    from karec.learn.run.training_job import join_job, run_job
    from karec.learn.settings.settings import TrainSettings
    from karec.logs.parts import to_log_folder

    job = TrainingJob(
        out,
        settings=None if settings is None else TrainSettings.from_toml(settings),
        seed=choice.seed,
        is_quick=quick,
        choose_minutes=choose,
        log=None if log is None else to_log_folder(log),
        log_version=log_version,
        served_run=run,
        is_from_scratch=from_scratch,
        warm_days=warm_start,
        events=None if events is None else _read_events(events),
        is_online=has_online_store(out),
        margin=publish_if_no_worse,
        is_resumed=resume,
    )
    if publication.rolling and not job.continues_towers:
        raise ValueError(
            "--rolling needs --log without --from-scratch and --warm-start: both versions have one encoder"
        )
    if address is not None and engine is None:
        raise ValueError("--address needs --engine ray")
    if choose is not None and (workers is not None or engine is not None or ranks.is_started_by_torchrun()):
        raise ValueError("--choose runs in one process: choose settings first, then train with --workers")
    if not ranks.is_started_by_torchrun():
        job.check_finished_run()
        _check_publication(publication, out)
        if engine == "ray":
            return train_on_ray(sys.argv[1:], out, workers or 1, address)
        if workers is not None:
            return ranks.launch(workers, sys.argv[1:])
    folders = [out] if events is None else [out, events.absolute().parent]
    with (
        ranks.connect_ranks(),
        ProgressReport(Console(quiet=True) if ranks.rank() else None) as progress,
        load_data(choice, progress, *folders) as loaded,
    ):
        job = replace(job, ids=loaded.ids)
        if ranks.rank():
            join_job(job, loaded.dataset, progress)
            return 0
        check_outputs(loaded.dataset, job.with_options(job.settings), out)

        def publish(dataset: Dataset, run: Path) -> Path:
            return _publish(publication, LoadedData(dataset, loaded.ids), run, out, progress)

        result = run_job(job, loaded.dataset, publish, progress, progress.note)
        pages = measure_pages(result.dataset, result.training.folder, progress)
    if as_json:
        print_json({**_to_dict(result), "pages": pages})
    else:
        _print_result(result)
        print_pages(pages)
    return 0 if result.config is not None else NOT_PUBLISHED


def publish(
    choice: DataChoice,
    publication: Publication,
    run: RunFolder,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for bundles and karec.toml.")],
) -> None:
    """Publish the models of a run folder, with the items of DATA, as the current bundle of DIR."""
    require_extra("train", "karec publish")
    _check_publication(publication, out)
    with ProgressReport() as progress, load_data(choice, progress, out) as loaded:
        config = _publish(publication, loaded, run, out, progress)
    print(f"published: {out / 'bundles'}\nserve it:  karec serve {config}")


def _check_publication(publication: Publication, out: Path) -> None:
    """Raises before training if the bundle could not be written, signed, uploaded, or published next to the
    version in service."""
    from karec.files import check_writable_folder

    check_writable_folder(out)
    if publication.rolling:
        from karec.refresh.next_version import open_refreshed_bundle

        open_refreshed_bundle(out / "bundles")
    if publication.upload is not None:
        from karec.object_store import ObjectFolder

        ObjectFolder(publication.upload)
    if publication.signing_key is not None:
        from karec.bundle.manifest import load_key

        load_key(publication.signing_key, "private")


def _publish(
    publication: Publication, data: LoadedData, run: Path, out: Path, progress: ProgressReport
) -> Path:
    """Publishes the models of ``run`` in ``out``. Returns the path of the karec.toml."""
    from karec.bundle import Bundle
    from karec.config.open import unranked_scenes_note
    from karec.config.project import check_input_times, set_up
    from karec.config.scenes import Config
    from karec.evaluate.quality import read_run

    settings = read_run(run)["settings"]
    check_input_times(out / "karec.toml", settings["features"]["refresh_hours"])
    config = set_up(
        data.dataset,
        run,
        settings,
        out,
        progress,
        ids=data.ids,
        keep=publication.keep,
        signing_key=publication.signing_key,
        is_rolling=publication.rolling,
    )
    consumed = data.dataset.snapshot.meaning.consumed
    if consumed and "not_consumed" not in config.read_text(encoding="utf-8"):
        progress.note(
            f"{config}: pages can contain items of meaning.consumed = {list(consumed)}. Add "
            '{ use = "not_consumed" } to the stage prerank, or remove the labels from data.toml.'
        )
    unranked = unranked_scenes_note(Config.read(config), Bundle.open(out / "bundles", verify=False))
    if unranked is not None:
        progress.note(f"{config}: {unranked}")
    if publication.upload is not None:
        from karec.bundle.remote import upload

        upload(out / "bundles" / "current", publication.upload)
    return config


def _read_events(path: Path) -> EventSource:
    """Returns the online store of a karec.toml with its exported days, or the SQLite file ``path``.

    Raises before training if it cannot be read.
    """
    from karec.config.online_store import read_event_source
    from karec.online.read_log import EventSource
    from karec.online.store.open import SQLITE
    from karec.samples.from_events import newest_append_ms

    source = read_event_source(path) if path.suffix == ".toml" else EventSource(f"{SQLITE}{path.absolute()}")
    newest_append_ms(source)
    return source


def _to_dict(result: JobResult) -> dict[str, Any]:
    return {
        "run": str(result.training.folder),
        "config": None if result.config is None else str(result.config),
        "is_published": result.config is not None,
        "comparison": result.comparison,
        "quality": result.training.quality,
        "seconds": result.training.seconds,
        "notes": [*result.dataset.notes, *result.training.notes],
    }


def _print_result(result: JobResult) -> None:
    from karec.evaluate.quality import read_run

    console = make_console()
    choice = read_run(result.training.folder).get("choice")
    if choice is not None:
        console.print(_choice_table(choice))
    for table in quality_tables(result.training.quality, result.dataset.tasks):
        console.print(table)
    print_notes(console, (*result.dataset.notes, *result.training.notes))
    comparison = result.comparison
    if comparison is not None:
        console.print(_comparison_table(comparison))
    if result.config is not None:
        print(f"published: {result.config.parent / 'bundles'}\nserve it:  karec serve {result.config}")
    elif comparison is not None:
        new, old = comparison["versions"]
        console.print(f"not published: version {new} may be worse than version {old}, which stays in service")


def _comparison_table(comparison: Mapping[str, Any]) -> Table:
    """Returns the table for the result of ``compare_versions``."""
    from karec.evaluate.tables import format_measure

    new, old = comparison["versions"]
    rows = [
        (
            name,
            f"{auc['new']:.4f}",
            f"{auc['in_service']:.4f}",
            format_measure(auc["gain"], auc["gain_ci"]),
        )
        for name, auc in comparison["models"].items()
    ]
    title = (
        f"Mean AUC of {', '.join(comparison['tasks'])} on the newest day ({comparison['exposures']:,} "
        f"impressions, {comparison['users']:,} users)"
    )
    return text_table(title, ("model", f"version {new}", f"{old}, in service", "gain [95 %]"), rows)


def _choice_table(choice: Mapping[str, Any]) -> Table:
    """Returns the table of the settings that were tried; * marks those that were kept."""
    from karec.evaluate.tables import format_measure

    rows = []
    for trial in choice["tried"]:
        name = f"{trial['name']} *" if trial["kept"] else trial["name"]
        score = trial["why_not"] if trial["score"] is None else f"{trial['score']:.4f}"
        gain = format_measure(trial["gain"], trial["gain_ci"])
        seconds = format_measure(trial["seconds"], None, 0)
        rows.append((trial["part"], name, score, gain, seconds))
    head = ("part", "tried", "NDCG@20", "gain over the best before, paired", "s")
    return text_table(f"Chosen (*) by {choice['criterion']}", head, rows, text_columns=2)
