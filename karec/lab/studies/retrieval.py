"""Retrieval study: recall and NDCG of held-out works, for towers, ranker and baselines.

The main task's positives of the test days are held out. Works that a user took before are known and excluded.
The towers rank all works by inner product, the ranker orders the towers' best, baselines use the matrix of
users and works. A baseline's settings are those of the best recall@20 on the validation days, fitted on the
days before; then it is fitted on everything before the test. The weights of towers and ranker are from the
training days only; the histories contain the validation days, as in serving.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.errors import DataError, MissingExtra
from karec.evaluate.metrics.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.metrics.retrieval import ndcg_at, recall_at, top_items
from karec.evaluate.quality import tested_folder, trained_run
from karec.evaluate.tables import format_measure
from karec.lab.report import Part, Table, note, write_report
from karec.lab.studies.retrieval_peers import PEERS, Peer, Settings, choose, top_of_peer
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.times import Progress

FORMAT = 1  # of retrieval.json
TOPS = (20, 100)
RANKED = 1000  # the towers' best works of a user, which the ranker orders
BATCH = 4096  # works whose vectors are made at once


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
        rows = self.matrix[self.users]
        count = np.diff(rows.indptr)
        works = np.full((len(self.users), int(count.max(initial=0))), -1, np.int64)
        works[np.arange(works.shape[1]) < count[:, None]] = rows.indices
        return works


def held_out(dataset: Dataset, from_ms: int, until_ms: int) -> HeldOut:
    """Returns positives of the main task in [from_ms, until_ms) that a user had not taken before.

    Raises DataError if there is none.
    """
    try:
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise MissingExtra("scipy", "lab", "the retrieval study") from error
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
    folder: Path | None,
    progress: Progress | None = None,
    *,
    peers: Sequence[Peer] = PEERS,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the report. ``folder``: run folder of models; None: only baselines.

    Raises:
        DataError: nothing is held out, or ``folder`` is not a run.
        MissingExtra: the package implicit is missing.
    """
    if importlib.util.find_spec("implicit") is None:
        raise MissingExtra("implicit", "lab", "the retrieval study")
    test = held_out(dataset, dataset.valid_until_ms, np.iinfo(np.int64).max)
    valid = held_out(dataset, dataset.train_until_ms, dataset.valid_until_ms)
    tops: dict[str, NDArray[Any]] = {}
    chosen: dict[str, Settings] = {}
    for number, peer in enumerate(peers):
        if progress is not None:
            progress(number, len(peers) + 2, f"choosing settings of {peer.name}")
        chosen[peer.name], _ = choose(peer, partial(_score, valid, peer, seed))
        tops[peer.name] = top_of_peer(peer, test.matrix, chosen[peer.name], test.users, TOPS[-1], seed)
    if folder is not None:
        if progress is not None:
            progress(len(peers), len(peers) + 2, "towers and ranker")
        tops |= model_tops(dataset, folder, test)
    if progress is not None:
        progress(len(peers) + 2, len(peers) + 2, "done")
    return {
        "data": dataset.name,
        "notes": list(dataset.notes),
        "users": len(test.users),
        "works": test.matrix.shape[1],
        "held_out": len(test.work),
        "known": int(test.matrix.nnz),
        "ranked": min(RANKED, test.matrix.shape[1]),
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


def model_tops(dataset: Dataset, folder: Path, test: HeldOut) -> dict[str, NDArray[Any]]:
    """Returns the top of the towers over all works, and of the ranker over the towers' best RANKED."""
    folder = tested_folder(folder)
    run, examples = trained_run(dataset, folder)
    row = _first_rows(examples, test.users)
    user_tower, item_tower, ranker = (
        OnnxModel(folder / f"{name}.onnx", threads=run["settings"]["run"]["threads"])
        for name in ("user_tower", "item_tower", "ranker")
    )
    (users,) = user_tower.run(examples.inputs(row), "user_vector")
    works = np.arange(len(examples.snapshot.works))
    moment = np.full(len(works), len(examples) - 1)
    items = np.concatenate(
        [
            item_tower.run(examples.items(moment[i : i + BATCH], works[i : i + BATCH]), "item_vector")[0]
            for i in range(0, len(works), BATCH)
        ]
    )
    tower_tops = top_items(users, items, test.known_works, RANKED)
    ranker_tops = np.full((len(tower_tops), TOPS[-1]), -1, np.int64)
    tasks, fusion = examples.encoder.tasks, run["settings"]["fusion"]
    weights = np.array([fusion.get(task, 0.0) for task in tasks])
    for n, padded_pool in enumerate(tower_tops):
        pool = padded_pool[padded_pool >= 0]
        (logits,) = ranker.run(examples.pool(int(row[n]), pool), "logits")
        scores = (1.0 / (1.0 + np.exp(-np.asarray(logits[:, : len(tasks)], np.float64)))) @ weights
        order = np.argsort(-scores, kind="stable")[: ranker_tops.shape[1]]
        ranker_tops[n, : len(order)] = pool[order]
    return {"towers": tower_tops[:, : TOPS[-1]], "ranker": ranker_tops}


def _first_rows(examples: Examples, users: NDArray[Any]) -> NDArray[Any]:
    """Returns (U,) the first example of each user of ``users``, sorted user rows."""
    known_users, rows = np.unique(examples.user_rows, return_index=True)
    return np.asarray(rows[np.searchsorted(known_users, users)])


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
    has_ranker = "ranker" in report["models"]
    note_on_ranker = f"; the ranker orders the towers' best {report['ranked']:,}" if has_ranker else ""
    return (
        f"{report['data']}: {report['held_out']:,} works held out of {report['users']:,} users, among "
        f"{report['works']:,} works without those that a user took before{note_on_ranker}"
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
