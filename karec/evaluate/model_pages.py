"""Pages of the models of a run: towers, ranker, trained baselines and ALS factors score items for a user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.advance import advance
from karec.bundle.tower_files import CROSS_WEIGHTS
from karec.catalog.dataset import Dataset
from karec.catalog.impressions import Impressions
from karec.evaluate.pages import PageRequests
from karec.features.cowatch import CowatchVectors
from karec.features.cross_tables import CrossTables
from karec.features.encoder import Encoder, read_run_encoder
from karec.index import ItemIndex
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples, build_examples
from karec.samples.replay import pool_logits
from karec.samples.threads import map_in_order
from karec.times import Progress

MAX_RANKED = 1_000_000  # pairs of user and item that the ranker scores, about 10 s of one core
POOL = 500  # best items of the towers that the ranker scores if there are more pairs
BATCH = 256  # users
ITEM_BATCH = 8_192
TOWERS, RANKER, LOGISTIC = "towers alone", "ranker alone", "crossed logistic regression"
FACTORS = "ALS factors alone"
ENJOYED = 100  # items that make a user's ALS vector, as by default in the step als_score


def model_pages(
    dataset: Dataset,
    requests: PageRequests,
    folder: Path,
    settings: Mapping[str, Any],
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Returns {row: pages (U, K)} of the models in the run folder ``folder`` with its ``settings``.

    The crossed logistic regression has a row if it was trained as a baseline. If users × items
    exceed MAX_RANKED, rankers only score the POOL best items of the towers. ALS factors have a row if the
    encoder has them; a user without a vector gets the ranker's page, or the towers' if there is no ranker.
    """
    encoder = read_run_encoder(folder, dataset.snapshot)
    examples = _examples(dataset, requests, encoder)
    user_tower, item_tower = (OnnxModel(folder / f"{side}_tower.onnx") for side in ("user", "item"))
    has_tables = (folder / CROSS_WEIGHTS).exists()
    tables = CrossTables.load(folder / CROSS_WEIGHTS, encoder) if has_tables else None
    user_vectors, item_vectors = _tower_vectors(examples, user_tower, item_tower)
    places, categories = np.arange(len(item_vectors)), () if tables is None else tables.categories
    codes = encoder.item_codes(examples.snapshot, places, categories)
    index = ItemIndex.build(places, item_vectors, dtype="float32", codes=codes)
    towers = _TowerScores(user_vectors, index, requests.is_published, examples, tables)
    fusion, threads = ObjectiveWeights(settings["fusion"]), settings["run"]["threads"]
    pages = {TOWERS: requests.make_pages(partial(_take, map(towers.score, range(len(requests)))))}
    for row, file in ((LOGISTIC, folder / "baseline_lr.onnx"), (RANKER, folder / "ranker.onnx")):
        if file.exists():
            ranking = _Ranking(examples, towers, OnnxModel(file), fusion, _pool_size(requests))
            scores = map_in_order(ranking.score, range(len(requests)), threads)
            pages[row] = requests.make_pages(partial(_take, scores))
            if progress is not None:
                progress(len(pages), 3, "pages of the models")
    if encoder.cowatch is not None and encoder.cowatch.als is not None:
        users, items = _als_vectors(dataset, requests, encoder.cowatch)
        als_pages = requests.make_pages(lambda rows: users[rows] @ items.T)
        pages[FACTORS] = np.where(
            users[requests.users].any(axis=1)[:, None], als_pages, pages.get(RANKER, pages[TOWERS])
        )
    return pages


def _als_vectors(
    dataset: Dataset, requests: PageRequests, cowatch: CowatchVectors
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns ALS vectors of all users (zero except for users of ``requests``) and of all items, float32."""
    assert cowatch.als is not None
    enjoyed = advance(dataset.snapshot, dataset.exposures, requests.start_ms).relations["history"]
    vectors = cowatch.als.vectors[0]
    users = np.zeros((len(dataset.snapshot.users), vectors.shape[1]), np.float32)
    for user in requests.users.tolist():
        users[user] = cowatch.als.user_vector(cowatch.codes(enjoyed.row_values(user)[-ENJOYED:]))
    return users, vectors[cowatch.codes(dataset.snapshot.works.ids)]


@dataclass(frozen=True, eq=False)
class _TowerScores:
    """Vectors of the requests' users (U, D), an index of all items by place, and tables of wide towers."""

    users: NDArray[Any]
    items: ItemIndex
    is_published: NDArray[Any]
    examples: Examples
    tables: CrossTables | None

    def score(self, place: int) -> NDArray[Any]:
        """Returns (N,) float32 scores for the user at ``place``, −∞ for items that are not published."""
        user = None if self.tables is None else self.examples.users(np.array([place]))
        tables = None if self.tables is None or user is None else self.tables.make(user)
        scores = self.items.scores(self.users[place], ids=np.arange(len(self.items)), tables=tables)
        return np.where(self.is_published, scores, np.float32(-np.inf))


@dataclass(frozen=True, eq=False)
class _Ranking:
    """A ranker on the ``n_items`` items that the towers score best."""

    examples: Examples
    towers: _TowerScores
    ranker: OnnxModel
    fusion: ObjectiveWeights
    n_items: int

    def score(self, place: int) -> NDArray[Any]:
        """Returns (N,) fused scores for the user at ``place``, −∞ for the other items."""
        scores = self.towers.score(place)
        items = np.argpartition(-scores, self.n_items - 1)[: self.n_items]
        logits = pool_logits(self.examples, place, items, self.ranker)
        scores[:] = -np.inf
        scores[items] = self.fusion(logits, self.ranker.tasks)
        return scores


def _take(scores: Iterator[NDArray[Any]], users: NDArray[Any]) -> NDArray[Any]:
    """Returns the next scores, one row for each of ``users``."""
    return np.stack([next(scores) for _ in users])


def _pool_size(requests: PageRequests) -> int:
    n_items = int(requests.is_published.sum())
    return n_items if len(requests) * n_items <= MAX_RANKED else min(POOL, n_items)


def _examples(dataset: Dataset, requests: PageRequests, encoder: Encoder) -> Examples:
    """Returns an example for each request, and a last one at the start of the held-out days."""
    snapshot, n = dataset.snapshot, len(requests) + 1
    scenes = dataset.exposures.scene
    main_scene = int(np.bincount(scenes[scenes >= 0], minlength=1).argmax())
    rows = np.append(requests.users, requests.users[:1])
    exposures = Impressions(
        snapshot.users.ids[rows],
        np.full(n, snapshot.works.ids[0]),
        np.append(requests.time_ms, requests.start_ms),
        np.full(n, main_scene, scenes.dtype),
        {label: np.zeros(n, np.uint8) for label in dataset.exposures.labels},
    )
    as_of = np.full(n, requests.start_ms)
    return build_examples(encoder, snapshot, exposures, as_of, happened=dataset.exposures)


def _tower_vectors(
    examples: Examples, user_tower: OnnxModel, item_tower: OnnxModel
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the vectors (U, D) of the requests' users, and (N, D) of all items as of the last example."""
    n_users, n_items = len(examples) - 1, len(examples.snapshot.works)
    users = [
        user_tower.run(examples.users(rows), "user_vector")[0]
        for rows in np.split(np.arange(n_users), range(BATCH, n_users, BATCH))
    ]
    items = [
        item_tower.run(examples.items(np.full(len(rows), n_users), rows), "item_vector")[0]
        for rows in np.split(np.arange(n_items), range(ITEM_BATCH, n_items, ITEM_BATCH))
    ]
    return np.concatenate(users), np.concatenate(items)
