"""The closed loop: days × arms."""

from __future__ import annotations

import argparse
from pathlib import Path

from karec.cli.inputs import progress_bars

SHOWN_BEFORE, MOST_BEFORE = 100, 400_000  # works shown to a user in the weeks before, and to all at most


def run(arguments: argparse.Namespace) -> None:
    from karec.simulate.arms import read_arms
    from karec.simulate.loop import simulate
    from karec.simulate.population import Sizes

    before = min(SHOWN_BEFORE * arguments.users, MOST_BEFORE)
    sizes = Sizes(arguments.works, arguments.users, before, arguments.days, arguments.seed)
    path = Path(arguments.arms)
    arms = read_arms(path)
    with progress_bars() as progress:
        simulate(
            arms, path.parent, sizes, arguments.out, resume=arguments.resume, models=arguments.models, progress=progress
        )
    names = [arm.name for arm in arms.arms]
    for name in names:
        print(f"{name}: {arguments.out / name}")
    if arguments.report is not None:
        from karec.simulate.arm_log import ArmLog
        from karec.simulate.report import report_on, write_report

        logs = (ArmLog.read(arguments.out / name) for name in names)
        _, page = write_report(report_on(logs, arms.baseline or names[0], pair=arms.pair), arguments.report)
        print(f"report: {page}")
