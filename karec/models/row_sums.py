"""The part of a ranker's first layer that the native library computes in place of ONNX Runtime.

M.sums.npz, next to M.onnx, has a table and the rest of the model: the model whose inputs are sums of rows
of the table (native/src/sums/row_sums.hpp). A code of an item is one row, its embedding times the layer's
weights; a number is a mean of two. So ONNX Runtime multiplies only what depends on user and item.
``karec.learn.export.row_sums`` writes the file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from karec import _native
from karec.errors import BundleError, IndexFormatError
from karec.files import read_npz
from karec.models.trees import Port

NO_SUMS = "no_row_sums"  # metadata of M.onnx: why the export wrote no file
_log = logging.getLogger("karec.models")


@dataclass(frozen=True, eq=False)
class StoredSums:
    """The content of a file of row sums. Any number of threads may call ``run``.

    model   the ONNX file that it was made from
    sums    computes the outputs ``outputs``, inputs of the rest
    rest    this model without what ``sums`` computes
    """

    model: Path
    sums: _native.RowSums
    rest: bytes

    @property
    def inputs(self) -> Mapping[str, Port]:
        """Inputs that ``run`` reads."""
        return {
            "item_ids": Port("int64", (None, self.sums.n_codes)),
            "item_numbers": Port("float32", (None, self.sums.n_numbers)),
        }

    @property
    def outputs(self) -> Mapping[str, Port]:
        return {name: Port("float32", (None, width)) for name, width in self.sums.outputs}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Returns each output (N, width) float32 for the ``inputs`` of N items. ValueError: another shape."""
        values = self.sums.sum(inputs["item_ids"], inputs["item_numbers"])
        n, widths = len(inputs["item_ids"]), [width for _, width in self.sums.outputs]
        starts = [0, *accumulate(n * width for width in widths)]
        return {
            name: values[start : start + n * width].reshape(n, width)
            for (name, width), start in zip(self.sums.outputs, starts, strict=False)
        }

    def check_ports(self, ports: Mapping[str, Port]) -> None:
        """Raises BundleError if ``ports``, the inputs of the rest, do not fit the sums."""
        for name, expected in self.outputs.items():
            if ports.get(name) != expected:
                raise self.make_error(
                    f"input {name[:60]!r} of its rest is {ports.get(name, 'missing')}, expected {expected}"
                )
        for name, expected in self.inputs.items():
            if ports.get(name, expected) != expected:
                raise self.make_error(f"input {name!r} of its rest is {ports[name]}, expected {expected}")

    def make_error(self, reason: object) -> BundleError:
        return _damaged(self.model, reason)


def sums_path(model: Path) -> Path:
    """The path of the file of row sums of the ONNX file ``model``."""
    return model.parent / f"{model.stem}.sums.npz"


def load_sums(model: Path) -> StoredSums | None:
    """Returns the row sums of the ONNX file ``model``, or None if it has none.

    Those of another file are not used either: a warning is logged. Raises OSError if a file cannot be read,
    and BundleError if the file of row sums is damaged.
    """
    path = sums_path(model)
    if not path.exists():
        return None
    try:
        read_npz(path)  # compares checksums, the library does not
        xxh64, rest, sums = _native.RowSums.read(path.read_bytes())
    except (ValueError, IndexFormatError) as error:
        raise _damaged(model, error) from error
    if xxh64 != f"{_native.xxh64_of_file(os.fsencode(model)):016x}":
        _log.warning(
            "%s was made from another file than %s: ONNX Runtime computes the whole model, more slowly",
            path,
            model.name,
        )
        return None
    return StoredSums(model, sums, rest)


def _damaged(model: Path, reason: object) -> BundleError:
    return BundleError(
        f"{sums_path(model)} is not a file of row sums, or a damaged one: {reason}. Remove it, then ONNX "
        "Runtime computes the whole model, or train again"
    )
