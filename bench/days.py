"""Compares warm starts, day by day, with trainings from scratch: AUC of the ranker on the next day, CPU time.

    python bench/days.py --seeds 0 1 2 > world.jsonl             ten days of a generated world
    python bench/days.py kuairand --root DIR > kuairand.jsonl
    python bench/days.py summary world.jsonl

Each day, new rankers learn from the impressions before that day, and are measured on the day. Their training
rows end one day earlier; the day before the measured one is for validation. `warm N` starts from the ranker
of `warm N` of the day before and learns from the last N days. The first one starts from a training from
scratch, whose ranker `first` keeps. Gains are those over the training from scratch of the same day, with 95 %
intervals over users. Co-watch vectors of a day are fitted once, and their time counts in each training. Each
line of the output is a day, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from karec.catalog.dataset import Dataset
from karec.data.load import load
from karec.evaluate.metrics.accuracy import UserBootstrap, auc, bootstrap_interval
from karec.lab.simulate.world import make_world
from karec.learn._torch import torch
from karec.learn.fit import prepare
from karec.learn.fit.checkpoint import Checkpoint
from karec.learn.fit.cowatch import fit_cowatch
from karec.learn.fit.warm_start import WarmStart
from karec.learn.run.rankers import train_ranker
from karec.learn.settings.settings import TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import build_examples, feature_times
from karec.samples.replay import logits_of_rankers
from karec.times import DAY_MS

RESAMPLES = 200


class SharedCowatch:
    """Fits the co-watch vectors of a day once. ``saved_s``: processor time of the further calls."""

    def __init__(self) -> None:
        self.saved_s = 0.0
        self.until_ms: int | None = None
        self.fit: object = None
        self.fit_s = 0.0

    def __call__(self, dataset: Dataset, seed: int) -> object:
        if self.until_ms == dataset.train_until_ms:
            self.saved_s += self.fit_s
        else:
            begin = time.process_time()
            self.fit = fit_cowatch(dataset, seed)
            self.fit_s = time.process_time() - begin
            self.until_ms = dataset.train_until_ms
        return self.fit


def until_day(dataset: Dataset, end_ms: int) -> Dataset:
    """Returns the impressions before ``end_ms``: the last day is for test, the one before for validation."""
    rows = dataset.exposures.take(dataset.exposures.time_ms < end_ms)
    times = {"train_until_ms": end_ms - 2 * DAY_MS, "valid_until_ms": end_ms - DAY_MS}
    return replace(dataset, exposures=rows, **times)


def fit_ranker(known: Dataset, settings: TrainSettings, folder: Path, start: WarmStart | None) -> WarmStart:
    """Trains a ranker in ``folder``. Returns a start of the next day's training from it."""
    folder.mkdir()
    prepared = prepare.prepare(known, settings, folder, start=start)
    weights = None if start is None else start.weights("ranker", prepared.encoder)
    short = settings if start is None else start.with_epochs(settings)
    checkpoint = Checkpoint(folder / "checkpoints" / "ranker.pt", 1_000_000, "")
    train_ranker("mmoe", prepared, short, folder / "ranker.onnx", None, checkpoint, weights)
    times = known.train_until_ms, known.valid_until_ms
    return WarmStart(folder, prepared.encoder, settings, *times, days=0, in_a_row=0)


def scores_of_day(known: Dataset, settings: TrainSettings, ranker: WarmStart) -> np.ndarray:
    """Returns (M, tasks) logits of the test day."""
    is_test = known.exposures.time_ms >= known.valid_until_ms
    rows = known.exposures.take(is_test)
    times = feature_times(known, settings.features.refresh_hours)[is_test]
    test = build_examples(ranker.encoder, known.snapshot, rows, times, happened=known.exposures)
    (logits,) = logits_of_rankers(test, [OnnxModel(ranker.folder / "ranker.onnx")], None, 1)
    return logits[:, : len(known.tasks)]


def run_days(dataset: Dataset, settings: TrainSettings, options: argparse.Namespace, folder: Path) -> None:
    """Prints a line for each of the last days of ``dataset``."""
    prepare.fit_cowatch = cowatch = SharedCowatch()
    last_ms = -(-dataset.end_ms // DAY_MS) * DAY_MS
    rankers: dict[str, WarmStart] = {}
    for day in range(-options.days, 1):
        known, cost = until_day(dataset, last_ms + day * DAY_MS), {}
        starts = (
            {f"warm {n}": replace(rankers[f"warm {n}"], days=n) for n in options.windows} if rankers else {}
        )
        for name in ("scratch", *starts):
            begin = time.process_time() + cowatch.saved_s
            rankers[name] = fit_ranker(known, settings, folder / f"{name} {day}", starts.get(name))
            cost[name] = round(time.process_time() + cowatch.saved_s - begin, 1)
        if not starts:
            rankers |= dict.fromkeys((*(f"warm {n}" for n in options.windows), "first"), rankers["scratch"])
            continue
        labels = known.split()[2].labels
        tasks = [at for at, name in enumerate(known.tasks) if labels[name].any() and not labels[name].all()]
        bootstrap = UserBootstrap(known.split()[2].user_id, RESAMPLES, settings.seed)
        aucs, draws = {}, {}
        for name, ranker in rankers.items():
            scores = scores_of_day(known, settings, ranker)
            pairs = [(labels[known.tasks[at]], scores[:, at]) for at in tasks]
            aucs[name] = float(np.mean([auc(*pair) for pair in pairs]))
            draws[name] = np.mean([bootstrap.auc(*pair) for pair in pairs], axis=0)
        gains = {
            name: (aucs[name] - aucs["scratch"], *bootstrap_interval(draws[name] - draws["scratch"]))
            for name in (*starts, "first")
        }
        line = {"seed": settings.seed, "day": day, "rows": len(known.split()[0]), "cpu_s": cost}
        print(json.dumps({**line, "auc": aucs, "gains": gains}), flush=True)


def print_summary(lines: list[dict]) -> None:
    """Prints means over days and seeds, with 95 % intervals that take them as independent."""
    gains = defaultdict(list)
    for line in lines:
        for name, (gain, low, high) in line["gains"].items():
            gains[name].append((line["day"], gain, low, high))
    print(f"{len(lines)} days, AUC from scratch {np.mean([line['auc']['scratch'] for line in lines]):.4f}")
    for name, rows in gains.items():
        days, gain, low, high = np.array(rows).T
        error = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5
        late = gain[days > -3]
        print(
            f"  {name:8s} {gain.mean():+.4f} ± {error:.4f}; last three days {late.mean():+.4f}; "
            f"intervals of days: {int((high < 0).sum())} below 0, {int((low > 0).sum())} above"
        )
    for name in lines[0]["cpu_s"]:
        print(f"  {name:8s} CPU s of a day {np.mean([line['cpu_s'][name] for line in lines]):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", default="world", choices=["world", "kuairand", "summary"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--windows", type=int, nargs="+", default=[3, 7])
    options = parser.parse_args()
    if options.data == "summary":
        print_summary([json.loads(line) for file in options.files for line in file.read_text().splitlines()])
        return
    torch.set_num_threads(1)
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            if options.data == "world":
                dataset = make_world(20_000, 500, 66_000, days=18, seed=seed).dataset
            else:
                dataset = load(options.root, Path(folder), preset="kuairand").dataset
            settings = TrainSettings(seed=seed).replace(ranker={"kind": "mmoe"}).resolve(dataset)
            run_days(dataset, settings, options, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
