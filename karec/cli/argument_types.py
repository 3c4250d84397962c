"""What options of commands may say, and what several commands take."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from karec.cli.examples import EXAMPLES
from karec.logs.parts import LogFolder, to_log_folder


def at_least_one(text: str) -> int:
    return at_least(1, text)


def at_least_none(text: str) -> int:
    return at_least(0, text)


def log_folder(text: str) -> LogFolder:
    """Returns a rank log by path or URL. argparse would print a refused URL with its credentials."""
    try:
        return to_log_folder(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def at_least(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
    if number < least:
        raise argparse.ArgumentTypeError(f"{number} is less than {least}")
    return number


def day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day: YYYY-MM-DD is wanted") from None


def command(names: Any, name: str, what: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = names.add_parser(
        name.rpartition(" ")[2],
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="world",
        metavar="DATA",
        help="world (the synthetic platform, the default), kuairand, lastfm, or a folder with a data.toml",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out rows that cannot be used")
    parser.add_argument(
        "--root", type=Path, help="kuairand, lastfm: the folder that holds the files of its download"
    )
    world_options(parser)


def world_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--works", type=int, default=300_000, help="world: works (default 300000)")
    parser.add_argument("--users", type=int, default=1_500, help="world: users (default 1500)")
    parser.add_argument("--exposures", type=int, default=200_000, help="world: exposures (default 200000)")
    parser.add_argument("--seed", type=int, help="seed of the world and of training (default 0)")
