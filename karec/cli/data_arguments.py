"""Options of the commands on files of one's own, on a library, and for hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karec.cli import commands, evaluations, export_events, own_data, screen
from karec.cli.argument_types import at_least_none, at_least_one, command, data_options, day, log_folder


def add_data(names: Any) -> None:
    data = command(names, "data", "your own files: describe them, check them", None)
    what = data.add_subparsers(metavar="WHAT", required=True)
    init = command(what, "init", "write a data.toml by looking at files", own_data.init)
    init.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="files, or a folder that holds them"
    )
    init.add_argument(
        "--out", type=Path, metavar="DIR", help="where data.toml goes (default: the first folder named)"
    )
    init.add_argument(
        "--preset", metavar="NAME", help="copy the data.toml of a known download: kuairand, lastfm"
    )
    check = command(
        what, "check", "what of a data.toml's files is read, kept and left out, and why", own_data.check
    )
    check.add_argument("folder", type=Path, metavar="DIR", help="the folder with data.toml")
    check.add_argument(
        "--preset", metavar="NAME", help="a known download, without a data.toml: kuairand, lastfm"
    )
    check.add_argument("--skip-bad", action="store_true", help="succeed though some rows cannot be used")
    check.add_argument("--json", action="store_true", help="print JSON")


def add_screening(names: Any) -> None:
    screening = command(names, "screen", "which of a library's uploads may be recommended", screen.run)
    screening.add_argument("settings", type=Path, metavar="TOML", help="a screen.toml")
    screening.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where the kept works and reasons go"
    )
    screening.add_argument(
        "--train", action="store_true", help="train the quality model first, from outcomes"
    )
    screening.add_argument(
        "--last",
        type=day,
        metavar="DAY",
        help="the window's last day, YYYY-MM-DD (default: the last there is)",
    )
    screening.add_argument(
        "--report", type=Path, metavar="DIR", help="write screening.json and screening.html there"
    )


def add_evaluations(names: Any) -> None:
    evaluate = command(
        names, "evaluate", "AUC, GAUC and ECE on the test days, with intervals", evaluations.evaluate
    )
    data_options(evaluate)
    evaluate.add_argument("--run", type=Path, dest="folder", help="the run folder of karec train or demo")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    others = evaluate.add_subparsers(metavar="WHAT", title="or evaluate something else")
    agree = command(
        others, "consistency", "how far prerank and rank agree on whole pools", evaluations.consistency
    )
    agree.add_argument("--config", type=Path, help="a karec.toml: draw pools from its bundle")
    agree.add_argument("--scene", help="a scene of the config (default: its first)")
    agree.add_argument(
        "--pools", type=at_least_one, default=500, help="how many pools to draw, one a user (default 500)"
    )
    agree.add_argument("--size", type=at_least_one, default=500, help="works in a pool (default 500)")
    agree.add_argument(
        "--recalled",
        type=at_least_none,
        default=20,
        help="requests whose whole pools are ranked (default 20)",
    )
    agree.add_argument("--seed", type=int, default=0, help="seed of what is drawn (default 0)")
    agree.add_argument(
        "--log",
        type=log_folder,
        metavar="DIR",
        help="a rank log, a folder or URL: measure its shadow requests",
    )
    agree.add_argument(
        "--report", type=Path, metavar="DIR", help="write consistency.json and consistency.html there"
    )


def add_exports(names: Any) -> None:
    export = command(names, "export", "export events, or models for hosts in other languages", None)
    exports = export.add_subparsers(metavar="WHAT", required=True)
    events = command(
        exports, "events", "move days of events from the online store to Parquet files", export_events.run
    )
    events.add_argument("--config", type=Path, required=True, help="a karec.toml with [online]")
    events.add_argument(
        "--before",
        type=day,
        metavar="DAY",
        help="export the days before this one, YYYY-MM-DD, UTC (default: all that get no more events)",
    )
    trees = command(
        exports,
        "trees",
        "the trees of an ONNX file, for karec's library to score",
        commands.export_trees,
    )
    trees.add_argument(
        "model", type=Path, metavar="M.onnx", help="the file; M.trees.npz is written beside it"
    )
    stage = command(exports, "stage", "a stage of karec.toml for a C++ host", commands.export_stage)
    stage.add_argument("--config", type=Path, required=True, help="a karec.toml")
    stage.add_argument("--scene", help="a scene of the config (default: its first)")
    stage.add_argument("--stage", default="prerank", help="a stage of the scene (default: prerank)")
    stage.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    stage.add_argument(
        "--check", action="store_true", help="write nothing; fail when FILE is stale, and say why"
    )
