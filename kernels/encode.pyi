from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST_UNSEEN: int

class Vocabulary:
    """Codes for K distinct non-negative ids: ``keys[k]`` has code k + 1. ``keys`` is a read-only copy.

    Nothing changes after construction: any number of threads may use one vocabulary.
    """

    keys: NDArray[np.int64]

    def __init__(self, keys: NDArray[np.integer[Any]]) -> None:
        """Raises ValueError for a negative or repeated key, or 2³⁰ keys or more. O(K)."""

    def __len__(self) -> int: ...
    def encode(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """``(N,)`` codes: 0 for a negative id (missing), 1…K for a known one, ≥ FIRST_UNSEEN for any other.

        Equal unseen ids get equal codes, different ones different codes but for a chance of about N² / 2⁶³: codes can
        be compared where no embedding exists. A model reads every code above K as 0. O(N).
        """

def padded_histories(
    values: NDArray[np.integer[Any]], starts: NDArray[np.integer[Any]], ends: NDArray[np.integer[Any]], width: int
) -> NDArray[np.int64]:
    """``(N, width) int64``: row n is ``values[starts[n]:ends[n]]`` last first, cut at ``width``, padded with −1.

    Raises ValueError when the shapes differ or a row does not keep to 0 ≤ start ≤ end ≤ len(values). O(N · width).
    """

def count_matches(
    history: NDArray[np.integer[Any]], skipped: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """``(N, 4, I) float32``: for each candidate and column, how often its code occurs in the user's lists.

    ``history (U, H, I)`` and ``skipped (U, S, I)`` are codes newest first, U = 1 or N; ``items (N, I)``. Planes:
    matches in history, matches in skipped, 1 / (1 + place of the newest match) in history and in skipped, or 0 where
    there is none. Code 0 (missing, padding) matches nothing. Raises ValueError naming both shapes. O(N · (H + S) · I).
    """
