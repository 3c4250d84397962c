"""Commands of the lab: the closed loop, studies of a cascade, made-up data."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.cli.inputs import (
    build_world,
    load_dataset,
    need_lab,
    progress_bars,
    table_console,
    train_settings,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as TextTable

    from karec.lab.report import Table
    from karec.lab.simulate.arms import Arms

SHOWN_BEFORE, MOST_BEFORE = 100, 400_000  # works shown to a user in the weeks before, and to all at most
TOLD = ("creators_1_a_day", "works_1_a_day", "gini_creators", "younger_72h")  # as wide as a terminal is


def lab_console(purpose: str = "karec lab") -> Console:
    need_lab(purpose)
    return table_console()


def simulate(arguments: argparse.Namespace) -> None:
    console = lab_console()
    from karec.lab.simulate.arms import read_arms
    from karec.lab.simulate.loop import simulate as play
    from karec.lab.simulate.population import Sizes

    before = min(SHOWN_BEFORE * arguments.users, MOST_BEFORE)
    sizes = Sizes(arguments.works, arguments.users, before, arguments.days, arguments.seed)
    path = Path(arguments.arms)
    arms = read_arms(path)
    if arguments.only:
        arms = arms.only(arguments.only)
    if arguments.report is not None:
        arguments.report.mkdir(parents=True, exist_ok=True)  # one that cannot be written is told now
    with progress_bars() as progress:
        play(
            arms,
            path.parent,
            sizes,
            arguments.out,
            resume=arguments.resume,
            models=arguments.models,
            progress=progress,
        )
    names = [arm.name for arm in arms.arms]
    for name in names:
        print(f"{name}: {arguments.out / name}")
    if arguments.report is not None:
        _report(arguments, arms, console)


def _report(arguments: argparse.Namespace, arms: Arms, console: Console) -> None:
    """The arms against the baseline: two tables here, all of it in ``--report``."""
    from karec.lab.simulate.report import loop_report, write_simulation

    report = loop_report(arguments.out, arms)
    for table in loop_tables(report):
        console.print(table)
    _, page = write_simulation(report, arguments.report)
    console.print(f"report: {page}")


def loop_tables(report: Mapping[str, Any]) -> Iterator[TextTable]:
    """What users did, and what creators and works got."""
    from karec.cli.tables import text_table
    from karec.lab.simulate.report_tables import CREATORS_SIDE, USERS_SIDE, arm_rows

    reach = {name: CREATORS_SIDE[name] for name in TOLD}
    for title, columns in (("What a user did on a day", USERS_SIDE), ("What creators and works got", reach)):
        told = f"{title}; but for the first, changes against {report['baseline']}"
        yield text_table(told, *arm_rows(report, columns))


def ablation(arguments: argparse.Namespace) -> None:
    console = lab_console()
    from karec.lab.studies.ablation.report import ablation_tables, write_ablation
    from karec.lab.studies.ablation.study import run_ablation

    with progress_bars() as progress:
        truth_of = None
        if arguments.data == "world":
            world = build_world(arguments, progress)
            dataset, truth_of = world.dataset, world.chances
        else:
            dataset = load_dataset(arguments, progress)
        report = run_ablation(
            dataset,
            train_settings(arguments),
            arguments.out,
            seeds=arguments.seeds,
            on=arguments.on,
            only=arguments.rows,
            n_pools=arguments.pools,
            pool_size=arguments.size,
            whole=arguments.whole,
            truth_of=truth_of,
            progress=progress,
        )
    print_tables(console, ablation_tables(report))
    console.print(f"tables: {write_ablation(report, arguments.out)[1]}")


def fusion(arguments: argparse.Namespace) -> None:
    console = lab_console()
    from karec.evaluate.quality import days_start, trained_run
    from karec.lab.studies.fusion import (
        chosen_objectives,
        drawn,
        fusion_sweep,
        fusion_table,
        replayed,
        write_fusion,
    )
    from karec.models.onnx_model import OnnxModel

    with progress_bars() as progress:
        world = build_world(arguments, progress) if arguments.data == "world" else None
        dataset = load_dataset(arguments, progress) if world is None else world.dataset
        run, measured = trained_run(dataset, arguments.folder, arguments.on)
        settings, ranker = run["settings"], OnnxModel(arguments.folder / "ranker.onnx", threads=0)
        objectives = chosen_objectives(ranker, arguments.objectives)
        lists = {"replayed": replayed(measured, ranker, objectives, days_start(dataset, arguments.on))}
        if world is not None:
            sizes = {"n_pools": arguments.pools, "size": arguments.size, "seed": settings["seed"]}
            lists["drawn"] = drawn(measured, ranker, objectives, world.outcomes, **sizes, progress=progress)
        draws = {"resamples": settings["evaluation"]["resamples"], "seed": settings["seed"]}
        swept = {
            name: fusion_sweep(
                each, settings["fusion"], arguments.k, arguments.steps, **draws, progress=progress
            )
            for name, each in lists.items()
        }
    report = {"data": dataset.name, "measured_on": arguments.on, "k": arguments.k, "steps": arguments.steps}
    report |= {"objectives": list(objectives), "sources": swept}
    print_tables(console, (fusion_table(name, each, arguments.k, objectives) for name, each in swept.items()))
    if arguments.report is not None:
        _, page = write_fusion(report, arguments.report)
        console.print(f"report: {page}")


def recall(arguments: argparse.Namespace) -> None:
    console = lab_console()
    from karec.cli.tables import text_table
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.config.scenes import Config
    from karec.lab.studies.channels import channel_rows, channel_study, found_by_channels
    from karec.lab.studies.feed_channels import channels_left_out, feed_channel_rows
    from karec.lab.studies.recall import asked_users, recall_json, recall_rows, recall_study

    bundle = open_bundle(arguments.config)
    cascade = load_cascade(arguments.config, arguments.scene or scene_names(arguments.config)[0], bundle)
    with progress_bars() as progress:
        truth = None
        if arguments.data == "world":
            world = build_world(arguments, progress)
            dataset, truth = world.dataset, world.chances
        else:
            dataset = load_dataset(arguments, progress)
        seed = arguments.seed or 0
        told = {"n_users": arguments.asked, "truth": truth, "seed": seed, "progress": progress}
        if arguments.channels:
            config = Config.read(arguments.config)
            report = channel_study(found_by_channels(config, cascade, bundle, dataset, **told))
            report["feeds"] = channels_left_out(cascade, bundle, dataset, **told)
        else:
            report = recall_study(asked_users(cascade, bundle, dataset, n_ranked=arguments.ranked, **told))
    users = f"{report['users']:,} users"
    if arguments.channels:
        console.print(text_table(f"What each channel finds, {users}", *channel_rows(report)))
        title = "What each channel gives to feeds (95 % over users)"
        console.print(text_table(title, *feed_channel_rows(report["feeds"]["channels"])))
    else:
        console.print(text_table(f"What the model channel finds, {users}", *recall_rows(report)))
    if arguments.json is not None:
        arguments.json.write_text(recall_json(report), encoding="utf-8")


def diversity(arguments: argparse.Namespace) -> None:
    console = lab_console()
    import numpy as np

    from karec.config import load_cascade, open_bundle, scene_names
    from karec.lab.studies.diversity import diversity_sweep, diversity_table, ranked_pools, write_diversity
    from karec.pipeline.types import Request

    bundle = open_bundle(arguments.config)
    scene = arguments.scene or scene_names(arguments.config)[0]
    cascade = dataclasses.replace(load_cascade(arguments.config, scene, bundle), side_effects=(), naming=None)
    users = np.random.default_rng(arguments.seed).permutation(bundle.snapshot.users.ids)[: arguments.requests]
    moment = bundle.snapshot.time_ms
    requests = [
        Request(int(user), scene=scene, time_ms=moment, request_id=f"diversity-{user}") for user in users
    ]
    with progress_bars() as progress:
        pools = ranked_pools(cascade, bundle.index, requests, arguments.stage, progress)
        report = diversity_sweep(pools, arguments.k, progress=progress)
    print_tables(console, [diversity_table(report)])
    if arguments.report is not None:
        _, page = write_diversity(report, arguments.report)
        console.print(f"report: {page}")


def retrieval(arguments: argparse.Namespace) -> None:
    console = lab_console()
    from karec.lab.studies.retrieval import retrieval_sentence, retrieval_tables, study, write_retrieval

    with progress_bars() as progress:
        dataset = load_dataset(arguments, progress)
        report = study(dataset, arguments.folder, progress, seed=arguments.seed or 0)
    console.print(retrieval_sentence(report))
    print_tables(console, retrieval_tables(report))
    if arguments.report is not None:
        _, page = write_retrieval(report, arguments.report)
        console.print(f"report: {page}")


def export_library(arguments: argparse.Namespace) -> None:
    from karec.lab.simulate.library_files import write_library

    with progress_bars() as progress:
        write_library(arguments.out, arguments.works, arguments.days, arguments.seed, progress)
    print(f"written: {arguments.out / 'screen.toml'}")
    print(f"next: karec screen {arguments.out / 'screen.toml'} --train --out {arguments.out / 'screened'}")


def export_world(arguments: argparse.Namespace) -> None:
    from karec.lab.simulate.write_dataset import write_dataset

    with progress_bars() as progress:
        world = build_world(arguments, progress)
    write_dataset(arguments.out, world.start, world.past, world.dataset)
    print(f"written: {arguments.out / 'data.toml'}\nnext: karec data check {arguments.out}")


def print_tables(console: Console, tables: Iterable[Table]) -> None:
    """Prints each table, and its note below it."""
    from karec.cli.tables import text_table

    for table in tables:
        console.print(text_table(table.title, table.head, table.rows))
        if table.note:
            console.print(table.note)
