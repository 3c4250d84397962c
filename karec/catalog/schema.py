"""Meanings of the names of columns and labels. Loaders write these names, all other packages read them.

Optional columns of items with a role:
    creator_id, song_id            creator; song that is sung
    type, tag                      audio or video; subject
    era                            when the song was released
    upload_ms                      time of publication
    tone                           score of moderation in [0, 1], a number; items below a limit are not shown

The column ``community`` of users is made at publish: the group of the social graph that the user belongs to.

Columns of items and users, by name and dtype:
    count_exposed, count_<label>   counters of impressions, float32
    *_ms, integer                  time in Unix milliseconds, ≤ 0 if unknown
    other integers                 category, negative if missing
    floating                       number
    floating, of two dimensions    vector, zeros if missing: of items, at most MAX_VECTOR numbers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CREATOR, SONG, TYPE, TAG, PUBLISHED = "creator_id", "song_id", "type", "tag", "upload_ms"
ERA, TONE, COMMUNITY = "era", "tone", "community"
ROLES = CREATOR, SONG, TYPE, TAG, PUBLISHED
EXPOSED = "count_exposed"
MAX_VECTOR = 1024
LATEST_MS = 253_402_300_799_999  # end of the year 9999; later values are not times
FAMILY = "family"
NO_FAMILY = 0  # code of a user or item without a family; negative codes mean the same


def counter(label: str) -> str:
    """Returns the name of the counter of impressions with ``label``."""
    return f"count_{label}"


def is_named(column: str, codes: NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) True for ``codes`` of the category ``column`` that are not missing and not NO_FAMILY."""
    return np.asarray(np.asarray(codes) > (NO_FAMILY if column == FAMILY else -1))


def is_counter(column: str) -> bool:
    return column.startswith("count_")


@dataclass(frozen=True)
class Meaning:
    """Labels by their meaning. An impression has a meaning if one of its labels is positive.

    Labels that impressions do not have are ignored.

    enjoyed   adds the item to the user's history, and without any of them to the skipped items. Popular items
              are ordered by the last of these labels that has a counter
    liked     adds the item to the user's liked items
    followed  adds the item's creator to the creators that the user follows
    consumed  adds the item to the user's consumed items of the whole log: purchases or ratings, not clicks.
              Empty: users want repeats, and the list does not exist
    drawn     impressions with one of these labels, positive or not, never count as skipped: those without a
              positive label were sampled, and no user skipped them
    """

    enjoyed: tuple[str, ...] = ()
    liked: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    consumed: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()

    def is_enjoyed(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns (M,) bool. Raises ValueError if impressions have none of these labels."""
        if not any(name in labels for name in self.enjoyed):
            raise ValueError(
                f"impressions have the labels {list(labels)}, expected at least one that means enjoyed: "
                f"{list(self.enjoyed)}"
            )
        return _any(self.enjoyed, labels)

    def is_skipped(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns (M,) bool: not enjoyed. Raises ValueError as ``is_enjoyed``."""
        enjoyed = self.is_enjoyed(labels)
        return np.zeros_like(enjoyed) if any(name in labels for name in self.drawn) else ~enjoyed

    def is_liked(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns (M,) bool, False without such a label."""
        return _any(self.liked, labels)

    def is_followed(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns (M,) bool, False without such a label."""
        return _any(self.followed, labels)

    def is_consumed(self, labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Returns (M,) bool, False without such a label."""
        return _any(self.consumed, labels)


def _any(names: tuple[str, ...], labels: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    is_positive = np.zeros(len(next(iter(labels.values()), ())), bool)
    for name in names:
        if name in labels:
            is_positive |= labels[name] > 0
    return is_positive
