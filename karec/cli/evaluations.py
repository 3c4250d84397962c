"""Measure what was trained, and what a cascade does with it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from karec.cli.inputs import load_dataset, need_lab, progress_bars, table_console

if TYPE_CHECKING:
    pass


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


def consistency(arguments: argparse.Namespace) -> None:
    console = table_console()
    if arguments.report is not None:
        need_lab("--report")
    from karec.cli.tables import consistency_table, funnel_loss_table
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.errors import DataError
    from karec.evaluate.consistency import consistency, logged_pools, sampled_pools
    from karec.evaluate.funnel import funnel_loss, logged_funnel, recalled_pools, requests_of_known_users

    if arguments.config is None and arguments.log is None:
        raise ValueError(
            "give --config FILE for pools that are drawn, --log DIR for those of shadow requests, or both"
        )
    report, losses = {}, {}
    if arguments.config is not None:
        bundle = open_bundle(arguments.config)
        cascade = load_cascade(arguments.config, arguments.scene or scene_names(arguments.config)[0], bundle)
        cascade = dataclasses.replace(cascade, side_effects=(), naming=None)
        with progress_bars() as progress:
            pools = sampled_pools(cascade, bundle, arguments.pools, arguments.size, arguments.seed, progress)
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
        from karec.lab.consistency_report import write_consistency

        _, page = write_consistency(report, losses, arguments.report)
        console.print(f"report: {page}")
