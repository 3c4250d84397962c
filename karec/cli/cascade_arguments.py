"""Options of the commands that make a cascade, refresh it and serve it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karec.cli import commands, configuration, demo, record, refresh, restore
from karec.cli import live as living
from karec.cli import serve as serving
from karec.cli import train as training
from karec.cli.argument_types import (
    at_least_none,
    at_least_one,
    command,
    data_options,
    log_folder,
)


def add_cascade(names: Any) -> None:
    _add_demo(names)
    _add_train(names)
    _add_recommend(names)


def _add_demo(names: Any) -> None:
    options = command(names, "demo", "run the main job end to end and show what it does", demo.demo)
    data_options(options)
    options.add_argument(
        "--out", type=Path, help="where models, bundle and config go (default: karec-demo-DATA)"
    )
    options.add_argument("--report", type=Path, metavar="DIR", help="write report.json and report.html there")
    options.add_argument("--requests", type=int, default=200, help="how many requests to serve (default 200)")
    options.add_argument(
        "--scene",
        metavar="NAME",
        help="world: also this scene: following, city, live, song_request, room, comment (with "
        "comment_users), creators; or all of them",
    )
    options.add_argument(
        "--settings", type=Path, metavar="TOML", help="training settings (default: the built-in ones)"
    )


def _add_train(names: Any) -> None:
    train = command(
        names, "train", "train ranker and towers, refresh the index, publish a bundle", training.train
    )
    data_options(train)
    train.add_argument("--out", type=Path, required=True, help="where run, bundles and karec.toml go")
    train.add_argument(
        "--settings", type=Path, metavar="TOML", help="training settings (default: the built-in ones)"
    )
    train.add_argument(
        "--quick",
        action="store_true",
        help="a first look: fewer passes over a large log, of a smaller ranker",
    )
    train.add_argument(
        "--log",
        type=log_folder,
        metavar="DIR",
        help="a served rank log, a folder or URL: the towers learn on from it",
    )
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
        help="also learn from the events of a store (its SQLite file, or a karec.toml with [online]); "
        "the newest day is the test day",
    )
    train.add_argument(
        "--publish-if-no-worse",
        type=float,
        dest="margin",
        metavar="MARGIN",
        help="publish only if the mean AUC on the test days has not fallen by more than MARGIN below that of "
        "the version in service, by the lower end of a 95 %% interval; else end with status 3",
    )
    train.add_argument(
        "--from-scratch",
        action="store_true",
        help="with --log: a new ranker, which orders the pools of the served log anew for new towers",
    )
    train.add_argument(
        "--log-version", type=int, metavar="N", help="with --log: rows of this model version alone"
    )
    train.add_argument(
        "--choose",
        type=float,
        metavar="MINUTES",
        help="before training, try a list of settings on the validation days for so long, and train with the "
        "best",
    )
    train.add_argument(
        "--rolling",
        action="store_true",
        help="with --log: publish beside the version in service, which karec refresh then replaces work by "
        "work",
    )
    train.add_argument(
        "--resume", action="store_true", help="go on from OUT/run/checkpoints, which a kill left"
    )
    train.add_argument(
        "--signing-key", type=Path, metavar="PEM", help="a private ed25519 key: sign the bundle"
    )
    train.add_argument(
        "--upload", metavar="URL", help="upload the published bundle to this object store, s3://bucket/path"
    )
    train.add_argument(
        "--keep",
        type=at_least_one,
        default=10,
        metavar="N",
        help="published versions that stay in OUT/bundles (default 10); current and open ones do besides",
    )


def _add_recommend(names: Any) -> None:
    recommend = command(
        names, "recommend", "one feed for one user, and how it came about", commands.recommend
    )
    recommend.add_argument("--config", type=Path, required=True, help="a karec.toml")
    asked = recommend.add_mutually_exclusive_group(required=True)
    asked.add_argument("--user", help="user id; one never seen is served as a cold start")
    asked.add_argument(
        "--batch", type=Path, metavar="USERS.parquet", help="a feed for each of these users, into --out"
    )
    recommend.add_argument(
        "--out", type=Path, metavar="FEEDS.parquet", help="with --batch: where the feeds go"
    )
    recommend.add_argument(
        "--column", help='with --batch: the column of user ids (default: the only one, or "user")'
    )
    recommend.add_argument("--scene", help="a scene of the config (default: its first)")
    recommend.add_argument("--k", type=int, default=10, help="how many works (default 10)")
    recommend.add_argument("--shown", nargs="*", default=[], help="work ids that this session has seen")
    recommend.add_argument("--time-ms", type=int, help="the moment of the request (default: the snapshot's)")
    recommend.add_argument(
        "--trace", action="store_true", help="show every step: in, out, removed and why, milliseconds"
    )
    recommend.add_argument(
        "--explain",
        action="store_true",
        help="show why each work was chosen: gain, what it is closest to, plain top-k",
    )
    recommend.add_argument("--json", action="store_true", help="print JSON")


def add_refresh(names: Any) -> None:
    again = command(
        names, "refresh", "make the works' vectors anew, round and round, while they serve", refresh.run
    )
    again.add_argument("root", type=Path, metavar="BUNDLES", help="the folder that holds `current`")
    again.add_argument(
        "--share",
        type=float,
        default=0.25,
        help="of one core that it may use, above 0 and at most 1 (default 0.25)",
    )
    again.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a karec.toml with [online]: counters of works as its store has them",
    )
    again.add_argument("--once", action="store_true", help="end when the round is whole")
    live = command(names, "live", "refresh, train and publish beside a service, on a schedule", living.run)
    live.add_argument("--config", type=Path, required=True, metavar="FILE", help="a karec.toml with [online]")
    live.add_argument(
        "--status", action="store_true", help="print what the one that runs does, or did last, and end"
    )
    rows = command(names, "record", "store events: block an item, adjust its score, …", record.run)
    rows.add_argument("config", type=Path, metavar="FILE", help="a karec.toml with [online]")
    rows.add_argument(
        "rows", type=Path, nargs="?", metavar="ROWS", help="JSON, a row a line (default: standard input)"
    )
    restored = command(names, "restore", "restore a lost online store from its backup", restore.run)
    restored.add_argument("config", type=Path, metavar="FILE", help="a karec.toml with [online]")
    restored.add_argument(
        "--state", action="store_true", help="keep the file; compute its state again from all events"
    )


def add_service(names: Any) -> None:
    service = command(names, "serve", "serve pages over HTTP with worker processes", serving.run)
    service.add_argument("--config", type=Path, required=True, metavar="FILE", help="a karec.toml")
    service.add_argument(
        "--workers", type=at_least_one, metavar="N", help="processes (default: [serve] workers, else 1)"
    )
    service.add_argument("--host", help="address to listen on (default: [serve] host, else 127.0.0.1)")
    service.add_argument(
        "--port", type=at_least_none, help="0: a free one (default: [serve] port, else 8080)"
    )
    service.add_argument(
        "--fd",
        type=at_least_none,
        metavar="N",
        help="a listening socket that this process inherited, in place of host and port (systemd: 3)",
    )
    service.add_argument(
        "--insecure",
        action="store_true",
        help="accept requests from other machines without a token and with any Host header",
    )


def add_configuration(names: Any) -> None:
    config = command(names, "config", "a karec.toml: its mistakes, what is in force, its schema", None)
    what = config.add_subparsers(metavar="WHAT", required=True)
    check = command(what, "config check", "every mistake, in a line each with its place", configuration.check)
    show = command(
        what, "config show", "what is in force in a scene, and where each value is from", configuration.show
    )
    for each in (check, show):
        each.add_argument("config", type=Path, metavar="FILE", help="a karec.toml")
    check.add_argument("--scene", help="a scene of the config (default: all)")
    show.add_argument("--scene", help="a scene of the config (default: its first)")
    command(what, "config schema", "the JSON Schema of karec.toml, which editors read", configuration.schema)
