"""The command line: demo, train, recommend, evaluate, export, inspect; ``karec COMMAND --help`` shows examples."""

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

    from karec.data.world import World
    from karec.learn.settings import TrainSettings
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
  karec train --data kuairand --root KuaiRand-Pure/data --out run7
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --settings train.toml
  karec train --data kuairand --root KuaiRand-Pure/data --out run7 --settings train.toml --resume    after a kill
  karec recommend --config run7/karec.toml --user 712

train.toml, all keys optional (karec/learn/settings.py says what each means, docs/howto-train.md how to choose):
  recipe = "list"          # or hard, model-distillation, feature-distillation, pairwise, chunks, unexposed, born-again
  towers = "full"          # or "static": no counters and rates, for item vectors that are refreshed rarely
  ranker = "mmoe"          # or "lr", "lightgbm"
  soft_weight = 0.8        # any key of the recipe may be overruled
  seed = 0

Trains the ranker, writes the rank log, distils the towers from it, refreshes the item index and publishes a bundle:
  OUT/run/        models, encoder, run.json, quality.json, curves.svg, checkpoints/
  OUT/bundles/    the published bundle, `current` names it
  OUT/karec.toml  the cascade that serves it; edit it as you like: it is written once and kept""",
    "recommend": """\
examples:
  karec recommend --config karec-demo-world/karec.toml --user 10000001
  karec recommend --config karec-demo-world/karec.toml --user 10000001 --k 20 --trace
  karec recommend --config karec-demo-world/karec.toml --user 10000001 --explain
  karec recommend --config karec-demo-world/karec.toml --user 10000001 --shown 1093 77 --json | jq .items""",
    "evaluate": """\
examples:
  karec evaluate --data kuairand --root KuaiRand-Pure/data --run run7/run
  karec evaluate --data world --run karec-demo-world/run --json quality.json
  karec evaluate consistency --config karec-demo-world/karec.toml     does prerank keep what the ranker wants?
  karec evaluate diversity --config karec-demo-world/karec.toml       what does more diversity cost?""",
    "ablation": """\
examples:
  karec evaluate ablation --data kuairand --root KuaiRand-Pure/data --out ablation
  karec evaluate ablation --data world --works 200000 --exposures 500000 --out ablation-world
  karec evaluate ablation … --on validation --seeds 0 --rows hard-full list-full chunks-full      to choose settings

Trains every row for every seed and compares them on the same rows and pools. OUT holds each cell as it is done: run
the same command again after a kill, and it goes on. Writes OUT/ablation.json, ablation.md, ablation.svg.""",
    "consistency": """\
examples:
  karec evaluate consistency --config run7/karec.toml                            500 pools of 500 works, drawn
  karec evaluate consistency --config run7/karec.toml --pools 2000 --size 5000
  karec evaluate consistency --log run7/rank_log --report out                    live: the log's shadow requests

What the ranker puts on top of a pool, does prerank find it? Hit rates are normalised: 0 is chance, 1 is all.""",
    "export": """\
examples:
  karec export --data kuairand --root KuaiRand-Pure/data --run run7/run

Writes <model>.int8.onnx and <model>.golden beside the run's models and tells what int8 costs on the test days.""",
    "diversity": """\
examples:
  karec evaluate diversity --config run7/karec.toml
  karec evaluate diversity --config run7/karec.toml --requests 500 --k 50 --report out

DPP, MMR, SSD and rules at several strengths, and plain top-k, over what the ranker scored for the same requests.""",
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
    train.add_argument("--resume", action="store_true", help="go on from OUT/run/checkpoints, which a kill left")

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
    recommend.add_argument(
        "--explain", action="store_true", help="show why each work was chosen: gain, what it is closest to, plain top-k"
    )
    recommend.add_argument("--json", action="store_true", help="print JSON")

    evaluate = _command(commands, "evaluate", "AUC, GAUC and ECE on the test days, with intervals", _evaluate)
    _data_options(evaluate)
    evaluate.add_argument("--run", type=Path, dest="folder", help="the run folder of karec train or demo")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    others = evaluate.add_subparsers(metavar="WHAT", title="or evaluate something else")
    ablation = _command(others, "ablation", "what each piece of the towers' teaching gives, in one table", _ablation)
    _data_options(ablation)
    ablation.add_argument("--out", type=Path, required=True, help="where cells, models, logs and the table go")
    ablation.add_argument("--settings", type=Path, metavar="TOML", help="as karec train's, the recipe aside")
    ablation.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds (default 0 1 2)")
    ablation.add_argument("--on", choices=("validation", "test"), default="test", help="which days (default: test)")
    ablation.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="some rows only (default: all)")
    ablation.add_argument("--pools", type=int, default=500, help="how many pools, one a user (default 500)")
    ablation.add_argument("--size", type=int, default=500, help="works in a pool (default 500)")
    agree = _command(others, "consistency", "how far prerank and rank agree on whole pools", _consistency)
    agree.add_argument("--config", type=Path, help="a karec.toml: draw pools from its bundle")
    agree.add_argument("--scene", help="a scene of the config (default: its first)")
    agree.add_argument("--pools", type=int, default=500, help="how many pools to draw, one a user (default 500)")
    agree.add_argument("--size", type=int, default=500, help="works in a pool (default 500)")
    agree.add_argument("--seed", type=int, default=0, help="seed of what is drawn (default 0)")
    agree.add_argument("--log", type=Path, metavar="DIR", help="a rank log: measure its shadow requests")
    agree.add_argument("--report", type=Path, metavar="DIR", help="write consistency.json and consistency.html there")
    varied = _command(others, "diversity", "what each way to scatter a list gains and loses", _diversity)
    varied.add_argument("--config", type=Path, required=True, help="a karec.toml")
    varied.add_argument("--scene", help="a scene of the config (default: its first)")
    varied.add_argument("--stage", default="rank", help="the stage whose scored works are the pools (default: rank)")
    varied.add_argument("--requests", type=int, default=100, help="how many users to ask for (default 100)")
    varied.add_argument("--k", type=int, default=50, help="works in a list (default 50)")
    varied.add_argument("--seed", type=int, default=0, help="seed of the users that are drawn (default 0)")
    varied.add_argument("--report", type=Path, metavar="DIR", help="write diversity.json and diversity.html there")

    export = _command(commands, "export", "a run's models in int8, what that costs in AUC, and golden files", _export)
    _data_options(export)
    export.add_argument("--run", type=Path, required=True, dest="folder", help="the run folder of karec train or demo")
    export.add_argument("--json", type=Path, metavar="FILE", help="also write what it costs as JSON")

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
    return _kuairand(arguments, progress) if arguments.data == "kuairand" else _world(arguments, progress).dataset


def _kuairand(arguments: argparse.Namespace, progress: ProgressBars) -> Dataset:
    from karec.data import kuairand

    if arguments.root is None:
        raise ValueError("--data kuairand needs --root DIR, the folder that holds log_standard_4_22_to_5_08_pure.csv")
    return kuairand.load(arguments.root, progress)


def _world(arguments: argparse.Namespace, progress: ProgressBars) -> World:
    from karec.data.world import make_world

    sizes = arguments.works, arguments.users, arguments.exposures
    return make_world(*sizes, seed=arguments.seed or 0, progress=progress)


def _settings(arguments: argparse.Namespace) -> TrainSettings:
    from karec.learn.settings import TrainSettings

    settings = TrainSettings() if arguments.settings is None else TrainSettings.from_toml(arguments.settings)
    return settings if arguments.seed is None else dataclasses.replace(settings, seed=arguments.seed)


def _learn(arguments: argparse.Namespace, progress: ProgressBars) -> tuple[Dataset, Path, dict[str, Any]]:
    """Data → trained run → published bundle and config in ``--out``; the dataset, the config's path and the quality."""
    from karec.bundle import next_version
    from karec.demo import set_up
    from karec.evaluate.curves import write_curves
    from karec.learn.train import train_all

    dataset = _dataset(arguments, progress)
    settings = dataclasses.replace(_settings(arguments), model_version=next_version(arguments.out / "bundles"))
    run = arguments.out / "run"
    trained = train_all(dataset, settings, run, progress, resume=getattr(arguments, "resume", False))
    write_curves(json.loads((run / "run.json").read_text(encoding="utf-8")), run / "curves.svg")
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
    from karec.tables import explanation_tables, feed_table, trace_table
    from karec.types import Request

    bundle = open_bundle(arguments.config)
    scene = arguments.scene or scene_names(arguments.config)[0]
    cascade = load_cascade(arguments.config, scene, bundle)
    moment = bundle.snapshot.time_ms if arguments.time_ms is None else arguments.time_ms
    request = Request(
        arguments.user,
        k=arguments.k,
        scene=scene,
        time_ms=moment,
        shown=tuple(arguments.shown),
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


def _evaluate(arguments: argparse.Namespace) -> None:
    if arguments.folder is None:
        raise ValueError("--run DIR is missing, the run folder of karec train or demo")
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


def _ablation(arguments: argparse.Namespace) -> None:
    console = _console()
    from karec.evaluate.ablation_report import ablation_tables, write_ablation
    from karec.learn.ablation import run_ablation
    from karec.tables import text_table

    with _bars() as progress:
        truth_of = None
        if arguments.data == "kuairand":
            dataset = _kuairand(arguments, progress)
        else:
            world = _world(arguments, progress)
            dataset, truth_of = world.dataset, world.chances
        report = run_ablation(
            dataset,
            _settings(arguments),
            arguments.out,
            seeds=arguments.seeds,
            on=arguments.on,
            only=arguments.rows,
            n_pools=arguments.pools,
            pool_size=arguments.size,
            truth_of=truth_of,
            progress=progress,
        )
    for title, head, rows in ablation_tables(report):
        console.print(text_table(title, head, rows))
    _, text, shown = write_ablation(report, arguments.out)
    console.print(f"tables: {text}\npicture: {shown}")


def _consistency(arguments: argparse.Namespace) -> None:
    console = _console()
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.evaluate.consistency import consistency, drawn_pools, logged_pools
    from karec.evaluate.consistency_report import write_consistency
    from karec.tables import consistency_table

    report = {}
    if arguments.config is not None:
        bundle = open_bundle(arguments.config)
        cascade = load_cascade(arguments.config, arguments.scene or scene_names(arguments.config)[0], bundle)
        with _bars() as progress:
            pools = drawn_pools(cascade, bundle, arguments.pools, arguments.size, arguments.seed, progress)
            report["drawn"] = consistency(pools, seed=arguments.seed)
    if arguments.log is not None:
        report["logged"] = consistency(logged_pools(arguments.log), seed=arguments.seed)
    if not report:
        raise ValueError("give --config FILE for pools that are drawn, --log DIR for those of shadow requests, or both")
    for source, measured in report.items():
        console.print(consistency_table(source, measured))
    if arguments.report is not None:
        _, page = write_consistency(report, arguments.report)
        console.print(f"report: {page}")


def _export(arguments: argparse.Namespace) -> None:
    console = _console()
    from karec.learn.quantised import export_run
    from karec.tables import quality_tables, size_table

    with _bars() as progress:
        dataset = _dataset(arguments, progress)
        exported = export_run(dataset, arguments.folder, progress)
    for what, quality in exported["quality"].items():
        for table in quality_tables(quality, dataset.tasks, f"{what}, ", "behind float32, paired"):
            console.print(table)
    console.print(size_table(exported["bytes"]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(exported, indent=1))


def _diversity(arguments: argparse.Namespace) -> None:
    console = _console()
    import numpy as np

    from karec.config import load_cascade, open_bundle, scene_names
    from karec.evaluate.diversity_report import write_diversity
    from karec.evaluate.diversity_sweep import diversity_sweep, ranked_pools
    from karec.tables import diversity_table
    from karec.types import Request

    if arguments.requests <= 0:
        raise ValueError(f"--requests must be positive, got {arguments.requests}")
    bundle = open_bundle(arguments.config)
    scene = arguments.scene or scene_names(arguments.config)[0]
    cascade = dataclasses.replace(load_cascade(arguments.config, scene, bundle), observers=())
    users = np.random.default_rng(arguments.seed).permutation(bundle.snapshot.users.ids)[: arguments.requests]
    requests = [Request(int(user), scene=scene, time_ms=bundle.snapshot.time_ms) for user in users]
    with _bars() as progress:
        pools = ranked_pools(cascade, bundle.index, requests, arguments.stage, progress)
        report = diversity_sweep(pools, arguments.k, progress=progress)
    console.print(diversity_table(report))
    if arguments.report is not None:
        _, page = write_diversity(report, arguments.report)
        console.print(f"report: {page}")


def _inspect(arguments: argparse.Namespace) -> None:
    console = _console()
    from karec.tables import inspection

    for part in inspection(arguments.path):
        console.print(part)


if __name__ == "__main__":
    sys.exit(main())
