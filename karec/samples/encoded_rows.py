"""Model inputs of examples, with those of a user stored once for each user side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.schema import CREATOR
from karec.features.crosses import SOCIAL_EDGES
from karec.features.encoder import USER_SIDE, Encoder
from karec.samples.examples import Examples

LISTS = ("history", "skipped")


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """M encoded examples of S user sides (``Examples.user_sides``).

    inputs           {name: array} with a row per user side for inputs of users, else per example. ``history``
                     and ``skipped`` have item rows, newest first, padded with −1; ``follows`` and ``friends``
                     codes of known creators, descending, padded with 0
    sides (M,)       int64, the user side of each example
    labels (M, T)    float32
    item_rows (M,)   int64 rows of the snapshot
    numbers (M,)     int64 numbers of the examples in the log that they are from
    """

    inputs: Mapping[str, NDArray[Any]]
    sides: NDArray[Any]
    labels: NDArray[Any]
    item_rows: NDArray[Any]
    numbers: NDArray[Any]

    def __len__(self) -> int:
        return len(self.sides)

    def take(self, rows: NDArray[Any]) -> EncodedRows:
        """Returns the examples at ``rows``, and the user sides that they have."""
        kept, sides = np.unique(self.sides[rows], return_inverse=True)
        inputs = {name: values[kept if name in USER_SIDE else rows] for name, values in self.inputs.items()}
        return EncodedRows(inputs, sides, self.labels[rows], self.item_rows[rows], self.numbers[rows])

    @classmethod
    def concat(cls, parts: Sequence[EncodedRows]) -> EncodedRows:
        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        first_sides = np.cumsum([0, *(len(part.inputs["context"]) for part in parts)])
        sides = [part.sides + first for part, first in zip(parts, first_sides, strict=False)]
        inputs = {}
        for name in parts[0].inputs:
            values = [part.inputs[name] for part in parts]
            if name in SOCIAL_EDGES:
                width = max(array.shape[1] for array in values)
                values = [np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in values]
            inputs[name] = np.concatenate(values)
        return cls(inputs, np.concatenate(sides), joined("labels"), joined("item_rows"), joined("numbers"))


def encode_rows(examples: Examples, rows: NDArray[Any], names: Sequence[str]) -> EncodedRows:
    """Returns the inputs ``names`` of the examples at ``rows`` (M,), with positions, as of their times.

    User sides have the order of ``Examples.user_sides(rows)``.
    """
    encoder = examples.encoder
    users, side, items = examples.inputs_by_side(rows, with_position=True)
    _, first = np.unique(side, return_index=True)
    inputs = {name: (users if name in USER_SIDE else items)[name] for name in names if name not in LISTS}
    inputs |= {name: _known_creators(encoder, inputs[name]) for name in SOCIAL_EDGES if name in inputs}
    for name in (name for name in LISTS if name in names):
        lists = examples.relations[name].take(rows[first]).latest(encoder.history_length)
        inputs[name] = lists.astype(np.int32)
    return EncodedRows(inputs, side, examples.labels[rows], examples.item_rows[rows], rows)


def _known_creators(encoder: Encoder, codes: NDArray[Any]) -> NDArray[Any]:
    """Returns ``codes (N, L)`` as int32, descending, unseen ones 0. Models ignore their order."""
    names, sizes = encoder.names["item_ids"], encoder.sizes["item_ids"]
    known = codes < (sizes[names.index(CREATOR)] if CREATOR in names else 0)
    return -np.sort(-np.where(known, codes, 0).astype(np.int32), axis=1)
