"""Measures all models of trainings on 1, 2 and 4 ranks: AUC, agreement of the towers, pages.

    OMP_NUM_THREADS=1 python bench/rank_models.py    three seeds of the training in one small world
    … --sharded-rows 1000                            ranks also divide tables of 1,000 rows and more

Ranks are forks with one thread each. All trainings have the same data and equal numbers of rows in a step. A
line is JSON. ``auc``: mean over tasks, on the test days. ``agreement``: see ``RankedPools``. ``pages``: mean
true probability of each task, over the 20 items of all pages by towers, by ranker, and of the whole cascade.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from ranks import fork_ranks

from karec.cli.pages import PAGE, cascade_pages
from karec.evaluate.model_pages import RANKER, TOWERS, model_pages
from karec.evaluate.pages import PageRequests
from karec.evaluate.quality import read_run
from karec.lab.simulate.world import World, make_world
from karec.learn.distributed.ranks import rank
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings


def measure(world: World, settings: TrainSettings) -> dict[str, object] | None:
    """Trains all models and returns their measures, on rank 0."""
    dataset = world.dataset
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        begin = time.process_time()
        result = train(dataset, settings, run)
        processor_s = time.process_time() - begin
        if rank():
            return None
        written = read_run(run)["settings"]
        requests = PageRequests.from_dataset(dataset, dataset.valid_until_ms, seed=0)
        pages = model_pages(dataset, requests, run, written)
        pages[PAGE] = cascade_pages(dataset, requests, run, written, Path(folder), lambda *_: None)
    models, agreement = result.quality["models"], result.quality["agreement"]
    return {
        "auc": {
            name: float(np.mean([tasks[task]["auc"] for task in dataset.tasks]))
            for name, tasks in models.items()
        },
        "agreement": agreement,
        "pages": {name: true_rates(world, requests, pages[name]) for name in (TOWERS, RANKER, PAGE)},
        "epochs": {name: len(epochs) for name, epochs in result.epochs.items()},
        "processor_s": processor_s,
    }


def true_rates(world: World, requests: PageRequests, pages: np.ndarray) -> dict[str, float]:
    """Returns the mean true probability of each task over all items of ``pages (U, K)``; −1 is no item."""
    place, column = np.nonzero(pages >= 0)
    rates = world.task_probabilities(
        requests.users[place],
        pages[place, column],
        requests.time_ms[place],
        np.zeros(len(place), np.int64),
    )
    return dict(zip(world.dataset.tasks, rates.mean(axis=0).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--works", type=int, default=5_000)
    parser.add_argument("--users", type=int, default=250)
    parser.add_argument("--impressions", type=int, default=25_000)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sharded-rows", type=int, default=1_000_000)
    options = parser.parse_args()
    world = make_world(options.works, options.users, options.impressions, seed=0)
    run = {"threads": 1, "final_fit": False, "sharded_rows": options.sharded_rows}
    settings = TrainSettings().replace(
        ranker={"kind": "mmoe"}, run=run, evaluation={"baselines": (), "resamples": 20}
    )
    for seed in options.seeds:
        for n in options.ranks:
            measures = fork_ranks(n, True, measure, world, settings.replace(seed=seed))[0]
            print(json.dumps({"ranks": n, "seed": seed, **measures}), flush=True)


if __name__ == "__main__":
    main()
