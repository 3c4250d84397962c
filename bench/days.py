"""Compares warm starts, day by day, with trainings from scratch: AUC of the next day, and cost.

    python bench/days.py --seeds 0 1 2 > world.jsonl             ten days of a generated world
    python bench/days.py kuairand --root DIR --short-towers > kuairand.jsonl
    python bench/days.py kuairand --root DIR --days 1            cost of the last day, as `karec train` trains
    python bench/days.py summary world.jsonl

Each day, a new training reads the impressions before that day, and its models are measured on the day. Its
training rows end one day earlier; the day before the measured one is for validation. `warm N` starts from the
models of `warm N` of the day before and learns from the last N days. The first one starts from a training
from scratch, whose models `first` keeps. Gains are those over the training from scratch of the same day, with
95 % intervals over users. Trainings are those of `karec train` with [run] final_fit = false; co-watch vectors
of a day are fitted once, and their time counts in each training. Each line of the output is a day.
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
from karec.evaluate.non_inferiority import compare_versions
from karec.lab.simulate.world import make_world
from karec.learn.fit import prepare
from karec.learn.fit.cowatch import fit_cowatch
from karec.learn.fit.warm_start import WarmStart
from karec.learn.run.train import train
from karec.learn.settings.settings import TrainSettings
from karec.times import DAY_MS

RESAMPLES = 200


class SharedCowatch:
    """Fits the co-watch vectors of a day once. ``saved_s``: processor time of the further calls."""

    def __init__(self) -> None:
        self.saved_s = 0.0
        self.key, self.fit, self.fit_s = None, None, 0.0

    def __call__(self, dataset: Dataset, seed: int) -> object:
        if self.key == dataset.train_until_ms:
            self.saved_s += self.fit_s
        else:
            begin = time.process_time()
            self.fit = fit_cowatch(dataset, seed)
            self.fit_s, self.key = time.process_time() - begin, dataset.train_until_ms
        return self.fit


def until_day(dataset: Dataset, end_ms: int) -> Dataset:
    """Returns the impressions before ``end_ms``: the last day is for test, the one before for validation."""
    rows = dataset.exposures.take(dataset.exposures.time_ms < end_ms)
    times = {"train_until_ms": end_ms - 2 * DAY_MS, "valid_until_ms": end_ms - DAY_MS}
    return replace(dataset, exposures=rows, **times)


def run_days(dataset: Dataset, settings: TrainSettings, options: argparse.Namespace, folder: Path) -> None:
    """Prints a line for each of the last days of ``dataset``."""
    windows, days = options.windows, options.days
    prepare.fit_cowatch = cowatch = SharedCowatch()
    last_ms = -(-dataset.end_ms // DAY_MS) * DAY_MS
    runs: dict[str, Path] = {}
    for day in range(-days, 1):
        known = until_day(dataset, last_ms + day * DAY_MS)
        cost = {}
        starts = {f"warm {n}": WarmStart.from_folder(runs[f"warm {n}"], n) for n in windows} if runs else {}
        for name in ("scratch", *starts):
            out, start = folder / f"{name} {day}", starts.get(name)
            begin = time.process_time() + cowatch.saved_s
            train(known, settings, out, evaluate=False, starts=None if start is None else (start, start))
            cost[name] = round(time.process_time() + cowatch.saved_s - begin, 1)
            runs[name] = out
        if day == -days:
            runs |= {f"warm {n}": runs["scratch"] for n in windows} | {"first": runs["scratch"]}
            continue
        gains = {
            name: compare_versions(
                known,
                runs[name],
                runs["scratch"],
                0.0,
                since_ms=known.valid_until_ms,
                refresh_hours=settings.features.refresh_hours,
                resamples=RESAMPLES,
                threads=1,
            )["models"]
            for name in (*starts, "first")
        }
        rows = len(known.split()[0])
        line = {"seed": settings.seed, "day": day, "rows": rows, "cpu_s": cost, "gains": gains}
        print(json.dumps(line), flush=True)


def summary(lines: list[dict]) -> None:
    """Prints means over days and seeds, with t intervals over seeds' means and over all days."""
    for model in ("ranker", "towers"):
        values = defaultdict(list)
        for line in lines:
            for name, models in line["gains"].items():
                values[name].append((line["seed"], line["day"], models[model]["gain"]))
        scratch = np.mean([next(iter(line["gains"].values()))[model]["in_service"] for line in lines])
        print(f"{model}: from scratch {scratch:.4f}")
        for name, found in values.items():
            gain = np.array([gain for _, _, gain in found])
            error = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5
            last = np.mean([gain for _, day, gain in found if day > -3])
            print(f"  {name:8s} {gain.mean():+.4f} ± {error:.4f}; last three days {last:+.4f}")
    cost = {
        name: round(float(np.mean([line["cpu_s"][name] for line in lines])), 1) for name in lines[0]["cpu_s"]
    }
    print("CPU seconds of a training:", cost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", default="world", choices=["world", "kuairand", "summary"])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--short-towers", action="store_true", help="towers of one epoch, from labels only")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 3])
    options = parser.parse_args()
    if options.data == "summary":
        summary([json.loads(line) for file in options.files for line in file.read_text().splitlines()])
        return
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            if options.data == "world":
                dataset = make_world(20_000, 500, 66_000, days=18, seed=seed).dataset
            else:
                dataset = load(options.root, Path(folder), preset="kuairand").dataset
            settings = TrainSettings(seed=seed).replace(
                ranker={"kind": "mmoe"}, evaluation={"baselines": ()}, run={"final_fit": False, "threads": 1}
            )
            if options.short_towers:
                settings = settings.with_recipe("hard").replace(towers={"epochs": 1})
            # history_length and min_count are those of the whole log
            run_days(dataset, settings.resolve(dataset), options, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
