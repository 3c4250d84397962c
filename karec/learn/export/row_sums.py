"""Writes M.sums.npz next to M.onnx: the table of its row sums, and the rest of the model.

``karec.models.row_sums`` loads the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from karec import _native
from karec.errors import KarecError
from karec.files import file_aside, read_npz
from karec.learn.nets.served_ranker import ServedRanker
from karec.learn.nets.summed_ranker import SummedRanker
from karec.models.row_sums import sums_path

FORMAT = 1
MAX_COLUMN_ROWS = 65_536  # codes of a column; hashed and large columns have more
MAX_BYTES = 64 << 20  # of the table


class UnsupportedSums(KarecError):
    """A model without row sums. The message is the reason."""


@dataclass(frozen=True, eq=False)
class RowSumsExport:
    """Content of a file of row sums.

    head     number of code columns, names and widths of outputs
    arrays   the table, see ``SummedRanker.table``
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
    def read(cls, model: Path) -> RowSumsExport | None:
        """Returns the content of the file of ``model``, None if there is none."""
        if not sums_path(model).exists():
            return None
        arrays = dict(read_npz(sums_path(model)))
        head, rest = (arrays.pop(name).tobytes() for name in ("head", "rest"))
        return cls(json.loads(head), arrays, onnx.load_model_from_string(rest))


def summed_form(served: ServedRanker) -> SummedRanker:
    """Returns the form of ``served`` whose table has the code columns that the limits allow, small first.

    Raises UnsupportedSums if the rows of numbers alone are above MAX_BYTES.
    """
    ranker, sizes = served.user.ranker, served.items.item_codes.sizes.tolist()
    outputs = SummedRanker(served, ()).outputs
    row_bytes = 4 * sum(outputs.values())
    n_numbers, bins = ranker.item_numbers.low.shape
    n_rows = 1 + n_numbers * (2 * bins + 1)
    if n_rows * row_bytes > MAX_BYTES:
        raise UnsupportedSums(
            f"row sums of its numbers take up to {n_rows * row_bytes:,} bytes, more than {MAX_BYTES:,}"
        )
    gathered = []
    for column in sorted(range(len(sizes)), key=lambda c: (sizes[c], c)):
        if sizes[column] <= MAX_COLUMN_ROWS and (n_rows + sizes[column]) * row_bytes <= MAX_BYTES:
            n_rows += sizes[column]
        else:
            gathered.append(column)
    return SummedRanker(served, sorted(gathered))
