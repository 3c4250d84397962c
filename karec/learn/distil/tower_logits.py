"""Logits of towers for works in lists, encoded as of the lists' moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.learn._torch import Tensor, torch
from karec.learn.fit.batches import Batches
from karec.learn.nets.towers import Towers, UserOutputs

ITEM_ROWS = 50_000  # item vectors in memory at once


def list_logits(
    model: Towers, users: UserOutputs, batches: Batches, works: NDArray[Any], numbers: NDArray[Any]
) -> NDArray[Any]:
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
            out[part] = model.logits(UserOutputs(*(each[part] for each in users)), vectors).cpu().numpy()
    return out


def user_side(model: Towers, batches: Batches, rows: NDArray[Any]) -> UserOutputs:
    """Returns the outputs of the user tower for the examples ``rows`` of ``batches``."""
    model.eval()
    with torch.no_grad():
        users: UserOutputs = model.user(batches.inputs(torch.from_numpy(rows), model.user.inputs))
    return users


def library_vectors(model: Towers, batches: Batches, items: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Returns (L, D): the vectors of L encoded works. It computes on the device of ``batches``.

    ``items``: {input: (L, …)}.
    """
    model.eval()
    parts = []
    n = len(next(iter(items.values())))
    with torch.no_grad():
        for begin in range(0, n, ITEM_ROWS):
            some = {name: items[name][begin : begin + ITEM_ROWS] for name in model.item.inputs}
            inputs = {name: torch.from_numpy(of).to(batches.device) for name, of in some.items()}
            parts.append(model.item(inputs))
    return np.asarray(torch.cat(parts).cpu().numpy())


def item_vectors(model: Towers, batches: Batches, works: Tensor, numbers: Tensor) -> Tensor:
    """(L, N, D) vectors of ``works (L, N)``, rows of works, with their item_numbers ``numbers (L, N, J)``."""
    inputs = {
        "item_ids": batches.item_ids(works.flatten()),
        "item_numbers": numbers.flatten(0, 1).to(batches.device),
    }
    vectors: Tensor = model.item(inputs)
    return vectors.reshape(*works.shape, -1)
