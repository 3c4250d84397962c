"""Codes of a category's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native

FIRST_UNSEEN = 1 << 62  # codes from here on belong to ids that a vocabulary does not hold


class Vocabulary:
    """Codes for K distinct non-negative ids: ``keys[k]`` has the code k + 1. ``keys`` is a read-only copy.

    Nothing changes after construction: any number of threads may use one vocabulary. Raises ValueError for a
    negative or repeated key, or 2³⁰ keys or more. O(K).
    """

    def __init__(self, keys: NDArray[Any]) -> None:
        self._codes = _native.Vocabulary(keys)
        self.keys: NDArray[Any] = self._codes.keys

    def __len__(self) -> int:
        return len(self.keys)

    def encode(self, ids: NDArray[Any]) -> NDArray[Any]:
        """``(N,)`` codes: 0 for a negative id (missing), 1 … K for a known one, ≥ FIRST_UNSEEN for any other.

        Equal unseen ids get equal codes, different ones different codes but for a chance of about N² / 2⁶³:
        codes can be compared where no embedding exists. A model reads every code above K as 0. O(N).
        """
        return self._codes.encode(ids)


def vocabulary(values: NDArray[Any], min_count: int) -> Vocabulary:
    """The values ≥ 0 that stand at least ``min_count`` times in ``values (M,)``, most frequent first."""
    keys, counts = np.unique(values[values >= 0], return_counts=True)
    keys, counts = keys[counts >= min_count], counts[counts >= min_count]
    return Vocabulary(keys[np.argsort(-counts, kind="stable")])


def known_codes(vocabulary: Vocabulary, values: NDArray[Any]) -> NDArray[Any]:
    """(N,) int64 codes of ``values``; 0 for those that the vocabulary does not hold."""
    codes = vocabulary.encode(values)
    return np.where(codes <= len(vocabulary), codes, 0)


def stored_vocabulary(arrays: Mapping[str, NDArray[Any]], name: str) -> Vocabulary:
    """The vocabulary whose keys are stored as ``name``; ValueError naming it."""
    if name not in arrays:
        raise ValueError(f"it lacks the table {name!r}")
    try:
        return Vocabulary(arrays[name])
    except ValueError as error:
        raise ValueError(f"table {name!r}: {error}") from error
