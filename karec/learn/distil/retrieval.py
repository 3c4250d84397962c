"""Loss and score of recipe retrieval: a user's chosen items get the highest scores of the library.

A *case* is a user with chosen items. In a log with times, a case is a training row with its item, and the
user as of the row's time. A step contrasts the item of each case with the items of the other cases and with
items sampled uniformly from the library, logits minus log Q (``losses.contrastive_loss``). The item itself is
left out of the history; otherwise the towers would only have to copy it.

In a log without times, the history has the items that a user chose before validation. With fewer than
MIN_USERS users, each of these items is a case. Otherwise a case is a user with all of these items. A random
part of them is the history, and each is contrasted with the sampled items (``losses.set_loss``). Matching
towers then start from the singular vectors of the matrix of users and chosen items (``start_from_choices``).

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
from karec.learn._torch import Tensor, nn, torch
from karec.learn.distil.losses import contrastive_loss, set_loss
from karec.learn.fit.cowatch import decompose_pairs
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.towers import Towers
from karec.learn.settings.settings import TrainSettings

SCORED_AT = 100
MAX_USERS, MAX_ITEMS = 2_000, 200_000  # of the validation score
CHUNK = 8192  # items encoded at once
MIN_USERS = 10_000  # with the 1,900 users of Last.fm, lists have recall@100 0.477, single items 0.517
LISTS_PER_STEP = 256  # users in a step of a log without times
PASSES, MIN_STEPS = 5, 750  # of an epoch over the lists of users
STARTING_LENGTH = 1.0  # of the vector of an item with the mean number of users


@dataclass(frozen=True, eq=False)
class Cases:
    """R users and the items that they chose.

    rows     (R,) training rows that give the user's inputs
    items    (R, H) item rows, padded with −1; (R, 1) in a log with times
    is_list  True for MIN_USERS users without times: the items of a case are also its history
    lists    (users, H) item rows, padded with −1: the history of each user row; None: that of ``rows``
    """

    rows: NDArray[Any]
    items: NDArray[Any]
    is_list: bool
    lists: NDArray[Any] | None = None

    @classmethod
    def from_training_data(cls, prepared: TrainingData) -> Cases:
        train, valid = prepared.train, prepared.valid
        if not prepared.timeless:
            rows = np.flatnonzero(train.labels[:, 0] > 0)
            return cls(rows, train.item_rows[rows][:, None], False)
        n_users = len(train.snapshot.users)
        lists = np.full((n_users, train.encoder.history_length), -1, np.int64)
        lists[valid.user_rows] = valid.relations["history"].latest(lists.shape[1])
        last_row = np.full(n_users, -1, np.int64)
        last_row[train.user_rows] = np.arange(len(train))
        users = np.flatnonzero((last_row >= 0) & (lists >= 0).any(axis=1))
        if len(users) < MIN_USERS:
            user, slot = np.nonzero((lists >= 0) & (last_row >= 0)[:, None])
            return cls(last_row[user], lists[user, slot][:, None], False, lists)
        return cls(last_row[users], lists[users], True)


class Retrieval:
    """Loss of the next ``size`` cases at each step, in an order that depends on the seed."""

    def __init__(self, model: Towers, prepared: TrainingData, settings: TrainSettings) -> None:
        self.model, self.train, self.batches = model, prepared.train, prepared.train_batches
        self.cases, self.distil, self.seed = (
            Cases.from_training_data(prepared),
            settings.distil,
            settings.seed,
        )
        size = LISTS_PER_STEP if self.cases.is_list else settings.optimizer.batch_size
        self.size = min(size, len(self.cases.rows))
        n_items = len(prepared.train.snapshot.works)
        chosen = self.cases.items[self.cases.items >= 0]
        self.item_fraction = np.bincount(chosen, minlength=n_items) / max(len(chosen), 1)
        self.order = np.random.default_rng(settings.seed).permutation(len(self.cases.rows))

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch over the lists of users: PASSES times each list, at least MIN_STEPS."""
        return max(PASSES * -(-len(self.order) // self.size), MIN_STEPS)

    def loss(self, step: int) -> Tensor:
        cases = self.order[(step * self.size + np.arange(self.size)) % len(self.order)]
        rows, chosen = self.cases.rows[cases], self.cases.items[cases]
        generator = np.random.default_rng((self.seed, step))
        sampled = generator.integers(0, len(self.item_fraction), self.distil.library_works)
        users = self.model.user(self._users(rows, chosen, generator)).user_vector
        if self.cases.is_list:
            return self._list_loss(users, rows, chosen, sampled)
        own = chosen[:, 0]
        candidates = np.concatenate([own, sampled])
        vectors = self._items(np.concatenate([rows, generator.choice(rows, len(sampled))]), candidates)
        expected = self.size * self.item_fraction[candidates] + len(sampled) / len(self.item_fraction)
        device = self.batches.device
        return contrastive_loss(
            users,
            vectors,
            torch.arange(len(own), device=device),
            torch.from_numpy(candidates).to(device),
            torch.from_numpy(np.log(expected).astype(np.float32)).to(device),
            self.distil.contrast_temperature,
        )

    def _list_loss(
        self, users: Tensor, rows: NDArray[Any], lists: NDArray[Any], sampled: NDArray[Any]
    ) -> Tensor:
        device = self.batches.device
        user, slot = np.nonzero(lists >= 0)
        distinct, place = np.unique(lists[user, slot], return_inverse=True)
        items = np.concatenate([sampled, distinct])
        vectors = self._items(np.resize(rows, len(items)), items)
        return set_loss(
            users,
            vectors[len(sampled) :][torch.from_numpy(place).to(device)],
            torch.from_numpy(user).to(device),
            vectors[: len(sampled)],
            n_items=len(self.item_fraction),
            temperature=self.distil.contrast_temperature,
        )

    def _items(self, rows: NDArray[Any], items: NDArray[Any]) -> Tensor:
        """Returns the vectors of the item rows ``items (N,)`` as of the times of ``rows (N,)``."""
        inputs, device = self.train.items(rows, items), self.batches.device
        vectors: Tensor = self.model.item(
            {name: torch.from_numpy(inputs[name]).to(device) for name in self.model.item.inputs}
        )
        return vectors

    def _users(
        self, rows: NDArray[Any], chosen: NDArray[Any], generator: np.random.Generator
    ) -> dict[str, Tensor]:
        """Returns the users' inputs of the cases. Random items of a history and the chosen item of a row are
        hidden."""
        lists = chosen
        if not self.cases.is_list:
            lists = (
                self.train.relations["history"].take(rows).latest(self.train.encoder.history_length)
                if self.cases.lists is None
                else self.cases.lists[self.train.user_rows[rows]]
            )
            lists = np.where(lists == chosen, -1, lists)
        is_hidden = generator.random(lists.shape) < self.distil.history_dropout
        history = torch.from_numpy(np.where(is_hidden, -1, lists))
        return self.batches.inputs(torch.from_numpy(rows), self.model.user.inputs, history=history)


def start_from_choices(model: Towers, prepared: TrainingData, seed: int) -> None:
    """Sets matching towers to order items by the singular vectors of the matrix of users and chosen items.

    The length of an item's vector is its weight in a history, degree^−0.5; the item tower normalizes it. The
    last layers are 0, so the towers start as this model and learn their differences to it. Items without an
    embedding of their own keep random vectors. Towers of a log with times do not change.
    """
    cases, train = Cases.from_training_data(prepared), prepared.train
    if model.user.matching is None or not cases.is_list:
        return
    codes = model.user.matching.codes
    case, slot = np.nonzero(cases.items >= 0)
    item = cases.items[case, slot]
    pairs = np.unique(np.stack([train.user_rows[cases.rows[case]], item]), axis=1)
    column = train.encoder.names["item_ids"].index("id")
    code = train.encoder.tables(train.snapshot).works.ids[:, column]
    pairs = pairs[:, (code[pairs[1]] > 0) & (code[pairs[1]] < train.encoder.sizes["item_ids"][column])]
    items, place, degree = np.unique(pairs[1], return_inverse=True, return_counts=True)
    users, user = np.unique(pairs[0], return_inverse=True)
    dim = codes.table.weight.shape[1]
    if min(len(users), len(items)) <= dim:
        return
    values, v = decompose_pairs(user, place, (len(users), len(items)), dim, seed)
    vectors = v * np.sqrt(values)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    vectors *= STARTING_LENGTH * np.sqrt(degree.mean() / degree)[:, None]
    with torch.no_grad():
        codes.table.weight[torch.from_numpy(code[items]) + codes.offsets[column]] = torch.from_numpy(
            vectors.astype(np.float32)
        ).to(codes.table.weight.device)
        for layer in (model.user.out, model.item.layers[-1]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)


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
