"""Commands and their options."""

from __future__ import annotations

import argparse
import math
from datetime import date
from pathlib import Path
from typing import Any

from karec.cli import commands, configuration, evaluations, own_data, record, refresh, screen, simulate
from karec.cli import live as living
from karec.cli import load as loading
from karec.cli import serve as serving
from karec.cli import train as training
from karec.cli.examples import EXAMPLES


def parser(description: str) -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="karec", description=description)
    names = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_cascade(names)
    _add_refresh(names)
    _add_service(names)
    _add_data(names)
    _add_configuration(names)
    _add_screening(names)
    _add_evaluations(names)
    _add_simulation(names)
    _add_load(names)
    _add_exports(names)
    inspect = _command(
        names,
        "inspect",
        "what a bundle, an index file, a rank log, a karec.toml or an exported stage holds",
        commands.inspect,
    )
    inspect.add_argument("path", type=Path)
    return whole


def _at_least_one(text: str) -> int:
    return _at_least(1, text)


def _at_least_none(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
    if number < least:
        raise argparse.ArgumentTypeError(f"{number} is less than {least}")
    return number


def _above_none(text: str) -> float:
    if (number := _number(text)) <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _no_less_than_none(text: str) -> float:
    if (number := _number(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return number


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is no finite number")
    return number


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: YYYY-MM-DD is wanted") from None


def _add_cascade(names: Any) -> None:
    demo = _command(names, "demo", "run the main job end to end and show what it does", commands.demo)
    _data_options(demo)
    demo.add_argument("--out", type=Path, help="where models, bundle and config go (default: karec-demo-DATA)")
    demo.add_argument("--report", type=Path, metavar="DIR", help="write report.json and report.html there")
    demo.add_argument("--requests", type=int, default=200, help="how many requests to serve (default 200)")
    demo.add_argument(
        "--scene",
        metavar="NAME",
        help="world: also this scene: following, city, live, song_request, room, comment (with comment_users), "
        "creators; or all of them",
    )
    demo.add_argument("--settings", type=Path, metavar="TOML", help="training settings (default: the built-in ones)")

    train = _command(names, "train", "train ranker and towers, refresh the index, publish a bundle", training.train)
    _data_options(train)
    train.add_argument("--out", type=Path, required=True, help="where run, bundles and karec.toml go")
    train.add_argument("--settings", type=Path, metavar="TOML", help="training settings (default: the built-in ones)")
    train.add_argument(
        "--quick", action="store_true", help="a first look: fewer passes over a large log, of a smaller ranker"
    )
    train.add_argument("--log", type=Path, metavar="DIR", help="a served rank log: the towers learn on from it")
    train.add_argument(
        "--run",
        type=Path,
        dest="run_folder",
        help="with --log: the run folder whose ranker served (default: OUT/run; with --publish-if-no-worse "
        "that of the version in service)",
    )
    train.add_argument(
        "--events",
        type=Path,
        metavar="DIR",
        help="an event log, or a karec.toml whose [live] names one: its exposures are learned from too, and the newest "
        "day is measured on",
    )
    train.add_argument(
        "--publish-if-no-worse",
        type=float,
        dest="margin",
        metavar="MARGIN",
        help="publish only if the mean AUC on the test days has not fallen by more than MARGIN below that of the "
        "version in service, by the lower end of a 95 %% interval; else end with status 3",
    )
    train.add_argument(
        "--from-scratch",
        action="store_true",
        help="with --log: a new ranker, which orders the pools of the served log anew for new towers",
    )
    train.add_argument("--log-version", type=int, metavar="N", help="with --log: rows of this model version alone")
    train.add_argument(
        "--choose",
        type=float,
        metavar="MINUTES",
        help="before training, try a list of settings on the validation days for so long, and train with the best",
    )
    train.add_argument(
        "--rolling",
        action="store_true",
        help="with --log: publish beside the version in service, which karec refresh then replaces work by work",
    )
    train.add_argument("--resume", action="store_true", help="go on from OUT/run/checkpoints, which a kill left")
    train.add_argument("--signing-key", type=Path, metavar="PEM", help="a private ed25519 key: sign the bundle")
    train.add_argument(
        "--keep",
        type=_at_least_one,
        default=10,
        metavar="N",
        help="published versions that stay in OUT/bundles (default 10); current and open ones do besides",
    )

    recommend = _command(names, "recommend", "one feed for one user, and how it came about", commands.recommend)
    recommend.add_argument("--config", type=Path, required=True, help="a karec.toml")
    asked = recommend.add_mutually_exclusive_group(required=True)
    asked.add_argument("--user", help="user id; one never seen is served as a cold start")
    asked.add_argument("--batch", type=Path, metavar="USERS.parquet", help="a feed for each of these users, into --out")
    recommend.add_argument("--out", type=Path, metavar="FEEDS.parquet", help="with --batch: where the feeds go")
    recommend.add_argument("--column", help='with --batch: the column of user ids (default: the only one, or "user")')
    recommend.add_argument("--scene", help="a scene of the config (default: its first)")
    recommend.add_argument("--k", type=int, default=10, help="how many works (default 10)")
    recommend.add_argument("--shown", nargs="*", default=[], help="work ids that this session has seen")
    recommend.add_argument("--time-ms", type=int, help="the moment of the request (default: the snapshot's)")
    recommend.add_argument(
        "--trace", action="store_true", help="show every step: in, out, removed and why, milliseconds"
    )
    recommend.add_argument(
        "--explain", action="store_true", help="show why each work was chosen: gain, what it is closest to, plain top-k"
    )
    recommend.add_argument("--json", action="store_true", help="print JSON")


def _add_data(names: Any) -> None:
    data = _command(names, "data", "your own files: describe them, check them", None)
    what = data.add_subparsers(metavar="WHAT", required=True)
    init = _command(what, "init", "write a data.toml by looking at files", own_data.init)
    init.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files, or a folder that holds them")
    init.add_argument("--out", type=Path, metavar="DIR", help="where data.toml goes (default: the first folder named)")
    init.add_argument("--preset", metavar="NAME", help="copy the data.toml of a known download: kuairand, lastfm")
    world = _command(what, "export-world", "the synthetic platform as files of one's own", own_data.export_world)
    world.add_argument("out", type=Path, metavar="DIR", help="where its tables and data.toml go")
    _world_options(world)
    library = _command(
        what, "export-library", "made-up uploads to screen, and what became of them", screen.export_library
    )
    library.add_argument("out", type=Path, metavar="DIR", help="where uploads, outcomes and screen.toml go")
    library.add_argument("--works", type=int, default=1_000_000, help="works (default 1000000)")
    library.add_argument("--days", type=int, default=20, help="days over which they are uploaded (default 20)")
    library.add_argument("--seed", type=int, default=0, help="seed of the library (default 0)")
    check = _command(what, "check", "what of a data.toml's files is read, kept and left out, and why", own_data.check)
    check.add_argument("folder", type=Path, metavar="DIR", help="the folder with data.toml")
    check.add_argument("--preset", metavar="NAME", help="a known download, without a data.toml: kuairand, lastfm")
    check.add_argument("--skip-bad", action="store_true", help="succeed though some rows cannot be used")
    check.add_argument("--json", action="store_true", help="print JSON")


def _add_refresh(names: Any) -> None:
    again = _command(names, "refresh", "make the works' vectors anew, round and round, while they serve", refresh.run)
    again.add_argument("root", type=Path, metavar="BUNDLES", help="the folder that holds `current`")
    again.add_argument(
        "--share", type=float, default=0.25, help="of one core that it may use, above 0 and at most 1 (default 0.25)"
    )
    again.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a karec.toml with [live]: works' counters as its state store has them",
    )
    again.add_argument("--once", action="store_true", help="end when the round is whole")
    live = _command(names, "live", "refresh, train and publish beside a service, on a schedule", living.run)
    live.add_argument("--config", type=Path, required=True, metavar="FILE", help="a karec.toml with [live]")
    live.add_argument("--status", action="store_true", help="print what the one that runs does, or did last, and end")
    told = _command(names, "record", "events into the log of a karec.toml: block a work, adjust its score", record.run)
    told.add_argument("config", type=Path, metavar="FILE", help="a karec.toml with [live]")
    told.add_argument("rows", type=Path, nargs="?", metavar="ROWS", help="JSON, a row a line (default: standard input)")


def _add_service(names: Any) -> None:
    service = _command(names, "serve", "answer requests over HTTP, by worker processes", serving.run)
    service.add_argument("--config", type=Path, required=True, metavar="FILE", help="a karec.toml")
    service.add_argument(
        "--workers", type=_at_least_one, metavar="N", help="processes (default: [serve] workers, else 1)"
    )
    service.add_argument("--host", help="where to listen (default: [serve] host, else 127.0.0.1)")
    service.add_argument("--port", type=_at_least_none, help="0: one that is free (default: [serve] port, else 8080)")
    service.add_argument(
        "--insecure", action="store_true", help="other machines may call without a token, and by any Host header"
    )


def _add_configuration(names: Any) -> None:
    config = _command(names, "config", "a karec.toml: its mistakes, what is in force, its schema", None)
    what = config.add_subparsers(metavar="WHAT", required=True)
    check = _command(what, "config check", "every mistake, in a line each with its place", configuration.check)
    show = _command(
        what, "config show", "what is in force in a scene, and where each value is from", configuration.show
    )
    for each in (check, show):
        each.add_argument("config", type=Path, metavar="FILE", help="a karec.toml")
    check.add_argument("--scene", help="a scene of the config (default: all)")
    show.add_argument("--scene", help="a scene of the config (default: its first)")
    _command(what, "config schema", "the JSON Schema of karec.toml, which editors read", configuration.schema)


def _add_screening(names: Any) -> None:
    screening = _command(names, "screen", "which of a library's uploads may be recommended", screen.run)
    screening.add_argument("settings", type=Path, metavar="TOML", help="a screen.toml")
    screening.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the kept works and reasons go")
    screening.add_argument("--train", action="store_true", help="train the quality model first, from outcomes")
    screening.add_argument(
        "--last", type=_day, metavar="DAY", help="the window's last day, YYYY-MM-DD (default: the last there is)"
    )
    screening.add_argument("--report", type=Path, metavar="DIR", help="write screening.json and screening.html there")


def _add_evaluations(names: Any) -> None:
    evaluate = _command(names, "evaluate", "AUC, GAUC and ECE on the test days, with intervals", evaluations.evaluate)
    _data_options(evaluate)
    evaluate.add_argument("--run", type=Path, dest="folder", help="the run folder of karec train or demo")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    others = evaluate.add_subparsers(metavar="WHAT", title="or evaluate something else")
    ablation = _command(
        others, "ablation", "what each piece of the towers' teaching gives, in one table", evaluations.ablation
    )
    _data_options(ablation)
    ablation.add_argument("--out", type=Path, required=True, help="where cells, models, logs and the table go")
    ablation.add_argument("--settings", type=Path, metavar="TOML", help="as karec train's, the recipe aside")
    ablation.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds (default 0 1 2)")
    ablation.add_argument("--on", choices=("validation", "test"), default="test", help="which days (default: test)")
    ablation.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="some rows only (default: all)")
    ablation.add_argument("--pools", type=_at_least_one, default=500, help="how many pools, one a user (default 500)")
    ablation.add_argument("--size", type=_at_least_one, default=500, help="works in a pool (default 500)")
    ablation.add_argument(
        "--whole", type=_at_least_none, default=40, help="users whose order of 100,000 works is compared (default 40)"
    )
    agree = _command(others, "consistency", "how far prerank and rank agree on whole pools", evaluations.consistency)
    agree.add_argument("--config", type=Path, help="a karec.toml: draw pools from its bundle")
    agree.add_argument("--scene", help="a scene of the config (default: its first)")
    agree.add_argument(
        "--pools", type=_at_least_one, default=500, help="how many pools to draw, one a user (default 500)"
    )
    agree.add_argument("--size", type=_at_least_one, default=500, help="works in a pool (default 500)")
    agree.add_argument(
        "--recalled", type=_at_least_none, default=20, help="requests whose whole pools are ranked (default 20)"
    )
    agree.add_argument("--seed", type=int, default=0, help="seed of what is drawn (default 0)")
    agree.add_argument("--log", type=Path, metavar="DIR", help="a rank log: measure its shadow requests")
    agree.add_argument("--report", type=Path, metavar="DIR", help="write consistency.json and consistency.html there")
    roads = _command(others, "routes", "live indicators or the inner product: costs and hit rates", evaluations.routes)
    roads.add_argument("--config", type=Path, required=True, help="a karec.toml")
    roads.add_argument("--scene", help="a scene of the config (default: its first)")
    roads.add_argument("--requests", type=_at_least_one, default=30, help="how many users to ask for (default 30)")
    roads.add_argument(
        "--pools", type=_at_least_one, nargs="+", metavar="N", help="works in a pool (default 1e3 1e4 1e5)"
    )
    roads.add_argument("--keep", type=_at_least_one, default=300, help="works that pass (default 300)")
    roads.add_argument(
        "--segment", metavar="COLUMN", help="also live indicators by this column of users: age_band, city"
    )
    roads.add_argument("--seed", type=int, default=0, help="seed of what is drawn (default 0)")
    _add_top_studies(others)


def _add_top_studies(others: Any) -> None:
    """Studies of what stands on top: of fused lists, of a channel, of a varied list, of a whole library."""
    fused = _command(others, "fusion", "what the weights of fusion buy: a frontier of objectives", evaluations.fusion)
    _data_options(fused)
    fused.add_argument("--run", type=Path, dest="folder", required=True, help="the run folder of karec train or demo")
    days = ("validation", "test")
    fused.add_argument("--on", choices=days, default="validation", help="which days (default: validation)")
    fused.add_argument(
        "--objectives", nargs="+", default=[], metavar="NAME", help="of what the ranker predicts (default: all)"
    )
    fused.add_argument("--k", type=_at_least_one, default=3, help="works at the top of a list (default 3)")
    fused.add_argument("--steps", type=_at_least_one, default=4, help="shares are multiples of 1/STEPS (default 4)")
    fused.add_argument("--pools", type=_at_least_one, default=200, help="world: pools drawn, one a user (default 200)")
    fused.add_argument("--size", type=_at_least_one, default=500, help="world: works in a pool (default 500)")
    fused.add_argument("--report", type=Path, metavar="DIR", help="write fusion.json and fusion.html there")
    found = _command(others, "recall", "what recall finds of a user's favourites", evaluations.recall)
    _data_options(found)
    found.add_argument("--config", type=Path, required=True, help="a karec.toml whose bundle was made of these data")
    found.add_argument("--scene", help="a scene of the config (default: its first)")
    found.add_argument("--asked", type=_at_least_one, default=200, help="how many users to ask for (default 200)")
    found.add_argument(
        "--ranked",
        type=_at_least_none,
        default=40,
        help="for so many of them the ranker scores the whole library (default 40)",
    )
    found.add_argument(
        "--channels",
        action="store_true",
        help="each channel of the scene, alone and together, in place of the vectors",
    )
    found.add_argument("--lists", action="store_true", help="feeds of the channel model by lists, beside an exact scan")
    found.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    varied = _command(others, "diversity", "what each way to scatter a list gains and loses", evaluations.diversity)
    varied.add_argument("--config", type=Path, required=True, help="a karec.toml")
    varied.add_argument("--scene", help="a scene of the config (default: its first)")
    varied.add_argument("--stage", default="rank", help="the stage whose scored works are the pools (default: rank)")
    varied.add_argument("--requests", type=_at_least_one, default=100, help="how many users to ask for (default 100)")
    varied.add_argument("--k", type=_at_least_one, default=50, help="works in a list (default 50)")
    varied.add_argument("--seed", type=int, default=0, help="seed of the users that are drawn (default 0)")
    varied.add_argument("--report", type=Path, metavar="DIR", help="write diversity.json and diversity.html there")
    found = _command(others, "retrieval", "what of all works is found that was held out", evaluations.retrieval)
    _data_options(found)
    found.add_argument("--run", type=Path, dest="folder", help="the run folder of karec train; without it peers alone")
    found.add_argument("--report", type=Path, metavar="DIR", help="write retrieval.json and retrieval.html there")
    tired = _command(others, "satiation", "what showing a creator or tag again changes", evaluations.satiation)
    _data_options(tired)
    tired.add_argument("--report", type=Path, metavar="DIR", help="write satiation.json and satiation.html there")


def _add_simulation(names: Any) -> None:
    loop = _command(names, "simulate", "days of the world, played against several cascades", simulate.run)
    loop.add_argument(
        "--arms",
        required=True,
        metavar="FILE",
        help="what is compared: a TOML file, or a set that comes with karec: prerank, routes, diversity, kernels, "
        "pools, steered, reach, screened, nights, demo",
    )
    loop.add_argument(
        "--only", nargs="+", default=[], metavar="ARM", help="some of its arms (default: all); each gives the same log"
    )
    loop.add_argument("--out", type=Path, required=True, metavar="DIR", help="where models and the arms' logs go")
    loop.add_argument("--days", type=int, default=10, help="how many days are played (default 10)")
    loop.add_argument("--users", type=int, default=2_000, help="users (default 2000)")
    loop.add_argument("--works", type=int, default=50_000, help="works when the days begin (default 50000)")
    loop.add_argument("--seed", type=int, default=0, help="seed of the world, its coins and training (default 0)")
    loop.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="first trainings, to share them (default: OUT/models)",
    )
    loop.add_argument("--report", type=Path, metavar="DIR", help="write report.json and report.html there")
    loop.add_argument("--resume", action="store_true", help="go on with DIR, whose simulation was killed")


def _add_load(names: Any) -> None:
    load = _command(names, "load", "put load on a service, at moments that are fixed in advance", loading.run)
    load.add_argument("url", metavar="URL", help="of the service, http://HOST:PORT")
    load.add_argument("--rate", type=_above_none, required=True, metavar="R", help="requests a second")
    load.add_argument(
        "--users",
        required=True,
        metavar="USERS",
        help="who asks: a karec.toml (its bundle's users), a file of ids, one a line, a range A-B, or N for 1 … N",
    )
    long = load.add_mutually_exclusive_group()
    long.add_argument("--minutes", type=_above_none, metavar="M")
    long.add_argument("--seconds", type=_above_none, metavar="S", help="how long (default 10 seconds)")
    load.add_argument("--scene", help="of the requests (default: the service's first)")
    load.add_argument("--k", type=_at_least_one, help="works a feed (default: the service's)")
    load.add_argument(
        "--deadline-ms",
        type=_above_none,
        metavar="D",
        help="the requests say so, and goodput counts answers within it, from the moment that each was due "
        "(default: none, goodput counts every answer)",
    )
    load.add_argument(
        "--slack-ms", type=_no_less_than_none, default=2.0, metavar="MS", help="… and so much after it (default 2)"
    )
    load.add_argument(
        "--events-share", type=float, default=0.0, metavar="SHARE", help="of the requests that report exposures (0)"
    )
    load.add_argument("--even", action="store_true", help="at even distances (default: as a Poisson process)")
    load.add_argument("--connections", type=_at_least_one, default=64, metavar="N", help="kept open (default 64)")
    load.add_argument(
        "--timeout", type=_above_none, default=10.0, metavar="S", help="so long an answer is waited for (default 10)"
    )
    load.add_argument("--seed", type=int, default=0, help="of moments and users (default 0)")
    load.add_argument(
        "--find-peak",
        action="store_true",
        help="from R up in steps of 1.4 while goodput grows by 5 %%, or down until it falls; each rate so long",
    )
    load.add_argument("--out", type=Path, metavar="JSON", help="write all figures there")


def _add_exports(names: Any) -> None:
    export = _command(names, "export", "for hosts in other languages, and in int8", None)
    exports = export.add_subparsers(metavar="WHAT", required=True)
    models = _command(
        exports, "models", "a run's models in int8, what that costs in AUC, and golden files", commands.export_models
    )
    _data_options(models)
    models.add_argument("--run", type=Path, required=True, dest="folder", help="the run folder of karec train or demo")
    models.add_argument("--json", type=Path, metavar="FILE", help="also write what it costs as JSON")
    stage = _command(exports, "stage", "a stage of karec.toml for a C++ host", commands.export_stage)
    stage.add_argument("--config", type=Path, required=True, help="a karec.toml")
    stage.add_argument("--scene", help="a scene of the config (default: its first)")
    stage.add_argument("--stage", default="prerank", help="a stage of the scene (default: prerank)")
    stage.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    stage.add_argument("--check", action="store_true", help="write nothing; fail when FILE is stale, and say why")


def _command(names: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = names.add_parser(
        name.rpartition(" ")[2],
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="world",
        metavar="DATA",
        help="world (the synthetic platform, the default), kuairand, lastfm, or a folder with a data.toml",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out rows that cannot be used")
    parser.add_argument("--root", type=Path, help="kuairand, lastfm: the folder that holds the files of its download")
    _world_options(parser)


def _world_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--works", type=int, default=300_000, help="world: works (default 300000)")
    parser.add_argument("--users", type=int, default=1_500, help="world: users (default 1500)")
    parser.add_argument("--exposures", type=int, default=200_000, help="world: exposures (default 200000)")
    parser.add_argument("--seed", type=int, help="seed of the world and of training (default 0)")
