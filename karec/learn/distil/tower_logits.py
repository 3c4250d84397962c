"""What towers say of training rows and of works in lists, encoded as of the lists' moments."""

from __future__ import annotations

import numpy as np

from karec.learn._torch import Tensor, torch
from karec.learn.fit.batches import Batches
from karec.learn.fit.predictions import predict
from karec.learn.fit.prepare import Prepared
from karec.learn.nets.towers import OfUsers, Towers
from karec.training_data.lists import LoggedLists
from karec.types import Array

ITEM_ROWS = 50_000  # item vectors in memory at once


def training_logits(model: Towers, prepared: Prepared, lists: LoggedLists | None) -> tuple[Array, Array]:
    """(logits (M, 1 + T) of the training rows, (L, N, 1 + T) of the lists' works); without lists L is 0."""
    rows = predict(model, prepared.train_batches)
    if lists is None:
        return rows, np.empty((0, 2, rows.shape[1]), np.float32)
    with torch.no_grad():
        parts = [model.user(inputs) for inputs in prepared.train_batches.in_order(model.user.inputs)]
    of = torch.from_numpy(lists.rows)
    users = OfUsers(*(torch.cat(part)[of] for part in zip(*parts, strict=True)))
    return rows, list_logits(model, users, prepared.train_batches, lists.works, lists.numbers)


def list_logits(model: Towers, users: OfUsers, batches: Batches, works: Array, numbers: Array) -> Array:
    """(L, N, 1 + T): of L users with N works each, ``works (L, N)`` rows of works, ``numbers (L, N, J)``."""
    model.eval()
    out = np.empty((*works.shape, model.user.heads), np.float32)
    step = max(ITEM_ROWS // works.shape[1], 1)
    with torch.no_grad():
        for begin in range(0, len(works), step):
            part = slice(begin, begin + step)
            vectors = item_vectors(
                model, batches, torch.from_numpy(works[part]), torch.from_numpy(numbers[part])
            )
            out[part] = model.logits(OfUsers(*(each[part] for each in users)), vectors).cpu().numpy()
    return out


def item_vectors(model: Towers, batches: Batches, works: Tensor, numbers: Tensor) -> Tensor:
    """(L, N, D) vectors of ``works (L, N)``, rows of works, with their item_numbers ``numbers (L, N, J)``."""
    inputs = {
        "item_ids": batches.work_ids(works.flatten()),
        "item_numbers": numbers.flatten(0, 1).to(batches.device),
    }
    vectors: Tensor = model.item(inputs)
    return vectors.reshape(*works.shape, -1)
