"""``karec evaluate off-policy``: estimates outcomes of other fusion weights from pages in random order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from karec.cli.options import Config, Json, Scene
from karec.cli.output import make_console, print_json, print_notes, text_table

if TYPE_CHECKING:
    from rich.table import Table

    from karec.experiments.off_policy import Estimates, RandomPages
    from karec.models.fusion import ObjectiveWeights

COLUMNS = ("random", "ips", "snips", "dr", "gain")
SHOWN_COLUMNS = ("random", "snips", "dr", "gain")  # five with intervals do not fit a terminal
REQUESTS = 100  # a table has the labels of this number of requests


def off_policy(
    config: Config,
    weight: Annotated[
        list[str],
        typer.Option(metavar="TASK=NUMBER", help="Fusion weight of a task of the ranker. Repeatable."),
    ],
    kind: Annotated[Literal["sum", "product"], typer.Option(help="Kind of the fusion.")] = "sum",
    scene: Scene = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="LABEL", help="Outcome. Repeatable (default: all labels).")
    ] = None,
    positions: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="First positions of a page (default: all random ones)."),
    ] = None,
    days: Annotated[
        float, typer.Option(min=0.01, metavar="DAYS", help="Newest days of the rank log to read.")
    ] = 7.0,
    log: Annotated[
        str | None,
        typer.Option(metavar="LOG", help="Rank log, folder or URL (default: that of the scene)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Estimate the labels that pages get with other fusion weights, without an experiment.

    Reads pages in random order, so the scene must end with the step random_position. Columns: random has the
    labels of these pages. snips and dr (doubly robust) estimate the labels of pages that order the same items
    by the weights. gain is dr minus the dr of the logged score. matches counts the pages that show the item
    of the new order at the position; with fewer than 20 expected labels on them, there is no interval. JSON
    also has ips.
    """
    from karec.config.calibrate import rank_log_of
    from karec.config.online_store import read_online_config
    from karec.experiments.off_policy import find_random_pages
    from karec.logs.parts import to_log_folder
    from karec.logs.read import read_rank_log, read_tasks
    from karec.online.read_log import read_log
    from karec.times import DAY_MS

    weights = _read_weights(weight, kind)
    read = read_online_config(config)
    name = scene or next(iter(read.scenes))
    default = config.parent / rank_log_of(read, name)[0]
    folder = default if log is None else to_log_folder(log)
    assert read.online is not None
    head, events = read_log(read.online.event_source(config.absolute().parent))
    rank_log = read_rank_log(folder, read_tasks(folder))
    rank_log = rank_log.take(rank_log.scene == name)
    rank_log = rank_log.take(rank_log.time_ms > rank_log.time_ms.max(initial=0) - days * DAY_MS)
    pages = find_random_pages(rank_log, head, events, label or head.labels, positions)
    rows = _estimate(pages, weights)
    if as_json:
        facts = {"scene": name, "weights": weights.weights, "kind": kind, "requests": len(pages.user_id)}
        print_json({**facts, "notes": pages.notes, "labels": rows})
        return
    console = make_console()
    for table in _tables(pages, rows):
        console.print(table)
    print_notes(console, pages.notes)


def _read_weights(texts: Sequence[str], kind: Literal["sum", "product"]) -> ObjectiveWeights:
    from karec.models.fusion import ObjectiveWeights

    weights = {}
    for text in texts:
        task, _, number = text.partition("=")
        try:
            weights[task] = float(number)
        except ValueError:
            raise ValueError(f"--weight: {text!r}, expected TASK=NUMBER, for example like=2") from None
    return ObjectiveWeights(weights, kind)


def _estimate(pages: RandomPages, weights: ObjectiveWeights) -> dict[str, list[dict[str, Any]]]:
    """Returns {label: a row for each position and for the page}."""
    import numpy as np

    from karec.experiments.off_policy import METHODS, estimate_policy, mean_over_requests

    policy = estimate_policy(pages, weights(pages.logits, pages.tasks))
    logged = estimate_policy(pages, pages.fused)
    n_positives = np.minimum(policy.n_positives, logged.n_positives)
    values = {name: (policy.values[name], policy.n_positives) for name in METHODS}
    values["random"] = pages.outcomes, pages.outcomes.sum(axis=0)
    values["gain"] = policy.values["dr"] - logged.values["dr"], n_positives
    estimates = {name: mean_over_requests(pages, *values[name]) for name in COLUMNS}
    n = [*policy.n_matches.tolist(), int(policy.n_matches.sum())]
    places = [*range(len(policy.n_matches)), "page"]
    return {
        label: [
            {
                "position": place,
                "matches": n[i],
                **{name: _measure(estimates[name], i, column) for name in COLUMNS},
            }
            for i, place in enumerate(places)
        ]
        for column, label in enumerate(pages.labels)
    }


def _measure(estimates: Estimates, row: int, column: int) -> dict[str, Any]:
    value, low, high = (
        float(array[row, column]) for array in (estimates.value, estimates.low, estimates.high)
    )
    ci = [low, high] if math.isfinite(low) else None
    return {"value": value if math.isfinite(value) else None, "ci": ci}


def _tables(pages: RandomPages, rows: Mapping[str, list[dict[str, Any]]]) -> Iterator[Table]:
    n, n_users = len(pages.user_id), len(set(pages.user_id.tolist()))
    for label, rows_of_label in rows.items():
        title = f"{label} of {REQUESTS} requests: {n:,} random pages, {n_users:,} users, 95 % intervals"
        cells = [
            (str(row["position"]), f"{row['matches']:,}", *(_cell(row[name]) for name in SHOWN_COLUMNS))
            for row in rows_of_label
        ]
        yield text_table(title, ("position", "matches", *SHOWN_COLUMNS), cells)


def _cell(measure: Mapping[str, Any]) -> str:
    from karec.evaluate.tables import format_measure

    value, ci = measure["value"], measure["ci"]
    scaled = None if value is None else REQUESTS * value
    return format_measure(scaled, None if ci is None else [REQUESTS * bound for bound in ci], 2)
