"""What an ONNX file declares, read without running or loading it: inputs, outputs, metadata, and the weights'
sizes.

ONNX Runtime folds constants when it loads a model, so loading is itself to run what others wrote. Here the
file's protocol buffers are walked where they lie, in memory of O(inputs + outputs + metadata), and each
tensor of numbers is read once. Field numbers are those of onnx/onnx.proto3, IR version 3 and later.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np

from karec._stored import open_regular
from karec.models.protobuf import Value, bytes_of, fields, number_of, text_of, varint

T = TypeVar("T")

MOST_NAMES = 10_000  # inputs, outputs and pieces of metadata of a model
MOST_FIELDS = 3_000_000  # a tree ensemble has some ten for each of its nodes
_MOST_AXES = 64
_DEEPEST = 16  # of graphs in attributes of nodes
_DTYPES = {1: "float32", 7: "int64", 10: "float16", 11: "double", 9: "bool", 6: "int32"}
# {ONNX's code of an element type: NumPy's}, of those whose elements lie in raw bytes one after the other
_ELEMENTS = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
    16: "<u2",
}
# {element type: the field of numbers that holds it where there are no raw bytes}
_FIELD_OF = {1: 4, 11: 10, 7: 7, 12: 11, 13: 11, **dict.fromkeys((2, 3, 4, 5, 6, 9, 10, 16), 5)}
_FIXED = {4: "<f4", 10: "<f8"}  # fields of numbers that are no varints


@dataclass(frozen=True)
class Port:
    """An input or output: its dtype, and its shape with None where an axis has no fixed size; None: not
    declared."""

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Declared:
    """``outside``: where weights lie that are not in the file, relative to its folder."""

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    metadata: Mapping[str, str]
    outside: tuple[str, ...]


def read_declared(path: Path) -> Declared:
    """What the ONNX file at ``path`` declares. O(file).

    OSError. ValueError for what is no ONNX file or one that is cut short, for a weight in the file that has
    another number of bytes or of numbers than its shape declares, and for one of float16, float32 or float64
    that is NaN. That a float16 among integers, a bfloat16 or a weight outside is NaN shows only when the
    model runs.
    """
    with open_regular(path) as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("it is empty")
        view = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))  # unmapped with its last slice
    walk = _Walk()
    walk.model(view)
    inputs = {name: port for name, port in walk.inputs.items() if name not in walk.weights}
    return Declared(inputs, walk.outputs, walk.metadata, tuple(sorted(walk.outside)))


def read_port(value: Value) -> tuple[str, Port]:
    """The name and the declaration of an input or output, of the bytes of one. ValueError where they are no
    such."""
    return _Walk().port(value)


class _Walk:
    """One pass over a file, and what it found."""

    def __init__(self) -> None:
        self.inputs: dict[str, Port] = {}
        self.outputs: dict[str, Port] = {}
        self.metadata: dict[str, str] = {}
        self.weights: set[str] = set()
        self.outside: set[str] = set()
        self.fields = 0

    def fields_of(self, value: Value) -> Iterator[tuple[int, Value]]:
        """The fields of a message; ValueError once the file has had too many: each takes about a
        microsecond."""
        for field in fields(bytes_of(value)):
            self.fields += 1
            if self.fields > MOST_FIELDS:
                raise ValueError(f"it has more than {MOST_FIELDS} fields")
            yield field

    def model(self, view: memoryview) -> None:
        graphs = 0
        for field, value in self.fields_of(view):
            if field == 7:
                graphs += 1
                self.graph(bytes_of(value), 0)
            elif field == 14:
                key, text = self.pair(value)
                _add(self.metadata, key, text)
            elif field == 25:  # a function of the model's own: its nodes
                for of_function, node in self.fields_of(value):
                    if of_function == 7:
                        self.node(bytes_of(node), 0)
        if graphs != 1:
            raise ValueError(f"it is no ONNX model: it has {graphs} graphs")

    def graph(self, view: memoryview, depth: int) -> None:
        if depth > _DEEPEST:
            raise ValueError(f"its graphs are nested deeper than {_DEEPEST}")
        for field, value in self.fields_of(view):
            if field == 1:
                self.node(bytes_of(value), depth)
            elif field == 5:
                name = self.tensor(bytes_of(value))
                if depth == 0:
                    self.weights.add(name)
            elif field in (11, 12) and depth == 0:
                name, port = self.port(value)
                _add(self.inputs if field == 11 else self.outputs, name, port)
            elif field == 15:  # sparse: values, indices
                self.sparse(bytes_of(value))

    def node(self, view: memoryview, depth: int) -> None:
        for field, attribute in self.fields_of(view):
            if field != 5:
                continue
            for kind, value in self.fields_of(attribute):
                if kind in (5, 10):
                    self.tensor(bytes_of(value))
                elif kind in (6, 11):
                    self.graph(bytes_of(value), depth + 1)
                elif kind in (22, 23):
                    self.sparse(bytes_of(value))

    def sparse(self, view: memoryview) -> None:
        for field, value in self.fields_of(view):
            if field in (1, 2):
                self.tensor(bytes_of(value))

    def tensor(self, view: memoryview) -> str:
        """Checks one tensor; its name."""
        dims: list[int] = []
        kind, name, raw, external, places = 0, "", None, False, []
        numbers = dict.fromkeys(_FIELD_OF.values(), 0)  # how many each field holds
        for field, value in self.fields_of(view):
            if field == 1:
                dims += [value] if isinstance(value, int) else _sizes(value)
            elif field == 2:
                kind = number_of(value)
            elif field == 8:
                name = text_of(value)
            elif field == 9:
                raw = bytes_of(value)
            elif field in numbers:
                numbers[field] += _count(field, value)
                if field in _FIXED:
                    _refuse_nan(bytes_of(value), _FIXED[field], name)
            elif field == 13:
                key, text = self.pair(value)
                places += [text] if key == "location" else []
            elif field == 14:
                external = number_of(value) == 1
        if len(dims) > 16 or any(not 0 <= size < 1 << 62 for size in dims):
            raise ValueError(f"weight {name[:60]!r} has the shape {dims[:16]}")
        if external:
            if len(places) != 1:
                raise ValueError(f"weight {name[:60]!r} lies outside, and {len(places)} places say where")
            self.outside.add(places[0])
        elif raw is not None and kind in _ELEMENTS:
            declared = prod(dims) * np.dtype(_ELEMENTS[kind]).itemsize
            if len(raw) != declared:
                raise ValueError(f"weight {name[:60]!r} declares {declared} bytes, it holds {len(raw)}")
            _refuse_nan(raw, _ELEMENTS[kind], name)
        elif raw is None and kind in _FIELD_OF and numbers[_FIELD_OF[kind]] != prod(dims):
            held = numbers[_FIELD_OF[kind]]
            raise ValueError(f"weight {name[:60]!r} declares {prod(dims)} numbers, it holds {held}")
        return name

    def port(self, value: Value) -> tuple[str, Port]:
        name, dtype, shape = "", "no tensor", None
        for field, part in self.fields_of(value):
            if field == 1:
                name = text_of(part)
            elif field == 2:
                for of_type, tensor in self.fields_of(part):
                    if of_type == 1:
                        dtype, shape = self.tensor_type(tensor)
        return name, Port(dtype, shape)

    def tensor_type(self, value: Value) -> tuple[str, tuple[int | None, ...] | None]:
        dtype, shape = "no tensor", None
        for field, part in self.fields_of(value):
            if field == 1:
                dtype = _DTYPES.get(number_of(part), f"of ONNX type {number_of(part)}")
            elif field == 2:
                shape = self.shape(part)
        return dtype, shape

    def shape(self, value: Value) -> tuple[int | None, ...]:
        sizes = []
        for field, axis in self.fields_of(value):
            if field == 1:
                sizes.append(self.size(axis))
            if len(sizes) > _MOST_AXES:
                raise ValueError(f"an input or output has more than {_MOST_AXES} axes")
        return tuple(sizes)

    def size(self, axis: Value) -> int | None:
        found = None
        for field, value in self.fields_of(axis):
            if field in (1, 2):  # a number, or the name of a size that is not fixed: the last one counts
                found = number_of(value) if field == 1 else None
        return found or None

    def pair(self, value: Value) -> tuple[str, str]:
        texts = {field: text_of(part) for field, part in self.fields_of(value) if field in (1, 2)}
        return texts.get(1, ""), texts.get(2, "")


def _count(field: int, value: Value) -> int:
    """How many numbers stand in ``value`` of a field of numbers: one by itself, or many one after the
    other."""
    if field in _FIXED:
        return len(bytes_of(value)) // np.dtype(_FIXED[field]).itemsize
    return 1 if isinstance(value, int) else int(np.count_nonzero(np.frombuffer(value, np.uint8) < 128))


def _refuse_nan(raw: memoryview, dtype: str, name: str) -> None:
    if np.dtype(dtype).kind != "f" or len(raw) % np.dtype(dtype).itemsize:
        return
    values = np.frombuffer(raw, dtype)
    for begin in range(0, len(values), 1 << 20):
        if np.isnan(values[begin : begin + (1 << 20)]).any():
            raise ValueError(f"weight {name[:60]!r} holds NaN")


def _add(to: dict[str, T], name: str, value: T) -> None:
    if len(to) >= MOST_NAMES:
        raise ValueError(f"it declares more than {MOST_NAMES} inputs, outputs or pieces of metadata")
    to[name] = value


def _sizes(view: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(view):
        value, at = varint(view, at)
        values.append(value)
        if len(values) > _MOST_AXES:
            raise ValueError(f"a weight has more than {_MOST_AXES} axes")
    return values
