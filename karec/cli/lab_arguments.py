"""Options of the lab's commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karec.cli import lab
from karec.cli.argument_types import at_least_none, at_least_one, command, data_options, world_options


def add_lab(names: Any) -> None:
    parser = command(names, "lab", "the closed loop on a simulated platform, studies, made-up data", None)
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    _add_simulation(commands)
    _add_ablation(commands)
    _add_studies(commands)
    _add_made_up_data(commands)


def _add_simulation(names: Any) -> None:
    loop = command(names, "simulate", "days of the world, played against several cascades", lab.simulate)
    loop.add_argument(
        "--arms",
        required=True,
        metavar="FILE",
        help="what is compared: a TOML file, or a set that comes with karec: prerank, diversity, kernels, "
        "pools, exposure, reach, fairness, screened, nights, demo",
    )
    loop.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="ARM",
        help="some of its arms (default: all); each gives the same log",
    )
    loop.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where models and the arms' logs go"
    )
    loop.add_argument("--days", type=int, default=10, help="how many days are played (default 10)")
    loop.add_argument("--users", type=int, default=2_000, help="users (default 2000)")
    loop.add_argument("--works", type=int, default=50_000, help="works when the days begin (default 50000)")
    loop.add_argument(
        "--seed", type=int, default=0, help="seed of the world, its coins and training (default 0)"
    )
    loop.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="first trainings, to share them (default: OUT/models)",
    )
    loop.add_argument("--report", type=Path, metavar="DIR", help="write report.json and report.html there")
    loop.add_argument("--resume", action="store_true", help="go on with DIR, whose simulation was killed")


def _add_ablation(names: Any) -> None:
    ablation = command(
        names,
        "ablation",
        "what each piece of the towers' teaching gives, in one table",
        lab.ablation,
    )
    data_options(ablation)
    ablation.add_argument(
        "--out", type=Path, required=True, help="where cells, models, logs and the table go"
    )
    ablation.add_argument("--settings", type=Path, metavar="TOML", help="as karec train's, the recipe aside")
    ablation.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds (default 0 1 2)"
    )
    ablation.add_argument(
        "--on", choices=("validation", "test"), default="test", help="which days (default: test)"
    )
    ablation.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help="some rows only (default: all)"
    )
    ablation.add_argument(
        "--pools", type=at_least_one, default=500, help="how many pools, one a user (default 500)"
    )
    ablation.add_argument("--size", type=at_least_one, default=500, help="works in a pool (default 500)")
    ablation.add_argument(
        "--whole",
        type=at_least_none,
        default=40,
        help="users whose order of 100,000 works is compared (default 40)",
    )


def _add_studies(names: Any) -> None:
    """Studies of fused lists, of recall, of a varied list, of a whole library."""
    fused = command(names, "fusion", "what the weights of fusion buy: a frontier of objectives", lab.fusion)
    data_options(fused)
    fused.add_argument(
        "--run", type=Path, dest="folder", required=True, help="the run folder of karec train or demo"
    )
    days = ("validation", "test")
    fused.add_argument("--on", choices=days, default="validation", help="which days (default: validation)")
    fused.add_argument(
        "--objectives",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of what the ranker predicts (default: all)",
    )
    fused.add_argument("--k", type=at_least_one, default=3, help="works at the top of a list (default 3)")
    fused.add_argument(
        "--steps", type=at_least_one, default=4, help="shares are multiples of 1/STEPS (default 4)"
    )
    fused.add_argument(
        "--pools", type=at_least_one, default=200, help="world: pools drawn, one a user (default 200)"
    )
    fused.add_argument("--size", type=at_least_one, default=500, help="world: works in a pool (default 500)")
    fused.add_argument("--report", type=Path, metavar="DIR", help="write fusion.json and fusion.html there")
    found = command(names, "recall", "what recall finds of a user's favourites", lab.recall)
    data_options(found)
    found.add_argument(
        "--config", type=Path, required=True, help="a karec.toml whose bundle was made of these data"
    )
    found.add_argument("--scene", help="a scene of the config (default: its first)")
    found.add_argument(
        "--asked", type=at_least_one, default=200, help="how many users to ask for (default 200)"
    )
    found.add_argument(
        "--ranked",
        type=at_least_none,
        default=40,
        help="for so many of them the ranker scores the whole library (default 40)",
    )
    found.add_argument(
        "--channels",
        action="store_true",
        help="each channel of the scene, alone and together, in place of the vectors",
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    varied = command(names, "diversity", "what each diversity method gains and loses", lab.diversity)
    varied.add_argument("--config", type=Path, required=True, help="a karec.toml")
    varied.add_argument("--scene", help="a scene of the config (default: its first)")
    varied.add_argument(
        "--stage", default="rank", help="the stage whose scored works are the pools (default: rank)"
    )
    varied.add_argument(
        "--requests", type=at_least_one, default=100, help="how many users to ask for (default 100)"
    )
    varied.add_argument("--k", type=at_least_one, default=50, help="works in a list (default 50)")
    varied.add_argument("--seed", type=int, default=0, help="seed of the users that are drawn (default 0)")
    varied.add_argument(
        "--report", type=Path, metavar="DIR", help="write diversity.json and diversity.html there"
    )
    found = command(names, "retrieval", "what of all works is found that was held out", lab.retrieval)
    data_options(found)
    found.add_argument(
        "--run", type=Path, dest="folder", help="the run folder of karec train; without it peers alone"
    )
    found.add_argument(
        "--report", type=Path, metavar="DIR", help="write retrieval.json and retrieval.html there"
    )


def _add_made_up_data(names: Any) -> None:
    world = command(names, "export-world", "the synthetic platform as files of one's own", lab.export_world)
    world.add_argument("out", type=Path, metavar="DIR", help="where its tables and data.toml go")
    world_options(world)
    library = command(
        names, "export-library", "made-up uploads to screen, and what became of them", lab.export_library
    )
    library.add_argument("out", type=Path, metavar="DIR", help="where uploads, outcomes and screen.toml go")
    library.add_argument("--works", type=int, default=1_000_000, help="works (default 1000000)")
    library.add_argument(
        "--days", type=int, default=20, help="days over which they are uploaded (default 20)"
    )
    library.add_argument("--seed", type=int, default=0, help="seed of the library (default 0)")
