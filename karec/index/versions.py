"""Model versions of the vectors in an item index, and the queries for each version."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ModelVersion:
    """The vectors of one model version. An inner product with one of them becomes product·scale + offset.

    number    the model version
    n_items   number of vectors
    space_id  item tower that made the vectors, 0 if unknown
    """

    number: int
    n_items: int
    space_id: int
    scale: float
    offset: float


def check_space_id(number: int) -> int:
    """Returns a uint64. Raises TypeError if it is not a whole number, ValueError if it does not fit."""
    space = operator.index(number)
    if not 0 <= space < 2**64:
        raise ValueError(f"a space_id is from 0 to 2^64 − 1, got {space}")
    return space


def check_version(number: int) -> int:
    """Returns an int64. Raises TypeError if it is not a whole number, ValueError if it does not fit."""
    version = operator.index(number)
    if not -(2**63) <= version < 2**63:
        raise ValueError(f"a model version is an int64, got {version}")
    return version


def list_queries(
    queries: ArrayLike | Mapping[int, ArrayLike],
) -> list[tuple[int | None, NDArray[Any]]]:
    """Returns [(model version, its queries)], with the version None if all rows have the same queries.

    Raises ValueError for a mapping without entries.
    """
    if isinstance(queries, np.ndarray) or not isinstance(queries, Mapping):
        return [(None, np.asarray(queries))]
    if not queries:
        raise ValueError("queries is {}, expected an array or {model version: array}")
    return [(check_version(version), np.asarray(array)) for version, array in queries.items()]
