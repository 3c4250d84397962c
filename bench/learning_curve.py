"""What more exposures would give a ranker: its AUC when it learns from a share of the training rows.

    python bench/learning_curve.py --data kuairand --root KuaiRand-Pure/data
    python bench/learning_curve.py --data kuairand --root KuaiRand-Pure/data --kind mmoe --shares 0.5 1

Prints, for each task, share and seed: the positives among the rows that teach, the AUC on the test days with
its 95 % interval over users, and *implied*: the AUC that is expected if every label of the test days were
drawn from the ranker's own probability. A ranker whose AUC is level with its implied AUC finds what it claims
to know; only one that knows more about each row can go higher. Rows are drawn at random; each keeps the
inputs that it has among all rows.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from karec.evaluate.measures.accuracy import UserBootstrap, auc, bootstrap_interval
from karec.learn._torch import torch
from karec.learn.fit.batches import Batches
from karec.learn.fit.prepare import Prepared, prepare
from karec.learn.run.rankers import train_ranker
from karec.learn.settings.train import TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.training_data.replay import ranker_logits
from karec.types import Array

DRAWS = 200


def implied_auc(p: Array, seed: int = 0) -> float:
    """The mean AUC of ``p (N,)`` over DRAWS draws of labels, each 1 with its row's probability."""
    rng = np.random.default_rng(seed)
    drawn = [auc((rng.random(len(p)) < p).astype(np.float64), p) for _ in range(DRAWS)]
    return float(np.nanmean(drawn))


def with_share(prepared: Prepared, share: float, seed: int) -> Prepared:
    """The same preparation with a random ``share`` of the training rows."""
    n = len(prepared.train)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[: max(int(share * n), 1)])
    train = prepared.train.take(rows)
    names, device = tuple(prepared.train_batches.names), str(prepared.train_batches.device)
    return replace(prepared, train=train, train_batches=Batches(train, names, None, device))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="kuairand", help="kuairand, lastfm, or a folder with a data.toml")
    parser.add_argument("--root", type=Path, help="the folder that holds the files of a preset's download")
    parser.add_argument("--kind", default="both", choices=("mmoe", "lightgbm", "both"), help="the ranker")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.125, 0.25, 0.5, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    from karec.data.own.load import load
    from karec.data.own.presets import PRESETS

    torch.set_num_threads(1)
    preset = arguments.data if arguments.data in PRESETS else None
    folder = Path(arguments.data) if preset is None else arguments.root
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        (out / "ids").mkdir()
        dataset = load(folder, out / "ids", None, preset=preset).dataset
        settings = TrainSettings().of(dataset)
        prepared = prepare(dataset, settings, out)
        exposures = prepared.test.exposures
        bootstrap = UserBootstrap(exposures.user_id)
        print(
            "| task | share | seed | rows | positives | AUC | 95 % | implied |\n"
            "|---|---|---|---|---|---|---|---|"
        )
        for seed in arguments.seeds:
            for share in arguments.shares:
                part = with_share(prepared, share, seed)
                train_ranker(arguments.kind, part, replace(settings, seed=seed), out / "ranker.onnx")
                logits = ranker_logits(prepared.test, OnnxModel(out / "ranker.onnx"))
                for t, task in enumerate(dataset.tasks):
                    y, p = exposures.labels[task], 1.0 / (1.0 + np.exp(-logits[:, t].astype(np.float64)))
                    low, high = bootstrap_interval(bootstrap.auc(y, p))
                    print(
                        f"| {task} | {share:g} | {seed} | {len(part.train):,} | "
                        f"{int(part.train.labels[:, t].sum()):,} "
                        f"| {auc(y, p):.4f} | [{low:.4f}, {high:.4f}] | {implied_auc(p):.4f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
