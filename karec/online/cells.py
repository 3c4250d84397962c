"""Values that a platform tells of a work, as the cells of a column."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.aggregates.events import NONE
from karec.catalog.schema import LATEST_MS, is_counter


def cells(values: list[Any], name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(N,) of a column; what is missing, or does not fit the dtype, is missing there too."""
    if is_counter(name):
        return np.array([0 if value is None else value for value in values], dtype)
    if dtype.kind == "b":
        return np.array([bool(value) for value in values], dtype)
    least, most = _bounds(name, dtype)
    if dtype.kind == "f":
        fits = (isinstance(value, int | float) and abs(value) <= most for value in values)
        return np.array([value if fit else np.nan for value, fit in zip(values, fits, strict=True)], dtype)
    missing = max(NONE, least)
    fits = (
        isinstance(value, int | float) and least <= value <= most and value == int(value) for value in values
    )
    return np.array([int(value) if fit else missing for value, fit in zip(values, fits, strict=True)], dtype)


@cache
def _bounds(name: str, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The least and the most that a cell of the column holds."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    info = np.iinfo(dtype)
    return int(info.min), min(int(info.max), LATEST_MS) if name.endswith("_ms") else int(info.max)
