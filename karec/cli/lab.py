"""``karec lab``: simulated days and synthetic data. Loads karec.lab when called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karec.cli.datasets import build_world
from karec.cli.options import Report, WorldChoice
from karec.cli.output import ProgressReport, make_console, print_tables, require_extra, text_table
from karec.errors import nearest

if TYPE_CHECKING:
    from rich.table import Table as TextTable


PAST_IMPRESSIONS = 100  # to one user in the weeks before the simulated days
MAX_PAST_IMPRESSIONS = 400_000  # to all users
REACH_COLUMNS = ("creators_1_a_day", "works_1_a_day", "gini_creators", "younger_72h")  # fit a terminal

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")]


def simulate(
    arms: Annotated[
        str,
        typer.Option(
            metavar="FILE|SET",
            help="Cascades to compare: a TOML file, or prerank, diversity, exposure, fairness, random, demo, "
            "policy, headline, rankers, baselines, long.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for models and logs of the arms.")],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM", help="Simulate only this arm. Repeatable (default: all)."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Days to simulate.")] = 10,
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 2_000,
    works: Annotated[int, typer.Option(min=1, help="Works on the first day.")] = 50_000,
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            "--seed", help="Seed of a world and its training. Repeatable: each in OUT/SEED (default: 0)."
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="ARM", help="With several --seed: arm to compare with. Repeatable."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of first trainings to share (default: OUT/models)."),
    ] = None,
    satiation: Annotated[
        float | None, typer.Option(min=0, help="Scale of the effect of satiation (default: the file's).")
    ] = None,
    returns: Annotated[
        float | None,
        typer.Option(
            min=0, max=2, help="Scale of the effect of enjoyment on later sessions (default: the file's)."
        ),
    ] = None,
    report: Report = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted simulation.")] = False,
) -> None:
    """Simulate days on which users respond to pages of several cascades, in a closed loop."""
    require_extra("lab", "karec lab simulate")
    require_extra("train", "karec lab simulate")
    console = make_console()
    from karec.files import check_writable_folder
    from karec.lab.simulate.arms import read_arms
    from karec.lab.simulate.compare_worlds import MAX_WORLDS, compare_worlds, worlds_tables, write_worlds
    from karec.lab.simulate.loop import simulate as play
    from karec.lab.simulate.population import Sizes
    from karec.lab.simulate.report import loop_report, write_simulation

    seeds = seeds or [0]
    if len(set(seeds)) < len(seeds) or len(seeds) > MAX_WORLDS:
        raise ValueError(f"--seed: {seeds}, expected at most {MAX_WORLDS} different seeds")
    impressions = min(PAST_IMPRESSIONS * users, MAX_PAST_IMPRESSIONS)
    path = Path(arms)
    cascades = read_arms(path)
    if only:
        cascades = cascades.only(only)
    cascades = replace(
        cascades,
        satiation=cascades.satiation if satiation is None else satiation,
        returns=cascades.returns if returns is None else returns,
    )
    names = [arm.name for arm in cascades.arms]
    for name in against or ():
        if name not in names:
            raise ValueError(f"--against: {name!r} is not an arm{nearest(name, names)}; there are {names}")
    if against and len(seeds) == 1:
        raise ValueError("--against compares over worlds: give --seed several times")
    if report is not None:
        check_writable_folder(report)
    baselines = against or [cascades.baseline or names[0]]
    contents: dict[str, list[dict[str, Any]]] = {name: [] for name in baselines}
    size = f"{len(names)} arms x {len(seeds)} worlds x {days} days"
    print(f"budget: {size}; an estimate follows after the first arm", flush=True)
    on_end = estimate_budget(len(names), len(seeds))
    for seed in seeds:
        world = Path(str(seed)) if len(seeds) > 1 else Path()
        sizes = Sizes(works, users, impressions, days, seed)
        with ProgressReport() as progress:
            play(
                cascades, path.parent, sizes, out / world,
                resume=resume, models=models, progress=progress, on_end=partial(on_end, progress.note),
            )  # fmt: skip
        for arm in cascades.arms:
            print(f"{arm.name}: {out / world / arm.name}")
        if report is not None or len(seeds) > 1:
            for name in baselines:
                contents[name].append(loop_report(out / world, replace(cascades, baseline=name)))
        if report is not None:
            newest = contents[baselines[0]][-1]
            for table in loop_tables(newest):
                console.print(table)
            _, page = write_simulation(newest, report / world)
            print(f"report: {page}")
    if len(seeds) > 1:
        comparisons = [compare_worlds(contents[name]) for name in baselines]
        print_tables(console, [table for comparison in comparisons for table in worlds_tables(comparison)])
        if report is not None:
            print(f"report: {write_worlds(comparisons, report)}")


def estimate_budget(n_arms: int, n_worlds: int) -> Callable[[Callable[[str], None], str, float], None]:
    """Returns a function to call after the first trainings and each arm.

    Its arguments are a function that prints a note, a name, and seconds of processor time. After the first
    arm it notes an estimate of the processor time of all worlds.
    """
    seconds: list[float] = []

    def on_end(note: Callable[[str], None], name: str, processor_s: float) -> None:
        seconds.append(processor_s)
        if len(seconds) == 2:
            training_s, arm_s = seconds
            hours = n_worlds * (training_s + n_arms * arm_s) / 3600
            note(
                f"budget: {training_s:.0f} s of processor time for the first trainings, {arm_s:.0f} s for "
                f"{name!r}; all arms and worlds about {hours:.2f} h"
            )

    return on_end


def export_world(out: Folder, choice: WorldChoice) -> None:
    """Write the synthetic platform as files with a data.toml."""
    require_extra("lab", "karec lab export-world")
    from karec.files import check_writable_folder
    from karec.lab.simulate.write_dataset import write_dataset

    check_writable_folder(out)
    with ProgressReport() as progress:
        world = build_world(choice, progress)
    write_dataset(out, world.start, world.past, world.dataset)
    print(f"written: {out / 'data.toml'}\nnext: karec data check {out}")


def export_library(
    out: Folder,
    works: Annotated[int, typer.Option(min=1, help="Uploaded works.")] = 1_000_000,
    days: Annotated[int, typer.Option(min=1, help="Days of uploads.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the library.")] = 0,
) -> None:
    """Write synthetic uploads to screen, their outcomes, and a screen.toml with every key."""
    require_extra("lab", "karec lab export-library")
    from karec.files import check_writable_folder
    from karec.lab.simulate.library_files import write_library

    check_writable_folder(out)
    with ProgressReport() as progress:
        write_library(out, works, days, seed, progress)
    settings = out / "screen.toml"
    print(f"written: {settings}\nnext: karec screen {settings} --train --out {out / 'screened'}")


def loop_tables(report: Mapping[str, Any]) -> Iterator[TextTable]:
    """Yields tables of what users did on a day and for an impression, and of what creators and works got."""
    from karec.lab.simulate.report_tables import (
        CREATORS_SIDE,
        IMPRESSIONS_SIDE,
        PAGES_SIDE,
        USERS_SIDE,
        arm_rows,
    )

    reach = {name: CREATORS_SIDE[name] for name in REACH_COLUMNS}
    for title, columns in (
        ("Actions of a user on a day", USERS_SIDE),
        ("Actions for an impression, and pages", {**IMPRESSIONS_SIDE, **PAGES_SIDE}),
        ("Reach of creators and works", reach),
    ):
        title_with_baseline = f"{title}; after the first row, changes against {report['baseline']}"
        yield text_table(title_with_baseline, *arm_rows(report, columns))
