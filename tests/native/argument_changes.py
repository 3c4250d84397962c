"""Random changes of the arguments of a call: layouts, dtypes, shapes, sizes, values and types."""

import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from binding_calls import Call

ODD_INTS = (0, 1, -1, 2, 7, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, -(2**63), 2**63, 2**64, 10**30)
ODD_NUMBERS = (*ODD_INTS, float("nan"), float("inf"), -float("inf"), 1e300, -0.0, 0.5, 1e-320)
ODD_VALUES = (
    *ODD_NUMBERS,
    None,
    True,
    "",
    "x" * 300,
    "\0",
    b"",
    b"\xff",
    (),
    [],
    {},
    [[]],
    [1, [2]],
    [2**70],
    1j,
)
DTYPES = (
    "i1",
    "i2",
    "i4",
    "i8",
    "u1",
    "u4",
    "u8",
    "f2",
    "f4",
    "f8",
    "?",
    "g",
    "c16",
    "S3",
    "U3",
    "O",
    "M8[s]",
    "V4",
)
HUGE = (2**16, 2**24, 2**31 + 1, 2**40, 2**59)  # rows of arrays that store one row
MAX_LEN = 1 << 16  # longer arguments are not changed again
IS_ASAN = "asan" in os.environ.get("LD_PRELOAD", "")  # it ends the process if there is no memory


class Subclass(np.ndarray):
    """Array of another type."""


class ChangingArray:
    """Array-like that changes the dtype and shape of other arguments when it is read."""

    def __init__(self, array: np.ndarray, others: list[np.ndarray]) -> None:
        self.array = array
        self.others = others

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        for other in self.others:
            try:
                if other.dtype.kind != "O":
                    other.dtype = np.int8
                other.shape = (-1,)
            except (ValueError, TypeError, AttributeError):
                continue
        return self.array


def convert_layout(array: np.ndarray, rng: random.Random) -> Any:
    """Returns the same values with another layout or type."""
    choice = rng.randrange(10)
    if choice == 0:
        spaced = np.zeros((*array.shape[:-1], array.shape[-1] * 2), array.dtype)
        spaced[..., ::2] = array
        return spaced[..., ::2]
    if choice == 1:
        return array[::-1].copy()[::-1]
    if choice == 2:
        return np.asfortranarray(array)
    if choice == 3:
        return array.astype(array.dtype.newbyteorder())
    if choice == 4:
        raw = np.zeros(array.nbytes + 1, np.uint8)[1:]
        raw[:] = np.frombuffer(array.tobytes(), np.uint8)
        return raw.view(array.dtype).reshape(array.shape)
    if choice == 5:
        array.setflags(write=False)
        return array
    if choice == 6:
        return array.view(Subclass) if rng.random() < 0.5 else np.ma.masked_array(array)
    if choice == 7:
        return array.tolist()
    if choice == 8 and array.dtype.kind in "if" and array.itemsize < 8:
        return array.astype(f"{array.dtype.kind}8")
    if array.dtype.kind == "b":
        return (array.view(np.uint8) * rng.choice((2, 255))).view(np.bool_)
    return array.copy()


def change_array(array: np.ndarray, rng: random.Random, others: list[np.ndarray]) -> Any:
    choice = rng.randrange(12)
    with np.errstate(all="ignore"):
        if choice == 0:
            return array.astype(rng.choice(DTYPES))
        if choice == 1 and array.size:
            changed = array.astype(rng.choice(("f4", "f8", "i8", "u8", "O")))
            changed.flat[rng.randrange(array.size)] = (
                rng.choice((0, 1, -1, 2.0**31, 2.0**62, np.nan, np.inf, 127))
                if changed.dtype.kind in "fO"
                else rng.choice((0, 1, 99, 2**31, 2**62))
            )
            return changed
    if choice == 2:
        return array[: rng.randrange(len(array) + 1)]
    if choice == 3:
        return np.concatenate([array, array])
    if choice == 4:
        return rng.choice((array[None], array[..., None], array.ravel(), array[:0], array[..., :0], array.T))
    if choice == 5:
        return (
            array.reshape(-1)[0]
            if array.size and rng.random() < 0.5
            else np.array(array.reshape(-1)[:1].sum())
        )
    if choice == 6 and not IS_ASAN:
        return np.broadcast_to(array[:1], (rng.choice(HUGE), *array.shape[1:])) if len(array) else array
    if choice == 7:
        return np.empty(rng.choice(((0, 2**40), (2**40, 0), (2**31, 0, 2), (0,), ())), array.dtype)
    if choice == 8:
        return np.array([rng.choice(ODD_VALUES) for _ in range(len(array))], object)
    if choice == 9:
        return ChangingArray(array, others)
    if choice == 10:
        return np.zeros(array.shape, rng.choice(DTYPES))
    return rng.choice((memoryview(array), array[:9].tobytes(), iter(array), [array], {0: array}))


def change_value(value: Any, rng: random.Random, others: list[np.ndarray]) -> Any:
    if (
        isinstance(value, np.ndarray)
        and value.ndim
        and max(value.size, len(value)) < MAX_LEN
        and rng.random() < 0.85
    ):
        return change_array(value, rng, others)
    if isinstance(value, list | tuple) and 0 < len(value) < MAX_LEN and rng.random() < 0.85:
        return change_sequence(value, rng, others)
    if isinstance(value, int) and rng.random() < 0.8:
        return rng.choice((*ODD_INTS, np.int8(3), np.uint64(2**63), np.float64(3), value + 1, value - 1))
    if isinstance(value, float) and rng.random() < 0.8:
        return rng.choice(ODD_NUMBERS)
    if isinstance(value, bytes | str) and rng.random() < 0.5:
        return rng.choice(
            (b"", b"/", b"/nowhere/x", b"\xff\0", b"x" * 5000, "index", "strings", "int8", "is_live")
        )
    return rng.choice(ODD_VALUES)


def change_sequence(values: Any, rng: random.Random, others: list[np.ndarray]) -> Any:
    changed = list(values)
    at = rng.randrange(len(changed))
    choice = rng.randrange(6)
    if choice == 0:
        del changed[at]
    elif choice == 1:
        changed.append(changed[at])
    elif choice == 2 and len(changed) < 20:  # pybind11 writes every member into a TypeError
        changed = changed * rng.choice((0, 10))
    else:
        changed[at] = change_value(changed[at], rng, others)
    return changed if isinstance(values, list) else tuple(changed)


def find_arrays(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, list | tuple):
        for member in value:
            yield from find_arrays(member)
    elif isinstance(value, dict):
        yield from find_arrays(list(value.values()))


def convert_layouts(call: Call, rng: random.Random) -> None:
    for at, value in enumerate(call.arguments):
        if isinstance(value, np.ndarray) and value.ndim and rng.random() < 0.5:
            call.arguments[at] = convert_layout(value, rng)
    for key, value in call.options.items():
        if isinstance(value, np.ndarray) and value.ndim and rng.random() < 0.3:
            call.options[key] = convert_layout(value, rng)


def change(call: Call, rng: random.Random) -> None:
    others = list(find_arrays([call.arguments, call.options]))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        keys: list[Any] = [*range(len(call.arguments)), *call.options]
        if not keys:
            return
        key = rng.choice(keys)
        arguments: Any = call.arguments if isinstance(key, int) else call.options
        try:
            arguments[key] = change_value(arguments[key], rng, others)
        except (ValueError, TypeError, OverflowError, MemoryError, RuntimeError):
            continue  # NumPy cannot make this array
    if rng.random() < 0.02:
        rng.choice(
            (lambda: call.arguments.append(1), call.arguments.clear, lambda: call.options.update(x=1))
        )()
