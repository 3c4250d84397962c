"""Codes for the values of a category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native

FIRST_UNSEEN = 1 << 62  # codes from here on are those of ids that a vocabulary does not have


class Vocabulary:
    """Codes of K distinct ids ≥ 0: ``keys[k]`` has the code k + 1. ``keys`` is a read-only copy.

    It never changes: any number of threads may use it. Raises ValueError for a negative or repeated key, or
    2³⁰ keys or more. O(K).
    """

    def __init__(self, keys: NDArray[Any]) -> None:
        self._codes = _native.Vocabulary(keys)
        self.keys: NDArray[Any] = self._codes.keys

    def __len__(self) -> int:
        return len(self.keys)

    def encode(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) codes: 0 for a negative id (missing), 1 … K for keys, ≥ FIRST_UNSEEN for other ids.

        Equal unseen ids have equal codes. Different ids have different codes except with a probability of
        about N² / 2⁶³, so that codes without an embedding can be compared. Models read codes above K as 0.
        O(N).
        """
        return self._codes.encode(ids)


def build_vocabulary(values: NDArray[Any], min_count: int) -> Vocabulary:
    """Returns the values ≥ 0 that occur at least ``min_count`` times in ``values``, most frequent first."""
    keys, counts = np.unique(values[values >= 0], return_counts=True)
    keys, counts = keys[counts >= min_count], counts[counts >= min_count]
    return Vocabulary(keys[np.argsort(-counts, kind="stable")])


def encode_known(vocabulary: Vocabulary, values: NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) int64 codes of ``values``, 0 for values that the vocabulary does not have."""
    codes = vocabulary.encode(values)
    return np.where(codes <= len(vocabulary), codes, 0)


def recode(vocabulary: Vocabulary, names: Sequence[str], new_names: Sequence[str]) -> Vocabulary:
    """Returns ``vocabulary``, whose keys are positions in ``names``, with positions in ``new_names``.

    The order of keys stays. A name that ``new_names`` lacks gets a position after its end.
    """
    codes = {name: code for code, name in enumerate(new_names)}
    n_old = max(len(names), int(vocabulary.keys.max(initial=-1)) + 1)
    new_codes = np.arange(n_old) + len(new_names)
    for code, name in enumerate(names):
        new_codes[code] = codes.pop(name, new_codes[code])
    return Vocabulary(new_codes[vocabulary.keys])


def read_vocabulary(arrays: Mapping[str, NDArray[Any]], name: str) -> Vocabulary:
    """Returns the vocabulary with the keys ``arrays[name]``. Raises ValueError with the name."""
    if name not in arrays:
        raise ValueError(f"it lacks the table {name!r}")
    try:
        return Vocabulary(arrays[name])
    except ValueError as error:
        raise ValueError(f"table {name!r}: {error}") from error
