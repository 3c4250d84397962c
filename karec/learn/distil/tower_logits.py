"""Logits and vectors of towers for items encoded as of the time of a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.features.encoder import CONTENT
from karec.learn._torch import Tensor, torch
from karec.learn.fit.batches import Batches
from karec.learn.nets.towers import Towers, UserOutputs

ITEM_ROWS = 50_000  # item vectors computed at once


def list_logits(
    model: Towers, users: UserOutputs, batches: Batches, items: NDArray[Any], numbers: NDArray[Any]
) -> NDArray[Any]:
    """Returns (L, N, 1 + T) for L users with N items each.

    Args
      items     (L, N) item rows
      numbers   (L, N, J) their item_numbers
    """
    model.eval()
    out = np.empty((*items.shape, model.user.heads), np.float32)
    step = max(ITEM_ROWS // items.shape[1], 1)
    with torch.no_grad():
        for begin in range(0, len(items), step):
            part = slice(begin, begin + step)
            vectors = item_vectors(
                model, batches, torch.from_numpy(items[part]), torch.from_numpy(numbers[part])
            )
            out[part] = model.logits(UserOutputs(*(values[part] for values in users)), vectors).cpu().numpy()
    return out


def user_side(model: Towers, batches: Batches, rows: NDArray[Any]) -> UserOutputs:
    """Returns the outputs of the user tower for the examples ``rows`` of ``batches``."""
    model.eval()
    with torch.no_grad():
        users: UserOutputs = model.user(batches.inputs(torch.from_numpy(rows), model.user.inputs))
    return users


def library_vectors(model: Towers, batches: Batches, items: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Returns the vectors (L, D) of L encoded items, ``items``: {input: (L, …)}."""
    model.eval()
    parts = []
    n = len(next(iter(items.values())))
    with torch.no_grad():
        for begin in range(0, n, ITEM_ROWS):
            chunk = {name: items[name][begin : begin + ITEM_ROWS] for name in model.item.inputs}
            inputs = {name: torch.from_numpy(values).to(batches.device) for name, values in chunk.items()}
            parts.append(model.item(inputs))
    return np.asarray(torch.cat(parts).cpu().numpy())


def item_vectors(model: Towers, batches: Batches, items: Tensor, numbers: Tensor) -> Tensor:
    """Returns vectors (L, N, D) of the item rows ``items (L, N)`` with item_numbers ``numbers (L, N, J)``."""
    inputs = {
        "item_ids": batches.item_ids(items.flatten()),
        "item_numbers": numbers.flatten(0, 1).to(batches.device),
    }
    if CONTENT in model.item.inputs:
        inputs[CONTENT] = batches.item_content(items.flatten())
    vectors: Tensor = model.item(inputs)
    return vectors.reshape(*items.shape, -1)
