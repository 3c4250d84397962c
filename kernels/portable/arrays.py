"""Arrays at the portable backend's boundary: checked, and converted where dtype or layout differ.

The twin of ``native/python/arrays.cpp``: the same inputs pass, and what does not is refused in the same
words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Shape = tuple[int | str, ...]  # a size, or a letter where any size will do

MOST_ROWS = 2**31 - 1
UNKNOWN_ROW = -1


def dims_of(value: Any) -> tuple[int, ...]:
    """The shape of what NumPy can make an array of; () for anything else, which whoever reads the values
    refuses."""
    try:
        return np.shape(value)
    except ValueError:  # lists of several lengths
        return ()


def float32_input(value: Any, name: str, expected: Shape, because: str = "") -> Float32:
    """C-contiguous float32 of that shape; no copy if it is so already."""
    return _converted(_checked(value, name, expected, "fiub", "float32", because), np.float32)


def float64_input(value: Any, name: str, expected: Shape) -> Float64:
    return _converted(_checked(value, name, expected, "fiub", "float64"), np.float64)


def bool_input(value: Any, name: str, expected: Shape) -> NDArray[np.bool_]:
    return _converted(_checked(value, name, expected, "b", "bool"), np.bool_)


def int64_input(value: Any, name: str, expected: Shape, because: str = "") -> Int64:
    array = np.asarray(value)
    kinds = "i" if array.itemsize == 8 else "iu"
    return _converted(_checked(array, name, expected, kinds, "int64", because), np.int64)


def rows_input(value: Any) -> Int32:
    array = np.asarray(value)
    kinds = "i" if array.itemsize == 8 else "iu"
    array = _checked(array, "rows", ("N",), kinds, "int32")
    if array.size and (array.dtype.kind != "i" or array.itemsize > 4):
        wide = array.astype(np.int64)
        bad = np.flatnonzero(wide != wide.astype(np.int32))
        if len(bad):
            raise ValueError(f"rows holds {wide[bad[0]]} at position {bad[0]}, expected int32")
    return _converted(array, np.int32)


def generation_of(rows: Any) -> int:
    """The generation that karec's own arrays of rows say; 0 = not said."""
    tagged = isinstance(rows, np.ndarray) and type(rows) is not np.ndarray
    return int(getattr(rows, "generation", 0)) if tagged else 0


def matrix_input(value: Any, name: str, expected: Shape, because: str = "") -> NDArray[Any]:
    """C-contiguous float32, or float16 where it is float16."""
    array = _checked(value, name, expected, "fiub", "float32 or float16", because)
    return _converted(array, np.float16 if array.dtype.kind == "f" and array.itemsize == 2 else np.float32)


def indptr_input(value: Any, name: str, expected: Shape, because: str = "") -> Int64:
    """A copy, so that the offsets that are checked are the offsets that are used."""
    return int64_input(value, name, expected, because).copy()


def check_indptr(name: str, indptr: Int64, n: int) -> None:
    """ValueError unless (lists + 1,) ``indptr`` runs from 0 to n and never falls."""
    if indptr[0] != 0:
        bad = 0
    else:
        falls = np.flatnonzero(indptr[1:] < indptr[:-1])
        bad = int(falls[0]) + 1 if len(falls) else -1
    if bad >= 0:
        raise ValueError(
            f"{name} holds {indptr[bad]} at position {bad}, expected it to start at 0 and never to fall"
        )
    if indptr[-1] != n:
        raise ValueError(f"{name} ends at {indptr[-1]}, expected {n}")


def finite(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """``array``; ValueError naming the first NaN or infinity in it."""
    good = np.isfinite(array)
    if not good.all():
        at = tuple(int(axis) for axis in np.argwhere(~good)[0])
        what = "NaN" if np.isnan(array[at]) else "infinity"
        raise ValueError(f"{name} holds {what} at {at if len(at) > 1 else f'position {at[0]}'}")
    return array


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view of ``array`` that nobody writes to; one dtype and layout is one type to Numba, so it compiles
    once."""
    view = array.view()
    view.flags.writeable = False
    return view


def _checked(
    value: Any, name: str, expected: Shape, kinds: str, dtype: str, because: str = ""
) -> NDArray[Any]:
    array = np.asarray(value)
    fits = array.ndim == len(expected) and all(
        isinstance(size, str) or size == length for size, length in zip(expected, array.shape, strict=False)
    )
    if not fits:
        spelt = ", ".join(str(size) for size in expected) + ("," if len(expected) == 1 else "")
        raise ValueError(
            f"{name} has shape {array.shape}, expected ({spelt})" + (f" as {because}" if because else "")
        )
    # An empty list has dtype float64 in NumPy, whatever it was meant to hold.
    if array.size and array.dtype.kind not in kinds:
        raise ValueError(f"{name} has dtype {array.dtype} and shape {array.shape}, expected {dtype}")
    return array


def _converted(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # what becomes infinity is refused as such
        return np.ascontiguousarray(array, dtype)
