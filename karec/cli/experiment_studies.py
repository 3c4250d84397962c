"""``karec lab`` commands that study experiments and off-policy estimates in known worlds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from karec.cli.output import ProgressReport, make_console, print_tables, require_extra


def off_policy(
    works: Annotated[int, typer.Option(min=100, metavar="N", help="Works of the world.")] = 4_000,
    users: Annotated[int, typer.Option(min=20, metavar="N", help="Users of the world and of a log.")] = 2_500,
    candidates: Annotated[int, typer.Option(min=10, metavar="N", help="Items in random order.")] = 20,
    draws: Annotated[int, typer.Option(min=10, metavar="N", help="Logs to draw.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Seed of the world and of the draws.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="JSON", help="Also write the rows there.")] = None,
) -> None:
    """Measure how often the intervals of off-policy estimates contain the truth of a known world."""
    require_extra("lab", "karec lab off-policy")
    from karec.files import check_writable_file, write_text_aside
    from karec.lab.simulate.world import make_world
    from karec.lab.studies.off_policy import coverage_table, measure_coverage

    if out is not None:
        check_writable_file(out)
    with ProgressReport() as progress:
        world = make_world(works, users, 20 * users, seed=seed, progress=progress)
        report = measure_coverage(world, draws=draws, users=users, n=candidates, seed=seed, progress=progress)
    print_tables(make_console(), [coverage_table(report)])
    if out is not None:
        write_text_aside(out, json.dumps(report, indent=1))


def experiments(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for logs and experiments.json.")],
    works: Annotated[int, typer.Option(min=100, metavar="N", help="Works of the world.")] = 20_000,
    users: Annotated[int, typer.Option(min=20, metavar="N", help="Users of the world.")] = 12_000,
    assignments: Annotated[
        int, typer.Option(min=2, metavar="N", help="Assignments of units to arms, each with its own salt.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="Seed of the world and of the log.")] = 0,
) -> None:
    """Measure false positives and coverage of karec experiment, on one log with many assignments to arms."""
    require_extra("lab", "karec lab experiments")
    from karec.files import write_text_aside
    from karec.lab.simulate.world import make_world
    from karec.lab.studies.experiment_statistics import statistics_table, study_statistics

    with ProgressReport() as progress:
        world = make_world(works, users, 10 * users, seed=seed, progress=progress)
        report = study_statistics(world, out, assignments=assignments, seed=seed, progress=progress)
    print_tables(make_console(), [statistics_table(report)])
    write_text_aside(out / "experiments.json", json.dumps(report, indent=1))


def pooled_learning(
    worlds: Annotated[int, typer.Option(min=2, metavar="N", help="Worlds, each with its own seed.")] = 40,
    users: Annotated[int, typer.Option(min=20, metavar="N", help="Users of a world.")] = 400,
    works: Annotated[int, typer.Option(min=200, metavar="N", help="Works of a world.")] = 1_500,
    days: Annotated[int, typer.Option(min=2, metavar="N", help="Days, with a training after each.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the first world.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="JSON", help="Also write the rows there.")] = None,
) -> None:
    """Measure the bias of an experiment with a greedy and an exploring arm that learn from the same rows."""
    require_extra("lab", "karec lab pooled-learning")
    from karec.files import check_writable_file, write_text_aside
    from karec.lab.studies.pooled_learning import bias_table, measure_bias

    if out is not None:
        check_writable_file(out)
    with ProgressReport() as progress:
        report = measure_bias(
            worlds=worlds, users=users, works=works, days=days, seed=seed, progress=progress
        )
    print_tables(make_console(), [bias_table(report)])
    if out is not None:
        write_text_aside(out, json.dumps(report, indent=1))
