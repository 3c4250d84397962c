"""What the names of columns and labels mean. Loaders write these names; everything else reads their meaning here.

Columns of works and users, by name and dtype:
    count_exposed, count_<label>   counters of exposures, float32
    *_ms, integer                  a moment in Unix milliseconds, ≤ 0 where it is not known
    other integers                 a category, negative where it is missing
    floating                       a number
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from karec.types import Array

WORK_COLUMNS = ("creator_id", "song_id", "type", "tag", "upload_ms")  # of every table of works
EXPOSED = "count_exposed"
LATEST_MS = 253_402_300_799_999  # the last moment of the year 9999; a later one is no moment
NO_FAMILY = 0  # the ``family`` of a user or work that has none: this code, or a negative one


def counter(label: str) -> str:
    """The name of the counter of exposures with ``label``."""
    return f"count_{label}"


def is_counter(column: str) -> bool:
    return column.startswith("count_")


def enjoyed(labels: Mapping[str, Array]) -> Array:
    """(M,) bool: clicked or viewed long. Raises ValueError when there is neither label."""
    known = [labels[name] > 0 for name in ("click", "long_view") if name in labels]
    if not known:
        raise ValueError(f"exposures need the label click or long_view, they have {list(labels)}")
    return np.asarray(np.logical_or.reduce(known))


def passed_over(labels: Mapping[str, Array]) -> Array:
    """(M,) bool: neither clicked nor viewed long."""
    return ~enjoyed(labels)


def liked(labels: Mapping[str, Array]) -> Array:
    """(M,) bool: liked; False where there is no such label."""
    return _labelled(labels, "like")


def followed(labels: Mapping[str, Array]) -> Array:
    """(M,) bool: began to follow the work's creator; False where there is no such label."""
    return _labelled(labels, "follow")


def _labelled(labels: Mapping[str, Array], name: str) -> Array:
    if name in labels:
        return labels[name] > 0
    return np.zeros(len(next(iter(labels.values()), ())), bool)
