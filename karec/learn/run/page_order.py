"""Chooses on the validation days which model orders the pages of a log of positives: ranker or towers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.retrieval import recall_at, top_items
from karec.learn.fit.prepare import TrainingData
from karec.learn.settings.settings import TrainSettings
from karec.models.fusion import ObjectiveWeights
from karec.models.onnx_model import OnnxModel
from karec.samples.examples import Examples
from karec.samples.replay import pool_logits

MAX_USERS = 500  # sampled; they decide between models that differ by more than about 0.02
MAX_CANDIDATES = 1000  # the towers' best items, which the ranker orders
PAGE = 20
CHUNK = 1024  # items encoded at once


def choose_page_order(
    prepared: TrainingData, settings: TrainSettings, folder: Path
) -> Literal["ranker", "towers"]:
    """Returns the model in ``folder`` with the higher recall@20 of the items that users chose in validation.

    Each user has one page as of their first such row. Candidates are all items except those in their history.
    """
    valid = prepared.valid
    positives = np.flatnonzero(valid.labels[:, 0] > 0)
    users, first = np.unique(valid.user_rows[positives], return_index=True)
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(users))[:MAX_USERS])
    users, rows = users[chosen], positives[first[chosen]]
    history = valid.relations["history"].take(rows).latest(valid.encoder.history_length)
    is_scored = np.isin(valid.user_rows[positives], users)
    user = np.searchsorted(users, valid.user_rows[positives][is_scored])
    user, item = np.unique(np.stack([user, valid.item_rows[positives][is_scored]]), axis=1)
    n_items = len(valid.snapshot.works)
    size = min(PAGE, n_items)
    vectors = OnnxModel(folder / "user_tower.onnx").run(valid.users(rows), "user_vector")[0]
    items = _item_vectors(valid, OnnxModel(folder / "item_tower.onnx"), n_items)
    by_towers = top_items(vectors, items, history, min(MAX_CANDIDATES, n_items))
    ranker, fusion = OnnxModel(folder / "ranker.onnx"), ObjectiveWeights(settings.fusion)
    by_ranker = np.full((len(rows), size), -1, np.int64)
    for page, row, padded in zip(by_ranker, rows, by_towers, strict=True):
        pool = padded[padded >= 0]
        scores = fusion(pool_logits(valid, int(row), pool, ranker), ranker.tasks)
        best = pool[np.argsort(-scores, kind="stable")[:size]]
        page[: len(best)] = best
    ranker_recall, tower_recall = (
        float(np.mean(recall_at(top, user, item, size))) for top in (by_ranker, by_towers)
    )
    return "ranker" if ranker_recall >= tower_recall else "towers"


def _item_vectors(valid: Examples, item_tower: OnnxModel, n_items: int) -> NDArray[Any]:
    """Returns (n_items, D) vectors of all items as of the last validation row."""
    parts = []
    for begin in range(0, n_items, CHUNK):
        items = np.arange(begin, min(begin + CHUNK, n_items))
        inputs = valid.items(np.full(len(items), len(valid) - 1), items)
        parts.append(item_tower.run(inputs, "item_vector")[0])
    return np.concatenate(parts)
