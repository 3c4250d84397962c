"""Options of the commands that measure, and of those that play days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karec.cli import evaluations, simulate
from karec.cli.argument_types import (
    at_least_none,
    at_least_one,
    command,
    data_options,
)


def add_evaluations(names: Any) -> None:
    evaluate = command(
        names, "evaluate", "AUC, GAUC and ECE on the test days, with intervals", evaluations.evaluate
    )
    data_options(evaluate)
    evaluate.add_argument("--run", type=Path, dest="folder", help="the run folder of karec train or demo")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    others = evaluate.add_subparsers(metavar="WHAT", title="or evaluate something else")
    ablation = command(
        others,
        "ablation",
        "what each piece of the towers' teaching gives, in one table",
        evaluations.ablation,
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
    agree.add_argument("--log", type=Path, metavar="DIR", help="a rank log: measure its shadow requests")
    agree.add_argument(
        "--report", type=Path, metavar="DIR", help="write consistency.json and consistency.html there"
    )
    roads = command(
        others, "routes", "live indicators or the inner product: costs and hit rates", evaluations.routes
    )
    roads.add_argument("--config", type=Path, required=True, help="a karec.toml")
    roads.add_argument("--scene", help="a scene of the config (default: its first)")
    roads.add_argument(
        "--requests", type=at_least_one, default=30, help="how many users to ask for (default 30)"
    )
    roads.add_argument(
        "--pools", type=at_least_one, nargs="+", metavar="N", help="works in a pool (default 1e3 1e4 1e5)"
    )
    roads.add_argument("--keep", type=at_least_one, default=300, help="works that pass (default 300)")
    roads.add_argument(
        "--segment", metavar="COLUMN", help="also live indicators by this column of users: age_band, city"
    )
    roads.add_argument("--seed", type=int, default=0, help="seed of what is drawn (default 0)")
    _add_top_studies(others)


def _add_top_studies(others: Any) -> None:
    """Studies of what stands on top: of fused lists, of a channel, of a varied list, of a whole library."""
    fused = command(
        others, "fusion", "what the weights of fusion buy: a frontier of objectives", evaluations.fusion
    )
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
    found = command(others, "recall", "what recall finds of a user's favourites", evaluations.recall)
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
    found.add_argument(
        "--lists", action="store_true", help="feeds of the channel model by lists, beside an exact scan"
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    varied = command(
        others, "diversity", "what each way to scatter a list gains and loses", evaluations.diversity
    )
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
    found = command(
        others, "retrieval", "what of all works is found that was held out", evaluations.retrieval
    )
    data_options(found)
    found.add_argument(
        "--run", type=Path, dest="folder", help="the run folder of karec train; without it peers alone"
    )
    found.add_argument(
        "--report", type=Path, metavar="DIR", help="write retrieval.json and retrieval.html there"
    )
    tired = command(others, "satiation", "what showing a creator or tag again changes", evaluations.satiation)
    data_options(tired)
    tired.add_argument(
        "--report", type=Path, metavar="DIR", help="write satiation.json and satiation.html there"
    )


def add_simulation(names: Any) -> None:
    loop = command(names, "simulate", "days of the world, played against several cascades", simulate.run)
    loop.add_argument(
        "--arms",
        required=True,
        metavar="FILE",
        help="what is compared: a TOML file, or a set that comes with karec: prerank, routes, diversity, "
        "kernels, "
        "pools, steered, reach, spread, screened, nights, demo",
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
