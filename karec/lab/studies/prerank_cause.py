"""Study of pre-ranking's cut: the fraction of the ranker's best items of a pool that several arms keep.

An arms file (``karec.lab.simulate.arms``) has the arms. Pools are recalled for users of a world at the start
of its test days.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karec.evaluate.funnel import FEW_ITEMS, funnel_loss, recalled_pools, requests_of_known_users
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.lab.simulate.arms import Arms
from karec.lab.simulate.sessions import SCENE
from karec.lab.simulate.world import World
from karec.lab.studies.score_parts import measure_parts, score_library
from karec.lab.studies.trained_arm import TrainedArm
from karec.times import Progress

PARTS = {"inner_product": "score", "prerank": "stage"}
TOPS = ("top10", "top100", "top10_few", "top100_few")


def measure_cut(
    world: World,
    arms: Arms,
    folder: Path,
    out: Path,
    *,
    seed: int,
    n_requests: int,
    parts: bool = False,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Returns {arm: result of ``funnel_loss``} for ``n_requests`` users; ``folder``: that of the arms file.

    ``parts``: adds the result of ``measure_parts`` as "parts". The ranker scores all works for each user.

    ``out`` has models and bundles: see ``TrainedArm``.
    """
    losses = {}
    for arm in arms.arms:
        trained = TrainedArm.train(world, arms, arm, out, seed, progress)
        cascade, bundle = trained.cascade(arms, arm, folder), trained.bundle
        requests = requests_of_known_users(trained.snapshot, SCENE, n_requests, seed)
        losses[arm.name] = funnel_loss(recalled_pools(cascade, bundle.index, requests, progress))
        if parts:
            scores = score_library(
                world, cascade, bundle.index, bundle.encoder, trained.snapshot, requests, progress
            )
            losses[arm.name]["parts"] = measure_parts(scores)
    return losses


def cut_table(losses: Mapping[str, Mapping[str, Any]], seed: int) -> Table:
    """Returns two rows for each arm: kept by the score of the towers, and by the whole stage."""
    rows = [
        (
            name,
            PARTS[part],
            f"{loss['passed']:,} of {loss['pool']:,}",
            *(format_measure(loss[part][top], loss[part][f"{top}_ci"], 3) for top in TOPS),
        )
        for name, loss in losses.items()
        for part in PARTS
    ]
    head = ("arm", "cut by", "items", "top 10", "top 100", "top 10, few", "top 100, few")
    note = (
        f"few: users with fewer than {FEW_ITEMS} items in the history. score: user and item vector, with the "
        "tables of wide towers, whatever steps the arm has; stage: all steps of prerank."
    )
    return Table(f"Fraction of the ranker's best items that prerank keeps, world {seed}", head, rows, note)


def parts_tables(losses: Mapping[str, Mapping[str, Any]], seed: int) -> list[Table]:
    """Returns four tables of ``measure_parts``: swapped parts, effects, slopes, shares."""
    measured = {name: loss["parts"] for name, loss in losses.items()}
    swaps = [
        (name, swap, *(_cell(kept[top]) for top in (10, 100)))
        for name, parts in measured.items()
        for swap, kept in parts["swap"].items()
    ]
    effect_names = list(next(iter(measured.values()))["effects"])
    effects = [
        (name, *(_cell(parts["effects"][effect]) for effect in effect_names))
        for name, parts in measured.items()
    ]
    slopes = [
        (name, f"best {depth:,}" if depth else "whole pool", _cell(slope["item"]), _cell(slope["personal"]))
        for name, parts in measured.items()
        for depth, slope in parts["slopes"].items()
    ]
    shares = [
        (name, f"{share:.2f}", _cell(found["value"]), _cell(found["change"], signed=True))
        for name, parts in measured.items()
        for share, found in parts["shares"].items()
    ]
    return [
        Table(
            f"Kept at the cut with swapped parts, world {seed}", ("arm", "score", "top 10", "top 100"), swaps
        ),
        Table("Effects in the personal part, as a fraction of the ranker's", ("arm", *effect_names), effects),
        Table(
            "Slopes of the true logit on the ranker's parts, within users",
            ("arm", "items", "item part", "personal part"),
            slopes,
            "A slope above 1: the ranker weighs the part too little at this depth.",
        ),
        Table(
            "Mean true value of the ranker's ten best items without a share of the item part",
            ("arm", "share taken off", "value", "change"),
            shares,
        ),
    ]


def _cell(figure: tuple[float, float, float], *, signed: bool = False) -> str:
    return format_measure(figure[0], figure[1:], 3, signed=signed)
