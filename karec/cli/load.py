"""``karec load``: load on a service, and what it made of it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from karec.cli.inputs import progress_bars, table_console
from karec.errors import MissingExtra

STEP_SECONDS = 10.0
MOST = 50_000_000  # requests of one run, whose records are kept in memory


def run(arguments: argparse.Namespace) -> None:
    console = table_console()
    try:
        from karec.cli.load_tables import load_tables, peak_table
        from karec.load.peak import find_peak
        from karec.load.report import report
        from karec.load.run import Plan, in_loop
        from karec.load.target import EVENTS, RECOMMEND, Target
        from karec.load.traffic import Asked
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "httptools", "load", "karec load") from error

    if not 0 <= arguments.events_share < 1:
        raise ValueError(
            f"--events-share {arguments.events_share} is not within 0 … 1: feeds must be asked, to report on"
        )
    environment = os.environ.get
    token = environment("KAREC_TOKEN", "").strip()
    target = Target.of(
        arguments.url, {RECOMMEND: token, EVENTS: environment("KAREC_EVENTS_TOKEN", "").strip() or token}
    )
    asked = Asked(
        users_of(arguments.users),
        arguments.scene,
        arguments.k,
        arguments.deadline_ms,
        arguments.events_share,
    )
    seconds = arguments.seconds or (60 * arguments.minutes if arguments.minutes else STEP_SECONDS)
    if arguments.rate * seconds > MOST:
        raise ValueError(
            f"--rate {arguments.rate:g} for {seconds:g} s are {arguments.rate * seconds:.3g} requests, at "
            f"most {MOST:,}"
        )
    if arguments.out is not None and (arguments.out.is_dir() or not arguments.out.absolute().parent.is_dir()):
        raise ValueError(f"--out {arguments.out}: a file in a folder that is there is wanted")
    plan = Plan(
        target,
        asked,
        arguments.rate,
        seconds,
        arguments.even,
        arguments.connections,
        arguments.timeout,
        arguments.seed,
    )

    with progress_bars() as progress:

        async def play(rate: float) -> dict[str, Any]:
            step = dataclasses.replace(plan, rate=rate)
            return report(step, await step.play(progress), arguments.slack_ms)

        if arguments.find_peak:
            peak, reports = in_loop(find_peak(play, arguments.rate))
            found: dict[str, Any] = {
                "format": reports[0]["format"],
                "peak_goodput_per_s": peak,
                "steps": reports,
            }
            tables = [peak_table(peak, reports)]
        else:
            found = in_loop(play(arguments.rate))
            reports, tables = [found], load_tables(found)
    for table in tables:
        console.print(table)
    for each in reports:
        for line in warnings_of(each):
            print(line, file=sys.stderr)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1))


def warnings_of(report: dict[str, Any]) -> list[str]:
    """What makes a report's figures doubtful, loudly."""
    generator, rate = report["generator"], f"{report['plan']['rate']:,g} requests a second"
    lines = []
    if generator["fell_behind"]:
        lines.append(
            f"WARNING: at {rate} the generator itself fell behind: {generator['late_share']:.1%} of the "
            f"requests began "
            f"more than 5 ms late, and it used {generator['cpu_share']:.0%} of a core. The latencies above "
            f"are partly "
            "its own: ask for less, or run it where nothing else runs."
        )
    if "wrong answer" in report["statuses"]:
        lines.append(
            f"WARNING: at {rate} {report['statuses']['wrong answer']} answers with status 200 were not what "
            f"was asked "
            "for: another user, a work twice, or no JSON."
        )
    return lines


def users_of(text: str) -> Sequence[int | str]:
    """The ids that are drawn from: of a karec.toml's bundle, a file (one a line), a range A-B, or 1 … N.
    ValueError: none of these, or no user.
    """
    path = Path(text)
    if path.suffix == ".toml":
        users: Sequence[int | str] = _users_of_bundle(path)
    elif path.is_file():
        users = _users_of_file(path)
    else:
        found = re.fullmatch(r"(?:([0-9]{1,18})-)?([0-9]{1,18})", text)
        if found is None:
            raise ValueError(f"--users {text}: there is no such file, and it is no number N and no range A-B")
        users = range(int(found[1] or 1), int(found[2]) + 1)
    if not users:
        raise ValueError(f"--users {text}: there is no user")
    return users


def _users_of_bundle(path: Path) -> list[int | str]:
    from karec.config import open_bundle

    bundle = open_bundle(path)
    ids = bundle.snapshot.users.ids.tolist()
    return ids if bundle.naming is None else list(bundle.naming.users.names(ids))


def _users_of_file(path: Path) -> Sequence[int | str]:
    """Integers where all lines are, texts else."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        return [int(line) for line in lines]
    except ValueError:
        return lines
