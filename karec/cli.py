"""The command line: demo, train, recommend, evaluate, export, inspect. ``karec COMMAND --help`` gives examples."""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.errors import KarecError, MissingExtra

if TYPE_CHECKING:
    from rich.console import Console

    from karec.progress import ProgressBars
    from karec.snapshot import Dataset

PIPED_WIDTH = 140  # columns of a table that goes into a file or another program
DATA_SETS = ("world", "kuairand")

EXAMPLES = {
    "demo": """\
examples:
  karec demo                                        a synthetic karaoke platform of 300,000 works
  karec demo --report out                           … and out/report.html to look at, out/report.json to compute with
  karec demo --data kuairand --root KuaiRand-Pure/data
  karec demo --works 20000 --users 2000 --exposures 50000 --requests 20      a minute's smoke""",
    "train": """\
examples:
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --settings train.toml
  karec recommend --config run7/karec.toml --user 712

Trains the ranker, writes the rank log, distils the towers from it, refreshes the item index and publishes a bundle:
  OUT/run/        models, encoder, run.json, quality.json
  OUT/bundles/    the published bundle, `current` names it
  OUT/karec.toml  the cascade that serves it; edit it as you like: it is written once and kept""",
    "recommend": """\
examples:
  karec recommend --config karec-demo-world/karec.toml --user 10000001
  karec recommend --config karec-demo-world/karec.toml --user 10000001 --k 20 --trace
  karec recommend --config karec-demo-world/karec.toml --user 10000001 --shown 1093 77 --json | jq .items""",
    "evaluate": """\
examples:
  karec evaluate --data kuairand --root KuaiRand-Pure/data --run run7/run
  karec evaluate --data world --run karec-demo-world/run --json quality.json""",
    "export": """\
examples:
  karec export --config karec-demo-world/karec.toml --out karec-demo-world/prerank-home.txt

Writes a stage of karec.toml, defaults included, to the file that a C++ host's PreRanker reads. Call it again whenever
karec.toml changes: the host goes by this file alone. A step that runs in Python alone is refused by name.""",
    "inspect": """\
examples:
  karec inspect karec-demo-world/bundles                  the current bundle: versions, files, models, index
  karec inspect karec-demo-world/bundles/current/index.karec
  karec inspect karec-demo-world/rank_log""",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; errors that people can mend are printed without a traceback and give exit code 2."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (KarecError, ValueError, OSError) as error:
        print(f"karec {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="karec", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = _command(commands, "demo", "run the main job end to end and show what it does", _demo)
    _data_options(demo)
    demo.add_argument("--out", type=Path, help="where models, bundle and config go (default: karec-demo-DATA)")
    demo.add_argument("--report", type=Path, metavar="DIR", help="write report.json and report.html there")
    demo.add_argument("--requests", type=int, default=200, help="how many requests to serve (default 200)")
    demo.add_argument("--settings", type=Path, metavar="TOML", help="training settings (default: the built-in ones)")

    train = _command(commands, "train", "train ranker and towers, refresh the index, publish a bundle", _train)
    _data_options(train)
    train.add_argument("--out", type=Path, required=True, help="where run, bundles and karec.toml go")
    train.add_argument("--settings", type=Path, metavar="TOML", help="training settings (default: the built-in ones)")

    recommend = _command(commands, "recommend", "one feed for one user, and how it came about", _recommend)
    recommend.add_argument("--config", type=Path, required=True, help="a karec.toml")
    recommend.add_argument("--user", type=int, required=True, help="user id; one never seen is served as a cold start")
    recommend.add_argument("--scene", help="a scene of the config (default: its first)")
    recommend.add_argument("--k", type=int, default=10, help="how many works (default 10)")
    recommend.add_argument("--shown", type=int, nargs="*", default=[], help="work ids that this session has seen")
    recommend.add_argument("--time-ms", type=int, help="the moment of the request (default: the snapshot's)")
    recommend.add_argument(
        "--trace", action="store_true", help="show every step: in, out, removed and why, milliseconds"
    )
    recommend.add_argument("--json", action="store_true", help="print JSON")

    evaluate = _command(commands, "evaluate", "AUC, GAUC and ECE on the test days, with intervals", _evaluate)
    _data_options(evaluate)
    evaluate.add_argument(
        "--run", type=Path, required=True, dest="folder", help="the run folder of karec train or demo"
    )
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")

    export = _command(commands, "export", "a stage of karec.toml for a C++ host", _export)
    export.add_argument("--config", type=Path, required=True, help="a karec.toml")
    export.add_argument("--scene", help="a scene of the config (default: its first)")
    export.add_argument("--stage", default="prerank", help="a stage of the scene (default: prerank)")
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")

    inspect = _command(commands, "inspect", "what a bundle, an index file or a rank log holds", _inspect)
    inspect.add_argument("path", type=Path)
    return parser


def _command(commands: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", choices=DATA_SETS, default="world", help="which data (default: the synthetic world)")
    parser.add_argument("--root", type=Path, help="kuairand: the folder that holds its CSV files")
    parser.add_argument("--works", type=int, default=300_000, help="world: works (default 300000)")
    parser.add_argument("--users", type=int, default=20_000, help="world: users (default 20000)")
    parser.add_argument("--exposures", type=int, default=200_000, help="world: exposures (default 200000)")
    parser.add_argument("--seed", type=int, help="seed of the world and of training (default 0)")


def _console() -> Console:
    try:
        from rich.console import Console
    except ImportError as error:
        raise MissingExtra("rich", "cli", "the command line") from error
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def _bars() -> ProgressBars:
    from karec.progress import ProgressBars

    return ProgressBars()


def _dataset(arguments: argparse.Namespace, progress: ProgressBars) -> Dataset:
    if arguments.data == "kuairand":
        from karec.data import kuairand

        if arguments.root is None:
            raise ValueError(
                "--data kuairand needs --root DIR, the folder that holds log_standard_4_22_to_5_08_pure.csv"
            )
        return kuairand.load(arguments.root, progress)
    from karec.data.world import make_world

    world = make_world(
        arguments.works, arguments.users, arguments.exposures, seed=arguments.seed or 0, progress=progress
    )
    return world.dataset


def _learn(arguments: argparse.Namespace, progress: ProgressBars) -> tuple[Dataset, Path, dict[str, Any]]:
    """Data → trained run → published bundle and config in ``--out``; the dataset, the config's path and the quality."""
    from karec.bundle import next_version
    from karec.demo import set_up
    from karec.learn.settings import TrainSettings
    from karec.learn.train import train_all

    dataset = _dataset(arguments, progress)
    settings = TrainSettings() if arguments.settings is None else TrainSettings.from_toml(arguments.settings)
    if arguments.seed is not None:
        settings = dataclasses.replace(settings, seed=arguments.seed)
    settings = dataclasses.replace(settings, model_version=next_version(arguments.out / "bundles"))
    trained = train_all(dataset, settings, arguments.out / "run", progress)
    config = set_up(dataset, arguments.out / "run", arguments.out, progress)
    return dataset, config, trained.quality


def _train(arguments: argparse.Namespace) -> None:
    console = _console()
    with _bars() as progress:
        dataset, config, quality = _learn(arguments, progress)
    from karec.tables import quality_tables

    for table in quality_tables(quality, dataset.tasks):
        console.print(table)
    console.print(f"published: {config.parent / 'bundles'}\nserve it:  karec recommend --config {config} --user ID")


def _demo(arguments: argparse.Namespace) -> None:
    console = _console()
    from karec.demo import report_on, serve
    from karec.evaluate.report import write_report
    from karec.tables import funnel_table, quality_tables, reach_table

    start = time.perf_counter()
    if arguments.out is None:
        arguments.out = Path(f"karec-demo-{arguments.data}")
    with _bars() as progress:
        dataset, config, quality = _learn(arguments, progress)
        served = serve(dataset, config, arguments.requests, progress=progress)
    report = report_on(dataset, served, quality)
    console.print(funnel_table(report["funnel"], report["timings_ms"]))
    for table in quality_tables(quality, dataset.tasks):
        console.print(table)
    console.print(reach_table(report["reach"]))
    if arguments.report is not None:
        _, page = write_report(report, arguments.report)
        console.print(f"report: {page}")
    console.print(f"one more feed: karec recommend --config {config} --user {served.feeds[0].request.user_id} --trace")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"{time.perf_counter() - start:.0f} s in all, at most {peak:.1f} GiB")


def _recommend(arguments: argparse.Namespace) -> None:
    console = _console()
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.tables import feed_table, trace_table
    from karec.types import Request

    bundle = open_bundle(arguments.config)
    scene = arguments.scene or scene_names(arguments.config)[0]
    cascade = load_cascade(arguments.config, scene, bundle)
    moment = bundle.snapshot.time_ms if arguments.time_ms is None else arguments.time_ms
    request = Request(arguments.user, k=arguments.k, scene=scene, time_ms=moment, shown=tuple(arguments.shown))
    feed = dataclasses.replace(cascade, observers=()).run(request)  # a look must not enter the log that teaches
    if arguments.json:
        print(json.dumps(feed.as_dict(), indent=1))
        return
    console.print(feed_table(feed, bundle.snapshot))
    if arguments.trace:
        console.print(trace_table(feed.trace))
    if feed.cold_start:
        console.print(f"user {arguments.user} has never been seen: this is a cold start")
    if feed.degraded:
        console.print(f"degraded, these steps failed and were passed over: {', '.join(feed.degraded)}")


def _evaluate(arguments: argparse.Namespace) -> None:
    console = _console()
    from karec.learn.quality import evaluate_run
    from karec.tables import quality_tables

    with _bars() as progress:
        dataset = _dataset(arguments, progress)
        quality = evaluate_run(dataset, arguments.folder, progress)
    for table in quality_tables(quality, dataset.tasks):
        console.print(table)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(quality, indent=1))


def _export(arguments: argparse.Namespace) -> None:
    from karec.config import load_stage, scene_names
    from karec.prerank_export import export_stage

    scene = arguments.scene or scene_names(arguments.config)[0]
    export_stage(load_stage(arguments.config, scene, arguments.stage), scene, arguments.out)


def _inspect(arguments: argparse.Namespace) -> None:
    console = _console()
    from karec.tables import inspection

    for part in inspection(arguments.path):
        console.print(part)


if __name__ == "__main__":
    sys.exit(main())
