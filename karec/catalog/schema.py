"""What the names of columns and labels mean. Loaders write these names; everything else reads their meaning
here.

Roles of works, each a column of this name, and each may be missing:
    creator_id, song_id            who made it, what is sung in it
    type, tag                      audio or video; what it is about
    era                            when its song came out
    upload_ms                      when it was published

The column ``community`` of users is made at publish: which group of the social graph a user belongs to.

Columns of works and users, by name and dtype:
    count_exposed, count_<label>   counters of exposures, float32
    *_ms, integer                  a moment in Unix milliseconds, ≤ 0 where it is not known
    other integers                 a category, negative where it is missing
    floating                       a number
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CREATOR, SONG, TYPE, TAG, PUBLISHED = "creator_id", "song_id", "type", "tag", "upload_ms"
ERA, COMMUNITY = "era", "community"
ROLES = CREATOR, SONG, TYPE, TAG, PUBLISHED
EXPOSED = "count_exposed"
LATEST_MS = 253_402_300_799_999  # the last moment of the year 9999; a later one is no moment
FAMILY = "family"
NO_FAMILY = 0  # the ``family`` of a user or work that has none: this code, or a negative one


def counter(label: str) -> str:
    """The name of the counter of exposures with ``label``."""
    return f"count_{label}"


def is_named(column: str, codes: NDArray[Any]) -> NDArray[Any]:
    """(N,) bool: which ``codes`` of the category ``column`` are a value: not one that is missing, nor no
    family."""
    return np.asarray(np.asarray(codes) > (NO_FAMILY if column == FAMILY else -1))


def is_counter(column: str) -> bool:
    return column.startswith("count_")


@dataclass(frozen=True)
class Meaning:
    """Which labels of an exposure say what a user thought of the work. An exposure has the meaning when one
    of the labels is positive; labels that exposures lack are passed over.

    enjoyed   the work enters the user's history; in none of them, it enters the skipped works. The last that
              is counted is what popular works are ordered by
    liked     the work enters the user's liked works
    followed  the work's creator enters the creators whom the user follows
    drawn     exposures that have one of these labels, positive or not, make no skipped works: those without
              were drawn, and nobody passed them over
    """

    enjoyed: tuple[str, ...] = ()
    liked: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()

    def is_enjoyed(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """(M,) bool. Raises ValueError when the exposures have none of the labels."""
        if not any(name in labels for name in self.enjoyed):
            said = f"enjoyed is said by {list(self.enjoyed)}"
            raise ValueError(f"exposures have the labels {list(labels)}, and none that says enjoyed; {said}")
        return _any(self.enjoyed, labels)

    def is_skipped(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """(M,) bool: shown, and not enjoyed. Raises ValueError as ``is_enjoyed``."""
        enjoyed = self.is_enjoyed(labels)
        return np.zeros_like(enjoyed) if any(name in labels for name in self.drawn) else ~enjoyed

    def is_liked(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """(M,) bool; False where there is no such label."""
        return _any(self.liked, labels)

    def is_followed(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """(M,) bool; False where there is no such label."""
        return _any(self.followed, labels)


def _any(names: tuple[str, ...], labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    found = np.zeros(len(next(iter(labels.values()), ())), bool)
    for name in names:
        if name in labels:
            found |= labels[name] > 0
    return found
