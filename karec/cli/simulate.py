"""The closed loop: days × arms."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karec.cli.inputs import progress_bars, table_console

if TYPE_CHECKING:
    from rich.table import Table

    from karec.simulate.arms import Arms

SHOWN_BEFORE, MOST_BEFORE = 100, 400_000  # works shown to a user in the weeks before, and to all at most
TOLD = ("creators_1_a_day", "works_1_a_day", "gini_creators", "younger_72h")  # as wide as a terminal is


def run(arguments: argparse.Namespace) -> None:
    from karec.simulate.arms import read_arms
    from karec.simulate.loop import simulate
    from karec.simulate.population import Sizes

    before = min(SHOWN_BEFORE * arguments.users, MOST_BEFORE)
    sizes = Sizes(arguments.works, arguments.users, before, arguments.days, arguments.seed)
    path = Path(arguments.arms)
    arms = read_arms(path)
    if arguments.only:
        arms = arms.only(arguments.only)
    if arguments.report is not None:
        arguments.report.mkdir(parents=True, exist_ok=True)  # one that cannot be written is told now
    with progress_bars() as progress:
        simulate(
            arms,
            path.parent,
            sizes,
            arguments.out,
            resume=arguments.resume,
            models=arguments.models,
            progress=progress,
        )
    names = [arm.name for arm in arms.arms]
    for name in names:
        print(f"{name}: {arguments.out / name}")
    if arguments.report is not None:
        _report(arguments, arms)


def _report(arguments: argparse.Namespace, arms: Arms) -> None:
    """The arms against the baseline: two tables here, all of it in ``--report``."""
    console = table_console()
    from karec.simulate.report import write_report

    report = loop_report(arguments.out, arms)
    for table in loop_tables(report):
        console.print(table)
    _, page = write_report(report, arguments.report)
    console.print(f"report: {page}")


def loop_report(out: Path, arms: Arms) -> dict[str, Any]:
    """The report of the simulation ``out``, all of whose ``arms`` have ended."""
    from karec.simulate.arm_log import ArmLog
    from karec.simulate.feeds import read_feeds
    from karec.simulate.report import report_on

    names = [arm.name for arm in arms.arms]
    logs = (ArmLog.read(out / name) for name in names)
    return report_on(logs, arms.baseline or names[0], pair=arms.pair, feeds=read_feeds(out, arms.shown))


def loop_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """What users did, and what creators and works got."""
    from karec.cli.tables import text_table
    from karec.simulate.report_tables import CREATORS_SIDE, USERS_SIDE, arm_rows

    reach = {name: CREATORS_SIDE[name] for name in TOLD}
    for title, columns in (("What a user did on a day", USERS_SIDE), ("What creators and works got", reach)):
        told = f"{title}; but for the first, changes against {report['baseline']}"
        yield text_table(told, *arm_rows(report, columns))
