"""``karec demo``: the main job end to end, then what its feeds are worth."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import resource
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.cli.inputs import loaded, progress_bars
from karec.cli.lab import lab_console, loop_tables, print_tables

if TYPE_CHECKING:
    from rich.console import Console

    from karec.lab.demo.serve import Served


def demo(arguments: argparse.Namespace) -> None:
    console = lab_console("karec demo")
    from karec.cli.train import learn, publish_run
    from karec.lab.demo.loop import Loop, Quality, page_parts, start_background_task
    from karec.lab.demo.report import write_demo
    from karec.lab.demo.scenes import asked_scenes, item_types_of, scenes_of
    from karec.lab.demo.second_round import can_teach, learn_from_served, rounds_of, serve_to_teach
    from karec.lab.demo.serve import funnel_loss_of, report_on, serve

    start = time.perf_counter()
    scenes = asked_scenes(arguments.scene, arguments.data)
    if arguments.out is None:
        arguments.out = Path(f"karec-demo-{Path(arguments.data).name}")
    with progress_bars() as progress, loaded(arguments, progress) as data, contextlib.ExitStack() as stack:
        dataset = data.dataset
        # the second bundle replaces the first one, which needs no lists
        twice = can_teach(dataset, arguments.requests)
        published: dict[str, Any] = {}
        if scenes and data.world is not None:
            published = {"scenes": scenes, "item_types_of": item_types_of(data.world)}
        first = learn(arguments, data, progress, serves=True)
        config = publish_run(arguments, data, first.folder, progress, lists=not twice, **published)
        evaluation = stack.enter_context(
            start_background_task(Quality(dataset, first.folder), dataset, progress)
        )
        last, rounds, taught = first, None, None
        if twice:
            taught = serve_to_teach(dataset, data.world, config, arguments.requests, progress)
            last = learn_from_served(dataset, first, taught, arguments.out, progress)
            first = dataclasses.replace(first, tower_inputs=None)  # a quarter of a gigabyte
            publish_run(arguments, data, last.folder, progress, **published)
        quality, playing = evaluation.result(), None
        if data.world is not None:
            played = Loop(data.world, last.folder, arguments.out / "loop", arguments.seed or 0)
            playing = stack.enter_context(start_background_task(played, dataset, progress))
        if taught is not None:
            rounds = rounds_of(dataset, (first.folder, last.folder), taught, config)
        served = serve(dataset, config, arguments.requests, progress=progress)
        loss = funnel_loss_of(served, progress)
        found = None
        if scenes and data.world is not None:
            found = scenes_of(data.world, config, scenes, arguments.requests, progress)
        loop = None if playing is None else playing.result()
    truth = None if data.world is None else data.world.outcomes
    report = report_on(dataset, served, quality, loss, truth) | {
        "rounds": rounds,
        "scenes": found,
        "loop": loop,
    }
    _show(console, report, (*dataset.notes, *last.notes))
    for counts in served.observed:
        console.print(str(counts))
    if arguments.report is not None:
        _, page = write_demo(report, arguments.report, page_parts(loop))
        console.print(f"report: {page}")
    console.print(f"one more feed: karec recommend --config {config} --user {_first_user(served)} --trace")
    beside = max(evaluation.peak_gib, 0.0 if playing is None else playing.peak_gib)
    peak = max(beside, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    console.print(f"{time.perf_counter() - start:.0f} s in all, at most {peak:.1f} GiB")


def _show(console: Console, report: Mapping[str, Any], notes: Iterable[str]) -> None:
    """Prints the report's tables, and ``notes`` of the data and the training."""
    from karec.lab.demo.report import demo_tables

    print_tables(console, demo_tables(report))
    if report["rounds"] is None:
        console.print("too few users for a second round")
    for table in () if report["loop"] is None else loop_tables(report["loop"]):
        console.print(table)
    for note in notes:
        console.print(f"note: {note}")


def _first_user(served: Served) -> int | str:
    """Who was served first, by the platform's id."""
    user, naming = served.feeds[0].request.user_number, served.bundle.naming
    name: int | str = user if naming is None else naming.users.names([user])[0]
    return name
