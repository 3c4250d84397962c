"""Measure what was trained, and what a cascade does with it."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from karec.cli.inputs import build_world, load_dataset, progress_bars, table_console, train_settings

if TYPE_CHECKING:
    from rich.console import Console


def evaluate(arguments: argparse.Namespace) -> None:
    if arguments.folder is None:
        raise ValueError("--run DIR is missing, the run folder of karec train or demo")
    console = table_console()
    from karec.cli.tables import run_tables
    from karec.evaluate.quality import evaluate_run, quality_json

    with progress_bars() as progress:
        dataset = load_dataset(arguments, progress)
        quality = evaluate_run(dataset, arguments.folder, progress)
    for table in run_tables(quality, dataset.tasks):
        console.print(table)
    if arguments.json is not None:
        arguments.json.write_text(quality_json(quality), encoding="utf-8")


def ablation(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.evaluate.ablation_report import ablation_tables, write_ablation
    from karec.evaluate.page import NOT_DRAWN
    from karec.learn.run.ablation.study import run_ablation

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
    _print_tables(console, ablation_tables(report))
    _, text, shown = write_ablation(report, arguments.out)
    console.print(f"tables: {text}\npicture: {NOT_DRAWN if shown is None else shown}")


def consistency(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.cli.tables import consistency_table, funnel_loss_table
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.errors import DataError
    from karec.evaluate.consistency import consistency, drawn_pools, logged_pools
    from karec.evaluate.consistency_report import write_consistency
    from karec.evaluate.funnel import funnel_loss, logged_funnel, recalled_pools, requests_of_known_users

    if arguments.config is None and arguments.log is None:
        raise ValueError(
            "give --config FILE for pools that are drawn, --log DIR for those of shadow requests, or both"
        )
    report, losses = {}, {}
    if arguments.config is not None:
        bundle = open_bundle(arguments.config)
        cascade = load_cascade(arguments.config, arguments.scene or scene_names(arguments.config)[0], bundle)
        cascade = dataclasses.replace(cascade, observers=(), naming=None)
        with progress_bars() as progress:
            pools = drawn_pools(cascade, bundle, arguments.pools, arguments.size, arguments.seed, progress)
            report["drawn"] = consistency(pools, seed=arguments.seed)
        if arguments.recalled > 0:
            requests = requests_of_known_users(
                bundle.snapshot, cascade.scene, arguments.recalled, arguments.seed
            )
            with progress_bars() as progress:
                losses["recalled"] = funnel_loss(
                    recalled_pools(cascade, bundle.index, requests, progress=progress)
                )
    if arguments.log is not None:
        report["logged"] = consistency(logged_pools(arguments.log), seed=arguments.seed)
        try:
            losses["logged"] = funnel_loss(logged_funnel(arguments.log))
        except DataError as error:
            console.print(f"note: no funnel loss: {error}")
    for source, measured in report.items():
        console.print(consistency_table(source, measured))
    for source, loss in losses.items():
        console.print(funnel_loss_table(loss, source))
    if arguments.report is not None:
        _, page = write_consistency(report, losses, arguments.report)
        console.print(f"report: {page}")


def routes(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.cli.tables import text_table
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.config.scenes import Config
    from karec.evaluate.funnel import SIZES, requests_of_known_users
    from karec.evaluate.routes import ROUTES_HEAD, roads, routes_rows, routes_study

    bundle = open_bundle(arguments.config)
    scene = arguments.scene or scene_names(arguments.config)[0]
    cascade = dataclasses.replace(load_cascade(arguments.config, scene, bundle), observers=(), naming=None)
    each = roads(Config.read(arguments.config), scene, bundle, arguments.keep, arguments.segment)
    requests = requests_of_known_users(bundle.snapshot, scene, arguments.requests, arguments.seed)
    with progress_bars() as progress:
        report = routes_study(cascade, bundle.index, each, requests, arguments.pools or SIZES, progress)
    title = (
        f"Roads of prerank, {len(requests)} requests: what they cost, and what they keep of the ranker's best"
    )
    console.print(text_table(title, ROUTES_HEAD, list(routes_rows(report)), 2))


def fusion(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.cli.tables import fusion_table
    from karec.evaluate.fusion import chosen_objectives, drawn, fusion_sweep, replayed
    from karec.evaluate.fusion_report import write_fusion
    from karec.evaluate.quality import days_begin, trained_run
    from karec.models.onnx_model import OnnxModel

    with progress_bars() as progress:
        world = build_world(arguments, progress) if arguments.data == "world" else None
        dataset = load_dataset(arguments, progress) if world is None else world.dataset
        run, measured = trained_run(dataset, arguments.folder, arguments.on)
        settings, ranker = run["settings"], OnnxModel(arguments.folder / "ranker.onnx", threads=0)
        objectives = chosen_objectives(ranker, arguments.objectives)
        lists = {"replayed": replayed(measured, ranker, objectives, days_begin(dataset, arguments.on))}
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
    for name, each in swept.items():
        console.print(fusion_table(name, each, arguments.k, objectives))
    if arguments.report is not None:
        _, page = write_fusion(report, arguments.report)
        console.print(f"report: {page}")


def recall(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.cli.tables import channel_table, feed_channel_table, lists_table, recall_table
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.config.scenes import Config
    from karec.evaluate.channels import channel_study, found_by_channels
    from karec.evaluate.feed_channels import channels_left_out
    from karec.evaluate.lists import lists_study
    from karec.evaluate.recall import asked_users, recall_json, recall_study

    if arguments.channels and arguments.lists:
        raise ValueError("--channels and --lists are two studies: ask for one")
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
        elif arguments.lists:
            report = lists_study(cascade, bundle, dataset, **told)
        else:
            report = recall_study(asked_users(cascade, bundle, dataset, n_ranked=arguments.ranked, **told))
    table = channel_table if arguments.channels else lists_table if arguments.lists else recall_table
    console.print(table(report))
    if arguments.channels:
        console.print(feed_channel_table(report["feeds"]["channels"]))
    if arguments.json is not None:
        arguments.json.write_text(recall_json(report), encoding="utf-8")


def diversity(arguments: argparse.Namespace) -> None:
    console = table_console()
    import numpy as np

    from karec.cli.tables import diversity_table
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.evaluate.diversity import diversity_sweep, ranked_pools
    from karec.evaluate.diversity_report import write_diversity
    from karec.types import Request

    bundle = open_bundle(arguments.config)
    scene = arguments.scene or scene_names(arguments.config)[0]
    cascade = dataclasses.replace(load_cascade(arguments.config, scene, bundle), observers=(), naming=None)
    users = np.random.default_rng(arguments.seed).permutation(bundle.snapshot.users.ids)[: arguments.requests]
    moment = bundle.snapshot.time_ms
    requests = [
        Request(int(user), scene=scene, time_ms=moment, request_id=f"diversity-{user}") for user in users
    ]
    with progress_bars() as progress:
        pools = ranked_pools(cascade, bundle.index, requests, arguments.stage, progress)
        report = diversity_sweep(pools, arguments.k, progress=progress)
    console.print(diversity_table(report))
    if arguments.report is not None:
        _, page = write_diversity(report, arguments.report)
        console.print(f"report: {page}")


def retrieval(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.evaluate.retrieval import study
    from karec.evaluate.retrieval_report import retrieval_sentence, retrieval_tables, write_retrieval

    with progress_bars() as progress:
        dataset = load_dataset(arguments, progress)
        report = study(dataset, arguments.folder, progress, seed=arguments.seed or 0)
    console.print(retrieval_sentence(report))
    _print_tables(console, retrieval_tables(report))
    if arguments.report is not None:
        _, page = write_retrieval(report, arguments.report)
        console.print(f"report: {page}")


def satiation(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.evaluate.satiation import satiation
    from karec.evaluate.satiation_report import satiation_sentence, satiation_tables, write_satiation

    with progress_bars() as progress:
        dataset = load_dataset(arguments, progress)
        report = satiation(dataset, seed=arguments.seed or 0, progress=progress)
    console.print(satiation_sentence(report))
    _print_tables(console, satiation_tables(report))
    if arguments.report is not None:
        _, page = write_satiation(report, arguments.report)
        console.print(f"report: {page}")


def _print_tables(
    console: Console, tables: Iterable[tuple[str, Sequence[str], Sequence[Sequence[str]]]]
) -> None:
    """Each with its title and head."""
    from karec.cli.tables import text_table

    for title, head, rows in tables:
        console.print(text_table(title, head, rows))
