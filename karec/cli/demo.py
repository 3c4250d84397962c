"""``karec demo``: the main job end to end, then what its feeds are worth."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.cli.inputs import loaded, progress_bars
from karec.cli.lab import lab_console

if TYPE_CHECKING:
    from rich.table import Table

    from karec.lab.demo.serve import Served


def demo(arguments: argparse.Namespace) -> None:
    console = lab_console("karec demo")
    from karec.cli.train import learn, publish_run
    from karec.lab.demo.beside import Loop, Quality, meanwhile
    from karec.lab.demo.loop import page_parts
    from karec.lab.demo.report import write_report
    from karec.lab.demo.scenes import asked_scenes, kinds_of, scenes_of
    from karec.lab.demo.second_round import can_teach, learn_from_served, rounds_of, serve_to_teach
    from karec.lab.demo.serve import loss_of, report_on, serve, top_tens_of

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
            published = {"scenes": scenes, "kinds_of": kinds_of(data.world)}
        first = learn(arguments, data, progress, serves=True)
        config = publish_run(arguments, data, first.folder, progress, lists=not twice, **published)
        evaluation = stack.enter_context(meanwhile(Quality(dataset, first.folder), dataset, progress))
        last, rounds, taught = first, None, None
        if twice:
            taught = serve_to_teach(dataset, data.world, config, arguments.requests, progress)
            last = learn_from_served(dataset, first, taught, arguments.out, progress)
            first = dataclasses.replace(first, material=None)  # a quarter of a gigabyte
            publish_run(arguments, data, last.folder, progress, **published)
        quality, playing = evaluation.result(), None
        if data.world is not None:
            played = Loop(data.world, last.folder, arguments.out / "loop", arguments.seed or 0)
            playing = stack.enter_context(meanwhile(played, dataset, progress))
        if taught is not None:
            rounds = rounds_of(dataset, (first.folder, last.folder), taught, config)
        served = serve(dataset, config, arguments.requests, progress=progress)
        loss, top_tens = loss_of(served, progress), top_tens_of(dataset, served)
        found = None
        if scenes and data.world is not None:
            found = scenes_of(data.world, config, scenes, arguments.requests, progress)
        loop = None if playing is None else playing.result()
    truth = None if data.world is None else data.world.outcomes
    report = report_on(dataset, served, quality, loss, top_tens, truth) | {
        "rounds": rounds,
        "scenes": found,
        "loop": loop,
    }
    for told in _told(report, (*dataset.notes, *last.notes)):
        console.print(told)
    for counts in served.observed:
        console.print(str(counts))
    if arguments.report is not None:
        _, page = write_report(report, arguments.report, page_parts(loop))
        console.print(f"report: {page}")
    console.print(f"one more feed: karec recommend --config {config} --user {_first_user(served)} --trace")
    beside = max(evaluation.peak_gib, 0.0 if playing is None else playing.peak_gib)
    peak = max(first.peak_gib, beside, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    console.print(f"{time.perf_counter() - start:.0f} s in all, at most {peak:.1f} GiB")


def _first_user(served: Served) -> int | str:
    """Who was served first, by the platform's id."""
    user, naming = served.feeds[0].request.user_number, served.bundle.naming
    name: int | str = user if naming is None else naming.users.names([user])[0]
    return name


def _told(report: Mapping[str, Any], notes: Sequence[str]) -> Iterator[Table | str]:
    """Tables and sentences in the order of the work; ``notes`` are what the data and the training say."""
    from karec.cli.lab import loop_tables
    from karec.cli.tables import funnel_loss_table, funnel_table, run_tables, text_table
    from karec.lab.demo.rounds_report import ROUNDS_HEAD, rounds_rows, rounds_sentence
    from karec.lab.studies.reach_report import REACH_HEAD, reach_rows, reach_sentence
    from karec.lab.studies.scenes_report import SCENES_HEAD, SCENES_NOTE, scenes_rows
    from karec.lab.studies.top_tens import top_tens_sentence

    quality = {"models": report["quality"], "by_history": report["quality_by_history"]}
    yield funnel_table(report["funnel"], report["timings_ms"])
    yield funnel_loss_table(report["funnel_loss"])
    yield top_tens_sentence(report["top_tens"])
    yield from run_tables(quality, report["tasks"])
    for note in notes:
        yield f"note: {note}"
    if report["rounds"] is None:
        yield "too few users for a second round"
    else:
        yield text_table(rounds_sentence(report["rounds"]), ROUNDS_HEAD, rounds_rows(report["rounds"]))
    yield text_table("What the feeds reached", REACH_HEAD, reach_rows(report["reach"]))
    yield reach_sentence(report["reach"])
    if report["scenes"] is not None:
        yield text_table("What scenes are worth", SCENES_HEAD, scenes_rows(report["scenes"]))
        yield SCENES_NOTE
    if report["loop"] is not None:
        yield from loop_tables(report["loop"])
