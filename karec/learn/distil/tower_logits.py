"""Logits and vectors of towers for items encoded as of the time of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.features.encoder import CONTENT
from karec.learn._torch import Tensor, torch
from karec.learn.fit.batches import Batches
from karec.learn.nets.towers import Towers


def logits_of_request(
    model: Towers, inputs: Mapping[str, NDArray[Any]], device: torch.device
) -> NDArray[Any]:
    """Returns (N, 1 + T), fused head first, for ``inputs`` of one user and N items, see ``Examples.pool``."""
    tensors = {name: torch.from_numpy(value).to(device) for name, value in inputs.items()}
    crosses = tensors["crosses"].unsqueeze(0) if model.wide is not None else None
    model.eval()
    with torch.no_grad():
        logits = model.logits(model.user(tensors), model.item(tensors).unsqueeze(0), crosses)
    return np.asarray(logits[0].cpu().numpy())


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
