"""Serve, look inside, export."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from karec.cli.inputs import progress_bars, table_console

if TYPE_CHECKING:
    from karec.bundle import Bundle
    from karec.pipeline.cascade import Cascade


def recommend(arguments: argparse.Namespace) -> None:
    console = table_console()
    from karec.bundle.item_types import ItemTypeBundle
    from karec.cli.tables import explanation_tables, feed_table, trace_table
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.pipeline.types import Request

    bundle = open_bundle(arguments.config)
    scene = arguments.scene or scene_names(arguments.config)[0]
    cascade = load_cascade(arguments.config, scene, bundle)
    moment = bundle.snapshot.time_ms if arguments.time_ms is None else arguments.time_ms
    if arguments.batch is not None:
        _recommend_batch(arguments, dataclasses.replace(cascade, side_effects=()), moment)
        return
    request = Request(
        _user_id(bundle, arguments.user),
        k=arguments.k,
        scene=scene,
        time_ms=moment,
        shown=tuple(_work_id(bundle, work) for work in arguments.shown),
        request_id=f"recommend-{arguments.user}",
        explain=arguments.explain,
    )
    # a look must not enter the log that teaches
    feed = dataclasses.replace(cascade, side_effects=()).run(request)
    if arguments.json:
        print(json.dumps(feed.to_dict(), indent=1))
        return
    of = cascade.bundle or bundle
    console.print(feed_table(feed, of.snapshot, of.name if isinstance(of, ItemTypeBundle) else "work"))
    for table in explanation_tables(feed):
        console.print(table)
    if arguments.trace:
        console.print(trace_table(feed.trace))
    if feed.is_cold_start:
        console.print(f"user {arguments.user} has never been seen: this is a cold start")
    if feed.degraded:
        console.print(f"degraded, these steps failed or had no time: {', '.join(feed.degraded)}")


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


def export_trees(arguments: argparse.Namespace) -> None:
    from karec.learn.export.trees import export_trees
    from karec.models.trees import trees_path

    exported = export_trees(arguments.model)
    for reason in exported.left:
        print(f"{arguments.model}: trees that stay with ONNX Runtime: {reason}")
    path = trees_path(arguments.model)
    if not exported.n_trees:
        outcome = f"{path} was removed" if exported.has_removed_file else "nothing was written"
        raise ValueError(f"{arguments.model} has no trees that karec's library scores: {outcome}")
    print(f"{path}: {exported.n_trees:,} trees")


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
    from karec.cli.inspection import inspect_path

    for part in inspect_path(arguments.path):
        console.print(part)
