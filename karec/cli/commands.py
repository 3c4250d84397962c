"""Train, serve, look inside, export."""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.cli.inputs import load_dataset, loaded, progress_bars, table_console, train_settings

if TYPE_CHECKING:
    from karec.bundle import Bundle
    from karec.cli.progress import ProgressBars
    from karec.config.assemble import Cascade
    from karec.platform.dataset import Dataset


def _learn(arguments: argparse.Namespace, progress: ProgressBars) -> tuple[Dataset, Path, dict[str, Any]]:
    """Data → trained run → published bundle and config in ``--out``; the dataset, the config's path and the quality."""
    from karec.bundle import next_version
    from karec.bundle.signing import read_signing_key
    from karec.cli.demo import set_up
    from karec.evaluate.curves import write_curves
    from karec.evaluate.quality import read_run
    from karec.learn.run.choose import choose_settings
    from karec.learn.run.train import train_all
    from karec.refresh.publish import KEEP

    signing_key = getattr(arguments, "signing_key", None)
    if signing_key is not None:
        read_signing_key(signing_key)  # a wrong key is refused before hours of training, not after
    settings = dataclasses.replace(train_settings(arguments), model_version=next_version(arguments.out / "bundles"))
    run = arguments.out / "run"
    keep = getattr(arguments, "keep", KEEP)
    with loaded(arguments, progress) as (dataset, ids):
        if getattr(arguments, "quick", False):
            settings = settings.quick(len(dataset.split()[0]))
        resume, minutes, choice = getattr(arguments, "resume", False), getattr(arguments, "choose", None), None
        if minutes is not None:
            choice = choose_settings(dataset, settings, arguments.out / "choice", minutes, progress, resume=resume)
            settings = choice.settings
            resume = resume and run.is_dir()
        trained = train_all(dataset, settings, run, progress, resume=resume, choice=choice)
        write_curves(read_run(run), run / "curves.svg")
        config = set_up(dataset, run, arguments.out, progress, ids=ids, keep=keep, signing_key=signing_key)
    return dataset, config, trained.quality


def train(arguments: argparse.Namespace) -> None:
    console = table_console()
    with progress_bars() as progress:
        dataset, config, quality = _learn(arguments, progress)
    from karec.cli.tables import choice_table, quality_tables
    from karec.evaluate.quality import read_run

    if arguments.choose is not None:
        console.print(choice_table(read_run(arguments.out / "run")["choice"]))
    for table in quality_tables(quality, dataset.tasks):
        console.print(table)
    for note in dataset.notes:
        console.print(f"note: {note}")
    console.print(f"published: {config.parent / 'bundles'}\nserve it:  karec recommend --config {config} --user ID")


def demo(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.cli.demo import loss_of, report_on, serve
    from karec.cli.tables import funnel_loss_table, funnel_table, quality_tables, reach_table
    from karec.evaluate.cascade_report import write_report

    start = time.perf_counter()
    if arguments.out is None:
        arguments.out = Path(f"karec-demo-{Path(arguments.data).name}")
    with progress_bars() as progress:
        dataset, config, quality = _learn(arguments, progress)
        served = serve(dataset, config, arguments.requests, progress=progress)
        loss = loss_of(served, progress)
    report = report_on(dataset, served, quality, loss)
    console.print(funnel_table(report["funnel"], report["timings_ms"]))
    console.print(funnel_loss_table(loss))
    for table in quality_tables(quality, dataset.tasks):
        console.print(table)
    for note in dataset.notes:
        console.print(f"note: {note}")
    console.print(reach_table(report["reach"]))
    for counts in served.observed:
        console.print(str(counts))
    if arguments.report is not None:
        _, page = write_report(report, arguments.report)
        console.print(f"report: {page}")
    user = served.feeds[0].request.user_number
    if served.bundle.naming is not None:
        user = served.bundle.naming.users.names([user])[0]
    console.print(f"one more feed: karec recommend --config {config} --user {user} --trace")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"{time.perf_counter() - start:.0f} s in all, at most {peak:.1f} GiB")


def recommend(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.cli.tables import explanation_tables, feed_table, trace_table
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.types import Request

    bundle = open_bundle(arguments.config)
    scene = arguments.scene or scene_names(arguments.config)[0]
    cascade = load_cascade(arguments.config, scene, bundle)
    moment = bundle.snapshot.time_ms if arguments.time_ms is None else arguments.time_ms
    if arguments.batch is not None:
        _recommend_batch(arguments, dataclasses.replace(cascade, observers=()), moment)
        return
    request = Request(
        _user_id(bundle, arguments.user),
        k=arguments.k,
        scene=scene,
        time_ms=moment,
        shown=tuple(_work_id(bundle, work) for work in arguments.shown),
        explain=arguments.explain,
    )
    feed = dataclasses.replace(cascade, observers=()).run(request)  # a look must not enter the log that teaches
    if arguments.json:
        print(json.dumps(feed.as_dict(), indent=1))
        return
    console.print(feed_table(feed, bundle.snapshot))
    for table in explanation_tables(feed):
        console.print(table)
    if arguments.trace:
        console.print(trace_table(feed.trace))
    if feed.cold_start:
        console.print(f"user {arguments.user} has never been seen: this is a cold start")
    if feed.degraded:
        console.print(f"degraded, these steps failed and were passed over: {', '.join(feed.degraded)}")


def _recommend_batch(arguments: argparse.Namespace, cascade: Cascade, moment: int) -> None:
    from karec.cli.batch import BatchJob

    if arguments.out is None:
        raise ValueError("--batch needs --out FEEDS.parquet")
    bundle = cascade.bundle
    assert bundle is not None  # a cascade of a config has one
    made_of = f"{arguments.config.read_text(encoding='utf-8')}\n{cascade.scene}\n{bundle.path.name}"
    job = BatchJob(arguments.batch, arguments.column, arguments.out, arguments.k, moment, made_of)
    with progress_bars() as progress:
        users = job.run(cascade, progress)
    print(f"{arguments.out}: feeds of {users:,} users")


def _user_id(bundle: Bundle, text: str) -> int | str:
    return _id(text, bundle.naming is not None and bundle.naming.users.kind == "string")


def _work_id(bundle: Bundle, text: str) -> int | str:
    return _id(text, bundle.naming is not None and bundle.naming.items.kind == "string")


def _id(text: str, texts: bool) -> int | str:
    """An id of the command line, as the bundle's ids are. ValueError: it is no integer where they are."""
    if texts:
        return text
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no id of this bundle: its ids are integers") from None


def export_models(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.cli.tables import quality_tables, size_table
    from karec.learn.export.quantised import export_run

    with progress_bars() as progress:
        dataset = load_dataset(arguments, progress)
        exported = export_run(dataset, arguments.folder, progress)
    for what, quality in exported["quality"].items():
        for table in quality_tables(quality, dataset.tasks, f"{what}, ", "behind float32, paired"):
            console.print(table)
    console.print(size_table(exported["bytes"]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(exported, indent=1))


def export_stage(arguments: argparse.Namespace) -> None:
    from karec.config import scene_names
    from karec.config.host_stage import check_export, export_stage

    scene = arguments.scene or scene_names(arguments.config)[0]
    if arguments.check:
        check_export(arguments.config, scene, arguments.stage, arguments.out)
        print(f"{arguments.out} is what karec export stage would write")
    else:
        export_stage(arguments.config, scene, arguments.stage, arguments.out)


def inspect(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.cli.tables import inspection

    for part in inspection(arguments.path):
        console.print(part)
