"""The study of retrieval: of all works, does a model put on top what users took and was held out?

Held out are the main task's positives of the test days. A user's works of before the test are known, and no
answer. The towers answer by inner product over all works, the ranker orders the towers' best, peers answer
from who took what; a peer's settings are those of the best recall@20 on the validation days, fitted on what
was before them, and it is then fitted on everything before the test. The towers' and the ranker's weights
know the training days alone; what users took on the validation days is in their histories, as it is when a
model serves.
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
from karec.evaluate.quality import trained_run
from karec.evaluate.tables import format_measure
from karec.lab.report import Part, Table, note, write_report
from karec.lab.studies.retrieval_peers import PEERS, Peer, Settings, choose, top_of_peer
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.times import Progress

FORMAT = 1  # of retrieval.json
TOPS = (20, 100)
RANKED = 1000  # works of a user that the ranker orders, the towers' best
PIECE = 4096  # works whose vectors are made at once


@dataclass(frozen=True, eq=False)
class HeldOut:
    """``users (U,)``: rows of users of whom something is held out. Pairs ``user (P,)``, places in ``users``,
    and ``work (P,)``, rows of works; ``matrix``: scipy CSR (users, works) of what is known.
    """

    users: NDArray[Any]
    user: NDArray[Any]
    work: NDArray[Any]
    matrix: Any

    @property
    def known(self) -> NDArray[Any]:
        """(U, H) rows of works that a user took before, −1 padded."""
        rows = self.matrix[self.users]
        count = np.diff(rows.indptr)
        known = np.full((len(self.users), int(count.max(initial=0))), -1, np.int64)
        known[np.arange(known.shape[1]) < count[:, None]] = rows.indices
        return known


def held_out(dataset: Dataset, from_ms: int, until_ms: int) -> HeldOut:
    """Positives of the main task from ``from_ms`` on and before ``until_ms`` that a user had not taken
    before, those of before known. DataError where there is none.
    """
    try:
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise MissingExtra("scipy", "peers", "the study of retrieval") from error
    snapshot, exposures = dataset.snapshot, dataset.exposures
    users, works = snapshot.users.lookup(exposures.user_id), snapshot.works.lookup(exposures.work_id)
    taken = (exposures.labels[dataset.tasks[0]] == 1) & (users >= 0) & (works >= 0)
    before, held = taken & (exposures.time_ms < from_ms), taken & (exposures.time_ms >= from_ms)
    held &= exposures.time_ms < until_ms
    history = snapshot.relations["history"]
    past = np.repeat(np.arange(len(history)), np.diff(history.indptr)), snapshot.works.lookup(history.values)
    row, column = (
        np.concatenate([old[past[1] >= 0], new[before]])
        for old, new in zip(past, (users, works), strict=True)
    )
    pairs = np.unique(row * len(snapshot.works) + column)
    at = pairs // len(snapshot.works), pairs % len(snapshot.works)
    shape = len(snapshot.users), len(snapshot.works)
    matrix = csr_matrix((np.ones(len(pairs), np.float32), at), shape=shape)
    new = np.setdiff1d(users[held] * len(snapshot.works) + works[held], pairs)
    if not len(new):
        raise DataError(
            f"{dataset.name}: nothing is held out from {from_ms} ms on that users had not taken before"
        )
    of_user, work = new // len(snapshot.works), new % len(snapshot.works)
    found, user = np.unique(of_user, return_inverse=True)
    return HeldOut(found, user, work, matrix)


def study(
    dataset: Dataset,
    folder: Path | None,
    progress: Progress | None = None,
    *,
    peers: Sequence[Peer] = PEERS,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The report, as docs/formats.md has it; ``folder`` is the run folder of models, None: peers alone.

    Raises DataError where nothing is held out or ``folder`` is no run, MissingExtra without the package
    implicit.
    """
    if importlib.util.find_spec("implicit") is None:
        raise MissingExtra("implicit", "peers", "the study of retrieval")
    test = held_out(dataset, dataset.valid_until_ms, np.iinfo(np.int64).max)
    valid = held_out(dataset, dataset.train_until_ms, dataset.valid_until_ms)
    tops: dict[str, NDArray[Any]] = {}
    chosen: dict[str, Settings] = {}
    for at, peer in enumerate(peers):
        if progress is not None:
            progress(at, len(peers) + 2, f"choosing settings of {peer.name}")
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
        "models": measured(tops, test, [peer.name for peer in peers], resamples, seed),
        "settings": chosen,
    }


def measured(
    tops: dict[str, NDArray[Any]], test: HeldOut, peers: Sequence[str], resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """{model: {measure: {value, ci, best_peer, over, over_ci}}}: ``over`` is how far it lies above the peer
    that is the best by that measure, paired: the same draws of users for both.
    """
    bootstrap = UserBootstrap(np.arange(len(test.users)), resamples, seed)
    measures = {f"recall@{k}": (recall_at, k) for k in TOPS} | {f"ndcg@{k}": (ndcg_at, k) for k in TOPS}
    table: dict[str, dict[str, Any]] = {model: {} for model in tops}
    for name, (measure, k) in measures.items():
        values = {model: measure(top, test.user, test.work, k) for model, top in tops.items()}
        best = max(peers, key=lambda peer: values[peer].mean())
        for model, of_users in values.items():
            ahead = of_users - values[best]
            table[model][name] = {
                "value": float(of_users.mean()),
                "ci": bootstrap_interval(bootstrap.mean(of_users)),
                "best_peer": best,
                "over": float(ahead.mean()),
                "over_ci": bootstrap_interval(bootstrap.mean(ahead)),
            }
    return table


def model_tops(dataset: Dataset, folder: Path, test: HeldOut) -> dict[str, NDArray[Any]]:
    """The top of the towers over all works, and of the ranker over the towers' best RANKED."""
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
            item_tower.run(examples.items(moment[at : at + PIECE], works[at : at + PIECE]), "item_vector")[0]
            for at in range(0, len(works), PIECE)
        ]
    )
    best = top_items(users, items, test.known, RANKED)
    ranked = np.full((len(best), TOPS[-1]), -1, np.int64)
    tasks, weights = examples.encoder.tasks, run["settings"]["fusion"]
    weight = np.array([weights.get(task, 0.0) for task in tasks])
    for at, pool in enumerate(best):
        pool = pool[pool >= 0]  # noqa: PLW2901
        (logits,) = ranker.run(examples.pool(int(row[at]), pool), "logits")
        fused = (1.0 / (1.0 + np.exp(-np.asarray(logits[:, : len(tasks)], np.float64)))) @ weight
        order = np.argsort(-fused, kind="stable")[: ranked.shape[1]]
        ranked[at, : len(order)] = pool[order]
    return {"towers": best[:, : TOPS[-1]], "ranker": ranked}


def _first_rows(examples: Examples, users: NDArray[Any]) -> NDArray[Any]:
    """(U,) the first example of each user of ``users``, sorted rows of users."""
    there, first = np.unique(examples.user_rows, return_index=True)
    return np.asarray(first[np.searchsorted(there, users)])


def _score(valid: HeldOut, peer: Peer, seed: int, settings: Settings) -> float:
    top = top_of_peer(peer, valid.matrix, settings, valid.users, TOPS[0], seed)
    return float(recall_at(top, valid.user, valid.work, TOPS[0]).mean())


def write_retrieval(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Writes retrieval.json and retrieval.html; ``report`` as ``karec.lab.studies.retrieval.study`` returns
    it."""
    parts: list[Part] = [
        *map(note, (retrieval_sentence(report), *report["notes"])),
        *retrieval_tables(report),
    ]
    title = "What was held out, and found"
    return write_report({"format": FORMAT, **report}, folder, "retrieval", title, parts)


def retrieval_sentence(report: Mapping[str, Any]) -> str:
    """What was measured, in a line."""
    ranked = (
        f"; the ranker orders the towers' best {report['ranked']:,}" if "ranker" in report["models"] else ""
    )
    return (
        f"{report['data']}: {report['held_out']:,} works held out of {report['users']:,} users, among "
        f"{report['works']:,} works, those that a user took before left out{ranked}"
    )


def retrieval_tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yields a table for each measure, and the peers' settings."""
    models = report["models"]
    for name in next(iter(models.values())):
        rows = [
            (
                model,
                format_measure(found[name]["value"], found[name]["ci"]),
                format_measure(found[name]["over"], found[name]["over_ci"]),
            )
            for model, found in models.items()
        ]
        best = next(iter(models.values()))[name]["best_peer"]
        yield Table(f"{name} (95 % intervals over users)", ("model", name, f"above {best}, paired"), rows)
    settings = [
        (peer, ", ".join(f"{key} {value}" for key, value in chosen.items()) or "none")
        for peer, chosen in report["settings"].items()
    ]
    yield Table("Settings of the peers, chosen on the validation days", ("peer", "settings"), settings)
