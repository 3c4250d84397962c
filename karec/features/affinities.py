"""Affinities of a user for the categories of an item, from the items that the user enjoyed and skipped last.

For a value v of a category, h_v of the h enjoyed items have it, and m = 20:

    impressions     ln((h_v + m·r) / (e_v + m·r)), r the mean rate, e_v the sum of the smoothed rates of the
                    enjoyed and skipped items with v, scaled so that the sum over all items is h
    positives only  ln((h_v / s_v + m) / (h + m)), s_v the share of v among the positives

It is 0 for a user without lists. The lists have the newest LIST_LENGTH items before the refresh that a row
reads, so older ones are forgotten. ``Encoder.fit`` computes rates and shares from training rows; they do not
change with time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.rates import smoothed_rate
from karec.features.vocabulary import Vocabulary

LIST_LENGTH = 100  # slots; the aggregates keep as many (``karec.aggregates.histories``)
_RATES, _SHARES = "affinities.rates", "affinities.shares"


@dataclass(frozen=True, eq=False)
class AffinityPriors:
    """Expected rates or shares of any user. Exactly one of both is not empty.

    rates   (K + 1,) float64 smoothed rates of items by the code of their id; the first is the mean
    shares  for each category (K + 1,) float64 by code; the first is that of a value without a code
    """

    rates: NDArray[Any]
    shares: tuple[NDArray[Any], ...]

    @classmethod
    def fit(
        cls,
        codes: NDArray[Any],
        vocabularies: Sequence[Vocabulary],
        enjoyed: NDArray[Any],
        *,
        has_skipped: bool,
    ) -> AffinityPriors:
        """Fits to M training impressions.

        Args:
            codes: (M, I) codes of their items in I categories, the id first.
            enjoyed: (M,) bool.
            has_skipped: False if the impressions that are not enjoyed were sampled.
        """
        sizes = [len(vocabulary) + 1 for vocabulary in vocabularies]
        if not has_skipped:
            return cls(np.empty(0), tuple(map(_compute_shares, codes[enjoyed].T, sizes)))
        known = np.where(codes[:, 0] < sizes[0], codes[:, 0], 0)
        shows = np.bincount(known, minlength=sizes[0])
        positives = np.bincount(known, weights=enjoyed, minlength=sizes[0])
        mean = (positives.sum() + 1.0) / (shows.sum() + 2.0)  # above 0 and below 1
        rates = smoothed_rate(positives, shows, mean)
        rates[0] = mean
        return cls(rates, ())

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {f"{_SHARES}.{at}": shares for at, shares in enumerate(self.shares)}
        return arrays or {_RATES: self.rates}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], vocabularies: Sequence[Vocabulary]
    ) -> AffinityPriors | None:
        """Returns the priors of ``to_arrays``, None if there are none. Raises ValueError for wrong arrays."""
        sizes = [len(vocabulary) + 1 for vocabulary in vocabularies]
        if _RATES in arrays:
            return cls(_read_priors(arrays, _RATES, sizes[0]), ())
        if f"{_SHARES}.0" not in arrays:
            return None
        names = [f"{_SHARES}.{at}" for at in range(len(sizes))]
        return cls(np.empty(0), tuple(_read_priors(arrays, *pair) for pair in zip(names, sizes, strict=True)))


def _compute_shares(codes: NDArray[Any], size: int) -> NDArray[Any]:
    """Returns (size,) shares of the values in ``codes``, each counted once more than it occurs."""
    has_value = codes > 0
    is_known = has_value & (codes < size)
    other = codes[has_value & ~is_known]
    counts = np.bincount(codes[is_known], minlength=size) + 1.0
    counts[0] = len(other) / max(len(np.unique(other)), 1) + 1.0
    return np.asarray(counts / (has_value.sum() + size))


def _read_priors(arrays: Mapping[str, NDArray[Any]], name: str, size: int) -> NDArray[Any]:
    values = arrays.get(name)
    if values is None or values.shape != (size,) or values.dtype != np.float64:
        actual = "is missing" if values is None else f"is {values.dtype} {values.shape}"
        raise ValueError(f"table {name!r} {actual}, expected float64 ({size},)")
    if not ((values > 0) & (values <= 1)).all():
        raise ValueError(f"table {name!r} has a number outside of (0, 1]")
    return values
