"""Compares the ranker of all item types with today's orders of scenes: mean vectors and rates.

For each seed a world is made, and models are trained twice: on impressions of works only, so that scenes of
other types are ordered by means of works' vectors and rates (``blend``); and also on those of the other item
types. Both serve the same users at the start of the test days. A page is judged by the true probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from karec.catalog.dataset import Dataset
from karec.config.project import set_up
from karec.evaluate.metrics.accuracy import resampling_weights
from karec.evaluate.metrics.exposure import Sums, resample, summarize
from karec.evaluate.quality import read_run
from karec.evaluate.tables import format_measure
from karec.files import read_json, write_text_aside
from karec.lab.demo.scenes import ITEM_TYPE_SCENES, WORK_SCENES, fill_scene
from karec.lab.report import Table
from karec.lab.simulate.world import World
from karec.lab.simulate.world.item_types import make_item_types, with_item_types
from karec.lab.studies.scenes import RESAMPLES
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.times import Progress

ORDERS = ("works", "all")  # the item types whose impressions are learned
VALUES = "values.json"
NO_TRUTH = "comment_users"  # the world has no feedback to people, only to their works


def compare_scene_orders(
    make_world: Callable[[int], World],
    settings: TrainSettings,
    out: Path,
    *,
    seeds: Sequence[int],
    scenes: Sequence[str],
    n_requests: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Returns {scene: {requests, works, all, gain}}; ``gain`` of ``all`` in percent, paired by request.

    ``out``/seed-S-ORDER has a run and its pages' values; a finished one is not repeated. Intervals: 95 %,
    over the requests of all seeds.
    """
    values: dict[str, dict[str, list[float]]] = {name: {order: [] for order in ORDERS} for name in scenes}
    for seed in seeds:
        world = make_world(seed)
        for order, dataset in zip(ORDERS, (world.dataset, with_item_types(world)), strict=True):
            folder = out / f"seed-{seed}-{order}"
            if not (folder / VALUES).exists():
                config = _publish(world, dataset, settings.replace(seed=seed), folder, scenes, progress)
                pages = _page_values(world, config, scenes, n_requests, progress)
                write_text_aside(folder / VALUES, json.dumps(pages))
            for name, page_values in read_json(folder / VALUES).items():
                values[name][order] += page_values
    return {name: _compare(orders) for name, orders in values.items()}


def _page_values(
    world: World, config: Path, scenes: Sequence[str], n_requests: int, progress: Progress | None
) -> dict[str, list[float]]:
    """Returns {scene: mean value of the page of each request}."""
    moment = replace(world.dataset.snapshot, time_ms=world.dataset.valid_until_ms)
    item_types, values = make_item_types(world, moment), {}
    for done, name in enumerate(scenes):
        if progress is not None:
            progress(done, len(scenes), f"serving the scene {name}")
        values[name] = fill_scene(world, item_types, config, name, n_requests)[0].values["cascade"].tolist()
    return values


def _publish(
    world: World,
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    scenes: Sequence[str],
    progress: Progress | None,
) -> Path:
    """Trains and publishes, unless the folder has a run or a karec.toml."""
    config = folder / "karec.toml"
    if config.exists():
        return config
    run = folder / "run"
    if not (run / "run.json").exists():
        train(dataset, settings, run, progress, evaluate=False)
    return set_up(
        dataset,
        run,
        read_run(run)["settings"],
        folder,
        progress,
        until_ms=dataset.valid_until_ms,
        scenes=scenes,
        item_types_of=lambda snapshot: {
            name: item_type.data for name, item_type in make_item_types(world, snapshot).items()
        },
    )


def _compare(pages: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    n = len(pages[ORDERS[0]])
    sums = {order: Sums(np.array(values), np.ones(n)) for order, values in pages.items()}
    means = resample(sums, resampling_weights(n, RESAMPLES, 0))
    gain = summarize(means[ORDERS[1]], means[ORDERS[0]])
    row = {order: {key: summarize(means[order])[key] for key in ("value", "ci")} for order in ORDERS}
    return {"requests": n, **row, "gain": {"percent": gain["relative"], "ci": gain["relative_ci"]}}


def scene_orders_table(report: Mapping[str, Mapping[str, Any]]) -> Table:
    objectives = {name: objective for name, (objective, *_) in WORK_SCENES.items()} | ITEM_TYPE_SCENES
    rows = []
    for name, row in report.items():
        digits = 1 if row["all"]["value"] >= 10.0 else 4
        values = (format_measure(row[order]["value"], row[order]["ci"], digits) for order in ORDERS)
        gain = format_measure(row["gain"]["percent"], row["gain"]["ci"], 1, signed=True)
        rows.append((name, objectives[name], str(row["requests"]), *values, gain))
    return Table(
        "Value of scenes by the impressions that models learn from",
        ("scene", "for", "requests", "of works", "of all item types", "gain, %"),
        rows,
        "Mean objective of the scene over a page, by the true probabilities of the world. Without "
        "impressions of its item type, a scene is ordered by mean vectors and rates. In brackets: 95 % "
        "intervals over requests of all seeds; the gain is paired.",
    )
