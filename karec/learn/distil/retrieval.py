"""Loss and score of recipe retrieval: a user's chosen items get the highest scores of the library.

A *case* is a user with chosen items. In a log with times, a case is a training row with its item, and the
user as of the row's time. A step contrasts the item of each case with the items of the other cases and with
items sampled uniformly from the library, logits minus log Q (``losses.contrastive_loss``). The item itself is
left out of the history; otherwise the towers would only have to copy it.

In a log without times, the history has the items that a user chose before validation, and each of these items
is a case. With MIN_USERS users or more, matching towers learn from whole lists instead (``ListLoss``).

Sources  X. Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019; J. Yang et al., Mixed negative
         sampling, WWW 2020; D. Liang et al., Variational autoencoders for collaborative filtering, WWW 2018
         (multinomial loss of a user's list); J. Wu et al., On the effectiveness of sampled softmax loss for
         item recommendation, ACM TOIS 2024 (cosine and a low temperature).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from karec.evaluate.metrics.retrieval import recall_at, top_items
from karec.learn._torch import Tensor, functional, nn, torch
from karec.learn.distil.losses import contrastive_loss, library_loss
from karec.learn.distributed.ranks import rank, world
from karec.learn.distributed.step import rank_parts
from karec.learn.fit.cowatch import decompose_pairs
from karec.learn.fit.loop import shuffle
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.matching import LISTS
from karec.learn.nets.towers import Towers
from karec.learn.settings.settings import OptimizerSettings, TrainSettings

SCORED_AT = 100
MAX_USERS, MAX_ITEMS = 2_000, 200_000  # of the validation score
CHUNK = 8192  # items encoded at once
MIN_USERS = 10_000  # with the 1,900 users of Last.fm, lists have recall@100 0.477, single items 0.517
LISTS_PER_STEP = 1024  # users in a step of ``ListLoss``
MIN_STEPS, PASSES = 1_800, 5  # of an epoch over the lists of users
SAMPLED = 4096  # items in the denominator of a step
LEARNING_RATE = 5e-3


@dataclass(frozen=True, eq=False)
class Cases:
    """R users and the items that they chose.

    rows     (R,) training rows that give the user's inputs
    items    (R,) item rows
    lists    (users, H) item rows, padded with −1: the history of each user row; None: that of ``rows``
    """

    rows: NDArray[Any]
    items: NDArray[Any]
    lists: NDArray[Any] | None = None

    @classmethod
    def from_training_data(cls, prepared: TrainingData) -> Cases:
        train = prepared.train
        if not prepared.timeless:
            rows = np.flatnonzero(train.labels[:, 0] > 0)
            return cls(rows, train.item_rows[rows])
        valid, length = prepared.valid, train.encoder.history_length
        lists = np.full((len(train.snapshot.users), length), -1, np.int64)
        lists[valid.user_rows] = valid.relations["history"].latest(length)
        last_row = np.full(len(lists), -1, np.int64)
        last_row[train.user_rows] = np.arange(len(train))
        user, slot = np.nonzero((lists >= 0) & (last_row >= 0)[:, None])
        return cls(last_row[user], lists[user, slot], lists)


class Retrieval:
    """Loss of the next ``size`` cases of this rank at each step, in an order that depends on the seed."""

    def __init__(self, model: Towers, prepared: TrainingData, settings: TrainSettings) -> None:
        self.model, self.train, self.batches = model, prepared.train, prepared.in_memory
        self.cases, self.distil, self.seed = (
            Cases.from_training_data(prepared),
            settings.distil,
            settings.seed,
        )
        self.size = max(min(settings.optimizer.batch_size, len(self.cases.rows)) // world(), 1)
        n_items = len(prepared.train.snapshot.works)
        self.item_fraction = np.bincount(self.cases.items, minlength=n_items) / max(len(self.cases.items), 1)
        self.order = np.random.default_rng(settings.seed).permutation(len(self.cases.rows))

    def loss(self, step: int) -> Tensor:
        step = step * world() + rank()
        cases = self.order[(step * self.size + np.arange(self.size)) % len(self.order)]
        rows, own = self.cases.rows[cases], self.cases.items[cases]
        generator = np.random.default_rng((self.seed, step))
        sampled = generator.integers(0, len(self.item_fraction), self.distil.library_works)
        users = self.model.user(self._users(rows, own, generator)).user_vector
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

    def _items(self, rows: NDArray[Any], items: NDArray[Any]) -> Tensor:
        """Returns the vectors of the item rows ``items (N,)`` as of the times of ``rows (N,)``."""
        inputs, device = self.train.items(rows, items), self.batches.device
        vectors: Tensor = self.model.item(
            {name: torch.from_numpy(inputs[name]).to(device) for name in self.model.item.inputs}
        )
        return vectors

    def _users(
        self, rows: NDArray[Any], own: NDArray[Any], generator: np.random.Generator
    ) -> dict[str, Tensor]:
        """Returns the users' inputs of the cases. The case's own item and random items of a history are
        hidden."""
        lists = (
            self.train.relations["history"].take(rows).latest(self.train.encoder.history_length)
            if self.cases.lists is None
            else self.cases.lists[self.train.user_rows[rows]]
        )
        is_hidden = (lists == own[:, None]) | (generator.random(lists.shape) < self.distil.history_dropout)
        history = torch.from_numpy(np.where(is_hidden, -1, lists))
        return self.batches.inputs(torch.from_numpy(rows), self.model.user.inputs, history=history)


class ListLoss:
    """Loss of matching towers that order all items by a user's list; called with (rows, step).

    u = Σ_i E_i / (n + κ) + b over n random items of the list, scaled to length 1; v_i = E_i / |E_i|. E_i is
    the sum of the item's code vectors in ``Matching``, κ its prior for histories, b the bias of the user
    tower, and τ ``contrast_temperature``. The loss is the mean over users and over their whole list of
    −log softmax(⟨u, v⟩/τ). Weights of other inputs stay 0.

    Row r is user r mod ``n_users``. Items without a training row share a vector that is not trained.
    """

    def __init__(self, model: Towers, prepared: TrainingData, settings: TrainSettings) -> None:
        assert model.user.matching is not None
        self.model, self.matching = model, model.user.matching
        self.distil, self.seed = settings.distil, settings.seed
        self.device = prepared.train_batches.device
        codes, choices = (
            prepared.encoder.tables(prepared.train.snapshot).works.ids,
            choices_of_users(prepared),
        )
        self.choices = choices[np.diff(choices.indptr) > 0]
        self.n_users, n_items = self.choices.shape
        self.codes = torch.from_numpy(codes[:n_items])  # the last row of the table is no item
        self.epoch_rows = max(PASSES * self.n_users, MIN_STEPS * LISTS_PER_STEP)
        self.optimizer = OptimizerSettings(
            batch_size=LISTS_PER_STEP,
            learning_rate=LEARNING_RATE,
            weight_decay=0.0,
            patience=settings.optimizer.patience,
        )

    def epoch(self, generator: torch.Generator) -> Iterable[Tensor]:
        return rank_parts(shuffle(self.epoch_rows, LISTS_PER_STEP, generator))

    def __call__(self, rows: Tensor, step: int) -> Tensor:
        generator, device = np.random.default_rng((self.seed, step * world() + rank())), self.device
        lists = self.choices[rows.numpy() % self.n_users]
        sampled = generator.integers(0, len(self.codes), SAMPLED)
        distinct, place = np.unique(np.concatenate([sampled, lists.indices]), return_inverse=True)
        sampled_place, list_place = torch.from_numpy(place).to(device).tensor_split([SAMPLED])
        vectors = self.matching.embed_items(self.codes[distinct].to(device))
        unit_vectors = functional.normalize(vectors, dim=1)
        is_shown = torch.from_numpy(generator.random(lists.nnz) >= self.distil.history_dropout).to(device)
        begin = torch.from_numpy(lists.indptr[:-1].astype(np.int64)).to(device)

        def sum_of_lists(values: Tensor, weights: Tensor) -> Tensor:
            return functional.embedding_bag(list_place, values, begin, per_sample_weights=weights, mode="sum")

        weights, ones = is_shown.float(), vectors.new_ones(lists.nnz)
        count = vectors.new_ones(len(vectors), 1)
        prior = functional.softplus(self.matching.prior[0]).detach()
        bias = self.model.user.out.bias.reshape(-1, vectors.shape[1]).mean(dim=0)
        history = sum_of_lists(vectors, weights) / (sum_of_lists(count, weights) + prior)
        return library_loss(
            functional.normalize(history + bias, dim=1),
            sum_of_lists(unit_vectors, ones) / sum_of_lists(count, ones),
            unit_vectors[sampled_place],
            n_items=len(self.codes),
            temperature=self.distil.contrast_temperature,
        )


def learns_from_lists(prepared: TrainingData, settings: TrainSettings) -> bool:
    """Returns True if towers learn only from whole lists: matching towers, a log without times and at least
    MIN_USERS users."""
    if not (prepared.timeless and settings.has_matching_towers):
        return False
    return bool(np.count_nonzero(np.diff(choices_of_users(prepared).indptr)) >= MIN_USERS)


def choices_of_users(prepared: TrainingData) -> csr_array:
    """Returns (users, items) float32: 1 if the user row chose the item row before validation."""
    train = prepared.train
    history, works = train.snapshot.relations["history"], train.snapshot.works
    chosen = train.labels[:, 0] > 0
    old_users = np.repeat(np.arange(len(history)), np.diff(history.indptr))
    users = np.concatenate([train.user_rows[chosen], old_users])
    items = np.concatenate([train.item_rows[chosen], works.lookup(history.values)])
    users, items = users[(users >= 0) & (items >= 0)], items[(users >= 0) & (items >= 0)]
    ones, shape = np.ones(len(users), np.float32), (len(train.snapshot.users), len(works))
    choices = csr_array((ones, (users, items)), shape)
    choices.data[:] = 1.0
    return choices


def start_from_choices(model: Towers, prepared: TrainingData, seed: int) -> None:
    """Sets matching towers to order items by the singular vectors of the matrix of users and chosen items.

    The length of an item's vector is its weight in a history, degree^−0.5; the item tower normalizes it.
    Items without an embedding of their own keep random vectors. Weights of other inputs become 0.
    """
    assert model.user.matching is not None
    for layer in (model.user.out, model.item.layers[-1]):
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    matching = model.user.matching
    with torch.no_grad():
        for weights in (matching.by_column[LISTS.index("skipped")], matching.by_edge, matching.by_alike):
            weights.zero_()
    encoder, table = prepared.encoder, model.user.matching.codes
    column = encoder.names["item_ids"].index("id")
    choices = choices_of_users(prepared)
    code = encoder.tables(prepared.train.snapshot).works.ids[: choices.shape[1], column]
    degree = choices.sum(axis=0)
    items = np.flatnonzero((degree > 0) & (code > 0) & (code < encoder.sizes["item_ids"][column]))
    choices = choices[:, items]
    choices = choices[np.diff(choices.indptr) > 0]
    dim = table.table.weight.shape[1]
    if min(choices.shape) <= dim:
        return
    user, item = (rows.astype(np.int64) for rows in choices.nonzero())
    values, v = decompose_pairs(user, item, choices.shape, dim, seed)
    vectors = v * np.sqrt(values)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    vectors *= np.sqrt(degree[items].mean() / degree[items])[:, None]
    with torch.no_grad():
        weight = table.table.weight
        rows = torch.from_numpy(code[items]) + table.offsets[column].cpu()
        weight[rows] = torch.from_numpy(vectors.astype(np.float32)).to(weight.device)


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
