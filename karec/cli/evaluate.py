"""``karec evaluate``: quality of models on the test days, and agreement of prerank and rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karec.cli.datasets import load_data
from karec.cli.options import DataChoice, Json, RunFolder, Scene
from karec.cli.output import ProgressReport, make_console, print_json, print_notes, text_table

if TYPE_CHECKING:
    from rich.table import Table


def models(
    choice: DataChoice,
    run: RunFolder,
    as_json: Json = False,
) -> None:
    """Print AUC, GAUC and ECE of the models of a run on the test days, with 95 % intervals over users."""
    from karec.evaluate.quality import evaluate_run

    with ProgressReport() as progress, load_data(choice, progress) as loaded:
        quality = evaluate_run(loaded.dataset, run, progress)
    if as_json:
        print_json(quality)
        return
    console = make_console()
    for table in quality_tables(quality, loaded.dataset.tasks):
        console.print(table)


def quality_tables(quality: Mapping[str, Any], tasks: Sequence[str]) -> Iterator[Table]:
    """Yields the tables of ``evaluate_run``: one of each task, the agreement and the balance."""
    from karec.evaluate.funnel import FEW_ITEMS, TOPS
    from karec.evaluate.tables import BALANCE_COLUMNS, COLUMNS, balance_rows, format_measure, quality_rows

    for task in tasks:
        title = f"{task} on the test days (95 % intervals over users; differences are paired)"
        yield text_table(title, *quality_rows(quality["models"], task, COLUMNS))
    agreement = quality.get("agreement")
    if agreement is not None:
        names = [f"top{top}{group}" for group in ("", "_few") for top in TOPS]
        row = [format_measure(agreement[name], agreement[f"{name}_ci"], 3) for name in names]
        title = (
            f"Fraction of the ranker's best items that the towers keep on the test days: best "
            f"{agreement['kept']:,} of {agreement['items']:,}, {agreement['pools']:,} pools (few: users with "
            f"fewer than {FEW_ITEMS} items in the history)"
        )
        tops = [f"top {top}" for top in TOPS]
        yield text_table(title, ("", *tops, *(f"{top}, few" for top in tops)), [("towers", *row)])
    title = "Slopes of the ranker's parts on the test days (above 1: it weighs the part too little)"
    yield text_table(title, BALANCE_COLUMNS, balance_rows(quality["balance"]))


def consistency(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A karec.toml: draws pools from its bundle.")
    ] = None,
    scene: Scene = None,
    pools: Annotated[int, typer.Option(min=1, help="Pools to draw, one per user.")] = 500,
    size: Annotated[int, typer.Option(min=1, help="Items in a pool.")] = 500,
    recalled: Annotated[int, typer.Option(min=0, help="Requests whose whole pools are ranked.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    log: Annotated[
        str | None, typer.Option(metavar="LOG", help="Rank log, folder or URL: measures its shadow requests.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the fraction of the ranker's best items of a pool that prerank keeps.

    Hit rates are normalised: 0 is chance, 1 is all.
    """
    if config is None and log is None:
        raise ValueError("name CONFIG for pools that are drawn, --log for those of shadow requests, or both")
    from karec.logs.parts import to_log_folder

    console = make_console()
    folder = None if log is None else to_log_folder(log)
    measured: dict[str, Any] = {}
    losses: dict[str, Any] = {}
    notes = []
    if config is not None:
        measured["drawn"], losses = _measure_config(config, scene, pools, size, recalled, seed)
    if folder is not None:
        from karec.errors import DataError
        from karec.evaluate.consistency import consistency as measure
        from karec.evaluate.consistency import logged_pools
        from karec.evaluate.funnel import funnel_loss, logged_funnel

        measured["logged"] = measure(logged_pools(folder), seed=seed)
        try:
            losses["logged"] = funnel_loss(logged_funnel(folder))
        except DataError as error:
            notes.append(f"no funnel loss: {error}")
    if as_json:
        print_json({"consistency": measured, "funnel_loss": losses, "notes": notes})
        return
    for source, result in measured.items():
        console.print(_consistency_table(source, result))
    for source, loss in losses.items():
        console.print(_funnel_loss_table(source, loss))
    print_notes(console, notes)


def _measure_config(
    path: Path, scene: str | None, n_pools: int, size: int, n_recalled: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the consistency on drawn pools, and the funnel losses of recalled ones by source."""
    from karec.config import load_cascade, open_bundle, scene_names
    from karec.evaluate.consistency import consistency as measure
    from karec.evaluate.consistency import sampled_pools
    from karec.evaluate.funnel import funnel_loss, recalled_pools, requests_of_known_users

    bundle = open_bundle(path)
    cascade = load_cascade(path, scene or scene_names(path)[0], bundle)
    cascade = dataclasses.replace(cascade, side_effects=(), naming=None)
    with ProgressReport() as progress:
        drawn = measure(sampled_pools(cascade, bundle, n_pools, size, seed, progress), seed=seed)
        if not n_recalled:
            return drawn, {}
        requests = requests_of_known_users(bundle.snapshot, cascade.scene, n_recalled, seed)
        loss = funnel_loss(recalled_pools(cascade, bundle.index, requests, progress))
    return drawn, {"recalled": loss}


def _consistency_table(source: str, measured: Mapping[str, Any]) -> Table:
    from karec.evaluate.tables import format_measure

    size = measured["pool_size"]
    n_items = f"{size['median']:,}" if size["min"] == size["max"] else f"{size['min']:,} to {size['max']:,}"
    rows = [
        (name, format_measure(measure["value"], measure["ci"], 3), f"{measure['pools']:,}")
        for name, measure in measured["measures"].items()
    ]
    title = f"{source}: {measured['pools']:,} pools of {n_items} items, {measured['users']:,} users"
    return text_table(title, ("measure", "mean [95 % over users]", "pools"), rows)


def _funnel_loss_table(source: str, loss: Mapping[str, Any]) -> Table:
    from karec.evaluate.funnel import FEW_ITEMS, PARTS, TOPS
    from karec.evaluate.tables import format_measure

    groups = {"": "", "_few": f", fewer than {FEW_ITEMS} items in the history"}
    rows = [
        (
            f"{top}{group}",
            *(
                format_measure(loss[part][f"top{top}{key}"], loss[part][f"top{top}{key}_ci"], 3)
                for part in PARTS
            ),
        )
        for key, group in groups.items()
        for top in TOPS
    ]
    title = (
        f"{source}: fraction of the ranker's best items that pre-ranking selects, {loss['passed']:,} of "
        f"{loss['pool']:,} ({loss['requests']:,} requests, 95 % over users)"
    )
    return text_table(title, ("best", "inner product", "prerank", "removed by policy"), rows)
