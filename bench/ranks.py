"""Measures training on ranks: rows per second, AUC by number of ranks, memory of a large table.

    python bench/ranks.py speed kuairand --root DIR      two ranks against two independent processes, in turns
    python bench/ranks.py quality kuairand --root DIR    AUC of 1, 2 and 4 ranks, three seeds
    python bench/ranks.py memory --rows 100_000_000      one table of 16 columns over four processes

The data are prepared once; ranks are forks. A line is JSON. Seconds are wall time of steps; other work on the
machine changes them, so compare only lines of one run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # ranks are forks: no thread may run before

import numpy as np

from karec.data.load import load
from karec.evaluate.metrics.accuracy import auc
from karec.lab.simulate.world import make_world
from karec.learn._torch import torch
from karec.learn.distributed import ranks
from karec.learn.distributed.step import rank_parts
from karec.learn.distributed.tables import RowwiseAdagrad, ShardedTable
from karec.learn.fit.loop import fit, shuffle
from karec.learn.fit.predictions import predict, task_weights
from karec.learn.fit.prepare import TrainingData, prepare
from karec.learn.nets.ranker import MmoeRanker
from karec.learn.run.rankers import build_ranker, ranker_loss
from karec.learn.settings.settings import TrainSettings

importlib.import_module("torch._dynamo")  # optimizers import it; ranks would do so in the measured time


def fork_ranks(n: int, is_connected: bool, function, *arguments) -> list[object]:
    """Returns ``function(*arguments)`` of ``n`` forks, connected as ranks or independent."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(n):
            pid = os.fork()
            if pid:
                children.append(pid)
                continue
            if is_connected:
                os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1"}
                os.environ |= {"MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "bench"}
            status = 1
            try:
                with ranks.connect_ranks():
                    Path(folder, str(rank)).write_text(json.dumps(function(*arguments)))
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        for pid in children:
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
                raise SystemExit("a rank failed")
        return [json.loads(Path(folder, str(rank)).read_text()) for rank in range(n)]


def train_ranker(
    prepared: TrainingData,
    settings: TrainSettings,
    n_rows: int,
    sharded_rows: int | None,
    change: Callable[[MmoeRanker], object] | None = None,
) -> dict[str, object]:
    """Trains the MMoE for its epochs on ``n_rows`` random training rows. ``change`` alters the new model."""
    train = prepared.train_batches
    tasks = prepared.encoder.tasks
    model = build_ranker("mmoe", prepared, settings, ())
    assert isinstance(model, MmoeRanker)
    if change is not None:
        change(model)
    weights = task_weights(tasks, settings.task_weights, train.device)
    chosen = torch.from_numpy(np.sort(np.random.default_rng(0).permutation(prepared.n_shown)[:n_rows]))
    size = settings.optimizer.batch_size

    def epoch(generator: torch.Generator) -> Iterable[torch.Tensor]:
        return rank_parts(shuffle(len(chosen), size, generator, train.sides[chosen]))

    def loss(places: torch.Tensor, _: int) -> torch.Tensor:
        rows = chosen[places]
        logits = model.by_member(train.inputs_by_user(rows, model.inputs))
        return ranker_loss(logits, train.labels[rows], tasks, weights)

    wall, processor = time.perf_counter(), time.process_time()
    fit(
        model,
        len(chosen),
        loss,
        None,
        order=epoch,
        optimizer=settings.optimizer,
        epochs=settings.ranker.epochs,
        seed=settings.seed,
        title="bench",
        sharded_rows=sharded_rows,
    )
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    waited = ranks.Communication.seconds
    result: dict[str, object] = {"wall_s": wall, "processor_s": processor, "exchange_s": waited}
    if ranks.rank() == 0:
        logits = predict(model, prepared.valid_batches)
        labels = prepared.valid.labels
        result["auc"] = {task: float(auc(labels[:, i], logits[:, i])) for i, task in enumerate(tasks)}
    return result


def speed(prepared: TrainingData, settings: TrainSettings, n_rows: int, rounds: int) -> None:
    """Prints rows per second of two independent processes and of two ranks with as many rows per process."""
    one_epoch = settings.replace(ranker={"epochs": 1})
    size = settings.optimizer.batch_size
    both = one_epoch.replace(optimizer={"batch_size": 2 * size})
    rates: dict[str, list[float]] = {"independent": [], "ranks": [], "ranks, sharded table": []}
    for _ in range(rounds):
        for name, n, connected, used, sharded in (
            ("independent", n_rows, False, one_epoch, None),
            ("ranks", 2 * n_rows, True, both, None),
            ("ranks, sharded table", 2 * n_rows, True, both, 5000),
        ):
            results = fork_ranks(2, connected, train_ranker, prepared, used, n, sharded)
            rates[name].append(2 * n_rows / max(result["wall_s"] for result in results))
            processor = sum(result["processor_s"] for result in results)
            waited = sum(result["exchange_s"] for result in results)
            print(
                json.dumps(
                    {"rows_per_s": rates[name][-1], "processor_s": processor, "waited_s": waited, "of": name}
                )
            )
    for name in ("ranks", "ranks, sharded table"):
        ratios = np.array(rates[name]) / np.array(rates["independent"])
        print(json.dumps({"of": name, "ratio": float(np.median(ratios)), "rounds": ratios.round(2).tolist()}))


def quality(prepared: TrainingData, settings: TrainSettings, n_rows: int, seeds: int) -> None:
    """Prints the validation AUC by number of ranks and seed, with a replicated and with a sharded table."""
    for seed in range(seeds):
        used = settings.replace(seed=seed)
        for n, sharded in ((1, None), (2, None), (4, None), (1, 1000), (2, 1000)):
            result = fork_ranks(n, True, train_ranker, prepared, used, n_rows, sharded)[0]
            print(
                json.dumps({"ranks": n, "is_sharded": sharded is not None, "seed": seed, **result}),
                flush=True,
            )


def hold_table(n_rows: int, dim: int, steps: int) -> dict[str, float]:
    """Looks up and updates random rows of a sharded table. Returns this rank's largest memory in bytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    own = len(range(ranks.rank(), n_rows, ranks.world()))
    table = ShardedTable(n_rows, torch.empty(own, dim).normal_(std=0.05))
    optimizer = RowwiseAdagrad([table.weight])
    generator = torch.Generator().manual_seed(ranks.rank())
    begin = time.perf_counter()
    for _ in range(steps):
        ids = torch.randint(0, n_rows, (8192,), generator=generator).unique()
        table.weight.grad = None
        table(ids).square().sum().backward()
        optimizer.step(0.01)
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    pss = [line for line in rollup if line.startswith("Pss:")]
    return {
        "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "before_bytes": before,
        "proportional_bytes": int(pss[0].split()[1]) * 1024,  # pages that ranks share count once
        "table_bytes": table.weight.numel() * 4,
        "optimizer_bytes": own * 4,
        "rows_per_s": steps * 8192 / (time.perf_counter() - begin),
    }


def read_data(options: argparse.Namespace) -> tuple[TrainingData, TrainSettings]:
    """Returns the prepared rows of ``options.users`` of the users, and their settings."""
    settings = TrainSettings() if options.settings is None else TrainSettings.from_toml(options.settings)
    with tempfile.TemporaryDirectory() as folder:
        if options.root is None:
            dataset = make_world(10_000, 1_500, 100_000, seed=0).dataset
        else:
            dataset = load(options.root, Path(folder), preset=options.preset).dataset
        is_read = dataset.exposures.user_id % 1000 < 1000 * options.users
        dataset = replace(dataset, exposures=dataset.exposures.take(is_read))
        settings = settings.replace(ranker={"kind": "mmoe"}).resolve(dataset)
        return prepare(dataset, settings, Path(folder)), settings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measure", choices=("speed", "quality", "memory"))
    parser.add_argument("preset", nargs="?", default="kuairand")
    parser.add_argument("--root", type=Path, help="folder of the preset (default: the synthetic platform)")
    parser.add_argument("--settings", type=Path)
    parser.add_argument("--users", type=float, default=1.0, help="fraction of the users whose rows are read")
    parser.add_argument("--rows", type=int, default=100_000, help="training rows per process, or table rows")
    parser.add_argument("--repeat", type=int, default=3, help="rounds, or seeds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure == "memory":
        for result in fork_ranks(4, True, hold_table, options.rows, 16, 20):
            print(json.dumps(result))
        return
    prepared, settings = read_data(options)
    sizes = prepared.encoder.sizes
    print(
        json.dumps({"rows": prepared.n_shown, "validation_rows": len(prepared.valid), "sizes": sizes}),
        flush=True,
    )
    if options.measure == "speed":
        speed(prepared, settings, options.rows, options.repeat)
    else:
        quality(prepared, settings, options.rows, options.repeat)


if __name__ == "__main__":
    main()
