"""What an item index knows of the vectors of one model version, and the queries that each version's rows
meet."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ModelVersion:
    """``works``: how many vectors are of it. ``space_id``: of its item tower, 0 = not known. An inner product
    with one of its vectors becomes product·scale + offset."""

    number: int
    works: int
    space_id: int
    scale: float
    offset: float


def space_number(number: int) -> int:
    """A uint64. TypeError for what is no whole number, ValueError for one that does not fit."""
    space = operator.index(number)
    if not 0 <= space < 2**64:
        raise ValueError(f"a space_id is from 0 to 2^64 − 1, got {space}")
    return space


def version_number(number: int) -> int:
    """An int64. TypeError for what is no whole number, ValueError for one that does not fit."""
    version = operator.index(number)
    if not -(2**63) <= version < 2**63:
        raise ValueError(f"a model version is an int64, got {version}")
    return version


def versioned(
    query: ArrayLike | None, by_version: Mapping[int, ArrayLike] | None
) -> list[tuple[int | None, NDArray[Any]]]:
    """[(model version, its query)], the version None for one query of all rows. ValueError unless one of the
    two is given.
    """
    if (query is None) == (by_version is None) or (by_version is not None and not by_version):
        raise ValueError("give either one query or query_by_version={model version: query}")
    if by_version is None:
        return [(None, np.asarray(query))]
    return [(version_number(version), np.asarray(each)) for version, each in by_version.items()]
