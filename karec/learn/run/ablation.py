"""The ablation, run: every row of the table is trained for every seed, and measured on the same rows and pools.

One folder holds it: ``cells/<row>-<seed>.npz`` as each is done, ``models/`` and ``logs/`` of the rankers that teach.
A run that is killed loses the cell it was at. What rows share is made once: examples, a seed's ranker, its log, its
lists; a born-again round starts from the round before.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from karec._clock import Progress
from karec.errors import DataError
from karec.evaluate.ablation import Bench, Cell, ablation_table, measure, over_seeds
from karec.learn.distil.towers import ROUND_SEED, Targets, list_logits, own_logits, train_round
from karec.learn.nets.calibration import fit_calibration
from karec.learn.nets.towers import Towers, UserTower
from karec.learn.run.ablation_plan import ablation_rows
from karec.learn.run.batches import Batches
from karec.learn.run.memory import peak_gib, reset_peak
from karec.learn.run.prepare import Prepared, prepare
from karec.learn.run.rankers import predict, train_ranker
from karec.learn.run.train import shadow_drawn
from karec.learn.settings.check import check_settings, fingerprint
from karec.learn.settings.train import TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.platform.dataset import Dataset
from karec.rank.fusion import Fusion
from karec.training_data.examples import Examples
from karec.training_data.lists import Lists, item_numbers, read_lists
from karec.training_data.popularity import popularity_logits
from karec.training_data.replay import pool_logits, ranker_logits, write_rank_log, write_shadow_log
from karec.training_data.soft_labels import SoftLabels, read_soft_labels
from karec.types import Array

TruthOf = Callable[[Array, Array, Array, Array], Array]


@dataclass(frozen=True, eq=False)
class _Ground:
    """What every cell stands on."""

    dataset: Dataset
    settings: TrainSettings
    folder: Path
    prepared: Prepared
    measured: Examples
    pool_rows: Array
    pool_works: Array
    progress: Progress | None
    _logs: dict[str, tuple[SoftLabels, Lists]] = field(default_factory=dict)

    @cached_property
    def batches(self) -> Batches:
        return Batches(self.measured, Towers.inputs, self.progress, str(self.prepared.train_batches.device))

    @cached_property
    def pool_numbers(self) -> Array:
        return item_numbers(self.measured, self.pool_rows, self.pool_works)

    @property
    def fusion(self) -> Fusion:
        return Fusion(self.settings.fusion)


def run_ablation(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    on: Literal["validation", "test"] = "test",
    only: Sequence[str] = (),
    n_pools: int = 500,
    pool_size: int = 500,
    truth_of: TruthOf | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train what ``folder`` lacks, measure everything, and return the table, as docs/formats.md describes it.

    ``only`` names rows (all by default; rankers that others learn from are trained regardless). ``truth_of(user rows,
    work rows, time_ms, scene)`` gives the chance of each task where it is known, (N, T). Raises DataError when the
    folder holds an ablation of other data or settings, and ConfigError for settings that these data cannot follow.
    """
    rows = [row for row in ablation_rows() if not only or row.name in only]
    strangers = sorted(set(only) - {row.name for row in rows})
    if strangers:
        raise ValueError(f"unknown rows {strangers}; there are {[row.name for row in ablation_rows()]}")
    if len(set(seeds)) != len(seeds) or not seeds:
        raise ValueError(f"seeds must be different, and at least one: {list(seeds)}")
    check_settings(dataset, settings)
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    _claim(folder, f"{fingerprint(dataset, settings)}, measured on {on}, {n_pools} pools of {pool_size}")
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads)
    try:
        ground = _ground(dataset, settings, folder, on, n_pools, pool_size, progress)
        start_ms = dataset.valid_until_ms if on == "test" else dataset.train_until_ms
        pool_users = ground.measured.exposures.user_id[ground.pool_rows]
        truth = None if truth_of is None else _truth(ground, truth_of)
        tasks = dataset.tasks
        bench = Bench(ground.measured.exposures, tasks, start_ms, pool_users, truth, settings.resamples, settings.seed)
        for done, seed in enumerate(seeds):
            _cell(ground, "teacher", seed)
            _say(progress, done + 1, len(seeds), "rankers")
        by_row: dict[str, list[Any]] = {row.name: [] for row in rows}
        costs: dict[str, list[tuple[float, float]]] = {row.name: [] for row in rows}
        for done, (seed, row) in enumerate([(seed, row) for seed in seeds for row in rows], 1):
            name, of = ("teacher", _next(seeds, seed)) if row.name == "teacher-again" else (row.name, seed)
            cell = _cell(ground, name, of)
            by_row[row.name].append(measure(cell, _cell(ground, "teacher", seed), bench))
            costs[row.name].append((cell.seconds, cell.peak_gib))
            _say(progress, done, len(seeds) * len(rows), "cells")
    finally:
        torch.set_num_threads(threads)
    means = {name: over_seeds(measures) for name, measures in by_row.items()}
    cost = {
        name: dict(zip(("seconds", "peak_gib"), np.mean(values, axis=0).tolist(), strict=True))
        for name, values in costs.items()
    }
    return {
        "data": dataset.name,
        "measured_on": on,
        "exposures": len(ground.measured),
        "pools": {"pools": len(ground.pool_rows), "works": int(ground.pool_works.shape[1])},
        "seeds": list(seeds),
        "tasks": list(dataset.tasks),
        "settings": dataclasses.asdict(settings),
        "rows": ablation_table(rows, means, cost, dataset.tasks),
    }


def _claim(folder: Path, facts: str) -> None:
    """The folder is of one ablation: cells of another must not be mixed in."""
    said = folder / "ablation.of"
    if not said.exists():
        said.write_text(facts, encoding="utf-8")
    elif said.read_text(encoding="utf-8") != facts:
        raise DataError(f"{folder} holds an ablation of {said.read_text(encoding='utf-8')}; this one is of {facts}")


def _ground(
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    on: Literal["validation", "test"],
    n_pools: int,
    pool_size: int,
    progress: Progress | None,
) -> _Ground:
    prepared = prepare(dataset, settings, folder, progress)
    measured = prepared.test if on == "test" else prepared.valid
    generator = np.random.default_rng(settings.seed)
    _, first = np.unique(measured.exposures.user_id, return_index=True)
    pool_rows = np.sort(generator.permutation(first)[:n_pools])
    there = np.flatnonzero(np.asarray(dataset.snapshot.works["upload_ms"]) <= measured.exposures.time_ms[0])
    if len(there) < pool_size:
        raise DataError(f"{dataset.name}: {len(there)} works are there when {on} begins, pools need {pool_size}")
    pool_works = np.stack([generator.choice(there, pool_size, replace=False) for _ in pool_rows])
    return _Ground(dataset, settings, folder, prepared, measured, pool_rows, pool_works, progress)


def _cell(ground: _Ground, name: str, seed: int) -> Cell:
    """The cell, trained if the folder does not hold it yet."""
    path = ground.folder / "cells" / f"{name}-{seed}.npz"
    if not path.exists():
        reset_peak()
        start = time.perf_counter()
        arrays = _train_cell(ground, name, seed)
        arrays |= {"seconds": np.array(time.perf_counter() - start), "peak_gib": np.array(peak_gib())}
        aside = path.with_suffix(".writing")
        with aside.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        aside.replace(path)
    with np.load(path) as kept:
        return Cell(kept["logits"], kept["pools"], float(kept["seconds"]), float(kept["peak_gib"]))


def _train_cell(ground: _Ground, name: str, seed: int) -> dict[str, Array]:
    if name == "popularity":
        logits = popularity_logits(ground.measured)
        counts = ground.pool_works.shape
        of = np.repeat(ground.pool_rows, counts[1])
        pools = popularity_logits(ground.measured.take(of), ground.pool_works.ravel())
        return {"logits": logits, "pools": ground.fusion(pools, ground.dataset.tasks).reshape(counts)}
    settings = dataclasses.replace(ground.settings, seed=seed)
    if name in ("lr", "lightgbm", "teacher", "peer-full", "peer-static"):
        return _ranker_cell(ground, name, seed)
    recipe = name.rsplit("-", 1)[0]
    towers: Literal["full", "static"] = "static" if name.endswith("-static") else "full"
    round_at = int(recipe.rsplit("-", 1)[1]) if recipe.startswith("born-again") else 0
    settings = settings.with_recipe("list" if round_at else recipe)
    settings = dataclasses.replace(settings, towers=towers, seed=seed + ROUND_SEED * round_at)
    teacher = f"peer-{towers}" if settings.ranker_features == "towers" else "teacher"
    soft, lists = _log(ground, teacher, seed)
    targets = Targets.of(soft, lists)
    if round_at:
        before = f"list-{towers}" if round_at == 1 else f"born-again-{round_at - 1}-{towers}"
        _cell(ground, before, seed)
        with np.load(ground.folder / "cells" / f"{before}-{seed}.npz") as kept:
            targets = targets.joined_by(kept["own_rows"], kept["own_lists"])
    model, _ = train_round(ground.prepared, targets, lists, settings, ground.progress)
    arrays = _student_arrays(ground, model)
    if recipe == "list" or round_at:
        own_rows, own_lists = own_logits(model, ground.prepared, lists)
        arrays |= {"own_rows": own_rows, "own_lists": own_lists}
    return arrays


def _student_arrays(ground: _Ground, model: Towers) -> dict[str, Array]:
    prepared = ground.prepared
    scale, bias = fit_calibration(predict(model, prepared.valid_batches)[:, 1:], prepared.valid.labels)
    logits = predict(model, ground.batches)[:, 1:] * scale + bias
    with torch.no_grad():
        users, _ = model.user(ground.batches.inputs(torch.from_numpy(ground.pool_rows), UserTower.inputs))
    pools = list_logits(model, users, prepared, ground.pool_works, ground.pool_numbers)
    return {"logits": logits, "pools": pools}


def _ranker_cell(ground: _Ground, name: str, seed: int) -> dict[str, Array]:
    settings = dataclasses.replace(ground.settings, seed=seed)
    if name.startswith("peer-"):
        towers: Literal["full", "static"] = "static" if name.endswith("-static") else "full"
        settings = dataclasses.replace(settings, ranker_features="towers", towers=towers)
    path = _model(ground, name, seed)
    path.parent.mkdir(exist_ok=True)
    train_ranker(name if name in ("lr", "lightgbm") else "mmoe", ground.prepared, settings, path, ground.progress)
    ranker = OnnxModel(path, threads=settings.threads)
    pools = [
        ground.fusion(pool_logits(ground.measured, row, works, ranker), ranker.tasks)
        for row, works in zip(ground.pool_rows.tolist(), ground.pool_works, strict=True)
    ]
    logits = ranker_logits(ground.measured, ranker, ground.progress)[:, : len(ground.dataset.tasks)]
    return {"logits": logits, "pools": np.stack(pools)}


def _log(ground: _Ground, teacher: str, seed: int) -> tuple[SoftLabels, Lists]:
    """What the ranker ``teacher`` of ``seed`` logged of the training days; the last one read is kept."""
    key = f"{teacher}-{seed}"
    if key not in ground._logs:
        _cell(ground, teacher, seed)
        settings, train, tasks = ground.settings, ground.prepared.train, ground.dataset.tasks
        folder = ground.folder / "logs" / key
        if not (folder / "whole").exists():
            ranker = OnnxModel(_model(ground, teacher, seed), threads=settings.threads)
            write_rank_log(train, ranker, ground.fusion, folder, ground.progress)
            write_shadow_log(train, ranker, ground.fusion, folder, **shadow_drawn(settings), progress=ground.progress)
            (folder / "whole").touch()
        soft = read_soft_labels(train.exposures, folder, tasks)
        lists = read_lists(train, folder, tasks, settings.list_works, settings.seed)
        ground._logs.clear()
        ground._logs[key] = soft, lists
    return ground._logs[key]


def _model(ground: _Ground, name: str, seed: int) -> Path:
    return ground.folder / "models" / f"{name}-{seed}.onnx"


def _truth(ground: _Ground, truth_of: TruthOf) -> Array:
    shape = ground.pool_works.shape
    of = np.repeat(ground.pool_rows, shape[1])
    exposures = ground.measured.exposures
    chances = truth_of(
        ground.measured.user_rows[of], ground.pool_works.ravel(), exposures.time_ms[of], exposures.scene[of]
    )
    w = np.array([ground.settings.fusion.get(task, 0.0) for task in ground.dataset.tasks])
    return np.asarray((chances @ (w / w.sum())).reshape(shape))


def _next(seeds: Sequence[int], seed: int) -> int:
    """The seed whose ranker is this one's re-seeded twin."""
    return seeds[(seeds.index(seed) + 1) % len(seeds)] if len(seeds) > 1 else seed + 1


def _say(progress: Progress | None, done: int, total: int, what: str) -> None:
    if progress is not None:
        progress(done, total, what)
