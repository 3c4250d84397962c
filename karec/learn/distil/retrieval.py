"""What recipe retrieval teaches: of all works of the library, those that a user took come first.

A *case* is a user and a work that they took. Each step contrasts some cases: a case's work against the other
cases' works and works drawn evenly from the library, logits less log Q (``losses.contrastive_loss``).

Of a log with times, a case is a training row, and the user's side is as of the row's moment. Of a log without
times, whatever a user took before the validation is a case, and the rest of it is the case's history: the
work itself is left out, which the towers would only have to find again.

Sources  X. Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019; J. Yang et al., Mixed negative
         sampling, WWW 2020; D. Liang et al., Variational autoencoders for collaborative filtering, WWW 2018
         (what is held out of a user's list is told from the rest of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.evaluate.metrics.retrieval import recall_at, top_of
from karec.learn._torch import Tensor, torch
from karec.learn.distil.losses import contrastive_loss
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.towers import Towers
from karec.learn.settings.settings import TrainSettings

SCORED_AT = 100
MOST_USERS, MOST_WORKS = 2_000, 200_000  # of the validation score
PIECE = 8192  # works whose vectors are made at once


@dataclass(frozen=True, eq=False)
class Cases:
    """``rows (R,)`` training rows that give the user's side, ``works (R,)`` rows of works. ``lists (users,
    H)`` rows of works, −1 padded: all that a user took, by row of users; None: the rows' own histories are
    the cases'.
    """

    rows: NDArray[Any]
    works: NDArray[Any]
    lists: NDArray[Any] | None

    @classmethod
    def of(cls, prepared: TrainingData) -> Cases:
        train, valid = prepared.train, prepared.valid
        if not prepared.timeless:
            rows = np.flatnonzero(train.labels[:, 0] > 0)
            return cls(rows, train.work_rows[rows], None)
        n_users = len(train.snapshot.users)
        lists = np.full((n_users, train.encoder.history_length), -1, np.int64)
        lists[valid.user_rows] = valid.relations["history"].latest(lists.shape[1])
        last = np.full(n_users, -1, np.int64)
        last[train.user_rows] = np.arange(len(train))
        user, place = np.nonzero((lists >= 0) & (last >= 0)[:, None])
        return cls(last[user], lists[user, place], lists)


class Retrieval:
    """``loss(step)``: the contrast of the cases of a step, ``batch_size`` of them, taken in turn in an order
    drawn from the settings' seed.
    """

    def __init__(self, model: Towers, prepared: TrainingData, settings: TrainSettings) -> None:
        self.model, self.train, self.batches = model, prepared.train, prepared.train_batches
        self.cases, self.distil, self.seed = Cases.of(prepared), settings.distil, settings.seed
        self.size = min(settings.optimizer.batch_size, len(self.cases.rows))
        n_works = len(prepared.train.snapshot.works)
        self.share = np.bincount(self.cases.works, minlength=n_works) / max(len(self.cases.works), 1)
        self.order = np.random.default_rng(settings.seed).permutation(len(self.cases.rows))

    def loss(self, step: int) -> Tensor:
        at = self.order[(step * self.size + np.arange(self.size)) % len(self.order)]
        rows, own = self.cases.rows[at], self.cases.works[at]
        generator = np.random.default_rng((self.seed, step))
        n_works = len(self.share)
        drawn = generator.integers(0, n_works, self.distil.library_works)
        of_rows = np.concatenate([rows, generator.choice(rows, len(drawn))])
        works = np.concatenate([own, drawn])
        users = self.model.user(self._users(rows, own, generator)).user_vector
        items = self.train.items(of_rows, works)
        device = self.batches.device
        vectors = self.model.item(
            {name: torch.from_numpy(items[name]).to(device) for name in self.model.item.inputs}
        )
        expected = self.size * self.share[works] + len(drawn) / n_works
        return contrastive_loss(
            users,
            vectors,
            torch.arange(len(own), device=device),
            torch.from_numpy(works).to(device),
            torch.from_numpy(np.log(expected).astype(np.float32)).to(device),
            self.distil.contrast_temperature,
        )

    def _users(
        self, rows: NDArray[Any], own: NDArray[Any], generator: np.random.Generator
    ) -> dict[str, Tensor]:
        """The user's side of the cases, a share of each history hidden."""
        if self.cases.lists is None:
            lists = self.train.relations["history"].take(rows).latest(self.train.encoder.history_length)
        else:
            lists = self.cases.lists[self.train.user_rows[rows]]
        hidden = (lists == own[:, None]) | (generator.random(lists.shape) < self.distil.history_dropout)
        history = torch.from_numpy(np.where(hidden, -1, lists))
        return self.batches.inputs(torch.from_numpy(rows), self.model.user.inputs, history=history)


def validation_score(model: Towers, prepared: TrainingData, seed: int) -> float:
    """The mean over users of the recall@100 of what they took on validation days, among all works but those
    in their histories. Of more than MOST_USERS users or MOST_WORKS works, so many drawn from ``seed``; works
    taken are there.
    """
    valid = prepared.valid
    taken = np.flatnonzero(valid.labels[:, 0] > 0)
    users, first = np.unique(valid.user_rows[taken], return_index=True)
    generator = np.random.default_rng(seed)
    if len(users) > MOST_USERS:
        chosen = np.sort(generator.choice(len(users), MOST_USERS, replace=False))
        users, first = users[chosen], first[chosen]
    rows, works = taken[first], np.arange(len(valid.snapshot.works))
    if len(works) > MOST_WORKS:
        drawn = generator.choice(len(works), MOST_WORKS, replace=False)
        works = np.unique(np.concatenate([drawn, valid.work_rows[taken]]))
    model.eval()
    with torch.no_grad():
        vectors = model.user(
            prepared.valid_batches.inputs(torch.from_numpy(rows), model.user.inputs)
        ).user_vector
        items = np.concatenate(
            [_vectors(model, prepared, works[at : at + PIECE]) for at in range(0, len(works), PIECE)]
        )
    known = valid.relations["history"].take(rows).latest(valid.encoder.history_length)
    place = np.full(len(valid.snapshot.works) + 1, -1, np.int64)
    place[works] = np.arange(len(works))
    held = taken[np.isin(valid.user_rows[taken], users)]
    of_user = np.searchsorted(users, valid.user_rows[held])
    user, work = np.unique(np.stack([of_user, place[valid.work_rows[held]]]), axis=1)
    top = top_of(vectors.cpu().numpy(), items, place[known], SCORED_AT)
    return float(np.mean(recall_at(top, user, work, SCORED_AT)))


def _vectors(model: Towers, prepared: TrainingData, works: NDArray[Any]) -> NDArray[Any]:
    """(N, D) vectors of ``works (N,)``, rows of works, as of the last validation row."""
    valid = prepared.valid
    inputs = valid.items(np.full(len(works), len(valid) - 1), works)
    device = prepared.valid_batches.device
    vectors = model.item({name: torch.from_numpy(inputs[name]).to(device) for name in model.item.inputs})
    return np.asarray(vectors.cpu().numpy())
