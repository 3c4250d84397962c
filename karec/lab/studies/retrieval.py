"""Retrieval study: recall and NDCG of held-out works, for towers of recipe retrieval and baselines.

The main task's positives of the test days are held out. Works that a user took before are known and excluded.
The towers have the default settings and rank all works by inner product; baselines use the matrix of users
and works. A baseline's settings are those of the best recall@20 on the validation days, fitted on the days
before. Then towers and baselines are fitted on everything before the test.
"""

from __future__ import annotations

import importlib.util
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from karec.catalog.dataset import Dataset
from karec.errors import DataError, MissingExtra
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.metrics.retrieval import ndcg_at, recall_at, top_items
from karec.evaluate.tables import format_measure
from karec.lab.report import Part, Table, note, write_report
from karec.lab.studies.retrieval_peers import PEERS, Peer, Settings, choose, padded_rows, top_of_peer
from karec.learn._torch import torch_threads
from karec.learn.distil.distillation import train_towers
from karec.learn.fit.prepare import FitChoice, prepare_whole_log
from karec.learn.settings.settings import TrainSettings
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.samples.soft_labels import SoftLabels
from karec.times import Progress

FORMAT = 1  # of retrieval.json
TOPS = (20, 100)
BATCH = 4096  # users or works whose vectors are made at once


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out works of U users, as P pairs.

    users   (U,) user rows
    user    (P,) places in ``users``
    work    (P,) work rows
    matrix  scipy CSR (users, works) of the known works
    """

    users: NDArray[Any]
    user: NDArray[Any]
    work: NDArray[Any]
    matrix: Any

    @property
    def known_works(self) -> NDArray[Any]:
        """(U, H) rows of works that a user took before, padded with −1."""
        return padded_rows(self.matrix[self.users])


def held_out(dataset: Dataset, from_ms: int, until_ms: int) -> HeldOut:
    """Returns positives of the main task in [from_ms, until_ms) that a user had not taken before.

    Raises DataError if there is none.
    """
    snapshot, exposures = dataset.snapshot, dataset.exposures
    users, works = snapshot.users.lookup(exposures.user_id), snapshot.works.lookup(exposures.work_id)
    is_positive = (exposures.labels[dataset.tasks[0]] == 1) & (users >= 0) & (works >= 0)
    is_known = is_positive & (exposures.time_ms < from_ms)
    is_new = is_positive & (exposures.time_ms >= from_ms) & (exposures.time_ms < until_ms)
    history = snapshot.relations["history"]
    history_users = np.repeat(np.arange(len(history)), np.diff(history.indptr))
    history_works = snapshot.works.lookup(history.values)
    is_listed = history_works >= 0
    n_works = len(snapshot.works)
    known_pairs = np.unique(
        np.concatenate([history_users[is_listed], users[is_known]]) * n_works
        + np.concatenate([history_works[is_listed], works[is_known]])
    )
    places = known_pairs // n_works, known_pairs % n_works
    shape = len(snapshot.users), n_works
    matrix = csr_matrix((np.ones(len(known_pairs), np.float32), places), shape=shape)
    new_pairs = np.setdiff1d(users[is_new] * n_works + works[is_new], known_pairs)
    if not len(new_pairs):
        raise DataError(f"{dataset.name}: no new positives from {from_ms} ms on, nothing is held out")
    user_rows, user = np.unique(new_pairs // n_works, return_inverse=True)
    return HeldOut(user_rows, user, new_pairs % n_works, matrix)


def study(
    dataset: Dataset,
    progress: Progress | None = None,
    *,
    training: TrainSettings | None = None,
    peers: Sequence[Peer] = PEERS,
    resamples: int = 1000,
    seeds: Sequence[int] = (0,),
    minutes: float = math.inf,
) -> dict[str, Any]:
    """Returns the report. Towers are trained for each seed; baselines have the first.

    ``training``: settings of the towers, default the built-in ones. ``minutes``: limit of the search for a
    baseline's settings.

    Raises:
        DataError: nothing is held out.
        MissingExtra: the package implicit is missing.
    """
    if importlib.util.find_spec("implicit") is None:
        raise MissingExtra("implicit", "lab", "the retrieval study")
    test = held_out(dataset, dataset.valid_until_ms, np.iinfo(np.int64).max)
    valid = held_out(dataset, dataset.train_until_ms, dataset.valid_until_ms)
    seed, tops = seeds[0], dict[str, NDArray[Any]]()
    chosen: dict[str, Settings] = {}
    for number, peer in enumerate(peers):
        if progress is not None:
            progress(number, len(peers), f"choosing settings of {peer.name}")
        chosen[peer.name], _ = choose(peer, partial(_score, valid, peer, seed), minutes)
        tops[peer.name] = top_of_peer(peer, test.matrix, chosen[peer.name], test.users, TOPS[-1], seed)
    settings = (training or TrainSettings()).with_recipe("retrieval").resolve(dataset)
    tops |= tower_tops(dataset, settings, test, seeds, progress)
    return {
        "data": dataset.name,
        "notes": list(dataset.notes),
        "users": len(test.users),
        "works": test.matrix.shape[1],
        "held_out": len(test.work),
        "known": int(test.matrix.nnz),
        "models": compare_tops(tops, test, [peer.name for peer in peers], resamples, seed),
        "settings": chosen,
    }


def compare_tops(
    tops: dict[str, NDArray[Any]], test: HeldOut, peers: Sequence[str], resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Returns {model: {measure: {value, ci, best_peer, over, over_ci}}}.

    ``over``: difference to the best baseline of that measure, paired by the same resamples of users.
    """
    bootstrap = UserBootstrap(np.arange(len(test.users)), resamples, seed)
    measures = {f"recall@{k}": (recall_at, k) for k in TOPS} | {f"ndcg@{k}": (ndcg_at, k) for k in TOPS}
    table: dict[str, dict[str, Any]] = {model: {} for model in tops}
    for name, (measure, k) in measures.items():
        values = {model: measure(top, test.user, test.work, k) for model, top in tops.items()}
        best = max(peers, key=lambda peer: values[peer].mean())
        for model, user_values in values.items():
            gains = user_values - values[best]
            table[model][name] = {
                "value": float(user_values.mean()),
                "ci": bootstrap_interval(bootstrap.mean(user_values)),
                "best_peer": best,
                "over": float(gains.mean()),
                "over_ci": bootstrap_interval(bootstrap.mean(gains)),
            }
    return table


def tower_tops(
    dataset: Dataset,
    settings: TrainSettings,
    test: HeldOut,
    seeds: Sequence[int],
    progress: Progress | None,
) -> dict[str, NDArray[Any]]:
    """Returns the top of the towers of each seed, trained for all epochs on the days before the test."""
    until_ms = dataset.valid_until_ms
    rows = dataset.exposures.take(dataset.exposures.time_ms < until_ms)
    past = replace(dataset, exposures=rows, train_until_ms=until_ms, valid_until_ms=until_ms)
    n_tasks, tops = len(dataset.tasks), {}
    choice = FitChoice(settings.towers.epochs, scale=np.ones(n_tasks), bias=np.zeros(n_tasks))
    with tempfile.TemporaryDirectory(prefix="karec-towers-") as name, torch_threads(settings.run.threads):
        folder = Path(name)
        prepared = prepare_whole_log(past, settings, folder, {"towers": choice}, progress)
        n = len(prepared.train)
        unknown = SoftLabels(np.zeros((n, n_tasks)), np.zeros(n), np.zeros(n, bool))
        for seed in seeds:
            train_towers(prepared, unknown, None, settings.replace(seed=seed), folder, progress)
            tops[f"towers, seed {seed}"] = _tower_top(folder, prepared.valid, test, settings.run.threads)
    return tops


def _tower_top(folder: Path, examples: Examples, test: HeldOut, threads: int) -> NDArray[Any]:
    """Returns (U, K) works of the held-out users by the towers in ``folder``; −1: no user vector."""
    user_tower, item_tower = (
        OnnxModel(folder / f"{name}.onnx", threads=threads) for name in ("user_tower", "item_tower")
    )
    known_users, first = np.unique(examples.user_rows, return_index=True)
    is_known = np.isin(test.users, known_users)
    rows = first[np.searchsorted(known_users, test.users[is_known])]
    works = np.arange(len(examples.snapshot.works))
    moment = np.full(len(works), len(examples) - 1)
    users = [
        user_tower.run(examples.inputs(rows[i : i + BATCH]), "user_vector")[0]
        for i in range(0, len(rows), BATCH)
    ]
    items = [
        item_tower.run(examples.items(moment[i : i + BATCH], works[i : i + BATCH]), "item_vector")[0]
        for i in range(0, len(works), BATCH)
    ]
    known_works = test.known_works[is_known]
    top = np.full((len(test.users), TOPS[-1]), -1, np.int64)
    top[is_known] = top_items(np.concatenate(users), np.concatenate(items), known_works, TOPS[-1])
    return top


def _score(valid: HeldOut, peer: Peer, seed: int, settings: Settings) -> float:
    top = top_of_peer(peer, valid.matrix, settings, valid.users, TOPS[0], seed)
    return float(recall_at(top, valid.user, valid.work, TOPS[0]).mean())


def write_retrieval(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes retrieval.json and retrieval.html from the result of ``study``."""
    parts: list[Part] = [
        *map(note, (retrieval_sentence(report), *report["notes"])),
        *retrieval_tables(report),
    ]
    title = "Retrieval of held-out works"
    return write_report({"format": FORMAT, **report}, folder, "retrieval", title, parts)


def retrieval_sentence(report: Mapping[str, Any]) -> str:
    return (
        f"{report['data']}: {report['held_out']:,} works held out of {report['users']:,} users, among "
        f"{report['works']:,} works without those that a user took before"
    )


def retrieval_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yields a table for each measure, and the baselines' settings."""
    models = report["models"]
    for name in next(iter(models.values())):
        rows = [
            (
                model,
                format_measure(measures[name]["value"], measures[name]["ci"]),
                format_measure(measures[name]["over"], measures[name]["over_ci"]),
            )
            for model, measures in models.items()
        ]
        best = next(iter(models.values()))[name]["best_peer"]
        yield Table(f"{name} (95 % intervals over users)", ("model", name, f"above {best}, paired"), rows)
    settings = [
        (peer, ", ".join(f"{key} {value}" for key, value in chosen.items()) or "none")
        for peer, chosen in report["settings"].items()
    ]
    yield Table("Settings of the baselines, chosen on the validation days", ("peer", "settings"), settings)
