"""Loss and score of recipe retrieval: a user's chosen items get the highest scores of the library.

A *case* is a user and an item that they chose. A step contrasts the item of each case with the items of the
other cases and with items sampled uniformly from the library, logits minus log Q
(``losses.contrastive_loss``).

In a log with times, a case is a training row, with the user as of the row's time. In a log without times,
each item that a user chose before validation is a case, and the other items are its history. The item itself
is left out of the history; otherwise the towers would only have to copy it.

Sources  X. Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019; J. Yang et al., Mixed negative
         sampling, WWW 2020; D. Liang et al., Variational autoencoders for collaborative filtering, WWW 2018
         (held-out items of a user's list are predicted from the rest).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.retrieval import recall_at, top_items
from karec.learn._torch import Tensor, torch
from karec.learn.distil.losses import contrastive_loss
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.towers import Towers
from karec.learn.settings.settings import TrainSettings

SCORED_AT = 100
MAX_USERS, MAX_ITEMS = 2_000, 200_000  # of the validation score
CHUNK = 8192  # items encoded at once


@dataclass(frozen=True, eq=False)
class Cases:
    """Users and the items that they chose.

    rows    (R,) training rows that give the user's inputs
    items   (R,) item rows
    lists   (users, H) item rows, padded with −1: all chosen items by user row; None: the histories of
            ``rows`` are used
    """

    rows: NDArray[Any]
    items: NDArray[Any]
    lists: NDArray[Any] | None

    @classmethod
    def from_training_data(cls, prepared: TrainingData) -> Cases:
        train, valid = prepared.train, prepared.valid
        if not prepared.timeless:
            rows = np.flatnonzero(train.labels[:, 0] > 0)
            return cls(rows, train.item_rows[rows], None)
        n_users = len(train.snapshot.users)
        lists = np.full((n_users, train.encoder.history_length), -1, np.int64)
        lists[valid.user_rows] = valid.relations["history"].latest(lists.shape[1])
        last_row = np.full(n_users, -1, np.int64)
        last_row[train.user_rows] = np.arange(len(train))
        user, slot = np.nonzero((lists >= 0) & (last_row >= 0)[:, None])
        return cls(last_row[user], lists[user, slot], lists)


class Retrieval:
    """Contrast of ``batch_size`` cases per step, in an order that depends on the seed."""

    def __init__(self, model: Towers, prepared: TrainingData, settings: TrainSettings) -> None:
        self.model, self.train, self.batches = model, prepared.train, prepared.train_batches
        self.cases, self.distil, self.seed = (
            Cases.from_training_data(prepared),
            settings.distil,
            settings.seed,
        )
        self.size = min(settings.optimizer.batch_size, len(self.cases.rows))
        n_items = len(prepared.train.snapshot.works)
        chosen = self.cases.items
        self.item_fraction = np.bincount(chosen, minlength=n_items) / max(len(chosen), 1)
        self.order = np.random.default_rng(settings.seed).permutation(len(self.cases.rows))

    def loss(self, step: int) -> Tensor:
        cases = self.order[(step * self.size + np.arange(self.size)) % len(self.order)]
        rows, own = self.cases.rows[cases], self.cases.items[cases]
        generator = np.random.default_rng((self.seed, step))
        n_items = len(self.item_fraction)
        sampled = generator.integers(0, n_items, self.distil.library_works)
        time_rows = np.concatenate([rows, generator.choice(rows, len(sampled))])
        candidates = np.concatenate([own, sampled])
        users = self.model.user(self._users(rows, own, generator)).user_vector
        items = self.train.items(time_rows, candidates)
        device = self.batches.device
        vectors = self.model.item(
            {name: torch.from_numpy(items[name]).to(device) for name in self.model.item.inputs}
        )
        expected = self.size * self.item_fraction[candidates] + len(sampled) / n_items
        return contrastive_loss(
            users,
            vectors,
            torch.arange(len(own), device=device),
            torch.from_numpy(candidates).to(device),
            torch.from_numpy(np.log(expected).astype(np.float32)).to(device),
            self.distil.contrast_temperature,
        )

    def _users(
        self, rows: NDArray[Any], own: NDArray[Any], generator: np.random.Generator
    ) -> dict[str, Tensor]:
        """Returns the user's inputs of the cases, without the own item and random parts of the history."""
        if self.cases.lists is None:
            lists = self.train.relations["history"].take(rows).latest(self.train.encoder.history_length)
        else:
            lists = self.cases.lists[self.train.user_rows[rows]]
        hidden = (lists == own[:, None]) | (generator.random(lists.shape) < self.distil.history_dropout)
        history = torch.from_numpy(np.where(hidden, -1, lists))
        return self.batches.inputs(torch.from_numpy(rows), self.model.user.inputs, history=history)


def validation_score(model: Towers, prepared: TrainingData, seed: int) -> float:
    """Returns the mean over users of recall@100 of the items they chose on validation days.

    Candidates are all items except those in the user's history. At most MAX_USERS users and MAX_ITEMS items
    are sampled with ``seed``; chosen items are always candidates.
    """
    valid = prepared.valid
    positives = np.flatnonzero(valid.labels[:, 0] > 0)
    users, first = np.unique(valid.user_rows[positives], return_index=True)
    generator = np.random.default_rng(seed)
    if len(users) > MAX_USERS:
        chosen = np.sort(generator.choice(len(users), MAX_USERS, replace=False))
        users, first = users[chosen], first[chosen]
    rows, candidates = positives[first], np.arange(len(valid.snapshot.works))
    if len(candidates) > MAX_ITEMS:
        sampled = generator.choice(len(candidates), MAX_ITEMS, replace=False)
        candidates = np.unique(np.concatenate([sampled, valid.item_rows[positives]]))
    model.eval()
    with torch.no_grad():
        vectors = model.user(
            prepared.valid_batches.inputs(torch.from_numpy(rows), model.user.inputs)
        ).user_vector
        items = np.concatenate(
            [
                _item_vectors(model, prepared, candidates[begin : begin + CHUNK])
                for begin in range(0, len(candidates), CHUNK)
            ]
        )
    history = valid.relations["history"].take(rows).latest(valid.encoder.history_length)
    candidate_of = np.full(len(valid.snapshot.works) + 1, -1, np.int64)
    candidate_of[candidates] = np.arange(len(candidates))
    rows_of_users = positives[np.isin(valid.user_rows[positives], users)]
    user_index = np.searchsorted(users, valid.user_rows[rows_of_users])
    user, item = np.unique(np.stack([user_index, candidate_of[valid.item_rows[rows_of_users]]]), axis=1)
    top = top_items(vectors.cpu().numpy(), items, candidate_of[history], SCORED_AT)
    return float(np.mean(recall_at(top, user, item, SCORED_AT)))


def _item_vectors(model: Towers, prepared: TrainingData, items: NDArray[Any]) -> NDArray[Any]:
    """Returns (N, D) vectors of the item rows ``items (N,)``, as of the last validation row."""
    valid = prepared.valid
    inputs = valid.items(np.full(len(items), len(valid) - 1), items)
    device = prepared.valid_batches.device
    vectors = model.item({name: torch.from_numpy(inputs[name]).to(device) for name in model.item.inputs})
    return np.asarray(vectors.cpu().numpy())
