"""Writes M.sums.npz next to M.onnx: the table of its row sums, and the rest of the model.

``karec.models.row_sums`` loads the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from karec import _native
from karec.files import file_aside, read_npz
from karec.learn._torch import nn
from karec.models.row_sums import sums_path

FORMAT = 1


@dataclass(frozen=True, eq=False)
class SummedForm:
    """A form of a model that reads row sums.

    module    maps ``inputs`` and ``outputs`` to the outputs of the model
    inputs    names of inputs of the model
    outputs   {name: width} of the row sums
    arrays    their table
    """

    module: nn.Module
    inputs: Sequence[str]
    outputs: Mapping[str, int]
    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class RowSumsExport:
    """Content of a file of row sums.

    head     number of code columns, names and widths of outputs
    arrays   the table
    rest     the rest of the model
    """

    head: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    rest: onnx.ModelProto

    def write(self, data: bytes, model: Path) -> None:
        """Writes the file of ``model``, whose bytes are, or will be, ``data``."""
        head = {**self.head, "format": FORMAT, "model_xxh64": f"{_native.xxh64(data):016x}"}
        texts = {"head": json.dumps(head).encode(), "rest": self.rest.SerializeToString()}
        members = {name: np.frombuffer(text, np.uint8) for name, text in texts.items()}
        with file_aside(sums_path(model)) as file:
            np.savez(file, **self.arrays, **members)  # type: ignore[arg-type]

    @classmethod
    def read(cls, model: Path) -> RowSumsExport:
        """Returns the content of the file of ``model``, which was loaded before."""
        arrays = dict(read_npz(sums_path(model)))
        head, rest = (arrays.pop(name).tobytes() for name in ("head", "rest"))
        return cls(json.loads(head), arrays, onnx.load_model_from_string(rest))
